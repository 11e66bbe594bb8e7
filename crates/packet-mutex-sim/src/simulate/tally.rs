//! The outcome of a run, counted from the arbiter's events.

use super::crew::Demand;
use super::world::Observer;
use crate::seconds::{Nanos, SECOND, nanos};
use hdrhistogram::Histogram;
use packet_mutex_arbiter::{End, Event, EventKind, ModuleId, Roster, Unserved};

/// The length of the typical stretch of a run that a report shows.
pub const WINDOW: Nanos = 120 * SECOND;
/// The most stretches that are searched for the typical one: a thousand hours.
const WINDOWS_MAX: usize = 30_000;

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The length of the run.
    pub length: Nanos,
    /// The modules, those of the roster first.
    pub modules: Vec<ModuleOutcome>,
    /// How long turns were open.
    pub busy: Nanos,
    /// How long no turn was open although a request waited: the cost of the handovers.
    pub held_up: Nanos,
    /// Handovers to another group.
    pub handovers: u64,
    /// Where the typical stretch of length [`WINDOW`] begins: the one whose waits and turns are nearest to the average.
    pub typical: Nanos,
}

/// The outcome of a run for one module.
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
    /// Requests that were withdrawn.
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
    /// In microseconds.
    waits: Histogram<u64>,
    holds: Histogram<u64>,
    longest_hold: Nanos,
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
    /// Whether it ended with a turn and not with a timeout.
    pub granted: bool,
}

impl Outcome {
    /// Returns the modules that never had a turn or a pass, although at least one request waited until its timeout.
    pub fn never_served(&self) -> impl Iterator<Item = &ModuleOutcome> {
        self.modules.iter().filter(|m| m.served() == 0 && m.timeouts > 0)
    }

    /// Returns the longest of all waits and its module.
    #[must_use]
    pub fn longest(&self) -> Option<(&ModuleOutcome, LongestWait)> {
        let waits = self.modules.iter().filter_map(|m| Some((m, m.longest?)));
        // Reversed, since `max_by_key` returns the last of equals and a report names the first.
        waits.rev().max_by_key(|(_, wait)| wait.length)
    }
}

impl ModuleOutcome {
    /// Returns the wait that this share of its requests did not exceed, of those that got a turn or timed out. It is exact
    /// to a thousandth; the longest wait is exact.
    #[must_use]
    pub fn wait(&self, share: f64) -> Nanos {
        let longest = self.longest.map_or(0, |longest| longest.length);
        if share >= 1.0 { longest } else { quantile(&self.waits, share).min(longest) }
    }

    /// Returns the length that this share of its turns did not exceed, in the same way.
    #[must_use]
    pub fn hold(&self, share: f64) -> Nanos {
        if share >= 1.0 {
            self.longest_hold
        } else {
            quantile(&self.holds, share).min(self.longest_hold)
        }
    }

    /// Returns the number of its turns and passes.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.turns + self.passes
    }

    fn new(module: &str, modules: usize) -> Self {
        // Three digits: a percentile is exact to a thousandth.
        let histogram = || Histogram::new(3).expect("a histogram of three digits");
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
            longest_hold: 0,
            longest: None,
            waited_for: vec![0; modules],
        }
    }
}

/// Counts during a run.
pub(super) struct Tally {
    outcome: Outcome,
    groups: Vec<usize>,
    /// The moment up to which time is counted.
    now: Nanos,
    /// The holder, and since when its turn has been open.
    holder: Option<(usize, Nanos)>,
    /// The module of the last turn that sent something.
    last: Option<usize>,
    /// How many wait, by module and together.
    waiting: Vec<u32>,
    waiters: u32,
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Default)]
struct Window {
    turns: u32,
    waits: Nanos,
}

impl Tally {
    pub(super) fn new(roster: &Roster, demand: &Demand) -> Self {
        let names = modules(roster, demand);
        let group = |name: &String| {
            let group_of = |name: &String| roster.module(name).and_then(|m| m.group.clone());
            let own = group_of(name).unwrap_or_else(|| name.clone());
            let same = |other: &String| group_of(other).as_ref().unwrap_or(other) == &own;
            names.iter().position(same).unwrap_or(usize::MAX)
        };
        let count = names.len();
        Tally {
            groups: names.iter().map(group).collect(),
            outcome: Outcome {
                length: 0,
                modules: names.iter().map(|name| ModuleOutcome::new(name, count)).collect(),
                busy: 0,
                held_up: 0,
                handovers: 0,
                typical: 0,
            },
            now: 0,
            holder: None,
            last: None,
            waiting: vec![0; count],
            waiters: 0,
            windows: Vec::new(),
        }
    }

    /// Returns the outcome at `end`.
    pub(super) fn finish(mut self, end: Nanos) -> Outcome {
        self.pass_to(end);
        self.outcome.length = end;
        self.outcome.typical = typical(&self.windows, end);
        self.outcome
    }

    /// Counts the time up to `now`, during which nothing changed.
    fn pass_to(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        if passed == 0 {
            return;
        }
        if self.holder.is_some() {
            self.outcome.busy += passed;
        }
        if self.waiters == 0 {
            return;
        }
        if self.holder.is_none() {
            self.outcome.held_up += passed;
        }
        // Without a holder, the delay after the last turn is what the waiters wait for.
        let Some(because) = self.holder.map(|(module, _)| module).or(self.last) else { return };
        for (module, waiting) in self.outcome.modules.iter_mut().zip(&self.waiting) {
            module.waited_for[because] += passed * Nanos::from(*waiting);
        }
    }

    fn window(&mut self) -> Option<&mut Window> {
        let at = usize::try_from(self.now / WINDOW).ok().filter(|at| *at < WINDOWS_MAX)?;
        if self.windows.len() <= at {
            self.windows.resize(at + 1, Window::default());
        }
        self.windows.get_mut(at)
    }

    /// Counts a request that leaves the queue.
    fn leaves(&mut self, module: usize) {
        self.waiting[module] = self.waiting[module].saturating_sub(1);
        self.waiters = self.waiters.saturating_sub(1);
    }

    fn waited(&mut self, module: usize, length: Nanos, granted: bool) {
        let from = self.now - length.min(self.now);
        let of = &mut self.outcome.modules[module];
        record(&mut of.waits, length);
        if of.longest.is_none_or(|longest| length > longest.length) {
            of.longest = Some(LongestWait { from, length, granted });
        }
        if let Some(window) = self.window() {
            window.waits += length;
        }
    }

    fn granted(&mut self, module: usize, waited: Nanos) {
        self.waited(module, waited, true);
        self.outcome.modules[module].turns += 1;
        let changes = self.last.is_some_and(|last| self.groups[last] != self.groups[module]);
        self.outcome.handovers += u64::from(changes);
        self.holder = Some((module, self.now));
        if let Some(window) = self.window() {
            window.turns += 1;
        }
    }

    fn ended(&mut self, end: End) {
        let Some((module, since)) = self.holder.take() else { return };
        let held = self.now - since;
        let of = &mut self.outcome.modules[module];
        record(&mut of.holds, held);
        of.longest_hold = of.longest_hold.max(held);
        of.declined += u64::from(end == End::Declined);
        of.panicked += u64::from(end == End::Panicked);
        of.abandoned += u64::from(end == End::Abandoned);
        if end != End::Declined {
            self.last = Some(module);
        }
    }
}

impl Observer for Tally {
    fn event(&mut self, event: &Event) {
        self.pass_to(event.at.as_nanos());
        let Some(module) = event.module.map(ModuleId::index) else { return };
        let of = &mut self.outcome.modules[module];
        match &event.kind {
            EventKind::Requested { .. } => {
                of.asks += 1;
                self.waiting[module] += 1;
                self.waiters += 1;
            }
            EventKind::Granted { pass: true, .. } => {
                of.passes += 1;
                self.leaves(module);
            }
            EventKind::Granted { waited, .. } => {
                self.leaves(module);
                self.granted(module, nanos(*waited));
            }
            EventKind::Refused { .. } => {
                of.refused += 1;
                self.leaves(module);
            }
            EventKind::Unserved { why, waited } => {
                of.timeouts += u64::from(*why == Unserved::TimedOut);
                of.gave_up += u64::from(*why == Unserved::Withdrawn);
                self.leaves(module);
                if *why == Unserved::TimedOut {
                    self.waited(module, nanos(*waited), false);
                }
            }
            // The last of its holds ends a turn, nested or not.
            EventKind::Ended { end, depth: 0, pass: false, .. } => self.ended(*end),
            EventKind::Overrun { .. } => of.overruns += 1,
            EventKind::Starving { .. } => of.starved += 1,
            _ => {}
        }
    }
}

fn quantile(histogram: &Histogram<u64>, share: f64) -> Nanos {
    histogram.value_at_quantile(share).saturating_mul(1000)
}

fn record(histogram: &mut Histogram<u64>, length: Nanos) {
    // The histogram grows as needed, and a mutex allows no length that is too long for it.
    let _ = histogram.record(length / 1000);
}

/// Returns the arbiter's modules by number: the roster's, then the crew's that the roster does not name.
pub(super) fn modules(roster: &Roster, demand: &Demand) -> Vec<String> {
    let mut names: Vec<String> = roster.spec().modules.iter().map(|m| m.name.clone()).collect();
    for work in &demand.works {
        if !names.contains(&work.module) {
            names.push(work.module.clone());
        }
    }
    names
}

/// Returns the beginning of the window that is nearest to the average in turns and in waits.
fn typical(windows: &[Window], end: Nanos) -> Nanos {
    // The last window may be cut short and is left out; the first begins with an empty queue and is never the typical one.
    let whole = usize::try_from(end / WINDOW).unwrap_or(usize::MAX).min(windows.len());
    let count = whole.max(1) as f64;
    let turns = windows[..whole].iter().map(|w| f64::from(w.turns)).sum::<f64>() / count;
    let waits = windows[..whole].iter().map(|w| w.waits as f64).sum::<f64>() / count;
    let off = |window: &Window| {
        let share = |is: f64, mean: f64| if mean > 0.0 { (is / mean - 1.0).abs() } else { is };
        share(f64::from(window.turns), turns) + share(window.waits as f64, waits)
    };
    let after_first = usize::from(whole > 1);
    let windows = windows[..whole].iter().enumerate().skip(after_first);
    let nearest = windows.min_by(|(_, a), (_, b)| off(a).total_cmp(&off(b)));
    nearest.map_or(0, |(at, _)| at as Nanos * WINDOW)
}
