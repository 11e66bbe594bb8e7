//! What becomes of a process's mutexes when it forks and when it ends.

use crate::errors;
use packet_mutex::{Error, raw};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a mutex was used in this process.
static IN_USE: AtomicBool = AtomicBool::new(false);
/// Whether this process was forked from one that had used a mutex.
static FORKED: AtomicBool = AtomicBool::new(false);
/// Whether the interpreter is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

pub(crate) fn mark_in_use() {
    IN_USE.store(true, Ordering::Relaxed);
}

pub(crate) fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// Returns whether this process was forked from one that had used a mutex. No mutex may be touched then: its lock may be held
/// by a thread that the child does not have, and the thread that rings its alarms is gone.
#[inline]
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Refuses in a forked child (S6).
///
/// # Errors
///
/// `Unavailable`.
#[inline]
pub(crate) fn check(py: Python<'_>) -> PyResult<()> {
    if is_forked() { Err(forked(py)) } else { Ok(()) }
}

#[cold]
fn forked(py: Python<'_>) -> PyErr {
    let why = "this process was forked from one that uses packet_mutex and cannot use it; start processes with the \
               method `spawn` or `forkserver`, or before the first use";
    errors::raise(py, Error::Unavailable(why.into()))
}

/// Refuses every interpreter of this process but the first: owners, log lines and waiting tasks exist once for a process.
///
/// # Errors
///
/// `ImportError`.
pub(crate) fn refuse_other_interpreters(sys: Bound<'_, PyModule>) -> PyResult<()> {
    static FIRST: OnceLock<usize> = OnceLock::new();
    // Each interpreter has a module `sys` of its own, for as long as it lives.
    let this = sys.as_ptr() as usize;
    if *FIRST.get_or_init(|| this) == this {
        return Ok(());
    }
    let why = "packet_mutex cannot be used in a subinterpreter: another interpreter of this process uses it";
    Err(PyImportError::new_err(why))
}

/// For `os.register_at_fork`: the parent's mutexes are refused from now on.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    FORKED.store(IN_USE.load(Ordering::Relaxed), Ordering::Relaxed);
    raw::forget_this_thread();
}

/// For `atexit`: from now on no task is woken and no line is logged.
#[pyfunction]
pub(crate) fn at_exit() {
    ENDING.store(true, Ordering::Relaxed);
}
