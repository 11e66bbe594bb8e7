//! The instructions of a turn, counted by valgrind. The count is the same on every run, on a busy machine too.

use std::process::Command;

const FEW: u64 = 20_000;
const MANY: u64 = 40_000;

/// Returns the instructions of one turn: the difference between many and few turns, which leaves out the start of the process.
/// Both counts are large enough to fill the event buffer first.
pub(crate) fn per_turn(name: &str) -> Option<f64> {
    let (few, many) = (counted(name, FEW)?, counted(name, MANY)?);
    Some((many.checked_sub(few)?) as f64 / (MANY - FEW) as f64)
}

fn counted(name: &str, turns: u64) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--turns", name, &turns.to_string()])
        .output()
        .ok()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = errors.lines().find_map(|line| line.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}
