//! Reading the event log.

use crate::seconds::optional;
use crate::{process, wait};
use packet_mutex::{Event, raw};
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

/// Returns the lines of JSON of events.
fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(ToString::to_string).collect()
}

#[pymethods]
impl Events {
    /// Takes all new events as lines of JSON, without waiting.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        process::check(py)?;
        let events = self.events().take();
        Ok(lines(&events))
    }

    /// Takes all new events as lines of JSON; waits up to `timeout` seconds for the first.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<String>> {
        process::check(py)?;
        let longest = optional(timeout)?;
        let found = wait::wait(py, longest, |waker| raw::poll_events(&mut self.events(), waker))?;
        Ok(lines(&found.unwrap_or_default()))
    }
}
