//! The pure decision core of PacketMutex: who goes next, when, and why.
//!
//! [`Arbiter`] is a deterministic state machine for one shared action channel. Clocks, threads and sockets live in the
//! fronts that feed it. It keeps the rules S1 to S20, which this documentation cites. They are in `docs/RULES.md` of the
//! repository, and the scenarios in `scenarios/` test them.
#![no_std]

extern crate alloc;

mod arbiter;
mod decision;
mod event;
mod histogram;
mod input;
mod name;
mod named;
mod output;
mod records;
mod roster;
mod status;
mod table;
mod time;

pub use arbiter::{Arbiter, Start};
pub use decision::Decision;
pub use event::{EVENT_NAMES, End, Event, EventKind, Unserved};
pub use input::{
    Below, Input, Leave, ModuleId, Owner, REASON_MAX, Request, RequestId, Steer, Token,
};
pub use name::{InvalidName, NAME_MAX, fold_name, nearest_name};
pub use output::{AHEAD_MAX, Answer, Failure, FailureKind, Grant, Output, Refusal, TimedOut};
pub use roster::{
    DEFAULT_PRIORITY, DURATION_MAX, DelaySpec, Limits, Mode, ModuleSpec, Roster, RosterError,
    RosterErrors, RosterProblem, RosterSpec,
};
pub use status::{
    HolderStatus, ModuleStatus, PauseStatus, Percentiles, Reason, Status, WaiterStatus,
};
pub use table::{NameError, Resolved};
pub use time::Time;
