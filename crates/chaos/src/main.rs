//! `chaos [--minutes N] [--seed N] [--workers N]`: random faults at random times, until the time is over; `chaos matrix`:
//! every fault at every step, once. Its clients and servers are this program too.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("serve") => {
            packet_mutex_cli::run(std::iter::once("packet-mutex".to_owned()).chain(args)).into()
        }
        Some("client") => match chaos::serve_commands(&args[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        },
        _ => soak::main(&args),
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("chaos needs signals and Unix sockets");
    ExitCode::from(2)
}

#[cfg(unix)]
mod soak {
    use chaos::{Outcome, Soak, cells, run_all, table};
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    const USAGE: &str = "usage: chaos [matrix] [--minutes N] [--seed N] [--workers N]";
    /// The time between two lines of progress.
    const PROGRESS: Duration = Duration::from_secs(10);

    pub(crate) fn main(args: &[String]) -> ExitCode {
        let Some((matrix, soak)) = read(args) else {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        };
        let Ok(program) = std::env::current_exe() else {
            eprintln!("the path of this program is unknown");
            return ExitCode::from(2);
        };
        let start = Instant::now();
        let (mut count, mut wrong, mut told) = (0, 0, start);
        let look = |outcome: &Outcome| {
            count += 1;
            if !outcome.wrong.is_empty() {
                wrong += 1;
                println!("WRONG: {outcome}");
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                eprintln!("{:>5} s: {count} cells, {wrong} wrong", start.elapsed().as_secs());
            }
        };
        let outcomes = if matrix {
            run_all(&program, cells().into_iter(), soak.workers, look)
        } else {
            eprintln!("seeds from {} on, for {} s", soak.seed, soak.lasts.as_secs());
            soak.run(&program, look)
        };
        print!("{}", table(&outcomes));
        let wrong = outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).count();
        let seconds = start.elapsed().as_secs();
        println!("{} cells in {seconds} s, {wrong} of them wrong", outcomes.len());
        if wrong == 0 && !outcomes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn read(args: &[String]) -> Option<(bool, Soak)> {
        let mut soak = Soak { seed: 1, lasts: Duration::from_secs(60), workers: 6 };
        let mut args = args.iter().map(String::as_str).peekable();
        let matrix = args.next_if_eq(&"matrix").is_some();
        while let Some(key) = args.next() {
            let value = args.next()?;
            match key {
                "--minutes" => {
                    let minutes: f64 = value.parse().ok()?;
                    soak.lasts = Duration::try_from_secs_f64(minutes * 60.0).ok()?;
                }
                "--seed" => soak.seed = value.parse().ok()?,
                "--workers" => soak.workers = value.parse().ok().filter(|n| *n > 0)?,
                _ => return None,
            }
        }
        Some((matrix, soak))
    }
}
