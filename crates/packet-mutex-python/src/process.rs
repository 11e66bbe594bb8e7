//! What a process does to its mutexes: it forks, and it ends.

use crate::errors;
use packet_mutex::{Error, raw};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A mutex was made in this process.
static IN_USE: AtomicBool = AtomicBool::new(false);
/// This process was forked from one that had a mutex.
static FORKED: AtomicBool = AtomicBool::new(false);
/// The interpreter is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

pub(crate) fn mark_in_use() {
    IN_USE.store(true, Ordering::Relaxed);
}

pub(crate) fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// In a forked child nothing of a mutex may be touched: its lock may have been taken by a thread that the child has not,
/// and what rings its alarms is gone.
#[inline]
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Fails in a forked child (S6).
#[inline]
pub(crate) fn check(py: Python<'_>) -> PyResult<()> {
    if is_forked() { Err(forked(py)) } else { Ok(()) }
}

#[cold]
fn forked(py: Python<'_>) -> PyErr {
    let why = "this process was forked from one that uses packet_mutex, and holds nothing; start processes with the \
               method `spawn` or `forkserver`, or before the first use";
    errors::raise(py, Error::Unavailable(why.into()))
}

/// Owners, log lines and waiting tasks are of the whole process, so only one of its interpreters can have them.
pub(crate) fn refuse_other_interpreters(sys: Bound<'_, PyModule>) -> PyResult<()> {
    static FIRST: OnceLock<usize> = OnceLock::new();
    // Each interpreter has a module `sys` of its own, for as long as it lives.
    let this = sys.as_ptr() as usize;
    if *FIRST.get_or_init(|| this) == this {
        return Ok(());
    }
    let why = "packet_mutex cannot be used in a subinterpreter: another interpreter of this process has it";
    Err(PyImportError::new_err(why))
}

/// For `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    FORKED.store(IN_USE.load(Ordering::Relaxed), Ordering::Relaxed);
    raw::forget_this_thread();
}

/// For `atexit`: from now on nobody is woken and nothing is written.
#[pyfunction]
pub(crate) fn at_exit() {
    ENDING.store(true, Ordering::Relaxed);
}
