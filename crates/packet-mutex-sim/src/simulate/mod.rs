//! A crew at work in virtual time, over the very arbiter that runs in production: weeks in a moment, before anybody's
//! character is at stake.
//!
//! ```
//! use packet_mutex_sim::simulate::{Crew, Simulation};
//!
//! let crew = Crew::parse("two.toml", "
//!     [modules.fisher]
//!     priority = 60
//!     work = { rest = { uniform = ['2s', '4s'] }, action = '300ms' }
//!
//!     [modules.eater]
//!     priority = 20
//!     work = { every = { exponential = '20s' }, action = '100ms' }
//! ").unwrap();
//! let outcome = Simulation { roster: &crew.file.roster, demand: &crew.demand, hours: 24, seed: 1 }
//!     .run(&mut |_| {})
//!     .unwrap();
//! assert!(outcome.modules.iter().all(|module| module.turns > 0));
//! ```

mod campaign;
mod checker;
mod comparison;
mod crew;
mod distribution;
mod faults;
mod shrink;
mod tally;
mod world;

pub use campaign::{Broken, Campaign, Counts};
pub use crew::{Burst, Crew, Demand, Source, When, Work};
pub use distribution::Distribution;
pub use tally::{LongestWait, ModuleOutcome, Outcome, WINDOW};

use crate::log::Name;
use crate::seconds::{Nanos, SECOND};
use packet_mutex_arbiter::{Event, ModuleId, NameError, Roster};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;
use tally::Tally;
use world::{Observer, World};

/// After so many steps a run tells how far it is.
const STEPS: u32 = 1 << 16;

/// What is to be simulated.
#[derive(Clone, Copy, Debug)]
pub struct Simulation<'c> {
    /// Who takes turns, and how.
    pub roster: &'c Roster,
    /// What they do.
    pub demand: &'c Demand,
    /// For how long.
    pub hours: u32,
    /// Fixes all chances.
    pub seed: u64,
}

impl Simulation<'_> {
    /// How long the run is.
    #[must_use]
    pub fn length(&self) -> Nanos {
        Nanos::from(self.hours) * 3600 * SECOND
    }

    /// Runs it; `progress` is told now and then how far it is.
    ///
    /// # Errors
    ///
    /// If the roster refuses the name of a module that works.
    pub fn run(&self, progress: &mut dyn FnMut(Nanos)) -> Result<Outcome, NameError> {
        let tally = Tally::new(self.roster, self.demand);
        let mut world = World::new(self.demand, self.roomy(), self.seed, tally)?;
        let end = self.length();
        'all: loop {
            for _ in 0..STEPS {
                if !world.step(end) {
                    break 'all;
                }
            }
            progress(world.next_plan().min(world.next_due()).min(end));
        }
        Ok(world.observer.finish(end))
    }

    /// The roster, with room for what can happen to all waiters at one instant: events are read after each input.
    fn roomy(&self) -> Roster {
        let mut spec = self.roster.spec().clone();
        let limits = &mut spec.limits;
        limits.events = limits.events.max(limits.waiters.saturating_mul(2).saturating_add(64));
        // More room cannot make a roster wrong.
        Roster::new(spec).unwrap_or_else(|_| self.roster.clone())
    }

    fn names(&self) -> Vec<Name> {
        tally::modules(self.roster, self.demand).into_iter().map(Name::from).collect()
    }

    /// The events of these stretches of the run, a line of JSON each.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn events(&self, stretches: &[Range<Nanos>]) -> Result<Vec<String>, NameError> {
        let names = self.names();
        let scribe = Scribe { stretches, names, lines: vec![String::new(); stretches.len()] };
        let mut world = World::new(self.demand, self.roomy(), self.seed, scribe)?;
        let last = stretches.iter().map(|stretch| stretch.end).max().unwrap_or(0);
        while world.step(last.min(self.length())) {}
        Ok(world.observer.lines)
    }

    /// Writes all events of the run under the mutex's name, a line of JSON each.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and those of `out`; nothing is written after one.
    pub fn write_events(
        &self,
        mutex: &str,
        out: &mut dyn Write,
    ) -> Result<io::Result<()>, NameError> {
        let names = self.names();
        let writer = Writer { mutex: mutex.into(), names, out, written: Ok(()) };
        let mut world = World::new(self.demand, self.roomy(), self.seed, writer)?;
        while world.observer.written.is_ok() && world.step(self.length()) {}
        Ok(world.observer.written)
    }
}

/// Writes down all that happens.
struct Writer<'w> {
    mutex: Name,
    names: Vec<Name>,
    out: &'w mut dyn Write,
    written: io::Result<()>,
}

impl Observer for Writer<'_> {
    fn event(&mut self, event: &Event) {
        if self.written.is_err() {
            return;
        }
        self.written = writeln!(self.out, "{}", named(&self.mutex, &self.names, event));
    }
}

/// The event as readers see it.
fn named(mutex: &Name, names: &[Name], event: &Event) -> packet_mutex::Event {
    let name = |module: ModuleId| names.get(module.index()).cloned().unwrap_or_else(|| "".into());
    packet_mutex::Event::new(mutex.clone(), event.clone().map_modules(name))
}

/// Writes down what happens in stretches of a run.
struct Scribe<'s> {
    stretches: &'s [Range<Nanos>],
    names: Vec<Name>,
    lines: Vec<String>,
}

impl Observer for Scribe<'_> {
    fn event(&mut self, event: &Event) {
        for (stretch, lines) in self.stretches.iter().zip(&mut self.lines) {
            if stretch.contains(&event.at.as_nanos()) {
                // Writing to a string cannot fail.
                let _ = writeln!(lines, "{}", named(&"main".into(), &self.names, event));
            }
        }
    }
}
