//! `campaign [--hours N] [--seed N] [--run-hours N] [--threads N] [--out DIR]`: random crews at work while things go wrong.
//! Stops at the first broken rule, says how to replay it and writes a scenario that shows it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use packet_mutex_sim::simulate::{Broken, Campaign, Counts};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str =
    "usage: campaign [--hours N] [--seed N] [--run-hours N] [--threads N] [--out DIR]";

/// The command line's options.
#[derive(Clone)]
struct Options {
    /// Simulated hours, all runs together.
    hours: u64,
    /// The first run's seed; the others count on from it.
    seed: u64,
    /// Hours of one run.
    run_hours: u32,
    threads: u64,
    /// Where a scenario is written.
    out: PathBuf,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // A broken arbiter may panic again and again while the run is shrunk. The report names the first panic.
    std::panic::set_hook(Box::new(|_| ()));
    let start = Instant::now();
    let (counts, broken) = run_all(&options);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} simulated hours in {seconds:.1} s: {} runs, {} inputs, {} events judged, {} turns ({} abandoned), \
         {} requests in vain; {} hours of it compared with the oracle",
        counts.hours,
        counts.runs,
        counts.inputs,
        counts.events,
        counts.turns,
        counts.abandoned,
        counts.unserved,
        counts.oracle_hours,
    );
    match broken {
        None => {
            println!("no rule broken");
            ExitCode::SUCCESS
        }
        Some(broken) => {
            report(&broken, &options.out);
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { hours: 1000, seed: 1, run_hours: 24, threads: 1, out: ".".into() };
    while let Some(key) = args.next() {
        let value = args.next()?;
        match key.as_str() {
            "--hours" => options.hours = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--run-hours" => options.run_hours = value.parse().ok().filter(|hours| *hours > 0)?,
            "--threads" => options.threads = value.parse().ok().filter(|threads| *threads > 0)?,
            "--out" => options.out = value.into(),
            _ => return None,
        }
    }
    Some(options)
}

/// Runs one campaign after another until the hours are done or a rule is broken.
fn run_all(options: &Options) -> (Counts, Option<Box<Broken>>) {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let runs = options.hours.div_ceil(options.run_hours.into());
    let work = || {
        let mut counts = Counts::default();
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= runs {
                break;
            }
            let left = options.hours - at * u64::from(options.run_hours);
            let hours =
                u32::try_from(left).map_or(options.run_hours, |left| left.min(options.run_hours));
            match (Campaign { seed: options.seed + at, hours }).run() {
                Ok(run) => counts.add(&run),
                Err(broken) => {
                    stop.store(true, Ordering::Relaxed);
                    return (counts, Some(broken));
                }
            }
        }
        (counts, None)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(work)).collect();
        let mut all = (Counts::default(), None);
        for thread in threads {
            match thread.join() {
                Ok((counts, broken)) => {
                    all.0.add(&counts);
                    all.1 = all.1.or(broken);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

fn report(broken: &Broken, out: &Path) {
    let Campaign { seed, hours } = broken.campaign;
    println!("BROKEN in the run of seed {seed}: {}", broken.why);
    println!(
        "replay: cargo run --release -p packet-mutex-sim --bin campaign -- --seed {seed} --hours {hours} --run-hours {hours}"
    );
    let Some(text) = &broken.scenario else {
        return println!("it could not be shrunk to a scenario");
    };
    let file = out.join(format!("seed-{seed}.scenario"));
    match std::fs::write(&file, text) {
        Ok(()) => println!("a scenario that shows it: {}", file.display()),
        Err(why) => println!("{} cannot be written: {why}; the scenario:\n{text}", file.display()),
    }
}
