//! What the protocol promises: its version, and its limits (S14).

use std::time::Duration;

/// The version of the protocol.
pub const VERSION: u64 = 1;
/// The longest frame that a server takes, in bytes, its line's end included.
pub const FRAME_MAX: usize = 64 * 1024;
/// The longest frame that a client takes: a status tells of every waiter.
pub const REPLY_MAX: usize = 4 * 1024 * 1024;
/// Most requests, turns and owners of one connection.
pub const PER_CONNECTION_MAX: usize = 1024;
/// Most connections of one server.
pub const CONNECTIONS_MAX: usize = 10_000;
/// A connection that has not said hello by then is closed.
pub const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A client that has not read what it is sent by then is dropped.
pub const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long a turn over TCP lasts without a heartbeat, unless the server is told otherwise (S8).
pub const LEASE: Duration = Duration::from_secs(10);
