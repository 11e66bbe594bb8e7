//! Asks for turns, and waits for the answers in the calling thread.

use crate::{errors, owners, wait};
use packet_mutex::raw::{self, Granted, Terms};
use packet_mutex::{Error, Module, PacketMutex, RequestId};
use pyo3::prelude::*;
use std::time::Duration;

/// A hold that was granted, or why there is none.
pub(crate) type Outcome = Result<(RequestId, raw::Grant), Error>;

/// Asks for a turn and waits for the answer.
///
/// # Errors
///
/// What a signal handler raised, and `WouldDeadlock` for an ask that would freeze the event loop. The ask is withdrawn.
pub(crate) fn ask(
    py: Python<'_>,
    mutex: &PacketMutex,
    module: &Module,
    terms: Terms,
) -> PyResult<Outcome> {
    match raw::place(mutex).begin(&module.into(), terms) {
        Ok(asked) => wait_for_answer(py, mutex, module, asked),
        Err(error) => Ok(Err(error)),
    }
}

/// Waits for the answer of a request that was made.
///
/// # Errors
///
/// As [`ask`].
pub(crate) fn wait_for_answer(
    py: Python<'_>,
    mutex: &PacketMutex,
    module: &Module,
    (id, answer): raw::Asked,
) -> PyResult<Outcome> {
    let granted = match answer {
        Some(granted) => granted,
        None => {
            let place = raw::place(mutex);
            let waited = owners::refuse_to_freeze(py, place, module.name())
                .and_then(|()| wait::wait(py, None, |waker| place.poll(id, waker)));
            waited.inspect_err(|_| place.withdraw(id))?.unwrap_or(Err(Error::Lost))
        }
    };
    Ok(outcome(mutex, module, id, granted))
}

/// Turns an answer into an outcome, and logs a timeout.
pub(crate) fn outcome(
    mutex: &PacketMutex,
    module: &Module,
    id: RequestId,
    granted: Granted,
) -> Outcome {
    // The event log does not know why a request timed out. Only the answer does.
    let log = |error: &Error| raw::log_timeout(mutex, &module.into(), error);
    granted.inspect_err(log).map(|grant| (id, grant))
}

/// Returns whether the turn was granted, for the forms that answer with a `bool`.
///
/// # Errors
///
/// `WouldDeadlock` in an event loop; what a signal handler raised.
pub(crate) fn was_granted(
    py: Python<'_>,
    mutex: &PacketMutex,
    module: &Module,
    outcome: Result<(), Error>,
    timeout: Option<Duration>,
) -> PyResult<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error @ Error::WouldDeadlock { .. }) => {
            if owners::in_event_loop(py)? {
                return Err(errors::raise(py, error));
            }
            // The module that this package replaces waited the timeout out, and bots rely on it: a loop that tries again at
            // once would spin.
            let roster = mutex.roster();
            let own = roster.module(module.name()).and_then(|module| module.timeout);
            let timeout = timeout.or(own).unwrap_or(roster.spec().timeout);
            wait::wait(py, Some(timeout), |_| None::<()>)?;
            Ok(false)
        }
        Err(_) => Ok(false),
    }
}
