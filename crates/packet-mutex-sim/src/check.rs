//! Runs the same actions through a front and through the oracle and compares all that comes of them.

use crate::action::Query;
use crate::front::Front;
use crate::oracle::Oracle;
use crate::run::{Mismatch, diff};
use crate::scenario::{Scenario, What};

/// Compares a front with the oracle: every event, every refusal, and at every step who should yield.
///
/// What a scenario itself expects does not count here; its questions are left out.
///
/// # Errors
///
/// Where they first differ, as a diff from what the oracle expects, under a scenario that shows it.
pub fn check(scenario: &Scenario, front: &mut dyn Front) -> Result<(), Mismatch> {
    let mut oracle =
        Oracle::new(&scenario.roster).started(scenario.first_token, scenario.restarted);
    let mut shown = scenario.clone();
    shown.steps.retain(|step| matches!(step.what, What::Do(_)));
    let mut expected: Vec<Vec<String>> = Vec::new();
    for step in 0..shown.steps.len() {
        let What::Do(action) = shown.steps[step].what.clone() else { continue };
        let at = shown.steps[step].at;
        if !shown.steps[step].late {
            // What falls due between two steps belongs to the first, as in a scenario.
            front.advance(at);
            oracle.advance(at);
            let (should, is) = (lines(oracle.log()), lines(front.log()));
            if let Some(before) = expected.last_mut() {
                before.extend(should.iter().cloned());
            }
            let done = expected.len();
            same(&shown, &expected, done.saturating_sub(1), &should, &is)?;
        }
        let kind = |error: &str| {
            let word = error.split([' ', ':']).next().unwrap_or_default();
            format!("! {word}")
        };
        let refused = front.act(at, &action).err().map(|error| kind(&error));
        let mut is = lines(front.log());
        is.extend(refused);
        let refused = oracle.act(at, &action).err().map(kind);
        let mut should = lines(oracle.log());
        should.extend(refused);
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

fn lines(log: Vec<crate::log::Entry>) -> Vec<String> {
    log.iter().map(|entry| format!("| {entry}")).collect()
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

/// The oracle as a front, so that scenarios can be run on it and written with what it expects.
impl Front for Oracle {
    fn can(&self, _ability: &str) -> bool {
        true
    }

    fn advance(&mut self, to: crate::seconds::Nanos) {
        Oracle::advance(self, to);
    }

    fn act(
        &mut self,
        at: crate::seconds::Nanos,
        action: &crate::action::Action,
    ) -> Result<(), String> {
        Oracle::act(self, at, action).map_err(String::from)
    }

    fn log(&mut self) -> Vec<crate::log::Entry> {
        Oracle::log(self)
    }

    fn ask(&mut self, _at: crate::seconds::Nanos, query: &Query) -> String {
        match query {
            Query::ShouldYield(hold) if self.should_yield(hold) => "yes".into(),
            Query::ShouldYield(_) => "no".into(),
            _ => "not a question for the oracle".into(),
        }
    }
}
