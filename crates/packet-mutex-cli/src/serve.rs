//! `packet-mutex serve`: the mutex for other processes.

use crate::ExitStatus;
use crate::elsewhere::{end_trace, ended, start_trace, status_of, url};
use crate::platform::{End, allow_many_connections};
use crate::printer::Printer;
use packet_mutex::net::{Options, Server, Url, default_state};
use packet_mutex::roster_toml::RosterFile;
use packet_mutex::{Error, PacketMutex, Roster};
use page::Page;
use std::path::PathBuf;
use std::time::Duration;

/// Put the mutex behind a socket, for other processes and languages
///
/// It runs until it is told to end (Ctrl-C, SIGTERM). Over TCP beyond the loopback, PACKET_MUTEX_SECRET must be set,
/// for it and for its clients. Tokens go on where they were over restarts. Exit code: 69 if it cannot listen.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen: unix:/path or tcp://host:port; without it, PACKET_MUTEX_URL, or else a Unix socket in the
    /// user's runtime directory
    url: Option<String>,

    /// The roster, a TOML file
    #[arg(long, value_name = "FILE")]
    roster: Option<PathBuf>,

    /// A mutex's name; several may be given, which all have this roster
    #[arg(long = "mutex", value_name = "NAME", default_value = "main")]
    mutexes: Vec<String>,

    /// Where to store how far the tokens went; without it, a directory of the user's state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Write the events to this file, for `report`
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Show a live page, /status.json and /metrics at this address, such as 127.0.0.1:7721
    ///
    /// Whoever can connect can read; steering needs PACKET_MUTEX_SECRET, and so does an address beyond the loopback.
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,

    /// How long a turn over TCP lasts without a heartbeat
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    lease: f64,
}

pub(crate) fn serve(args: &Args, printer: &mut Printer) -> ExitStatus {
    let served = run(args, printer);
    ended(served.map(|()| ExitStatus::Done), printer)
}

fn run(args: &Args, printer: &mut Printer) -> Result<(), (ExitStatus, String)> {
    let bad = |why: String| (ExitStatus::BadInput, why);
    let url = url(args.url.as_deref());
    url.parse::<Url>().map_err(|why| bad(format!("{url}: {why}")))?;
    let lease = Duration::try_from_secs_f64(args.lease);
    let lease = lease.map_err(|why| bad(format!("--lease {}: {why}", args.lease)))?;
    let roster = match &args.roster {
        None => Roster::default(),
        Some(path) => RosterFile::open(path).map_err(|errors| bad(errors.to_string()))?.roster,
    };
    let told = |error: Error| (status_of(&error), error.to_string());
    let no_place = || {
        bad("there is no directory of the user's to store tokens in; say where with --state".into())
    };
    let state = args.state.clone().or_else(default_state).ok_or_else(no_place)?;
    let make = |name: &String| {
        PacketMutex::builder(roster.clone()).name(name).build_stored(&state).map_err(told)
    };
    let mutexes = args.mutexes.iter().map(make).collect::<Result<Vec<_>, _>>()?;
    allow_many_connections();
    let end = End::prepare().map_err(|e| bad(e.to_string()))?;
    let secret = std::env::var("PACKET_MUTEX_SECRET").ok().filter(|secret| !secret.is_empty());
    let options = Options { secret: secret.clone(), lease };
    let server = Server::start(&url, mutexes.clone(), options).map_err(told)?;
    let can = if secret.is_some() { "steering with the secret" } else { "read only" };
    let page = args.http.as_ref().map(|at| Page::start(at, mutexes.clone(), secret));
    let page = page.transpose().map_err(told)?;
    let trace = start_trace(args.trace.as_deref(), &mutexes)?;
    printer.note(format_args!("serving {} at {}", args.mutexes.join(", "), server.address()));
    if let Some(page) = &page {
        printer.note(format_args!("the page is at {} ({can})", page.url()));
    }
    end.wait();
    // The clients' turns end before the trace does.
    drop((page, server));
    end_trace(trace, printer);
    Ok(())
}
