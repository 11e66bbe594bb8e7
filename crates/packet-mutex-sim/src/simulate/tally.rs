//! What a run comes to, counted from the arbiter's events.

use super::world::Observer;
use crate::seconds::{Nanos, SECOND, nanos};
use hdrhistogram::Histogram;
use packet_mutex_arbiter::{Arbiter, End, Event, EventKind, ModuleId, Unserved};

/// The stretch of time whose like is looked for as typical.
pub const WINDOW: Nanos = 120 * SECOND;
/// The typical stretch is looked for in the first of them only: so many are a thousand hours.
const WINDOWS_MAX: usize = 30_000;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it was.
    pub length: Nanos,
    /// The modules that asked, those of the roster first.
    pub modules: Vec<ModuleOutcome>,
    /// How long a turn was open.
    pub busy: Nanos,
    /// How long none was open although somebody waited: the price of the handovers.
    pub held_up: Nanos,
    /// Handovers to another group.
    pub handovers: u64,
    /// Where a typical stretch of [`WINDOW`] begins: its waits and turns are nearest to the average.
    pub typical: Nanos,
}

/// What it came to for one module.
#[derive(Clone, Debug)]
pub struct ModuleOutcome {
    /// Its name.
    pub module: String,
    /// Its requests.
    pub asks: u64,
    /// Its turns.
    pub turns: u64,
    /// Its passes, where it was observed.
    pub passes: u64,
    /// Requests that timed out.
    pub timeouts: u64,
    /// Requests that were refused at once.
    pub refused: u64,
    /// Requests that their asker gave up.
    pub gave_up: u64,
    /// Turns that were declined.
    pub declined: u64,
    /// Turns that a panic ended.
    pub panicked: u64,
    /// Turns whose owner died.
    pub abandoned: u64,
    /// Turns beyond the module's longest.
    pub overruns: u64,
    /// Waits that passed the roster's `starving_after`.
    pub starved: u64,
    /// How long those of its requests waited that got a turn or timed out, in microseconds.
    pub waits: Histogram<u64>,
    /// How long its turns took, in microseconds.
    pub holds: Histogram<u64>,
    /// Its longest wait.
    pub longest: Option<LongestWait>,
    /// How long it waited while each module had its turn, or the delay after its turn ran; in the order of the modules.
    pub waited_for: Vec<Nanos>,
}

/// A module's longest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongestWait {
    /// When it began.
    pub from: Nanos,
    /// How long it was.
    pub length: Nanos,
    /// It ended with a turn, not with a timeout.
    pub granted: bool,
}

impl Outcome {
    /// The modules that never had a turn or a pass although they asked, and have been asking for longer than their
    /// requests can wait.
    pub fn never_served(&self) -> impl Iterator<Item = &ModuleOutcome> {
        self.modules.iter().filter(|m| m.turns + m.passes == 0 && m.timeouts > 0)
    }

    /// The longest of all waits and whose it was.
    #[must_use]
    pub fn longest(&self) -> Option<(&ModuleOutcome, LongestWait)> {
        let waits = self.modules.iter().filter_map(|m| Some((m, m.longest?)));
        // The first of equals, so that the report does not depend on chance.
        waits.rev().max_by_key(|(_, wait)| wait.length)
    }
}

impl ModuleOutcome {
    fn new(module: &str) -> Self {
        let histogram = || {
            // A day is the longest that anything takes; three digits are exact to a thousandth.
            let mut histogram = Histogram::new_with_bounds(1, 24 * 3600 * 1_000_000, 3)
                .unwrap_or_else(|_| Histogram::new_from(&EMPTY.with(Clone::clone)));
            histogram.auto(true);
            histogram
        };
        ModuleOutcome {
            module: module.to_string(),
            asks: 0,
            turns: 0,
            passes: 0,
            timeouts: 0,
            refused: 0,
            gave_up: 0,
            declined: 0,
            panicked: 0,
            abandoned: 0,
            overruns: 0,
            starved: 0,
            waits: histogram(),
            holds: histogram(),
            longest: None,
            waited_for: Vec::new(),
        }
    }
}
