//! The logs: each client writes what it does and hears to a file of its own, one line each.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was written, in nanoseconds of the machine's monotonic clock. All processes share that clock.
    pub t: u64,
    /// The module, or `director`.
    pub who: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. What a client sends is written before it is sent, what it hears after it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum What {
    /// It asks for a turn.
    Asks,
    /// It has read its grant.
    Granted {
        /// The turn's token.
        token: u64,
        /// Whether a turn before it was abandoned.
        abandoned: bool,
    },
    /// It has acknowledged that a turn before was abandoned.
    Acknowledged,
    /// It sends an action.
    Sends {
        /// The turn's token.
        token: u64,
    },
    /// The far end took the action.
    Accepted {
        /// The turn's token.
        token: u64,
        /// When, as the far end says.
        at: u64,
    },
    /// The far end refused the action: it has seen a newer token.
    Refused {
        /// The turn's token.
        token: u64,
        /// The newest that the far end has seen.
        newest: u64,
    },
    /// It renews its lease.
    Renews,
    /// It gives its turn away and asks anew.
    Yields {
        /// The turn's token.
        token: u64,
    },
    /// It releases its turn.
    Releases {
        /// The turn's token.
        token: u64,
    },
    /// The release is answered.
    Released {
        /// The turn's token.
        token: u64,
    },
    /// It has found out that its turn or its request is gone.
    Lost,
    /// It closed its writing side and has read to the end.
    Heard {
        /// Replies that came.
        replies: u64,
        /// Replies that were due.
        due: u64,
    },
    /// The fault is about to happen.
    Fault,
    /// The stopped process is about to go on.
    Continues,
    /// The server is about to be started again.
    Restarts,
}

/// A file for the lines of one client or of the director.
#[derive(Debug)]
pub(crate) struct Log {
    who: String,
    file: File,
}

impl Log {
    pub(crate) fn open(path: &Path, who: &str) -> std::io::Result<Log> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Log { who: who.to_owned(), file })
    }

    pub(crate) fn write(&mut self, what: What) {
        let line = Line { t: now(), who: self.who.clone(), what };
        let mut text = serde_json::to_string(&line).expect("a line has a text");
        text.push('\n');
        // In one write, so that a process that is killed leaves no half lines.
        self.file.write_all(text.as_bytes()).expect("the log can be written");
    }
}

/// Reads the lines of all logs, in the order of their times.
pub(crate) fn read(paths: &[impl AsRef<Path>]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).expect("a whole line")));
    }
    lines.sort_by_key(|line| line.t);
    lines
}

/// Returns the time of the monotonic clock, which all processes of the machine share.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}
