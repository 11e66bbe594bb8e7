//! The monotonic clock of this process. It is the clock of the mutex's events, so that the times in all logs can be compared.

use std::time::Duration;

use packet_mutex::{Clock, SystemClock};

/// Returns the time since this process first read the clock.
pub fn now() -> Duration {
    Duration::from_nanos(SystemClock.now().as_nanos())
}
