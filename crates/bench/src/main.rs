//! What a turn costs, beside other locks: `cargo xtask bench`.
//!
//! All locks are measured in one run, one after the other in each round, so that other work of the machine affects all of
//! them alike. The ratios of the medians count, not the nanoseconds.
#![allow(clippy::print_stdout, reason = "the tables are what it is for")]

mod between;
mod contenders;
mod instructions;
mod median;
#[cfg(target_os = "linux")]
mod service;

use contenders::{Contender, contenders};
use median::median;
use std::error::Error;
use std::time::{Duration, Instant};

/// Rounds of each measurement; odd, so that there is a median.
const ROUNDS: usize = 51;
/// About how long a round of one lock lasts: many turns, yet short enough that few rounds are interrupted.
const ROUND: Duration = Duration::from_millis(5);
/// Turns before anything is measured. They fill the event buffer: from then on each event replaces the oldest, as in a mutex
/// that has run for a while.
const WARM_UP: u64 = 20_000;
/// Handovers in a round.
const HANDOVERS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => report(false),
        ["--instructions"] => report(true),
        // The process that `--instructions` starts under valgrind.
        ["--turns", name, count] => {
            let mut found = contenders().into_iter().find(|contender| contender.name == *name);
            let count = count.parse().ok();
            if let (Some(contender), Some(count)) = (&mut found, count) {
                (contender.alone)(count);
            }
        }
        #[cfg(target_os = "linux")]
        ["--service", options @ ..] => service::report(options)?,
        // The processes that `--service` starts.
        #[cfg(target_os = "linux")]
        ["--child", role, core, url, rest @ ..] => service::child(role, core.parse()?, url, rest)?,
        _ => println!("usage: bench [--instructions | --service [cost | abuse [NAME…]]]"),
    }
    Ok(())
}

fn report(count_instructions: bool) {
    println!("Acquire and release, nobody else asks:\n");
    let mut contenders = contenders();
    let alone = measure_alone(&mut contenders);
    let counts = contenders.iter().map(|contender| {
        count_instructions.then(|| instructions::per_turn(contender.name)).flatten()
    });
    let counts: Vec<Option<f64>> = counts.collect();
    table(&contenders, &alone, &counts);

    println!("\nHandover to a thread that sleeps, from before the release until it holds:\n");
    contenders.retain(|contender| contender.between.is_some());
    let between = measure_between(&contenders);
    let none = vec![None; contenders.len()];
    table(&contenders, &between, &none);
    println!("\n{} handovers each, every one of them to the other thread.", ROUNDS * HANDOVERS);
}

/// Measures the nanoseconds of a turn, by contender and round.
fn measure_alone(contenders: &mut [Contender]) -> Vec<Vec<f64>> {
    let turns: Vec<u64> = contenders.iter_mut().map(turns_in_a_round).collect();
    let mut all = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((contender, turns), times) in contenders.iter_mut().zip(&turns).zip(&mut all) {
            let start = Instant::now();
            (contender.alone)(*turns);
            times.push(start.elapsed().as_nanos() as f64 / *turns as f64);
        }
    }
    all
}

/// Returns how many turns last about [`ROUND`], so that fast and slow locks are measured for equally long.
fn turns_in_a_round(contender: &mut Contender) -> u64 {
    (contender.alone)(WARM_UP);
    let start = Instant::now();
    (contender.alone)(WARM_UP);
    let one = start.elapsed().as_secs_f64() / WARM_UP as f64;
    ((ROUND.as_secs_f64() / one) as u64).max(1)
}

/// Measures the nanoseconds of a handover, by contender and round.
fn measure_between(contenders: &[Contender]) -> Vec<Vec<f64>> {
    let mut all = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, times) in contenders.iter().zip(&mut all) {
            if let Some(between) = &contender.between {
                // The median of each round, since one late wakeup outweighs a hundred handovers in a mean.
                let mut one_round = between(HANDOVERS);
                times.push(median(&mut one_round));
            }
        }
    }
    all
}

/// Prints the medians of the rounds, and each as a multiple of the first and of the second lock's.
fn table(contenders: &[Contender], all: &[Vec<f64>], instructions: &[Option<f64>]) {
    println!("| lock | ns | × {} | × {} | instructions |", contenders[0].name, contenders[1].name);
    println!("|---|---:|---:|---:|---:|");
    let medians: Vec<f64> = all.iter().map(|times| median(&mut times.clone())).collect();
    for ((contender, own), count) in contenders.iter().zip(&medians).zip(instructions) {
        let (first, second) = (own / medians[0], own / medians[1]);
        let count = count.map_or("-".to_string(), |count| format!("{count:.0}"));
        println!("| {} | {own:.1} | {first:.2} | {second:.2} | {count} |", contender.name);
    }
}
