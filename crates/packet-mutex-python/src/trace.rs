//! Writing the event log to a file.

use crate::mutex::Mutex;
use crate::process;
use pyo3::prelude::*;
use std::mem::forget;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

/// Writes the events of a mutex to a file until it is closed.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Trace(std::sync::Mutex<Option<packet_mutex::Trace>>);

impl Trace {
    fn trace(&self) -> MutexGuard<'_, Option<packet_mutex::Trace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Trace {
    #[new]
    fn new(py: Python<'_>, mutex: &Bound<'_, Mutex>, path: PathBuf) -> PyResult<Self> {
        process::check(py)?;
        let mutex = &mutex.get().mutex;
        let trace = py.detach(|| packet_mutex::Trace::start(path, [mutex]))?;
        Ok(Trace(std::sync::Mutex::new(Some(trace))))
    }

    /// Writes what has happened until now, and ends.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        process::check(py)?;
        let trace = self.trace().take();
        Ok(py.detach(|| trace.map_or(Ok(()), packet_mutex::Trace::finish))?)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // A forked child does not have the thread that writes, and would wait for it for ever.
        if process::is_forked() {
            forget(self.trace().take());
        }
    }
}
