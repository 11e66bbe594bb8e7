//! `mutants [RULE]`: takes the rules out of a copy of the arbiter's code one by one, and fails if no scenario fails.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use packet_mutex_sim::{MutantRunner, parse_mutants};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match judge_all(std::env::args().nth(1).as_deref()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(bad) => {
            eprintln!("{bad} mutants survived; write a scenario that cites the rule for each");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn judge_all(only: Option<&str>) -> Result<usize, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.join("../..");
    let list = own.join("mutants.txt");
    let told = |why: std::io::Error| format!("{}: {why}", list.display());
    let text = std::fs::read_to_string(&list).map_err(told)?;
    let mutants = parse_mutants(&text).map_err(|why| format!("{}:{why}", list.display()))?;
    let runner = MutantRunner::open(&root).map_err(|why| why.to_string())?;
    let mut bad = 0;
    for mutant in mutants.iter().filter(|m| only.is_none_or(|only| m.rule == only)) {
        let verdict = runner.judge(mutant).map_err(|why| why.to_string())?;
        bad += usize::from(!verdict.is_good());
        println!("{:<4} {}: {verdict}", mutant.rule, mutant.what);
    }
    Ok(bad)
}
