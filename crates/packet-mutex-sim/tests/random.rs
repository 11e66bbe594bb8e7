//! Random rosters and random actions: the arbiter against the oracle. Times lie on a coarse grid, so that much happens at
//! one instant. What fails is shrunk and written out as a scenario file.

use packet_mutex_arbiter::{
    Below, DelaySpec, Leave, Limits, Mode, ModuleSpec, Roster, RosterSpec, Steer,
};
use packet_mutex_sim::{
    Action, ArbiterFront, Ask, Entry, Front, Name, Nanos, Oracle, SECOND, Scenario, Timers, check,
    results,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::path::Path;
use std::time::Duration;

/// Half a second: all times are multiples of it.
const GRID: Nanos = SECOND / 2;
const MODULES: [&str; 5] = ["ada", "bob", "cyd", "dan", "stranger"];
const GROUPS: [&str; 3] = ["red", "blue", "green"];
const OWNERS: [&str; 3] = ["one", "two", "three"];
const REASONS: [&str; 3] = ["alarm", "lunch", ""];

/// An action before its numbers are turned into names; it shrinks towards `Tick` at once.
#[derive(Clone, Debug)]
enum Draft {
    Tick,
    Ask {
        module: usize,
        owner: usize,
        within: bool,
        urgent: bool,
        timeout: Option<u64>,
        lease: Option<u64>,
        claim: bool,
    },
    /// Ends an open hold or pass.
    End {
        which: usize,
        how: usize,
    },
    /// Ends any request at all, by any owner: mostly refused.
    EndAny {
        which: usize,
        owner: usize,
    },
    EndModule {
        module: usize,
        owner: usize,
    },
    Yield {
        which: usize,
        timeout: Option<u64>,
    },
    Withdraw {
        which: usize,
    },
    Claim {
        which: usize,
    },
    Acknowledge {
        which: usize,
    },
    Heartbeat {
        which: usize,
    },
    Lost {
        owner: usize,
    },
    Cancel {
        module: usize,
    },
    Disable {
        module: usize,
    },
    Enable {
        module: usize,
    },
    Mode {
        module: usize,
        mode: usize,
    },
    Pause {
        reason: usize,
        below: Option<u8>,
        lasts: Option<u64>,
    },
    Resume {
        reason: Option<usize>,
    },
    Revoke {
        reason: usize,
    },
    Close,
    Reload {
        roster: Box<RosterSpec>,
    },
    Reset {
        owner: usize,
    },
}

fn times(longest: u64) -> impl Strategy<Value = u64> {
    0..=longest
}

fn drafts() -> impl Strategy<Value = Draft> {
    let module = 0..MODULES.len();
    let owner = 0..=OWNERS.len() + 2;
    let which = any::<prop::sample::Index>().prop_map(|i| i.index(1000));
    let ask =
        (
            (module.clone(), owner.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.15)),
            (
                prop::option::weighted(0.6, times(8)),
                prop::option::weighted(0.1, 1..6_u64),
                prop::bool::weighted(0.1),
            ),
        )
            .prop_map(|((module, owner, within, urgent), (timeout, lease, claim))| {
                Draft::Ask { module, owner, within, urgent, timeout, lease, claim }
            });
    prop_oneof![
        2 => Just(Draft::Tick),
        30 => ask,
        25 => (which.clone(), 0..8_usize).prop_map(|(which, how)| Draft::End { which, how }),
        2 => (which.clone(), owner.clone()).prop_map(|(which, owner)| Draft::EndAny { which, owner }),
        2 => (module.clone(), 0..OWNERS.len()).prop_map(|(module, owner)| Draft::EndModule { module, owner }),
        4 => (which.clone(), prop::option::of(times(6))).prop_map(|(which, timeout)| Draft::Yield { which, timeout }),
        4 => which.clone().prop_map(|which| Draft::Withdraw { which }),
        2 => which.clone().prop_map(|which| Draft::Claim { which }),
        3 => which.clone().prop_map(|which| Draft::Acknowledge { which }),
        2 => which.prop_map(|which| Draft::Heartbeat { which }),
        3 => owner.clone().prop_map(|owner| Draft::Lost { owner }),
        1 => module.clone().prop_map(|module| Draft::Cancel { module }),
        1 => module.clone().prop_map(|module| Draft::Disable { module }),
        1 => module.clone().prop_map(|module| Draft::Enable { module }),
        4 => (module, 0..3_usize).prop_map(|(module, mode)| Draft::Mode { module, mode }),
        3 => (0..REASONS.len(), prop::option::of(0..6_u8), prop::option::of(times(6)))
            .prop_map(|(reason, below, lasts)| Draft::Pause { reason, below, lasts }),
        2 => prop::option::of(0..REASONS.len()).prop_map(|reason| Draft::Resume { reason }),
        1 => (0..REASONS.len()).prop_map(|reason| Draft::Revoke { reason }),
        1 => prop::bool::weighted(0.3).prop_map(|close| if close { Draft::Close } else { Draft::Tick }),
        2 => rosters().prop_map(|roster| Draft::Reload { roster: Box::new(roster) }),
        1 => owner.prop_map(|owner| Draft::Reset { owner }),
    ]
}

fn lengths(longest: u64) -> impl Strategy<Value = Duration> {
    times(longest).prop_map(|n| Duration::from_nanos(n * GRID))
}

fn rosters() -> impl Strategy<Value = RosterSpec> {
    let module = (
        (0..6_u8, prop::option::weighted(0.5, 0..GROUPS.len())),
        prop::option::weighted(0.2, lengths(6)),
        prop::option::weighted(0.2, lengths(4)),
        prop::option::weighted(0.2, 1..5_u64),
        prop::bool::weighted(0.9),
        prop::sample::select(vec![
            Mode::Enforced,
            Mode::Enforced,
            Mode::Enforced,
            Mode::Observed,
            Mode::Off,
        ]),
    )
        .prop_map(|((priority, group), timeout, handover_delay, longest, urgent, mode)| {
            ModuleSpec {
                group: group.map(|group| GROUPS[group].to_string()),
                timeout,
                handover_delay,
                longest_turn: longest.map(|n| Duration::from_nanos(n * GRID)),
                urgent,
                mode,
                ..ModuleSpec::new("", priority)
            }
        });
    let side = || prop::sample::select(["*", "red", "blue", "green", "ada"].to_vec());
    let delay = (side(), side(), lengths(4)).prop_map(|(from, to, delay)| DelaySpec {
        from: from.to_string(),
        to: to.to_string(),
        delay,
    });
    (
        lengths(4),
        lengths(8),
        prop::option::weighted(0.3, 1..4_u64),
        prop::option::weighted(0.5, 1..6_u64),
        1..4_u64,
        prop::bool::weighted(0.1),
        prop::sample::select(vec![2_usize, 4, 4096]),
        prop::collection::vec(module, 1..5),
        prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(delay, 1..4)],
    )
        .prop_map(
            |(
                handover_delay,
                timeout,
                aging,
                starving,
                claim,
                strict,
                waiters,
                modules,
                delays,
            )| {
                let grid = |n: u64| Duration::from_nanos(n * GRID);
                let named = modules
                    .into_iter()
                    .zip(MODULES)
                    .map(|(m, name)| ModuleSpec { name: name.to_string(), ..m });
                let mut pairs: Vec<DelaySpec> = Vec::new();
                for delay in delays {
                    if !pairs.iter().any(|d| d.from == delay.from && d.to == delay.to) {
                        pairs.push(delay);
                    }
                }
                RosterSpec {
                    handover_delay,
                    timeout,
                    aging: aging.map(grid),
                    strict,
                    starving_after: starving.map(grid),
                    claim_within: grid(claim),
                    limits: Limits { waiters, ..Limits::default() },
                    modules: named.collect(),
                    delays: pairs,
                }
            },
        )
}

fn plans() -> impl Strategy<Value = (RosterSpec, Vec<(u64, Draft)>)> {
    let gap = prop_oneof![4 => Just(0_u64), 4 => Just(1), 3 => Just(2), 1 => 3..8_u64];
    (rosters(), prop::collection::vec((gap, drafts()), 1..40))
}

/// Turns drafts into actions. The oracle is asked who holds, so that most ends are ends of something.
fn scenario(roster: &RosterSpec, drafts: &[(u64, Draft)]) -> Scenario {
    let roster = Roster::new(roster.clone()).expect("a valid roster");
    let mut oracle = Oracle::new(&roster);
    let mut asked: Vec<Ask> = Vec::new();
    let mut actions = Vec::new();
    let mut now = 0;
    for (gap, draft) in drafts {
        now += gap * GRID;
        oracle.advance(now);
        if let Some(action) = action(draft, &oracle, &mut asked) {
            let _ = oracle.act(now, &action);
            actions.push((now, action));
        }
    }
    // Let all that waits come to its end.
    actions.push((now + 20 * SECOND, Action::Tick));
    Scenario::from_actions("found at random", roster, &actions)
}

fn action(draft: &Draft, oracle: &Oracle, asked: &mut Vec<Ask>) -> Option<Action> {
    let module = |at: &usize| Name::from(MODULES[*at]);
    let grid = |t: &Option<u64>| t.map(|n| n * GRID);
    let open = oracle.open();
    let hold = |which: usize| (!open.is_empty()).then(|| open[which % open.len()].clone());
    let any =
        |which: usize| (!asked.is_empty()).then(|| asked[which % asked.len()].request.clone());
    // Beyond the three shared owners: nobody, and mostly an owner of its own.
    let owner = |at: usize, own: &str| match OWNERS.get(at) {
        Some(owner) => Some(Name::from(*owner)),
        None if at == OWNERS.len() => None,
        None => Some(own.into()),
    };
    Some(match draft {
        Draft::Tick => Action::Tick,
        Draft::Ask { module: m, owner: who, within, urgent, timeout, lease, claim } => {
            let name = format!("r{}", asked.len() + 1);
            let ask = Ask {
                owner: owner(*who, &name),
                within: hold(*m).filter(|_| *within).map(|(hold, _)| hold),
                urgent: *urgent,
                timeout: grid(timeout),
                lease: grid(lease),
                claim: *claim,
                ..Ask::new(&name, MODULES[*m])
            };
            asked.push(ask.clone());
            Action::Ask(ask)
        }
        Draft::End { which, how } => {
            let (hold, owner) = hold(*which)?;
            let how = match how {
                0 => Leave::Panicked,
                1 | 2 => Leave::Declined,
                _ => Leave::Released,
            };
            Action::End { hold, owner, how }
        }
        Draft::EndAny { which, owner: who } => {
            let hold = any(*which)?;
            Action::End { owner: owner(*who, &hold), hold, how: Leave::Released }
        }
        Draft::EndModule { module: m, owner } => {
            Action::EndModule { module: module(m), owner: OWNERS[*owner].into() }
        }
        Draft::Yield { which, timeout } => {
            let (hold, owner) = hold(*which)?;
            let request = Name::from(format!("r{}", asked.len() + 1));
            asked.push(Ask { owner: owner.clone(), ..Ask::new(&request, "") });
            Action::Yield { hold, owner, request, timeout: grid(timeout) }
        }
        Draft::Withdraw { which } => Action::Withdraw(any(*which)?),
        Draft::Claim { which } => Action::Claim(hold(*which)?.0),
        Draft::Acknowledge { which } => Action::Acknowledge(hold(*which)?.0),
        Draft::Heartbeat { which } => Action::Heartbeat(hold(*which)?.0),
        Draft::Lost { owner } => {
            // A shared owner, or that of something open.
            let own = hold(*owner).and_then(|(_, owner)| owner);
            Action::OwnerLost(OWNERS.get(*owner).map(|o| Name::from(*o)).or(own)?)
        }
        Draft::Cancel { module: m } => Action::Steer(Steer::Cancel { module: module(m) }),
        Draft::Disable { module: m } => Action::Steer(Steer::Disable { module: module(m) }),
        Draft::Enable { module: m } => Action::Steer(Steer::Enable { module: module(m) }),
        Draft::Mode { module: m, mode } => {
            Action::Steer(Steer::Mode { module: module(m), mode: Mode::ALL[*mode] })
        }
        Draft::Pause { reason, below, lasts } => Action::Steer(Steer::Pause {
            reason: REASONS[*reason].to_string(),
            below: below.map_or(Below::Urgent, Below::Priority),
            lasts: grid(lasts).map(Duration::from_nanos),
        }),
        Draft::Resume { reason } => {
            let reason = reason.map(|at| REASONS[at].to_string());
            Action::Steer(Steer::Resume { reason })
        }
        Draft::Revoke { reason } => {
            Action::Steer(Steer::Revoke { reason: REASONS[*reason].to_string() })
        }
        Draft::Close => Action::Steer(Steer::Close),
        Draft::Reload { roster } => {
            let roster = Roster::new((**roster).clone()).expect("a valid roster");
            Action::Steer(Steer::Reload(Box::new(roster)))
        }
        Draft::Reset { owner: who } => Action::Reset(owner(*who, "nobody-else")),
    })
}

/// Writes a failure out as a scenario file and says where; the last one that is written is the smallest.
fn write_out(scenario: &Scenario, why: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shrunk.scenario");
    let mut oracle = Oracle::new(&scenario.roster);
    let expected = results(scenario, &mut oracle, Timers::Prompt);
    std::fs::write(&file, scenario.text_with(&expected)).expect("the file can be written");
    format!("{why}\nwritten to {}", file.display())
}

proptest! {
    #![proptest_config(config())]

    /// The arbiter does what the oracle predicts, event by event.
    #[test]
    fn the_arbiter_agrees_with_the_oracle((roster, drafts) in plans()) {
        let scenario = scenario(&roster, &drafts);
        let outcome = check(&scenario, &mut ArbiterFront::new(&scenario));
        if let Err(mismatch) = outcome {
            return Err(TestCaseError::fail(write_out(&scenario, &mismatch.to_string())));
        }
    }

    /// What is written out can be read again and says the same.
    #[test]
    fn written_scenarios_can_be_read((roster, drafts) in plans()) {
        let scenario = scenario(&roster, &drafts);
        let mut oracle = Oracle::new(&scenario.roster);
        let expected = results(&scenario, &mut oracle, Timers::Prompt);
        let text = scenario.text_with(&expected);
        let again = Scenario::parse(Path::new("again"), &text).expect("it can be read");
        let mut oracle = Oracle::new(&again.roster);
        prop_assert_eq!(&results(&again, &mut oracle, Timers::Prompt), &expected);
        prop_assert_eq!(again.text_with(&expected), text);
    }

    /// S18: neither late nor spurious timers change anything; S16: one outcome, one end, no number missing.
    #[test]
    fn timers_change_nothing_and_all_ends_once((roster, drafts) in plans(), spurious in 1..GRID) {
        let scenario = scenario(&roster, &drafts);
        let prompt = results(&scenario, &mut ArbiterFront::new(&scenario), Timers::Prompt).concat();
        let late = results(&scenario, &mut ArbiterFront::new(&scenario), Timers::Late).concat();
        prop_assert_eq!(&prompt, &late, "late timers");
        let mut spuriously = Spurious { front: ArbiterFront::new(&scenario), every: spurious.max(GRID / 8), now: 0 };
        let spurious = results(&scenario, &mut spuriously, Timers::Prompt).concat();
        prop_assert_eq!(&prompt, &spurious, "spurious timers");
        one_outcome_and_one_end(&scenario)?;
    }
}

fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/random.regressions");
    ProptestConfig {
        cases: cases(),
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..ProptestConfig::default()
    }
}

/// How many cases each property runs; `PROPTEST_CASES` sets another number.
fn cases() -> u32 {
    let wish = std::env::var("PROPTEST_CASES").ok();
    wish.and_then(|text| text.parse().ok()).unwrap_or(1500)
}

/// A front whose timer also fires when nothing is due.
struct Spurious {
    front: ArbiterFront,
    every: Nanos,
    now: Nanos,
}

impl Front for Spurious {
    fn can(&self, ability: &str) -> bool {
        self.front.can(ability)
    }
    fn advance(&mut self, to: Nanos) {
        while self.now + self.every < to {
            self.now += self.every;
            self.front.advance(self.now);
            // Not on the grid, where something else may be meant to happen first.
            if !self.now.is_multiple_of(GRID) {
                let _ = self.front.act(self.now, &Action::Tick);
            }
        }
        self.front.advance(to);
    }
    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String> {
        self.now = self.now.max(at);
        self.front.act(at, action)
    }
    fn log(&mut self) -> Vec<Entry> {
        self.front.log()
    }
    fn ask(&mut self, at: Nanos, query: &packet_mutex_sim::Query) -> String {
        self.front.ask(at, query)
    }
}

fn one_outcome_and_one_end(scenario: &Scenario) -> Result<(), TestCaseError> {
    let mut front = ArbiterFront::new(scenario);
    let mut log = Vec::new();
    for step in &scenario.steps {
        if let packet_mutex_sim::What::Do(action) = &step.what {
            let _ = front.act(step.at, action);
        }
        log.extend(front.log());
    }
    let (mut token, mut at) = (0, 0);
    for (number, entry) in log.iter().enumerate() {
        prop_assert_eq!(entry.seq, number as u64 + 1, "a sequence number is missing");
        prop_assert!(entry.at >= at, "time went back: {}", entry);
        at = entry.at;
        if entry.event == "granted"
            && let Some(new) = entry.token
        {
            prop_assert!(new > token, "tokens grow: {}", entry);
            token = new;
        }
        if entry.event == "requested" {
            let of = |events: &[&str]| {
                let own = log.iter().filter(|e| e.request == entry.request);
                own.filter(|e| events.contains(&e.event)).count()
            };
            let outcomes = of(&[
                "granted",
                "refused",
                "timed_out",
                "cancelled",
                "withdrawn",
                "closed",
                "lost",
            ]);
            prop_assert_eq!(outcomes, 1, "outcomes of {}", entry);
            let ends = of(&["released", "panicked", "yielded", "declined", "abandoned", "revoked"]);
            prop_assert!(ends <= of(&["granted"]), "ends of {}", entry);
        }
    }
    Ok(())
}
