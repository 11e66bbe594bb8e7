//! Runs the same actions through a front and through the oracle and compares the results.

use crate::action::{Action, Query};
use crate::front::Front;
use crate::log::Entry;
use crate::oracle::Oracle;
use crate::run::{Mismatch, act, advance, diff};
use crate::scenario::{Scenario, What};
use crate::seconds::Nanos;

/// Compares a front with the oracle: every event, every refusal, and after every step whether each open hold should yield.
///
/// The results that the scenario itself expects do not count here, and its questions are left out.
///
/// # Errors
///
/// The first difference, as a diff from what the oracle expects, below the shortest scenario that shows it.
pub fn check(scenario: &Scenario, front: &mut dyn Front) -> Result<(), Mismatch> {
    let mut oracle =
        Oracle::new(&scenario.roster).started(scenario.first_token, scenario.restarted);
    let mut shown = scenario.clone();
    shown.steps.retain(|step| matches!(step.what, What::Do(_)));
    let (mut seq, mut front_seq) = (0, 0);
    let mut expected: Vec<Vec<String>> = Vec::new();
    for step in 0..shown.steps.len() {
        let What::Do(action) = shown.steps[step].what.clone() else { continue };
        let at = shown.steps[step].at;
        if !shown.steps[step].late {
            // What falls due between two steps belongs to the first, as in a scenario.
            let should = advance(&mut oracle, at, &mut seq);
            let is = advance(front, at, &mut front_seq);
            if let Some(before) = expected.last_mut() {
                before.extend(should.iter().cloned());
            }
            let done = expected.len();
            same(&shown, &expected, done.saturating_sub(1), &should, &is)?;
        }
        let mut should = act(&mut oracle, at, &action, &mut seq);
        let mut is = act(front, at, &action, &mut front_seq);
        if let Some(refusal) = is.last_mut().filter(|line| line.starts_with('!')) {
            // The oracle knows the kinds of errors and not their details.
            let kind = refusal[2..].split([' ', ':']).next().unwrap_or_default();
            *refusal = format!("! {kind}");
        }
        for (hold, _) in oracle.open() {
            let yes = if oracle.should_yield(&hold) { "yes" } else { "no" };
            should.push(format!("{hold} should_yield = {yes}"));
            let answer = front.ask(at, &Query::ShouldYield(hold.clone()));
            is.push(format!("{hold} should_yield = {answer}"));
        }
        let told = should.iter().filter(|line| line.starts_with(['|', '!']));
        expected.push(told.cloned().collect());
        same(&shown, &expected, step, &should, &is)?;
    }
    Ok(())
}

fn same(
    shown: &Scenario,
    expected: &[Vec<String>],
    step: usize,
    should: &[String],
    is: &[String],
) -> Result<(), Mismatch> {
    if should == is {
        return Ok(());
    }
    let mut shown = shown.clone();
    shown.steps.truncate(step + 1);
    let mut lines: Vec<String> = shown
        .text_with(&expected[..expected.len().min(step + 1)])
        .lines()
        .map(String::from)
        .collect();
    lines.push("The oracle (-) and the front (+) differ:".to_string());
    lines.extend(diff(should, is));
    Err(Mismatch { file: shown.file.clone(), title: shown.title.clone(), lines })
}

/// The oracle as a front, so that scenarios can run on it and be written with what it expects.
impl Front for Oracle {
    fn can(&self, _ability: &str) -> bool {
        true
    }

    fn advance(&mut self, to: Nanos) {
        Oracle::advance(self, to);
    }

    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String> {
        Oracle::act(self, at, action).map_err(String::from)
    }

    fn log(&mut self) -> Vec<Entry> {
        Oracle::log(self)
    }

    fn ask(&mut self, _at: Nanos, query: &Query) -> String {
        match query {
            Query::ShouldYield(hold) if self.should_yield(hold) => "yes".into(),
            Query::ShouldYield(_) => "no".into(),
            _ => "not a question for the oracle".into(),
        }
    }
}
