//! The lock that several modules of one program share when they drive one character, robot or line. It has strict module
//! priorities, a delay when the channel passes to another module, timeouts, scoped release, and an event log.
//!
//! ```
//! use packet_mutex::{PacketMutex, Roster};
//!
//! let mutex = PacketMutex::new(Roster::default());
//! let turn = mutex.acquire("fisher")?; // waits at most 30 s
//! // send the packets of one whole cycle
//! drop(turn);
//! # Ok::<(), packet_mutex::Error>(())
//! ```
//!
//! - [`PacketMutex`] has no data. It says when a module may act. The turns of lost threads are recovered, modules can be
//!   observed before they are governed, and turns can nest.
//! - [`Guarded<T>`](Guarded) owns the channel. Without a turn there is no way to send.
//! - Threads and tasks of any executor wait in one queue. Every blocking call has an async twin.
//!
//! The decisions are those of [`packet_mutex_arbiter`], a state machine without clock, thread or I/O.
//!
//! It keeps the rules S1 to S20, which this documentation cites. They are in `docs/RULES.md` of the repository.

#![cfg_attr(pm_loom, expect(unreachable_pub, reason = "`raw`, which makes it public, is left out"))]

mod ask;
mod asking;
mod clock;
mod english;
mod error;
mod events;
mod guarded;
#[cfg(feature = "json")]
mod json;
mod local;
mod log;
mod module;
mod mutex;
#[cfg(feature = "net")]
pub mod net;
mod owner;
mod place;
#[cfg(not(pm_loom))]
#[doc(hidden)]
pub mod raw;
#[cfg(feature = "toml")]
pub mod roster_toml;
mod sleep;
mod sync;
#[cfg(all(feature = "json", not(pm_loom)))]
mod trace;
mod turn;
mod wakers;

pub use ask::{Ask, Target};
pub use clock::{Alarm, Clock, ManualClock, SystemClock};
pub use english::{EVENT_MEANINGS, English};
pub use error::Error;
pub use events::{Event, EventKind, Events};
pub use guarded::{Guarded, GuardedTurn, NestedTurn};
#[cfg(feature = "json")]
pub use json::{status_from_json, status_to_json};
pub use module::{Module, ModuleRef};
pub use mutex::{Builder, PacketMutex, all_but_urgent, below};
pub use packet_mutex_arbiter::{
    Below, DelaySpec, EVENT_NAMES, End, Failure, FailureKind, HolderStatus, InvalidName, Limits,
    Mode, ModuleSpec, ModuleStatus, NameError, PauseStatus, Percentiles, Reason, Refusal,
    RequestId, Roster, RosterError, RosterErrors, RosterProblem, RosterSpec, Status, Steer, Time,
    TimedOut, Token, Unserved, WaiterStatus,
};
pub use place::Slept;
#[cfg(all(feature = "json", not(pm_loom)))]
pub use trace::Trace;
pub use turn::{OfTask, OfThread, TaskTurn, Turn, TurnOf};
