//! What the protocol promises: its version, and its limits (S14).

use std::time::Duration;

/// The version of the protocol.
pub const VERSION: u64 = 1;
/// The longest frame that a server accepts, in bytes, the end of its line included.
pub const FRAME_MAX: usize = 64 * 1024;
/// The longest frame that a client accepts, in bytes. It is much longer because a status lists every waiter.
pub const REPLY_MAX: usize = 4 * 1024 * 1024;
/// The most requests and turns, and the most owners, that one connection can have.
pub const PER_CONNECTION_MAX: usize = 1024;
/// The most connections that one server has.
pub const CONNECTIONS_MAX: usize = 10_000;
/// A connection that has not said hello within this time is closed.
pub const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A client that does not read what it is sent within this time is dropped.
pub const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long a turn over TCP lasts without a heartbeat, unless the server is told otherwise (S8).
pub const LEASE: Duration = Duration::from_secs(10);
