//! The six default modules at work in virtual time, with every event checked by the oracle as it happens.

use crate::action::{Action, Ask};
use crate::front::{ArbiterFront, Front};
use crate::log::{Entry, Name};
use crate::oracle::Oracle;
use crate::seconds::{Nanos, SECOND};
use packet_mutex_arbiter::{Arbiter, Leave, Roster, Start};
use random::Rng;
use std::collections::{BTreeMap, BTreeSet};

const MS: Nanos = SECOND / 1000;

/// What one module does, in milliseconds, each drawn evenly from a range.
struct Work {
    module: &'static str,
    /// From the end of one attempt to the next ask.
    think: (u64, u64),
    /// How long its turns take.
    turn: (u64, u64),
    /// How long it waits, if not as long as the roster says.
    timeout: Option<u64>,
    /// Of a thousand turns, how many each:
    declined: u64,
    panicked: u64,
    lost: u64,
    nested: u64,
    yields: u64,
    withdrawn: u64,
    urgent: u64,
}

const CALM: Work = Work {
    module: "",
    think: (0, 0),
    turn: (0, 0),
    timeout: None,
    declined: 20,
    panicked: 2,
    lost: 1,
    nested: 0,
    yields: 0,
    withdrawn: 5,
    urgent: 0,
};

/// The work of the six default modules; how often a turn ends in a rare way is made up.
const SIX: [Work; 6] = [
    Work { module: "runemaker", think: (8000, 20000), turn: (900, 1800), urgent: 5, ..CALM },
    Work { module: "trainer", think: (2000, 8000), turn: (150, 600), urgent: 20, ..CALM },
    Work {
        module: "fisher",
        think: (2000, 4000),
        turn: (100, 400),
        nested: 100,
        yields: 20,
        ..CALM
    },
    Work { module: "auto_loot", think: (3000, 15000), turn: (300, 1500), yields: 60, ..CALM },
    Work { module: "stacker", think: (4000, 20000), turn: (50, 250), declined: 200, ..CALM },
    Work { module: "eater", think: (15000, 60000), turn: (50, 200), timeout: Some(4000), ..CALM },
];

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests made.
    pub requests: u64,
    /// Turns granted, nested ones not counted.
    pub turns: u64,
    /// Requests that timed out.
    pub timeouts: u64,
    /// Events compared.
    pub events: u64,
}

/// Runs the six for a stretch of virtual time and compares every event with the oracle's.
///
/// # Errors
///
/// The first difference, or a request without its one outcome.
pub fn run_six(seed: u64, length: Nanos) -> Result<Tally, String> {
    let roster = Roster::default();
    let mut run = Run {
        front: ArbiterFront::over(Arbiter::new(roster.clone(), Start::default())),
        oracle: Oracle::new(&roster).forgetting(),
        rng: Rng::new(seed),
        plans: BTreeMap::new(),
        next: 0,
        asked: BTreeMap::new(),
        nested: BTreeSet::new(),
        open: None,
        tally: Tally::default(),
    };
    for (at, work) in SIX.iter().enumerate() {
        let first = run.rng.range(0, work.think.1) * MS;
        run.plan(first, Plan::Ask(at));
    }
    run.go(length).map_err(|why| format!("seed {seed}: {why}"))?;
    Ok(run.tally)
}

#[derive(Clone, Debug)]
enum Plan {
    /// The module asks.
    Ask(usize),
    /// A nested turn begins and ends within this hold.
    Nest {
        hold: Name,
        owner: Name,
    },
    EndNested {
        hold: Name,
        owner: Name,
    },
    /// This hold ends in some way.
    End {
        hold: Name,
    },
    /// The holder gives its turn away.
    Yield {
        hold: Name,
    },
    /// The asker loses patience.
    Withdraw {
        request: Name,
    },
}

struct Asked {
    work: usize,
    owner: Name,
}

struct Run {
    front: ArbiterFront,
    oracle: Oracle,
    rng: Rng,
    /// What happens at which moment, in order of planning.
    plans: BTreeMap<(Nanos, u64), Plan>,
    next: u64,
    /// The requests that have no outcome or an open turn.
    asked: BTreeMap<Name, Asked>,
    /// Open nested turns.
    nested: BTreeSet<Name>,
    /// The open turn's token, as the log tells it.
    open: Option<u64>,
    tally: Tally,
}

impl Run {
    fn plan(&mut self, at: Nanos, plan: Plan) {
        self.next += 1;
        self.plans.insert((at, self.next), plan);
    }

    fn go(&mut self, length: Nanos) -> Result<(), String> {
        loop {
            let planned = self.plans.first_key_value().map_or(Nanos::MAX, |((at, _), _)| *at);
            let due = self.front.due().unwrap_or(Nanos::MAX);
            if planned.min(due) > length {
                break;
            }
            if due < planned {
                self.act(due, &Action::Tick)?;
            } else if let Some(((at, _), plan)) = self.plans.pop_first() {
                self.carry_out(at, plan)?;
            }
        }
        // No request is lost: what was asked and has no outcome still waits, and its deadline is to come.
        let longest = 30 * SECOND;
        self.act(length + longest, &Action::Tick)?;
        let holding = usize::from(self.open.is_some());
        if self.asked.len() > holding {
            return Err(format!("lost requests: {:?}", self.asked.keys()));
        }
        Ok(())
    }

    fn carry_out(&mut self, at: Nanos, plan: Plan) -> Result<(), String> {
        match plan {
            Plan::Ask(work) => {
                self.next += 1;
                let request = Name::from(format!("r{}", self.next));
                let settings = &SIX[work];
                let ask = Ask {
                    urgent: self.rng.below(1000) < settings.urgent,
                    timeout: settings.timeout.map(|ms| ms * MS),
                    ..Ask::new(&request, settings.module)
                };
                if self.rng.below(1000) < settings.withdrawn {
                    let after = self.rng.range(0, 3000) * MS;
                    self.plan(at + after, Plan::Withdraw { request: request.clone() });
                }
                self.tally.requests += 1;
                self.asked.insert(request.clone(), Asked { work, owner: request });
                self.act(at, &Action::Ask(ask))
            }
            Plan::Nest { hold, owner } => {
                self.next += 1;
                let request = Name::from(format!("n{}", self.next));
                let nested = Ask { owner: Some(owner.clone()), ..Ask::new(&request, "stacker") };
                if self.asked.contains_key(&hold) {
                    let after = self.rng.range(10, 200) * MS;
                    self.plan(at + after, Plan::EndNested { hold: request, owner });
                    self.act(at, &Action::Ask(nested))?;
                }
                Ok(())
            }
            Plan::EndNested { hold, owner } => {
                // Its owner may have been lost meanwhile.
                if !self.nested.remove(&hold) {
                    return Ok(());
                }
                self.act(at, &Action::End { hold, owner: Some(owner), how: Leave::Released })
            }
            Plan::End { hold } => {
                let Some(asked) = self.asked.get(&hold) else { return Ok(()) };
                let (work, owner) = (&SIX[asked.work], asked.owner.clone());
                let mut ends = |times| self.rng.below(1000) < times;
                let how = match () {
                    () if ends(work.lost) => return self.act(at, &Action::OwnerLost(owner)),
                    () if ends(work.declined) => Leave::Declined,
                    () if ends(work.panicked) => Leave::Panicked,
                    () => Leave::Released,
                };
                self.act(at, &Action::End { hold, owner: Some(owner), how })
            }
            Plan::Yield { hold } => {
                let Some(asked) = self.asked.get(&hold) else { return Ok(()) };
                let (work, owner) = (asked.work, asked.owner.clone());
                self.next += 1;
                let request = Name::from(format!("y{}", self.next));
                self.asked.insert(request.clone(), Asked { work, owner: owner.clone() });
                self.tally.requests += 1;
                let (owner, timeout) = (Some(owner), None);
                self.act(at, &Action::Yield { hold, owner, request, timeout })
            }
            Plan::Withdraw { request } => {
                if !self.asked.contains_key(&request) {
                    return Ok(());
                }
                self.act(at, &Action::Withdraw(request))
            }
        }
    }

    /// Does something on both sides and compares what comes of it.
    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String> {
        let (is, should) = (self.front.act(at, action), self.oracle.act(at, action));
        if is.is_ok() != should.is_ok() {
            return Err(format!("{action} at {at}: {is:?}, the oracle says {should:?}"));
        }
        let (is, should) = (self.front.log(), self.oracle.log());
        if is != should {
            let show =
                |log: &[Entry]| log.iter().map(|entry| format!("  {entry}\n")).collect::<String>();
            let (is, should) = (show(&is), show(&should));
            return Err(format!("after {action}:\n{is}the oracle says:\n{should}"));
        }
        self.tally.events += is.len() as u64;
        for entry in &is {
            self.happened(entry)?;
        }
        Ok(())
    }

    /// Plans what a module does next.
    fn happened(&mut self, entry: &Entry) -> Result<(), String> {
        let Some(request) = &entry.request else { return Ok(()) };
        match entry.event {
            "granted" => {
                // S1, without the oracle's help.
                if let Some(open) = self.open {
                    return Err(format!("{entry}: but the turn with token {open} is open"));
                }
                self.open = entry.token;
                self.tally.turns += 1;
                let Some(asked) = self.asked.get(request) else { return Ok(()) };
                let (work, owner) = (&SIX[asked.work], asked.owner.clone());
                let length = self.rng.range(work.turn.0, work.turn.1) * MS;
                let hold = request.clone();
                if self.rng.below(1000) < work.nested {
                    let nest = Plan::Nest { hold: hold.clone(), owner };
                    self.plan(entry.at + length / 2, nest);
                } else if self.rng.below(1000) < work.yields {
                    self.plan(entry.at + length, Plan::Yield { hold });
                    return Ok(());
                }
                self.plan(entry.at + length, Plan::End { hold });
            }
            "nested" => {
                self.nested.insert(request.clone());
            }
            "requested" | "starving" | "not_holder" | "overrun" => {}
            event => {
                self.nested.remove(request);
                let is_end = entry.token.is_some();
                let still_open = entry.details.iter().any(|(key, _)| *key == "depth");
                if is_end && !still_open {
                    self.open = None;
                }
                self.tally.timeouts += u64::from(event == "timed_out");
                if let Some(asked) = self.asked.remove(request)
                    && event != "yielded"
                {
                    let think =
                        self.rng.range(SIX[asked.work].think.0, SIX[asked.work].think.1) * MS;
                    self.plan(entry.at + think, Plan::Ask(asked.work));
                }
                self.front.forget(request);
            }
        }
        Ok(())
    }
}
