//! A crew at work in virtual time, with the same arbiter that runs in production: weeks in a moment, before a real
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
use std::io::{self, Write};
use std::ops::Range;
use tally::Tally;
use world::{Observer, World};

/// The number of steps between two reports of progress.
const STEPS: u32 = 1 << 16;

/// A simulation.
#[derive(Clone, Copy, Debug)]
pub struct Simulation<'c> {
    /// The modules and their settings.
    pub roster: &'c Roster,
    /// What the modules do.
    pub demand: &'c Demand,
    /// The length of the run.
    pub hours: u32,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl Simulation<'_> {
    /// Returns the length of the run.
    #[must_use]
    pub fn length(&self) -> Nanos {
        Nanos::from(self.hours) * 3600 * SECOND
    }

    /// Runs it. `progress` is called now and then with the simulated time.
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

    /// Returns the roster with an event buffer that one input cannot overflow, even if it ends all waits at one instant:
    /// events are read after each input.
    fn roomy(&self) -> Roster {
        let mut spec = self.roster.spec().clone();
        let limits = &mut spec.limits;
        limits.events = limits.events.max(limits.waiters.saturating_mul(2).saturating_add(64));
        // More room cannot make a roster wrong.
        Roster::new(spec).unwrap_or_else(|_| self.roster.clone())
    }

    /// Returns the events of each of these stretches of the run, a line of JSON each.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn events(&self, stretches: &[Range<Nanos>]) -> Result<Vec<String>, NameError> {
        let mut lines = vec![String::new(); stretches.len()];
        let last = stretches.iter().map(|stretch| stretch.end).max().unwrap_or(0);
        // Writing to a string cannot fail.
        let _ = self.read_events("main", last.min(self.length()), &mut |event| {
            for (stretch, lines) in stretches.iter().zip(&mut lines) {
                if stretch.contains(&event.at.as_nanos()) {
                    lines.push_str(&format!("{event}\n"));
                }
            }
            Ok(())
        })?;
        Ok(lines)
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
        self.read_events(mutex, self.length(), &mut |event| writeln!(out, "{event}"))
    }

    /// Runs up to `end` and hands each event to `read`, until that fails.
    fn read_events(
        &self,
        mutex: &str,
        end: Nanos,
        read: ReadEvent<'_>,
    ) -> Result<io::Result<()>, NameError> {
        let names = tally::modules(self.roster, self.demand).into_iter().map(Name::from).collect();
        let reader = EventReader { mutex: mutex.into(), names, read, result: Ok(()) };
        let mut world = World::new(self.demand, self.roomy(), self.seed, reader)?;
        while world.observer.result.is_ok() && world.step(end) {}
        Ok(world.observer.result)
    }
}

type ReadEvent<'r> = &'r mut dyn FnMut(&packet_mutex::Event) -> io::Result<()>;

/// Hands all events on, as the readers of a mutex see them.
struct EventReader<'r> {
    mutex: Name,
    names: Vec<Name>,
    read: ReadEvent<'r>,
    result: io::Result<()>,
}

impl Observer for EventReader<'_> {
    fn event(&mut self, event: &Event) {
        // One step of the world may bring several events.
        if self.result.is_ok() {
            let name = |module: ModuleId| self.names.get(module.index()).cloned();
            let named = event.clone().map_modules(|module| name(module).unwrap_or_default());
            self.result = (self.read)(&packet_mutex::Event::new(self.mutex.clone(), named));
        }
    }
}
