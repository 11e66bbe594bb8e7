//! Readers of the event log (S16).

use crate::clock::Clock;
use crate::sync::{Parker, park_until};
use packet_mutex_arbiter::{RequestId, Time, Token};
use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// What happened. Modules stand by their names.
pub type EventKind = packet_mutex_arbiter::EventKind<Arc<str>>;

/// One entry of a mutex's event log, wherever the mutex is.
///
/// With the feature `json`, which is on by default, `Display` shows it as a line of JSON, and serde reads that line back.
///
/// ```
/// use packet_mutex::{Event, EventKind, PacketMutex, Roster};
///
/// let mutex = PacketMutex::new(Roster::default());
/// let mut events = mutex.events();
/// drop(mutex.acquire("fisher")?);
///
/// let log = events.take();
/// let names: Vec<&str> = log.iter().map(|event| event.kind.name()).collect();
/// assert_eq!(names, ["requested", "granted", "released"]);
/// assert!(matches!(log[1].kind, EventKind::Granted { others: 0, .. }));
/// # Ok::<(), packet_mutex::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The mutex's name.
    pub mutex: Arc<str>,
    /// Grows by one with each event of a mutex.
    pub seq: u64,
    /// When it happened, on the mutex's clock. That can be earlier than it was noticed (S18).
    pub at: Time,
    /// The module that the event concerns.
    pub module: Option<Arc<str>>,
    /// The request that the event concerns.
    pub request: Option<RequestId>,
    /// The turn's token, from the grant on.
    pub token: Option<Token>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// Makes an event from one of the arbiter's, whose modules already stand by their names, and the mutex's name.
    #[must_use]
    pub fn new(mutex: Arc<str>, event: packet_mutex_arbiter::Event<Arc<str>>) -> Self {
        let packet_mutex_arbiter::Event { seq, at, module, request, token, kind } = event;
        Event { mutex, seq, at, module, request, token, kind }
    }

    /// Makes the event that tells a reader that it came too late for some others.
    pub(crate) fn dropped(mutex: Arc<str>, newest: u64, at: Time, count: u64) -> Self {
        let (module, request, token) = (None, None, None);
        Event { mutex, seq: newest, at, module, request, token, kind: EventKind::Dropped { count } }
    }
}

/// Where a reader gets its events from. Each place where a mutex can be has its own.
pub trait EventSource: fmt::Debug + Send {
    /// Takes all new events. If there are none, it leaves the waker and returns `None`.
    fn poll(&mut self, waker: &Waker) -> Option<Vec<Event>>;

    /// Takes all new events, without waiting.
    fn take(&mut self) -> Vec<Event> {
        self.poll(Waker::noop()).unwrap_or_default()
    }

    /// Waits until [`take`](Self::take) finds all that has happened until now, but at most a second. A mutex in this process
    /// needs no wait.
    fn catch_up(&mut self) {}

    /// Forgets the waker that was left last. Nobody waits with it any more.
    fn forget_waker(&mut self) {}
}

/// A reader of one mutex's events. [`PacketMutex::events`](crate::PacketMutex::events) returns it.
///
/// Each reader reads every event once. The mutex keeps a bounded number of events (`limits.events` in the roster). A reader
/// that comes too late finds an [`EventKind::Dropped`], which says how many are gone. A slow reader delays nobody.
///
/// ```
/// use packet_mutex::{EventKind, PacketMutex, Roster};
/// use std::time::Duration;
///
/// let mutex = PacketMutex::new(Roster::default());
/// let mut events = mutex.events();
/// std::thread::scope(|s| {
///     s.spawn(|| mutex.close());
///     let log = events.wait(Duration::from_secs(5));
///     assert_eq!(log[0].kind, EventKind::Closing);
/// });
/// ```
#[derive(Debug)]
pub struct Events {
    source: Box<dyn EventSource>,
    clock: Arc<dyn Clock>,
    /// Whether the last poll left a waker.
    waits: bool,
}

impl Events {
    pub(crate) fn new(source: Box<dyn EventSource>, clock: Arc<dyn Clock>) -> Self {
        Events { source, clock, waits: false }
    }

    /// Takes all new events, without waiting.
    pub fn take(&mut self) -> Vec<Event> {
        self.source.take()
    }

    /// Takes all new events. It waits up to `longest` for the first, in the mutex's time.
    pub fn wait(&mut self, longest: Duration) -> Vec<Event> {
        let Events { source, clock, .. } = self;
        let end = clock.now() + longest;
        let found = park_until(&**clock, Some(end), Parker::park, |waker| source.poll(waker));
        if found.is_none() {
            self.source.forget_waker();
        }
        found.unwrap_or_default()
    }

    /// The async twin of [`wait`](Self::wait). It takes all new events, at least one, and waits for as long as that takes.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped. The next call finds it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), packet_mutex::Error> {
    /// let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
    /// let mut events = mutex.events();
    /// drop(mutex.acquire_async("fisher").await?);
    /// assert_eq!(events.wait_async().await.len(), 3); // requested, granted, released
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_async(&mut self) -> Vec<Event> {
        std::future::poll_fn(|context| {
            self.poll(context.waker()).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    #[cfg(all(feature = "json", not(pm_loom)))]
    pub(crate) fn catch_up(&mut self) {
        self.source.catch_up();
    }

    /// Takes all new events. If there are none, it leaves the waker.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Vec<Event>> {
        let found = self.source.poll(waker);
        self.waits = found.is_none();
        found
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Wakers leave only when something happens. In a quiet mutex those of readers that are gone would pile up.
        if self.waits {
            self.source.forget_waker();
        }
    }
}
