//! What a binding to another language needs: asks with its own owners, and answers by polling.
//!
//! This is the seam itself, [`Place`], and the functions that make owners. No rule is decided here. A binding decides only
//! who owns a turn, and how it waits. This module is not part of the crate's stable interface.

use crate::asking;
use crate::error::Error;
use crate::events::{Event, Events};
use crate::module::ModuleRef;
use crate::mutex::PacketMutex;
use std::sync::Arc;
use std::task::Waker;

pub use crate::owner::{forget_this_thread, new_owner, this_thread};
pub use crate::place::{Asked, Granted, Identity, Nap, Place, Terms};
pub use crate::sleep::Sleep;
pub use packet_mutex_arbiter::{DEFAULT_PRIORITY, Grant, Leave, Owner, RequestId, fold_name};

/// Returns the place where the mutex is.
#[must_use]
pub fn place(mutex: &PacketMutex) -> &Arc<dyn Place> {
    &mutex.place
}

/// Writes to the log why an ask was not granted in time.
pub fn log_timeout(mutex: &PacketMutex, module: &ModuleRef<'_>, error: &Error) {
    asking::log_timeout(&*mutex.place, module, error);
}

/// Takes all new events. If there are none, it leaves the waker.
#[must_use]
pub fn poll_events(events: &mut Events, waker: &Waker) -> Option<Vec<Event>> {
    events.poll(waker)
}
