//! The time since the machine was started, for leases (S8). A lease runs on at the server while this machine is suspended.

use std::time::Duration;

/// Returns the time since the machine was started, with the time in which it was suspended.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn now() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::Boottime);
    // Neither part is ever negative.
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), nanos)
}

/// Where there is no such clock, returns that of the monotonic clock, which may stand still while the machine is suspended.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn now() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
