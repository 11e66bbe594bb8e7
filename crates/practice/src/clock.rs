//! The one monotonic clock of this process: that of the mutex's events, so that all logs of a run can be laid side by side.

use std::time::Duration;

use packet_mutex::{Clock, SystemClock};

/// Now, since the process first looked.
pub fn now() -> Duration {
    Duration::from_nanos(SystemClock.now().as_nanos())
}
