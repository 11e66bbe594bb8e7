//! Reading the event log.

use crate::seconds::optional;
use crate::{process, wait};
use packet_mutex::{Entry, raw};
use pyo3::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A reader of one mutex's events.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Events {
    events: Mutex<packet_mutex::Events>,
}

impl Events {
    pub(crate) fn new(events: packet_mutex::Events) -> Self {
        Events { events: Mutex::new(events) }
    }

    fn events(&self) -> MutexGuard<'_, packet_mutex::Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines(entries: Vec<Entry>) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

#[pymethods]
impl Events {
    /// All new events as lines of JSON, without waiting.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        process::check(py)?;
        let entries = self.events().take();
        Ok(lines(entries))
    }

    /// All new events as lines of JSON; waits up to so many seconds for the first.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<String>> {
        process::check(py)?;
        let longest = optional(timeout)?;
        let found = wait::wait(py, longest, |waker| raw::poll_events(&mut self.events(), waker))?;
        Ok(lines(found.unwrap_or_default()))
    }
}
