//! `packet-mutex practice`, judged from its exit code and its JSON.

use crate::command::{cargo, run};
use serde_json::Value;
use std::process::Command;

/// What can go wrong, by the names in the JSON.
pub(crate) const WRONGS: [&str; 5] =
    ["interleavings", "refusals", "wrong_items", "weapons_lost", "runes_failed"];
/// The default roster's handover delay.
const LEAST_HANDOVER: f64 = 1.0;

/// One practice of this length. What is wrong with it, and a line that sums it up.
pub(crate) fn once(seconds: u64, seed: u64) -> Result<(Vec<String>, String), String> {
    build()?;
    let outcome = play(seconds, seed)?;
    let wrongs = |run| WRONGS.map(|kind| count(&outcome, run, kind)).iter().sum::<u64>();
    let line = format!(
        "seed {seed}, {seconds} s: {} things wrong without the mutex, {} with it",
        wrongs("without"),
        wrongs("with")
    );
    Ok((complaints(&outcome), line))
}

/// `cargo xtask practice-seeds [N] [SECONDS]`: a table of N seeds. Whether all is as it should be.
pub(crate) fn seeds(numbers: &[&str]) -> Result<bool, String> {
    let number = |at: usize, default: u64| match numbers.get(at) {
        Some(text) => text.parse().map_err(|_| format!("`{text}` is no number")),
        None => Ok(default),
    };
    let (seeds, seconds) = (number(0, 20)?, number(1, 30)?);
    build()?;
    let mut good = true;
    let mut seen = [0_u64; WRONGS.len()];
    println!("seed  run          {}  least handover", WRONGS.join("  "));
    for seed in 1..=seeds {
        let outcome = play(seconds, seed)?;
        for run in ["without", "action_only", "with"] {
            let counts =
                WRONGS.map(|kind| format!("{:>1$}", count(&outcome, run, kind), kind.len()));
            let least = outcome[run]["min_handover_s"].as_f64();
            let least = least.map_or("-".into(), |least| format!("{least:.6} s"));
            println!("{seed:>4}  {run:<11}  {}  {least:>14}", counts.join("  "));
        }
        for (seen, kind) in seen.iter_mut().zip(WRONGS) {
            *seen += u64::from(count(&outcome, "without", kind) > 0);
        }
        for complaint in complaints(&outcome) {
            good = false;
            println!("      wrong: {complaint}");
        }
    }
    println!("\nOf {seeds} seeds, without the mutex there were");
    for (seen, kind) in seen.iter().zip(WRONGS) {
        println!("  {kind:<13} in {seen}");
        good &= *seen > 0;
    }
    println!("{}", if good { "As it should be." } else { "NOT as it should be." });
    Ok(good)
}

fn build() -> Result<(), String> {
    run(&mut cargo(&["build", "--release", "--package", "packet-mutex-cli"]))
}

/// The JSON of one practice, with the exit code that came with it under `exit`.
fn play(seconds: u64, seed: u64) -> Result<Value, String> {
    let (length, seed) = (seconds.to_string(), seed.to_string());
    let mut command = packet_mutex(&["practice", "--json", "--seconds", &length, "--seed", &seed]);
    // Its live view goes to stderr; it is of interest only if there is nothing else.
    let output = command.output().map_err(|why| why.to_string())?;
    let mut outcome: Value = serde_json::from_slice(&output.stdout).map_err(|why| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("practice did not write one JSON object: {why}\n{errors}")
    })?;
    outcome["exit"] = output.status.code().into();
    Ok(outcome)
}

/// The command line of the release build.
pub(crate) fn packet_mutex(args: &[&str]) -> Command {
    let mut command =
        cargo(&["run", "--quiet", "--release", "--package", "packet-mutex-cli", "--"]);
    command.args(args);
    command
}

/// What is not as the documentation promises.
pub(crate) fn complaints(outcome: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    if outcome["exit"] != 0 {
        complaints.push(format!("exit code {}", outcome["exit"]));
    }
    for kind in WRONGS {
        match outcome["with"][kind].as_u64() {
            Some(0) => {}
            Some(count) => complaints.push(format!("{count} {kind} with the mutex")),
            None => complaints.push(format!("no count of {kind} with the mutex")),
        }
    }
    match outcome["with"]["min_handover_s"].as_f64() {
        Some(least) if least >= LEAST_HANDOVER => {}
        least => complaints.push(format!("the least handover took {least:?} s")),
    }
    let modules = outcome["with"]["modules"].as_object();
    if modules.is_none_or(|modules| modules.len() != 6) {
        complaints.push("not six modules".into());
    }
    for (name, module) in modules.into_iter().flatten() {
        if module["turns"].as_u64().unwrap_or_default() == 0 {
            complaints.push(format!("{name} got no turn"));
        }
    }
    if WRONGS.iter().all(|kind| count(outcome, "without", kind) == 0) {
        complaints.push("nothing went wrong without the mutex".into());
    }
    complaints
}

pub(crate) fn count(outcome: &Value, run: &str, kind: &str) -> u64 {
    outcome[run][kind].as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::complaints;
    use serde_json::json;

    #[test]
    fn a_run_is_judged_by_all_that_is_promised() {
        let turns = |n: u64| {
            let names = ["a", "b", "c", "d", "e", "f"];
            names.map(|name| (name.to_string(), json!({ "turns": n }))).into_iter().collect()
        };
        let run = |wrong: u64, least: f64, modules: serde_json::Map<_, _>| {
            json!({ "interleavings": wrong, "refusals": 0, "wrong_items": 0, "weapons_lost": 0,
                "runes_failed": 0, "min_handover_s": least, "modules": modules })
        };
        let check = |exit: i32, without, with| {
            complaints(&json!({ "exit": exit, "without": without, "with": with }))
        };
        let bad = run(7, 0.1, turns(3));
        assert!(check(0, bad.clone(), run(0, 1.0, turns(3))).is_empty());
        assert_eq!(check(1, bad.clone(), run(2, 0.9999, turns(0))).len(), 9);
        assert_eq!(check(0, run(0, 1.0, turns(1)), run(0, 1.0, turns(1))).len(), 1);
        assert_eq!(check(0, bad, json!({})).len(), 7);
    }
}
