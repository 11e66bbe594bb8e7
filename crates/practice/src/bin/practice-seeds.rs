//! Plays `packet-mutex practice` with several seeds: `practice-seeds [N] [SECONDS]`, 20 seeds of 30 seconds if not told.
//!
//! It starts the `packet-mutex` that stands beside it, and judges by the exit code and the JSON. The last line sums up; exit
//! code 1: something is not as it should be.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::process::{Command, ExitCode};

use practice::check::{complaints, numbers, summary};
use practice::judge::Counts;
use serde::Deserialize;

/// The JSON of one practice.
#[derive(Deserialize)]
struct Outcome {
    without: Counts,
    action_only: Counts,
    with: Counts,
}

fn main() -> ExitCode {
    match numbers([20, 30]).and_then(|[seeds, seconds]| play_all(seeds, seconds)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("{why}");
            ExitCode::from(2)
        }
    }
}

fn play_all(seeds: u64, seconds: u64) -> Result<bool, String> {
    let kinds = Counts::default().wrongs().map(|(kind, _)| kind);
    println!("seed  run          {}  least handover", kinds.join("  "));
    let mut last = "no seed was played".to_owned();
    let mut good = true;
    let mut seen = [0_u64; 5];
    for seed in 1..=seeds {
        let (outcome, exit) = play(seconds, seed)?;
        let Outcome { without, action_only, with } = &outcome;
        for (run, counts) in [("without", without), ("action_only", action_only), ("with", with)] {
            let wrongs = counts.wrongs().map(|(kind, count)| format!("{count:>0$}", kind.len()));
            let least = counts.min_handover_s;
            let least = least.map_or("-".into(), |least| format!("{least:.6} s"));
            println!("{seed:>4}  {run:<11}  {}  {least:>14}", wrongs.join("  "));
        }
        for (seen, (_, count)) in seen.iter_mut().zip(without.wrongs()) {
            *seen += u64::from(count > 0);
        }
        let mut complaints = complaints(without, with);
        complaints.extend((exit != Some(0)).then(|| format!("exit code {exit:?}")));
        for complaint in complaints {
            good = false;
            println!("      wrong: {complaint}");
        }
        last = summary(seconds, seed, without, with);
    }
    // A single seed need not show each kind.
    if seeds > 1 {
        println!("\nOf {seeds} seeds, without the mutex there were");
        for (seen, kind) in seen.iter().zip(kinds) {
            println!("  {kind:<13} in {seen}");
            good &= *seen > 0;
        }
        last = if good { "As it should be." } else { "NOT as it should be." }.to_owned();
    }
    println!("{last}");
    Ok(good)
}

/// Returns the outcome of one practice, and its exit code.
fn play(seconds: u64, seed: u64) -> Result<(Outcome, Option<i32>), String> {
    let own = std::env::current_exe().map_err(|why| why.to_string())?;
    let mut command = Command::new(own.with_file_name("packet-mutex"));
    command.args(["practice", "--json", "--seconds", &seconds.to_string()]);
    // Its live view goes to stderr; it is of interest only if there is nothing else.
    let output = command.args(["--seed", &seed.to_string()]).output();
    let output = output.map_err(|why| format!("packet-mutex: {why}"))?;
    let outcome = serde_json::from_slice(&output.stdout).map_err(|why| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("practice did not write one JSON object: {why}\n{errors}")
    })?;
    Ok((outcome, output.status.code()))
}
