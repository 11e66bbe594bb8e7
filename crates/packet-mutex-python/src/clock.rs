//! A clock for tests in virtual time.

use crate::seconds::duration;
use pyo3::prelude::*;

/// A clock that stands still until it is told to go on.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct ManualClock {
    pub(crate) clock: packet_mutex::ManualClock,
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> Self {
        ManualClock { clock: packet_mutex::ManualClock::new() }
    }

    /// Goes on by so many seconds, stopping at each alarm on the way.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let by = duration(seconds)?;
        py.detach(|| self.clock.advance(by));
        Ok(())
    }

    /// Goes on to a time in nanoseconds, stopping at each alarm on the way.
    fn advance_to(&self, py: Python<'_>, nanoseconds: u64) {
        py.detach(|| self.clock.advance_to(packet_mutex::Time::from_nanos(nanoseconds)));
    }

    /// The time of the next alarm in nanoseconds.
    #[getter]
    fn next_alarm(&self) -> Option<u64> {
        self.clock.next_alarm().map(packet_mutex::Time::as_nanos)
    }
}
