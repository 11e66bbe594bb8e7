//! What all connections share: the mutexes and their newest snapshots.

use crate::changes::Changes;
use crate::limits::STREAMS_MAX;
use packet_mutex::{PacketMutex, Status, status_to_json};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

pub(crate) struct AppState {
    pub(crate) mutexes: Vec<Arc<ShownMutex>>,
    pub(crate) secret: Option<String>,
    /// Whether the server listens on the loopback only.
    pub(crate) loopback: bool,
    /// Tells this run of the server from earlier ones, so that no page goes on with the numbers of another run.
    pub(crate) boot: String,
    /// A permit for each `/events` that may still be opened.
    pub(crate) streams: Arc<Semaphore>,
}

/// A mutex and the newest snapshot of it.
pub(crate) struct ShownMutex {
    pub(crate) mutex: PacketMutex,
    pub(crate) changes: Arc<Changes>,
    newest: Mutex<Option<Snapshot>>,
}

/// A snapshot, also as JSON.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) status: Arc<Status>,
    pub(crate) json: Arc<str>,
    /// The number of the newest event when it was made, as far as its maker knew.
    seq: u64,
    made: Instant,
}

impl AppState {
    /// # Errors
    ///
    /// Why these mutexes cannot be shown, as a sentence.
    pub(crate) fn new(
        mutexes: impl IntoIterator<Item = PacketMutex>,
        secret: Option<String>,
        loopback: bool,
    ) -> Result<AppState, String> {
        let mutexes: Vec<Arc<ShownMutex>> =
            mutexes.into_iter().map(|mutex| Arc::new(ShownMutex::new(mutex))).collect();
        if mutexes.is_empty() {
            return Err("there is no mutex to show".into());
        }
        for (at, one) in mutexes.iter().enumerate() {
            let name = one.mutex.name();
            if mutexes[..at].iter().any(|other| other.mutex.name() == name) {
                return Err(format!("two mutexes are named `{name}`"));
            }
        }
        if secret.as_ref().is_some_and(String::is_empty) {
            return Err("the secret is empty".into());
        }
        if secret.is_none() && !loopback {
            return Err("beyond the loopback a secret is required (PACKET_MUTEX_SECRET)".into());
        }
        let boot = format!("{:016x}", RandomState::new().build_hasher().finish());
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Ok(AppState { mutexes, secret, loopback, boot, streams })
    }

    /// Returns the mutex of this name, or without a name the first.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&Arc<ShownMutex>> {
        match name {
            None => self.mutexes.first(),
            Some(name) => self.mutexes.iter().find(|shown| &**shown.mutex.name() == name),
        }
    }
}

impl ShownMutex {
    fn new(mutex: PacketMutex) -> Self {
        ShownMutex { mutex, changes: Arc::new(Changes::new()), newest: Mutex::default() }
    }

    /// Returns a snapshot that is younger than `longest` and not older than the event of this number.
    ///
    /// However many pages ask at once, the mutex is asked once.
    pub(crate) fn snapshot(&self, seq: u64, longest: Duration) -> Snapshot {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*newest
            && snapshot.seq >= seq
            && snapshot.made.elapsed() < longest
        {
            return snapshot.clone();
        }
        let status = self.mutex.status();
        let json = status_to_json(self.mutex.name(), &status).into();
        let made = Instant::now();
        let snapshot = Snapshot { status: status.into(), json, seq, made };
        *newest = Some(snapshot.clone());
        snapshot
    }
}
