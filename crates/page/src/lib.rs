//! A running mutex to look at: a page that shows it live, its status as JSON, and its figures for Prometheus.
//!
//! [`Page`] serves all of it over HTTP, from a thread of its own, beside whatever uses the mutex. It only looks: it reads
//! events from the mutex's bounded buffer and takes snapshots, so it delays no grant. With a secret, the page can steer too.
//!
//! ```
//! use packet_mutex::{PacketMutex, Roster};
//! use page::Page;
//!
//! let mutex = PacketMutex::new(Roster::default());
//! let page = Page::start("127.0.0.1:0", [mutex.clone()], None)?;
//! println!("look at {}", page.url());
//! // Threads and tasks of this program use `mutex`; the page ends when `page` is dropped.
//! # Ok::<(), packet_mutex::Error>(())
//! ```
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/events` | what the page hears: server-sent events, from the oldest event that is kept on |
//! | `/status.json` | a snapshot |
//! | `/metrics` | the figures in the OpenMetrics text format |
//! | `/steer` | what the page's buttons send |
//!
//! All but `/metrics` take `?mutex=NAME`; without it, the first mutex is meant.

mod front_page;
mod metrics;
mod pulse;
mod routes;
mod serve;
mod steer;
mod stream;

use crate::pulse::Pulse;
use packet_mutex::{Error, PacketMutex, Status};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// Most connections at a time; one more is answered with 503.
pub const CONNECTIONS_MAX: usize = 256;
/// Most open `/events` at a time; one more is answered with 503.
pub const STREAMS_MAX: usize = 64;
/// The longest body of a request, in bytes.
pub const BODY_MAX: usize = 4096;
/// A connection that has not sent a whole request by then is closed.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// A reader that takes nothing for so long is dropped.
pub const READ_WITHIN: Duration = Duration::from_secs(5);

/// The page of some mutexes, served until this is dropped.
#[must_use = "the page is gone when this is dropped"]
pub struct Page {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Page {
    /// Serves a page of these mutexes of this process at an address such as `127.0.0.1:7721`; port 0 lets the system
    /// choose.
    ///
    /// Reading is open to whoever can connect. Steering needs the secret, and without one nobody can steer.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]: there is no mutex or there are two of one name, the address cannot be listened at, the
    /// secret is empty, or the address is beyond the loopback and there is none.
    pub fn start(
        address: &str,
        mutexes: impl IntoIterator<Item = PacketMutex>,
        secret: Option<String>,
    ) -> Result<Page, Error> {
        let unavailable = |why: String| Error::Unavailable(format!("http://{address}: {why}"));
        let told = |error: io::Error| unavailable(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(told)?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(told)?;
        let at = listener.local_addr().map_err(told)?;
        let house = House::new(mutexes, secret, at.ip().is_loopback()).map_err(unavailable)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve::serve(listener, Arc::new(house)) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("packet-mutex-page".into()).spawn(serve);
        Ok(Page { address: at, stop: Some(stop), thread: Some(thread.map_err(told)?) })
    }

    /// Where it listens; with the port that the system chose, if it was to choose one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a browser on this machine finds the page.
    #[must_use]
    pub fn url(&self) -> String {
        let mut at = self.address;
        if at.ip().is_unspecified() {
            at.set_ip(match at {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{at}/")
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was told by the panic hook.
            let _ = thread.join();
        }
    }
}

/// What all connections share.
struct House {
    shown: Vec<Arc<Shown>>,
    secret: Option<String>,
    loopback: bool,
    /// Sets this run of the server apart from those before it, so that nobody goes on with numbers of another.
    boot: String,
    streams: Arc<Semaphore>,
}

/// A mutex and the newest snapshot that was sent of it.
struct Shown {
    mutex: PacketMutex,
    newest: Mutex<Option<Snapshot>>,
    pulse: Pulse,
}

/// A snapshot, also as JSON.
#[derive(Clone)]
struct Snapshot {
    status: Arc<Status>,
    json: Arc<str>,
    /// The number of the newest event when it was made, as far as its maker knew.
    seq: u64,
    made: Instant,
}

impl House {
    fn new(
        mutexes: impl IntoIterator<Item = PacketMutex>,
        secret: Option<String>,
        loopback: bool,
    ) -> Result<House, String> {
        let shown =
            |mutex| Arc::new(Shown { mutex, newest: Mutex::default(), pulse: Pulse::new() });
        let shown: Vec<Arc<Shown>> = mutexes.into_iter().map(shown).collect();
        if shown.is_empty() {
            return Err("there is no mutex to show".into());
        }
        for (at, one) in shown.iter().enumerate() {
            let name = one.mutex.name();
            if shown[..at].iter().any(|other| other.mutex.name() == name) {
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
        Ok(House { shown, secret, loopback, boot, streams })
    }

    /// The mutex of this name, or the first.
    fn shown(&self, name: Option<&str>) -> Option<&Arc<Shown>> {
        match name {
            None => self.shown.first(),
            Some(name) => self.shown.iter().find(|shown| &**shown.mutex.name() == name),
        }
    }
}

impl Shown {
    /// A snapshot not older than `longest`, nor than the event of this number. However many look, the mutex is asked once.
    fn snapshot(&self, seq: u64, longest: Duration) -> Snapshot {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*newest
            && snapshot.seq >= seq
            && snapshot.made.elapsed() < longest
        {
            return snapshot.clone();
        }
        let status = self.mutex.status();
        let mut json = String::new();
        // Writing to a string cannot fail.
        let _ = status.write_json(self.mutex.name(), &mut json);
        let made = Instant::now();
        let snapshot = Snapshot { status: status.into(), json: json.into(), seq, made };
        *newest = Some(snapshot.clone());
        snapshot
    }
}
