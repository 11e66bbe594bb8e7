//! Every fault at every step, and some at random times.
#![cfg(unix)]

use chaos::{Outcome, Soak, Transport, cells, run_all, table};
use std::path::Path;
use std::time::Duration;

/// The program that is server and client.
const PROGRAM: &str = env!("CARGO_BIN_EXE_chaos");

#[track_caller]
fn check(outcomes: &[Outcome]) {
    let wrong: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).collect();
    let shown: Vec<String> = wrong.iter().take(3).map(ToString::to_string).collect();
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} wrong:\n{}{}", shown.concat(), table(outcomes));
}

fn matrix(transport: Transport) -> Vec<Outcome> {
    let cells = cells().into_iter().filter(|cell| cell.transport == transport);
    run_all(Path::new(PROGRAM), cells, 8, |_| {})
}

#[test]
fn every_fault_at_every_step_over_unix_sockets() {
    let outcomes = matrix(Transport::Unix);
    check(&outcomes);
    assert!(outcomes.len() > 100);
    // The connection says when a turn is over, so that nobody acts too late.
    assert!(outcomes.iter().all(|outcome| outcome.figures.refused == 0));
}

#[test]
fn every_fault_at_every_step_over_tcp() {
    let outcomes = matrix(Transport::Tcp);
    check(&outcomes);
    assert!(outcomes.len() > 100);
    let refused: usize = outcomes.iter().map(|outcome| outcome.figures.refused).sum();
    assert!(refused > 10, "{refused} late actions");
}

#[test]
fn random_faults_at_random_times() {
    let soak = Soak { seed: 1, lasts: Duration::from_secs(5), workers: 4 };
    let outcomes = soak.run(Path::new(PROGRAM), |_| {});
    check(&outcomes);
    assert!(outcomes.len() > 5);
}
