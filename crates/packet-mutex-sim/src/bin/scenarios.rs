//! `scenarios FOLDER`: runs every scenario below a folder on the bare arbiter and prints what differs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use packet_mutex_sim::{ArbiterFront, FAILED, read_all, run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: scenarios FOLDER");
        return ExitCode::from(2);
    };
    let scenarios = match read_all(Path::new(&folder)) {
        Ok(scenarios) => scenarios,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for scenario in &scenarios {
        let runs = || run(scenario, &mut ArbiterFront::new(scenario));
        // A broken invariant of the arbiter panics; the other scenarios still run.
        let why = match catch_unwind(AssertUnwindSafe(runs)) {
            Ok(Ok(())) => continue,
            Ok(Err(mismatch)) => mismatch.to_string(),
            Err(_) => format!("{}: panicked", scenario.file.display()),
        };
        failed += 1;
        println!("{FAILED}{}\n{why}", scenario.rules.join(" "));
    }
    println!("{} scenarios, {failed} failed", scenarios.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
