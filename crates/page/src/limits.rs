//! What one client may take from the others.

use std::time::Duration;

/// The most connections at a time. One more is answered with 503.
pub const CONNECTIONS_MAX: usize = 256;
/// The most open `/events` at a time. One more is answered with 503.
pub const STREAMS_MAX: usize = 64;
/// The longest body of a request, in bytes.
pub const BODY_MAX: usize = 4096;
/// A connection that has not sent a whole request by then is closed.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// A reader that reads nothing for this long is dropped.
pub const READ_WITHIN: Duration = Duration::from_secs(5);
