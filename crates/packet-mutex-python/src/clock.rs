//! A clock for tests in virtual time.

use crate::seconds::duration;
use packet_mutex::{Alarm, Clock, Time};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// A clock that stands still until it is told to advance.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct ManualClock {
    pub(crate) clock: SettableClock,
}

/// A manual clock that can also be set without ringing its alarms.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettableClock {
    clock: packet_mutex::ManualClock,
    /// The time to which it was last set.
    set: Arc<AtomicU64>,
}

impl Clock for SettableClock {
    fn now(&self) -> Time {
        self.clock.now().max(Time::from_nanos(self.set.load(Ordering::SeqCst)))
    }

    fn wake_at(&self, at: Time, waker: Waker) -> Alarm {
        self.clock.wake_at(at, waker)
    }

    fn cancel(&self, alarm: Alarm) {
        self.clock.cancel(alarm);
    }
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> Self {
        ManualClock { clock: SettableClock::default() }
    }

    /// Advances by this many seconds and rings each alarm on the way.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let to = self.clock.now() + duration(seconds)?;
        self.ring_until(py, to);
        Ok(())
    }

    /// Advances to a time in nanoseconds and rings each alarm on the way.
    fn advance_to(&self, py: Python<'_>, nanoseconds: u64) {
        self.ring_until(py, Time::from_nanos(nanoseconds));
    }

    /// Shows a time in nanoseconds from now on. The alarms until then ring late, when the clock advances.
    fn set(&self, nanoseconds: u64) {
        self.clock.set.fetch_max(nanoseconds, Ordering::SeqCst);
    }

    /// The time of the next alarm in nanoseconds.
    #[getter]
    fn next_alarm(&self) -> Option<u64> {
        self.clock.clock.next_alarm().map(Time::as_nanos)
    }
}

impl ManualClock {
    fn ring_until(&self, py: Python<'_>, to: Time) {
        // An alarm takes the lock of its mutex, which a thread may have that waits for the interpreter.
        py.detach(|| self.clock.clock.advance_to(to));
    }
}
