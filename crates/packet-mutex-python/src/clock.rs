//! A clock for tests in virtual time.

use crate::seconds::duration;
use packet_mutex::{Alarm, Clock, Time};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// A clock that stands still until it is told to go on.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct ManualClock {
    pub(crate) hands: Hands,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Hands {
    clock: packet_mutex::ManualClock,
    /// The time that it was set to without ringing.
    set: Arc<AtomicU64>,
}

impl Clock for Hands {
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
        ManualClock { hands: Hands::default() }
    }

    /// Goes on by so many seconds, stopping at each alarm on the way.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let to = self.hands.now() + duration(seconds)?;
        py.detach(|| self.hands.clock.advance_to(to));
        Ok(())
    }

    /// Goes on to a time in nanoseconds, stopping at each alarm on the way.
    fn advance_to(&self, py: Python<'_>, nanoseconds: u64) {
        py.detach(|| self.hands.clock.advance_to(Time::from_nanos(nanoseconds)));
    }

    /// Shows a time in nanoseconds from now on; the alarms until then ring late, when it goes on.
    fn set(&self, nanoseconds: u64) {
        self.hands.set.fetch_max(nanoseconds, Ordering::SeqCst);
    }

    /// The time of the next alarm in nanoseconds.
    #[getter]
    fn next_alarm(&self) -> Option<u64> {
        self.hands.clock.next_alarm().map(Time::as_nanos)
    }
}
