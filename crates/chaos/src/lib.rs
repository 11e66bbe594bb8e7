//! Faults at each step of the protocol, and what becomes of the turn, judged from the holders' own logs.
//!
//! A [`Cell`] is a fault that lands on a client of some kind at some [`Step`], over Unix sockets or TCP. A run of it has a
//! server, three clients and the far end of the channel, each a process or thread of its own. Two clients wait for the mutex.
//! The third, the subject, is brought to the step. Then it is killed, stopped or cut off, or its server is. The far end takes
//! actions with tokens, and refuses a token older than the newest that it has seen. The [`judge`](judge()) reads nothing but
//! the clients' logs: when they asked, were granted a turn, acted and with what result.
//!
//! Without [`Cell::jitter`] the fault lands exactly at the step, since every process is driven over pipes. With it, the fault
//! lands at a time that its random seed gives.
#![cfg(unix)]

mod cell;
mod channel;
mod client;
mod judge;
mod library;
mod log;
mod process;
mod raw;
mod soak;
mod step;
mod subject;

pub use cell::{Outcome, run};
pub use client::serve_commands;
pub use judge::{Figures, judge};
pub use log::{Line, What};
pub use soak::{Soak, run_all, table};
pub use step::{Cell, Fault, Kind, Step, Transport, cells};
