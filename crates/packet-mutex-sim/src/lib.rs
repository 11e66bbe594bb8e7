//! Scenario runner, naive oracle and virtual time for PacketMutex.
//!
//! - [`Scenario`]: what is done to a mutex and what must come of it, as text; [`run`] compares. The format is described in
//!   `scenarios/README.md`.
//! - [`Front`]: what scenarios run on. [`ArbiterFront`] is the bare arbiter; [`words`] helps other fronts to say the same.
//! - [`Oracle`]: a second, naive implementation of the rules. It predicts the whole log; [`check`] compares any front with it.
//! - [`simulate`]: crews of modules at work in virtual time, and campaigns in which things go wrong.
//! - [`MutantRunner`]: takes rules out of a copy of the arbiter's code, to see whether a scenario fails.
//!
//! ```
//! use packet_mutex_sim::{ArbiterFront, Scenario, run};
//! use std::path::Path;
//!
//! let text = "\
//! title: After a turn of another group the delay runs
//! rules: S3
//! roster six
//! 0 f: fisher asks
//!     | 0.000 requested f fisher timeout 30
//!     | 0.000 granted f fisher token 1 waited 0
//! 2 f ends
//!     | 2.000 released f fisher token 1 held 2
//! 2 e: eater asks
//!     | 2.000 requested e eater timeout 30
//! 3 tick
//!     | 3.000 granted e eater token 2 waited 1
//! ";
//! let scenario = Scenario::parse(Path::new("example"), text).unwrap();
//! run(&scenario, &mut ArbiterFront::new(&scenario)).unwrap();
//! ```

mod action;
mod check;
mod front;
mod log;
mod mutants;
mod oracle;
mod roster_text;
mod run;
mod scenario;
mod seconds;
pub mod simulate;
pub mod words;

pub use action::{Action, Ask, Query};
pub use check::check;
pub use front::{ArbiterFront, Front};
pub use log::{Entry, Name, Value};
pub use mutants::{FAILED, Mutant, MutantRunner, Verdict, parse_mutants};
pub use oracle::{Oracle, Refused};
pub use run::{Mismatch, Timers, read_all, results, rewrite, run};
pub use scenario::{Scenario, ScenarioError, Step, What};
pub use seconds::{Nanos, SECOND, moment, nanos};
