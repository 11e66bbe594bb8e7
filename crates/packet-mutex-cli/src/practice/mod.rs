//! `packet-mutex practice`: the six modules on the practice server, without the mutex, with it around each action, and with
//! it as the guide says.

mod live;
mod played;

use crate::exit::{ExitStatus, Failure, finish};
use crate::printer::Printer;
use crate::trace::TraceFile;
use live::LiveRun;
use packet_mutex::roster_toml::RosterFile;
use packet_mutex::{PacketMutex, Roster};
use played::Played;
use practice::client::ClientError;
use practice::modules::Mode;
use practice::run::{Config, Outcome, Watch, run};
use practice::server::Server;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

/// See six modules share one character: without the mutex, with it around each action, and with it
///
/// Exit code: 0 only if the run with the mutex had no conflict; 69 if the practice server cannot be reached.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For how many seconds new cycles begin
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// The seed of the world and of the modules' chances
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Write the three runs as a timeline, in one HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Write what the server saw, what was sent, and the mutex's events, so that others can judge the runs
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,

    /// Write the events of the three runs' mutexes to this file, for `report`
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// The address of a practice server that runs already; without it, one is started
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,

    /// The roster of the mutex, a TOML file
    #[arg(long, value_name = "FILE")]
    roster: Option<PathBuf>,
}

pub(crate) fn practice(args: &Args, printer: &mut Printer) -> ExitStatus {
    let done = play(args, printer).and_then(|played| present(args, &played, printer));
    finish(done, printer)
}

fn play(args: &Args, printer: &mut Printer) -> Result<Played, Failure> {
    let roster = match &args.roster {
        None => Roster::default(),
        Some(path) => RosterFile::open(path).map_err(Failure::bad_input)?.roster,
    };
    let (address, _server) = find_server(args.server.as_deref())?;
    let runs = Mode::ALL.map(|mode| LiveRun {
        mode,
        mutex: PacketMutex::builder(roster.clone()).name(mode.name()).build(),
        watch: Watch::default(),
    });
    let trace = TraceFile::start(args.trace.as_deref(), runs.iter().map(|run| &run.mutex))?;
    let length = Duration::from_secs(args.seconds);
    let config = |mode| Config {
        mode,
        server: address,
        embedded: args.server.is_none(),
        length,
        seed: args.seed,
    };
    let stop = AtomicBool::new(false);
    let (events, outcomes) = thread::scope(|scope| {
        let threads = runs.each_ref().map(|run| {
            let (config, stop) = (config(run.mode), &stop);
            scope.spawn(move || play_one(&config, run, stop))
        });
        let over = || threads.iter().all(ScopedJoinHandle::is_finished);
        let events = live::show(&runs, length, &stop, &over, printer);
        let outcomes = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        (events, outcomes.collect::<Result<Vec<Outcome>, ClientError>>())
    });
    trace.finish(printer);
    let outcomes = outcomes.map_err(|error| Failure::new(ExitStatus::Unreachable, error))?;
    Ok(Played::new(roster, (args.seconds, args.seed), outcomes, events))
}

fn play_one(config: &Config, live: &LiveRun, stop: &AtomicBool) -> Result<Outcome, ClientError> {
    let result = run(config, &live.mutex, stop, &live.watch);
    if result.is_err() {
        // Without one of the three there is nothing to compare.
        stop.store(true, Ordering::Relaxed);
    }
    result
}

/// Returns the address of the practice server. Without one it starts a server, which stops when it is dropped.
fn find_server(address: Option<&str>) -> Result<(SocketAddr, Option<Server>), Failure> {
    let Some(text) = address else {
        let server = Server::start(("127.0.0.1", 0));
        let server = server.map_err(|error| {
            let why = format!("the practice server cannot start: {error}");
            Failure::new(ExitStatus::Unreachable, why)
        })?;
        return Ok((server.address(), Some(server)));
    };
    let bad = |why: String| Failure::bad_input(format!("--server {text}: {why}"));
    let mut found = text.to_socket_addrs().map_err(|error| bad(error.to_string()))?;
    let address = found.next().ok_or_else(|| bad("no such address".into()))?;
    Ok((address, None))
}

/// Writes the files that were asked for, and prints the result.
fn present(args: &Args, played: &Played, printer: &mut Printer) -> Result<ExitStatus, Failure> {
    if let Some(directory) = &args.log {
        played.write_logs(directory).map_err(|error| Failure::unwritten(directory, error))?;
    }
    if let Some(file) = &args.report {
        let html = timeline::render(&played.report());
        std::fs::write(file, html).map_err(|error| Failure::unwritten(file, error))?;
    }
    if args.json {
        printer.data(played.json());
    } else {
        printer.data(played.text());
    }
    for (what, path) in [("timeline", &args.report), ("logs", &args.log)] {
        if let Some(path) = path {
            printer.note(format_args!("{what}: {}", path.display()));
        }
    }
    let conflicts = played.conflicts();
    conflicts.iter().for_each(|conflict| printer.error(conflict));
    Ok(if conflicts.is_empty() { ExitStatus::Done } else { ExitStatus::NotSo })
}
