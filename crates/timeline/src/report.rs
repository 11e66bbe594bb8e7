//! What a caller fills in to have it shown.

use serde_json::Value;

/// What to render: one or several runs over the same modules.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// A sentence under the heading; may be empty.
    pub subtitle: String,
    /// The modules in the order of their lanes, by convention the highest priority first. A module that only occurs in the
    /// events gets a lane after these.
    pub lanes: Vec<Lane>,
    /// The runs, one below the other on the same time axis. Each starts at zero.
    pub runs: Vec<Run>,
}

/// A module and its place.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// The module's name.
    pub module: String,
    /// Its group. Modules of one group share a colour and have no handover between them. Empty: a group of its own.
    pub group: String,
    /// Its priority, if known.
    pub priority: Option<u8>,
}

impl Lane {
    /// Creates the lane of a module whose group and priority are known.
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
    /// What was counted. The page compares several runs row by row, by label.
    pub summary: Vec<Count>,
    /// The mutex's events, one JSON object each, in the order of the log.
    pub events: Vec<Value>,
    /// What the modules did to the channel.
    pub actions: Vec<Action>,
}

impl Run {
    /// Creates an empty run.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Appends the events of a log with one JSON object a line. The output says how many lines were not JSON.
    pub fn read_events(&mut self, lines: &str) {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        // `Null` is not an event, so it is counted as unreadable.
        self.events.extend(lines.map(|line| serde_json::from_str(line).unwrap_or(Value::Null)));
    }
}

/// A line of a summary.
#[derive(Debug, Clone, Default)]
pub struct Count {
    /// What was counted.
    pub label: String,
    /// How many or how long, as the text to show.
    pub value: String,
    /// Whether the value is worse than it should be.
    pub bad: bool,
}

impl Count {
    /// Creates a count that is neither good nor bad.
    pub fn new(label: impl Into<String>, value: impl ToString) -> Self {
        Self { label: label.into(), value: value.to_string(), bad: false }
    }

    /// Creates a count that is bad unless it is zero.
    pub fn should_be_zero(label: impl Into<String>, value: u64) -> Self {
        Self { bad: value != 0, ..Self::new(label, value) }
    }
}

/// An action on the channel, as the server at its other end judged it.
#[derive(Debug, Clone, Default)]
pub struct Action {
    /// When, in seconds on the clock of the run's events.
    pub t: f64,
    /// Which module acted.
    pub module: String,
    /// In which of its cycles. A line joins the actions of a cycle.
    pub cycle: Option<u64>,
    /// The token of the turn that it was sent under.
    pub token: Option<String>,
    /// `ok`, `wrong_item`, or why it was refused.
    pub verdict: String,
    /// Whether it fell into another module's cycle, as the caller judges.
    pub interleaved: bool,
}
