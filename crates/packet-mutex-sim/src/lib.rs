//! Scenario runner, naive oracle and virtual time for PacketMutex.

mod action;
mod check;
mod front;
mod log;
mod oracle;
mod roster_text;
mod run;
mod scenario;
mod seconds;

pub use check::check;
pub use action::{Action, Ask, How, Level, Query};
pub use front::{ArbiterFront, Front};
pub use oracle::{Oracle, Refused};
pub use log::{Entry, Name, Value};
pub use run::{Mismatch, Timers, read_all, results, rewrite, run};
pub use scenario::{Scenario, ScenarioError, Step, What};
pub use seconds::{Nanos, SECOND, moment, nanos, parse_seconds, seconds};
