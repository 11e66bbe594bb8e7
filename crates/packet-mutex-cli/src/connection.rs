//! The mutex of another process, by its URL.

use crate::ExitStatus;
use crate::printer::Printer;
use packet_mutex::net::{Address, Url, default_url};
use packet_mutex::{Error, PacketMutex, Trace};
use std::path::Path;

/// Which mutex is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// Where the mutex is: unix:/path or tcp://host:port, with #name if it is not `main`; without it,
    /// PACKET_MUTEX_URL, or else where `serve` listens
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// The URL that is given, or the environment's, or the usual one.
pub(crate) fn url(given: Option<&str>) -> String {
    let environment = || std::env::var("PACKET_MUTEX_URL").ok().filter(|url| !url.is_empty());
    given.map(String::from).or_else(environment).unwrap_or_else(default_url)
}

impl At {
    pub(crate) fn url(&self) -> String {
        url(self.url.as_deref())
    }

    pub(crate) fn connect(&self) -> Result<PacketMutex, (ExitStatus, String)> {
        let url = self.url();
        match url.parse::<Url>() {
            Err(why) => return Err((ExitStatus::BadInput, format!("{url}: {why}"))),
            Ok(Url { address: Address::Local, .. }) => {
                let why = format!("{url}: a mutex of this process, which has none");
                return Err((ExitStatus::BadInput, why));
            }
            Ok(_) => {}
        }
        PacketMutex::connect(&url).map_err(|error| (status_of(&error), error.to_string()))
    }
}

/// A trace that is written, and where.
pub(crate) type OpenTrace<'a> = Option<(&'a Path, Trace)>;

/// Begins the trace if one is wanted.
pub(crate) fn start_trace<'a, 'm>(
    path: Option<&'a Path>,
    mutexes: impl IntoIterator<Item = &'m PacketMutex>,
) -> Result<OpenTrace<'a>, (ExitStatus, String)> {
    let Some(path) = path else { return Ok(None) };
    let unwritten =
        |e| (ExitStatus::BadInput, format!("{} cannot be written: {e}", path.display()));
    Ok(Some((path, Trace::start(path, mutexes).map_err(unwritten)?)))
}

/// Ends the trace. What is done cannot be undone for it, so a full disk is a warning.
pub(crate) fn end_trace(trace: OpenTrace<'_>, printer: &mut Printer) {
    let Some((path, trace)) = trace else { return };
    match trace.finish() {
        Ok(()) => printer.note(format_args!("trace: {}", path.display())),
        Err(e) => printer.warning(format_args!("the trace {} is cut off: {e}", path.display())),
    }
}

/// How a command ends that failed with this error.
pub(crate) fn status_of(error: &Error) -> ExitStatus {
    match error {
        Error::Timeout(_) => ExitStatus::TimedOut,
        Error::Unavailable(_) | Error::Unauthorized | Error::Lost => ExitStatus::Unreachable,
        Error::Disabled { .. } | Error::Cancelled | Error::Closed | Error::QueueFull { .. } => {
            ExitStatus::NotSo
        }
        _ => ExitStatus::BadInput,
    }
}

/// Ends the command, and says why if it failed.
pub(crate) fn ended(
    result: Result<ExitStatus, (ExitStatus, String)>,
    printer: &mut Printer,
) -> ExitStatus {
    result.unwrap_or_else(|(status, why)| {
        why.lines().for_each(|line| printer.error(line));
        status
    })
}
