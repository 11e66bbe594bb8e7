//! Renders an event log as a self-contained HTML timeline, or as plain text lanes.
//!
//! One renderer serves every report: fill in a [`Report`] and call [`render`], [`render_live`] or [`text()`].
//!
//! ```
//! use timeline::{Count, Lane, Report, Run};
//!
//! let mut run = Run::new("with the mutex");
//! run.summary.push(Count::new("refusals", 0));
//! run.read_events(
//!     r#"{"seq":1,"t":0.0,"event":"requested","mutex":"main","module":"fisher","request":1}
//!        {"seq":2,"t":0.5,"event":"granted","mutex":"main","module":"fisher","request":1,"token":"1","waited":0.5}
//!        {"seq":3,"t":1.5,"event":"released","mutex":"main","module":"fisher","request":1,"token":"1","held":1.0,"depth":0}"#,
//! );
//! let report = Report {
//!     title: "One cast".into(),
//!     lanes: vec![Lane::new("fisher", "gathering", 60)],
//!     runs: vec![run],
//!     ..Report::default()
//! };
//! assert!(timeline::render(&report).starts_with("<!DOCTYPE html>"));
//! assert!(timeline::text(&report, 72).contains("fisher"));
//! ```
//!
//! Nothing here can fail: what cannot be read, and what is too much to show, is left out and the
//! output says so. The same input gives the same bytes.

#![warn(missing_docs)]

mod cells;
mod html;
mod live;
mod log;
mod perfetto;
mod text;
mod turns;

use serde_json::Value;

pub use cells::Cell;
pub use html::{Around, render, render_live};
pub use live::Live;
pub use log::{MAX_ACTIONS, MAX_EVENTS, MAX_LANES, is_trouble};
pub use perfetto::perfetto;
pub use text::text;

/// What to render: one or several runs over the same modules.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// A sentence under the heading; may be empty.
    pub subtitle: String,
    /// The modules in the order of their lanes, by convention the highest priority first. A
    /// module that only occurs in the events gets a lane after these.
    pub lanes: Vec<Lane>,
    /// The runs, one under another on one time axis. Each starts at zero.
    pub runs: Vec<Run>,
}

/// A module and where it stands.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// The module's name.
    pub module: String,
    /// Its group; modules of one group share a colour and have no handover between them.
    pub group: String,
    /// Its priority, where known.
    pub priority: Option<u8>,
}

impl Lane {
    /// A lane of a module whose group and priority are known.
    pub fn new(module: impl Into<String>, group: impl Into<String>, priority: u8) -> Self {
        Self { module: module.into(), group: group.into(), priority: Some(priority) }
    }
}

/// One run: what was counted and what happened.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// A short name, such as "without".
    pub title: String,
    /// A sentence about it; may be empty.
    pub note: String,
    /// What was counted. Several runs are compared row by row, matched by label.
    pub summary: Vec<Count>,
    /// The mutex's events, one JSON object each, in the order of the log.
    pub events: Vec<Value>,
    /// What the modules did to the channel.
    pub actions: Vec<Action>,
}

impl Run {
    /// An empty run.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Appends the events of a log with one JSON object a line. A line that is not JSON is
    /// counted as unreadable, and the output says how many there were.
    pub fn read_events(&mut self, lines: &str) {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        self.events.extend(lines.map(|line| serde_json::from_str(line).unwrap_or(Value::Null)));
    }
}

/// A line of a summary.
#[derive(Debug, Clone, Default)]
pub struct Count {
    /// What was counted.
    pub label: String,
    /// How many, or how long, as it is to be shown.
    pub value: String,
    /// Whether it ought to have been otherwise.
    pub bad: bool,
}

impl Count {
    /// A count that is neither good nor bad.
    pub fn new(label: impl Into<String>, value: impl ToString) -> Self {
        Self { label: label.into(), value: value.to_string(), bad: false }
    }

    /// A count that should have been zero, and is bad when it is not.
    pub fn should_be_zero(label: impl Into<String>, value: u64) -> Self {
        Self { bad: value != 0, ..Self::new(label, value) }
    }
}

/// One action on the channel, as the far end judged it.
#[derive(Debug, Clone, Default)]
pub struct Action {
    /// When, in seconds on the clock of the run's events.
    pub t: f64,
    /// Which module acted.
    pub module: String,
    /// In which of its cycles. Actions of one cycle are joined by a line.
    pub cycle: Option<u64>,
    /// Under which turn.
    pub token: Option<String>,
    /// `ok`, `wrong_item`, or the reason of a refusal.
    pub verdict: String,
    /// Whether it fell into another module's cycle; the caller is the judge.
    pub interleaved: bool,
}
