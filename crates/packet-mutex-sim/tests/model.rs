//! A small exhaustive check: every interleaving of three modules on a coarse clock, down to a depth, over the states of the
//! arbiter's own decision. On every step the log is compared with the oracle's.
//!
//! And where two ways lead to decisions that call themselves equal, they must also decide alike: a decision that forgot to
//! compare something that matters would be found here.

use packet_mutex_arbiter::{Below, Leave, Mode, ModuleSpec, Roster, RosterSpec, Steer};
use packet_mutex_sim::{
    Action, ArbiterFront, Ask, Entry, Front, Name, Nanos, Oracle, SECOND, Scenario,
};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// `MODEL_DEPTH` sets another.
const DEPTH: usize = 5;
const MODULES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone)]
struct State {
    front: ArbiterFront,
    oracle: Oracle,
    now: Nanos,
    asked: u32,
    /// Each module's waiting request.
    waiting: [Option<Name>; 3],
    /// The open holds of the turn or pass of each module's owner, oldest first.
    holding: [Vec<Name>; 3],
    /// How it came to be, to show when something is wrong.
    path: Vec<String>,
}

/// What of a step's outcome must be alike after equal decisions.
type Outcome = (u128, Vec<String>);

#[test]
fn all_interleavings_of_three_modules() {
    let wish = std::env::var("MODEL_DEPTH").ok().and_then(|text| text.parse().ok());
    let depth = wish.unwrap_or(DEPTH);
    let aged = explore(Some(Duration::from_secs(1)), depth.saturating_sub(1));
    let strict = explore(None, depth);
    // Seen with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "a test's own report")]
    {
        println!("strict priorities, depth {depth}: {strict:?}");
        println!("aging, depth {}: {aged:?}", depth.saturating_sub(1));
    }
}

#[derive(Debug, Default)]
struct Counts {
    states: usize,
    steps: usize,
    merges: usize,
}

fn explore(aging: Option<Duration>, depth: usize) -> Counts {
    let roster = Roster::new(RosterSpec {
        handover_delay: Duration::from_secs(2),
        timeout: Duration::from_secs(3),
        aging,
        claim_within: Duration::from_secs(1),
        starving_after: None,
        modules: vec![
            ModuleSpec {
                longest_turn: Some(Duration::from_secs(1)),
                ..ModuleSpec::new("a", 3).group("g")
            },
            ModuleSpec::new("b", 2).group("g"),
            ModuleSpec { handover_delay: Some(Duration::from_secs(1)), ..ModuleSpec::new("c", 1) },
        ],
        ..RosterSpec::default()
    })
    .expect("a valid roster");
    let scenario = Scenario::from_actions("model", roster.clone(), &[]);
    let mut start = State {
        front: ArbiterFront::new(&scenario),
        oracle: Oracle::new(&roster).forgetting(),
        now: 0,
        asked: 0,
        waiting: Default::default(),
        holding: Default::default(),
        path: Vec::new(),
    };
    // Owners get their numbers when they are first named; here in one order, whatever happens.
    for owner in MODULES {
        let _ = start.front.act(0, &Action::OwnerLost(owner.into()));
    }
    let mut counts = Counts { states: 1, ..Counts::default() };
    // What came of every step from a decision when it was first reached.
    let mut seen: HashMap<u128, Vec<Outcome>> = HashMap::new();
    let mut layer = vec![start];
    for _ in 0..depth {
        let mut next = Vec::new();
        let mut fresh: HashMap<u128, ()> = HashMap::new();
        for state in layer {
            let (steps, outcomes) = state.steps();
            counts.steps += steps.len();
            seen.insert(state.key(), outcomes);
            for step in steps {
                let key = step.key();
                if let Some(first) = seen.get(&key) {
                    // Another way to a decision that was there before: it must go on alike. Checking one in eight is
                    // enough to find a forgotten field, which matters in many states.
                    counts.merges += 1;
                    if counts.merges.is_multiple_of(8) {
                        let (_, again) = step.steps();
                        assert_eq!(
                            *first, again,
                            "equal decisions go on differently: {:#?}",
                            step.path
                        );
                    }
                } else if fresh.insert(key, ()).is_none() {
                    counts.states += 1;
                    next.push(step);
                }
            }
        }
        layer = next;
    }
    counts
}

impl State {
    fn key(&self) -> u128 {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            self.front.arbiter().decision().hash(&mut hasher);
            hasher.finish()
        };
        u128::from(half(1)) << 64 | u128::from(half(2))
    }

    /// Every state that is one step away, and what came of each step.
    fn steps(&self) -> (Vec<State>, Vec<Outcome>) {
        let mut states = Vec::new();
        let mut outcomes = Vec::new();
        for (later, action) in self.actions() {
            let mut state = self.clone();
            let log = state.take(later, &action);
            outcomes.push((state.key(), log));
            states.push(state);
        }
        (states, outcomes)
    }

    /// Everything that can happen next. It depends on nothing but the decision.
    fn actions(&self) -> Vec<(bool, Action)> {
        let owner = |at: usize| Some(Name::from(MODULES[at]));
        let name = |at: usize| format!("{}{}", MODULES[at], self.asked);
        // Time passes only by itself, a second at a time.
        let mut actions = vec![(true, Action::Tick)];
        let mut now = |action| actions.push((false, action));
        for (at, module) in MODULES.iter().enumerate() {
            let ask = Ask { owner: owner(at), ..Ask::new(&name(at), module) };
            if let Some(request) = &self.waiting[at] {
                now(Action::Withdraw(request.clone()));
            } else if self.holding[at].len() < 2 {
                now(Action::Ask(ask.clone()));
                if self.holding[at].is_empty() {
                    now(Action::Ask(Ask { urgent: true, ..ask.clone() }));
                    now(Action::Ask(Ask { claim: true, timeout: Some(0), ..ask.clone() }));
                    now(Action::Ask(Ask { lease: Some(2 * SECOND), ..ask }));
                }
            }
            if let Some(hold) = self.holding[at].first() {
                let end = |how| Action::End { hold: hold.clone(), owner: owner(at), how };
                now(end(Leave::Released));
                now(end(Leave::Declined));
                now(Action::Claim(hold.clone()));
                now(Action::Heartbeat(hold.clone()));
                now(Action::Acknowledge(hold.clone()));
                now(Action::OwnerLost((*module).into()));
                // At most one request of a module waits at a time, so that the model need count no more.
                if self.waiting[at].is_none() {
                    let (hold, request) = (hold.clone(), Name::from(name(at)));
                    now(Action::Yield { hold, owner: owner(at), request, timeout: None });
                }
            }
        }
        now(Action::Steer(Steer::Mode { module: "c".into(), mode: Mode::Observed }));
        now(Action::Steer(Steer::Mode { module: "c".into(), mode: Mode::Enforced }));
        let lasts = Some(Duration::from_secs(2));
        now(Action::Steer(Steer::Pause {
            reason: "boss".into(),
            below: Below::Priority(3),
            lasts,
        }));
        now(Action::Steer(Steer::Resume { reason: None }));
        actions
    }

    /// Does it on both sides, compares, and keeps count of who waits and who holds.
    fn take(&mut self, later: bool, action: &Action) -> Vec<String> {
        self.now += u64::from(later) * SECOND;
        self.path.push(format!("{} {action}", self.now / SECOND));
        self.asked += 1;
        let refused = self.front.act(self.now, action).is_err();
        let refusal = self.oracle.act(self.now, action).is_err();
        let (log, should) = (self.front.log(), self.oracle.log());
        assert_eq!(log, should, "the oracle differs after {:#?}", self.path);
        assert_eq!(refused, refusal, "the oracle differs after {:#?}", self.path);
        for entry in &log {
            self.count(entry);
        }
        let due = self.front.due();
        assert!(due.is_none_or(|due| due > self.now), "something due is left undone");
        let someone_waits = self.waiting.iter().any(Option::is_some);
        assert!(due.is_some() || !someone_waits, "a waiter is forgotten: {:#?}", self.path);
        log.iter().map(|entry| self.essence(entry)).collect()
    }

    fn count(&mut self, entry: &Entry) {
        let (Some(request), Some(module)) = (&entry.request, &entry.module) else { return };
        let Some(at) = MODULES.iter().position(|name| *name == &**module) else { return };
        match entry.event {
            "requested" => self.waiting[at] = Some(request.clone()),
            "granted" | "nested" => {
                self.holding[at].push(request.clone());
                if entry.event == "granted" {
                    self.waiting[at] = None;
                }
            }
            "released" | "declined" | "yielded" | "abandoned" | "revoked" => {
                self.holding[at].retain(|hold| hold != request);
            }
            "timed_out" | "withdrawn" | "refused" | "lost" | "cancelled" => self.waiting[at] = None,
            _ => {}
        }
        // S1, without the oracle's help. Passes, which exclude nobody, need a switch of modes first.
        let enforced = self.path.iter().all(|step| !step.contains("mode"));
        let holders = self.holding.iter().filter(|holds| !holds.is_empty()).count();
        assert!(holders <= 1 || !enforced, "two hold: {:#?}", self.path);
    }

    /// An event without what only the record knows: numbers and how many others there were.
    fn essence(&self, entry: &Entry) -> String {
        let mut entry = entry.clone();
        entry.at = self.now - entry.at;
        (entry.request, entry.token) = (None, None);
        entry.details.retain(|(key, _)| {
            !matches!(*key, "others" | "with_request" | "waited" | "held" | "until" | "after")
        });
        entry.to_string()
    }
}
