//! The logs of one run in a directory, as `packet-mutex practice --log` and several processes write them, and what they show.
//!
//! | file | holds | written by |
//! |---|---|---|
//! | `frames.jsonl` | what the server saw, in its order | `practice-server --log`, or the client |
//! | `sends.jsonl`, `sends-….jsonl` | who sent it, under which turn | the sender, before it sends |
//! | `events.jsonl` | the mutex's events, if there was one | `packet-mutex serve --trace` |
//!
//! The processes need no common clock. A send and its frame have the same connection and number, and the server's order decides
//! what came first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use packet_mutex::Roster;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::judge::{Counts, Frame, Sent, Waited, judge};
use crate::modules::Module;
use crate::run::group;

/// Why logs cannot be judged.
#[derive(Debug, Error)]
pub enum LogError {
    /// A file or the directory cannot be read.
    #[error("{file}: {source}", file = file.display())]
    Unreadable {
        /// The file or directory.
        file: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// A line cannot be parsed.
    #[error("{file}:{line}: {source}", file = file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The logs of one run.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// What the server saw, in its order.
    pub frames: Vec<Frame>,
    /// What the senders recorded.
    pub sends: Vec<Sent>,
    /// The grants among the mutex's events; `None` without such a log.
    pub grants: Option<Vec<Grant>>,
}

/// A grant among the mutex's events.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Grant {
    /// The module of the turn.
    pub module: String,
    /// The turn's token. A pass of an observed module has none.
    pub token: Option<String>,
    /// How long the request waited, in seconds.
    pub waited: f64,
}

/// What the logs show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Findings {
    /// The judge's counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// Frames that no log of sends has, or that more than one has.
    pub unexplained_frames: u64,
    /// Sends that the server never saw.
    pub unseen_sends: u64,
    /// Frames that were sent without a turn.
    pub without_turn: u64,
    /// Frames of a turn that the server saw after frames of a newer turn.
    pub late: u64,
    /// Frames of a turn that the mutex, by its events, never granted to that module.
    pub not_granted: u64,
}

impl Findings {
    /// Returns whether the logs fit together and nothing went wrong. Frames without a turn are no fault by themselves.
    pub fn clean(&self) -> bool {
        self.counts.clean() && self.misfits().iter().all(|(_, count)| *count == 0)
    }

    /// Returns how logs can fail to fit together, by the names in the JSON, and how often they do.
    pub fn misfits(&self) -> [(&'static str, u64); 4] {
        [
            ("unexplained_frames", self.unexplained_frames),
            ("unseen_sends", self.unseen_sends),
            ("late", self.late),
            ("not_granted", self.not_granted),
        ]
    }
}

impl Logs {
    /// Reads a directory's logs.
    pub fn read(directory: &Path) -> Result<Logs, LogError> {
        let unreadable = |source| LogError::Unreadable { file: directory.to_owned(), source };
        let entries = fs::read_dir(directory).map_err(unreadable)?;
        let mut logs = Logs { frames: lines(&directory.join("frames.jsonl"))?, ..Logs::default() };
        for entry in entries {
            let file = entry.map_err(unreadable)?.path();
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("sends") && name.ends_with(".jsonl") {
                logs.sends.extend(lines(&file)?);
            }
        }
        let events = directory.join("events.jsonl");
        if events.exists() {
            let events: Vec<serde_json::Value> = lines(&events)?;
            let granted = events.into_iter().filter(|event| event["event"] == "granted");
            // A grant without these fields is of an unknown version.
            logs.grants = Some(granted.filter_map(|e| serde_json::from_value(e).ok()).collect());
        }
        Ok(logs)
    }

    /// Returns what they show, with the groups of this roster.
    pub fn judge(&self, roster: &Roster) -> Findings {
        let mut places = BTreeMap::new();
        for (place, frame) in (0..).zip(&self.frames) {
            places.insert((frame.connection, frame.n), place);
        }
        // From here on all is as if there were one connection: each frame's number is its place in the server's order.
        let place = |sent: &Sent| places.get(&(sent.connection, sent.n)).copied();
        let mut sends: Vec<Sent> = self
            .sends
            .iter()
            .filter_map(|sent| Some(Sent { connection: None, n: place(sent)?, ..sent.clone() }))
            .collect();
        sends.sort_by_key(|sent| sent.n);
        let frames: Vec<Frame> = (0..)
            .zip(&self.frames)
            .map(|(n, frame)| Frame { connection: None, n, ..frame.clone() })
            .collect();
        let once = sends.chunk_by(|a, b| a.n == b.n).filter(|same| same.len() == 1).count();
        let waits: Vec<Waited> = self.grants.iter().flatten().filter_map(waited).collect();
        Findings {
            counts: judge(&frames, &sends, &waits, |module| group(roster, module)),
            unexplained_frames: (frames.len() - once) as u64,
            unseen_sends: (self.sends.len() - sends.len()) as u64,
            without_turn: count(&sends, |sent| sent.token.is_none()),
            late: late(&sends),
            not_granted: self.not_granted(&sends),
        }
    }

    fn not_granted(&self, sends: &[Sent]) -> u64 {
        let Some(grants) = &self.grants else { return 0 };
        let granted: BTreeSet<(&str, &str)> = grants
            .iter()
            .filter_map(|grant| Some((grant.module.as_str(), grant.token.as_deref()?)))
            .collect();
        count(sends, |sent| {
            sent.token.as_deref().is_some_and(|token| !granted.contains(&(&sent.module, token)))
        })
    }
}

fn waited(grant: &Grant) -> Option<Waited> {
    let module = Module::named(&grant.module)?.name();
    Some(Waited { module, seconds: grant.waited })
}

/// Counts those of the sends, in the server's order, that have an older token than one before them.
fn late(sends: &[Sent]) -> u64 {
    let mut newest = 0;
    count(sends, |sent| {
        let token = sent.token.as_ref().and_then(|token| token.parse::<u64>().ok());
        let is_late = token.is_some_and(|token| token < newest);
        newest = newest.max(token.unwrap_or(0));
        is_late
    })
}

fn count(sends: &[Sent], mut is_one: impl FnMut(&Sent) -> bool) -> u64 {
    sends.iter().filter(|sent| is_one(sent)).count() as u64
}

fn lines<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, LogError> {
    let unreadable = |source| LogError::Unreadable { file: file.to_owned(), source };
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let numbered = (1..).zip(text.lines());
    numbered
        .map(|(line, text)| {
            serde_json::from_str(text).map_err(|source| LogError::Line {
                file: file.to_owned(),
                line,
                source,
            })
        })
        .collect()
}
