//! Scenario runner, naive oracle and virtual time for PacketMutex.

mod action;
mod check;
mod front;
mod hour;
mod log;
mod mutants;
mod oracle;
mod roster_text;
mod run;
mod scenario;
mod seconds;

pub use action::{Action, Ask, How, Level, Query};
pub use check::check;
pub use front::{ArbiterFront, Front};
pub use hour::{Dice, Tally, run_six};
pub use log::{Entry, Name, Value};
pub use mutants::{FAILED, Mutant, Verdict, Workshop, mutate, parse_mutants};
pub use oracle::{Oracle, Refused};
pub use run::{Mismatch, Timers, read_all, results, rewrite, run};
pub use scenario::{Scenario, ScenarioError, Step, What};
pub use seconds::{Nanos, SECOND, moment, nanos, parse_seconds, seconds};
