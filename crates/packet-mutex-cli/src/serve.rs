//! `packet-mutex serve`: the mutex for other processes.

use crate::connection::url;
use crate::duration::duration;
use crate::exit::{ExitStatus, Failure, finish};
use crate::platform::{Shutdown, allow_many_connections};
use crate::printer::Printer;
use crate::trace::TraceFile;
use hosting::Hosting;
use packet_mutex::Roster;
use packet_mutex::roster_toml::RosterFile;
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

    /// The name of a mutex; may be given several times, for several mutexes with the same roster
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
    /// Everybody who can connect can read. Steering needs PACKET_MUTEX_SECRET, and so does an address beyond the
    /// loopback.
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,

    /// How long a turn over TCP lasts without a heartbeat, such as 10, 10s or 1500ms
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    lease: Duration,
}

pub(crate) fn serve(args: &Args, printer: &mut Printer) -> ExitStatus {
    let served = run(args, printer);
    finish(served, printer)
}

fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus, Failure> {
    let roster = match &args.roster {
        None => Roster::default(),
        Some(path) => RosterFile::open(path).map_err(Failure::bad_input)?.roster,
    };
    let hosting = Hosting {
        url: url(args.url.as_deref()),
        roster,
        mutexes: args.mutexes.clone(),
        state: args.state.clone(),
        http: args.http.clone(),
        lease: args.lease,
        ..Hosting::default()
    };
    let access = if hosting.secret.is_some() { "steering with the secret" } else { "read only" };
    allow_many_connections();
    // Signals are caught before the socket is there: whoever sees it may send one.
    let shutdown = Shutdown::catch().map_err(Failure::bad_input)?;
    let hosted = hosting.start().map_err(|error| match error {
        hosting::Error::Setting(why) => Failure::bad_input(why),
        hosting::Error::Mutex(error) => error.into(),
    })?;
    let trace = TraceFile::start(args.trace.as_deref(), hosted.mutexes())?;
    printer.note(format_args!("serving {} at {}", args.mutexes.join(", "), hosted.address()));
    if let Some(url) = hosted.page_url() {
        printer.note(format_args!("the page is at {url} ({access})"));
    }
    shutdown.wait();
    // The trace ends last, so that it has the ends of the clients' turns.
    drop(hosted);
    trace.finish(printer);
    Ok(ExitStatus::Done)
}
