//! What a server hosts, and its settings.

use super::limits::LEASE;
use crate::mutex::PacketMutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a server.
#[derive(Clone)]
pub struct Options {
    /// The secret that clients over TCP must know. It is required beyond the loopback.
    pub secret: Option<String>,
    /// How long a turn over TCP lasts without a heartbeat (S8), from 100 ms to an hour.
    pub lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { secret: None, lease: LEASE }
    }
}

/// Does not show the secret.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|_| "…");
        f.debug_struct("Options").field("secret", &secret).field("lease", &self.lease).finish()
    }
}

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) mutexes: BTreeMap<Arc<str>, PacketMutex>,
    pub(super) options: Options,
}
