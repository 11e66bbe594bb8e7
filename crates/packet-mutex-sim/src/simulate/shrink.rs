//! From a run that broke a rule to a short scenario that shows it.

use super::comparison::{action, module_names};
use super::world::Observer;
use crate::action::Action;
use crate::oracle::Oracle;
use crate::run::{Timers, results};
use crate::scenario::Scenario;
use crate::seconds::Nanos;
use packet_mutex_arbiter::{Arbiter, Event, Input, RequestId, Roster, Start, Time};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The inputs of an arbiter and their times. Ticks are included: an input that follows one at the same instant comes after
/// the grant that the tick brought.
pub(super) type Tape = Vec<(Nanos, Input)>;

/// Records the inputs.
impl Observer for &mut Tape {
    fn input(&mut self, at: Nanos, input: &Input) {
        self.push((at, input.clone()));
    }

    fn event(&mut self, _event: &Event) {}
}

/// The rosters of a run: the arbiter's, and the one by which it is judged. They differ only in tests that break a rule.
#[derive(Clone, Debug)]
pub(super) struct Rosters {
    pub(super) arbiter: Roster,
    pub(super) rules: Roster,
}

/// Hands the inputs to a new arbiter and returns the first rule that is broken.
pub(super) fn replay<J: Observer>(
    rosters: &Rosters,
    tape: &[(Nanos, Input)],
    judge: impl Fn(&Roster) -> J,
) -> Option<String> {
    catch_panic(|| {
        let mut arbiter = Arbiter::new(rosters.arbiter.clone(), Start::default());
        let mut judge = judge(&rosters.rules);
        let mut seen = 0;
        let mut hand_in = |arbiter: &mut Arbiter, at: Nanos, input: Input| {
            judge.input(at, &input);
            let taken = arbiter.handle(Time::from_nanos(at), input).is_ok();
            while arbiter.poll_output().is_some() {}
            for event in arbiter.events_since(seen).1 {
                seen = event.seq;
                judge.event(event);
            }
            judge.handled(taken);
            judge.broken().map(String::from)
        };
        let mut numbered = 0;
        for (at, input) in tape {
            while let Some(due) = arbiter.poll_timeout().map(Time::as_nanos).filter(|due| due < at)
            {
                if let Some(why) = hand_in(&mut arbiter, due, Input::Tick) {
                    return Some(why);
                }
            }
            // Requests keep their numbers although inputs before them are left out, so that later inputs still refer to them.
            while made(input).is_some_and(|id| id.0 > numbered) {
                numbered = arbiter.next_request().0;
            }
            if let Some(why) = hand_in(&mut arbiter, *at, input.clone()) {
                return Some(why);
            }
        }
        None
    })
}

/// Returns the result of a run, or the panic that ended it: an arbiter that finds its own state wrong panics.
pub(super) fn catch_panic(run: impl FnOnce() -> Option<String>) -> Option<String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of some kind");
        Some(format!("panicked: {}", text.lines().next().unwrap_or_default()))
    })
}

/// Returns a short tape that still breaks a rule; `None` if a replay of this one does not.
pub(super) fn shrink(tape: Tape, breaks: impl Fn(&[(Nanos, Input)]) -> bool) -> Option<Tape> {
    // Most early inputs do not matter, so the search begins with the last one and doubles.
    let mut length = 1;
    let mut tape = loop {
        let tail = without_loose_ends(&tape[tape.len().saturating_sub(length)..]);
        if breaks(&tail) {
            break tail;
        }
        if length >= tape.len() {
            return None;
        }
        length *= 2;
    };
    // A simplified form of A. Zeller's delta debugging: leave out parts, smaller and smaller ones.
    let mut part = tape.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let before = tape.len();
        while at < tape.len() {
            let end = (at + part).min(tape.len());
            let shorter = without_loose_ends(&[&tape[..at], &tape[end..]].concat());
            if breaks(&shorter) {
                tape = shorter;
            } else {
                at = end;
            }
        }
        // Single inputs are tried again as long as one of them could be left out.
        if part > 1 || tape.len() == before {
            part /= 2;
        }
    }
    let first = tape.first().map_or(0, |(at, _)| *at);
    // A scenario that begins at zero is easier to read, if the rule still breaks there.
    let early: Tape = tape.iter().map(|(at, input)| (at - first, input.clone())).collect();
    Some(if breaks(&early) { early } else { tape })
}

/// Returns the text of a scenario with these inputs and the results that the oracle expects.
pub(super) fn scenario(rosters: &Rosters, title: &str, tape: &Tape) -> String {
    let names = module_names(&rosters.rules);
    let actions: Vec<(Nanos, Action)> =
        tape.iter().filter_map(|(at, input)| Some((*at, action(input, &names)?))).collect();
    let scenario = Scenario::from_actions(title, rosters.rules.clone(), &actions);
    let expected = results(&scenario, &mut Oracle::new(&rosters.rules), Timers::Prompt);
    scenario.text_with(&expected)
}

/// Returns the request that an input makes.
fn made(input: &Input) -> Option<RequestId> {
    match input {
        Input::Request(request) => Some(request.id),
        Input::Yield { id, .. } => Some(*id),
        _ => None,
    }
}

/// Leaves out inputs that refer to requests and owners which the tape does not make.
fn without_loose_ends(tape: &[(Nanos, Input)]) -> Tape {
    let (mut requests, mut owners) = (BTreeSet::new(), BTreeSet::new());
    let is_known = |(_, input): &&(Nanos, Input)| {
        let known = match input {
            Input::End { hold, .. } | Input::Yield { hold, .. } | Input::Acknowledge { hold } => {
                requests.contains(hold)
            }
            Input::Withdraw { request } => requests.contains(request),
            Input::OwnerLost { owner } => owners.contains(owner),
            _ => true,
        };
        if let Input::Request(request) = input {
            owners.extend(request.owner);
        }
        requests.extend(made(input).filter(|_| known));
        known
    };
    tape.iter().filter(is_known).cloned().collect()
}
