//! Reading the event log (S16).

use crate::backend::Backend;
use crate::log::other_module;
use crate::shared::{Shared, State};
use packet_mutex_arbiter::{Event, EventKind, ModuleId, Time};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A reader of one mutex's events, from `PacketMutex::events`.
///
/// Each reader reads every event once. The mutex keeps a bounded number (the roster's `limits.events`): who reads too
/// late finds an [`Entry::Dropped`] that says how many are gone; a slow reader delays nobody.
#[derive(Debug)]
pub struct Events {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Local(Reader),
    #[cfg(feature = "net")]
    Remote(crate::net::RemoteEvents),
}

/// A reader of the events of a mutex in this process.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    /// The number of the newest event that it has read.
    pub(crate) seen: u64,
    /// Under which it leaves its waker.
    pub(crate) key: u64,
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An event.
    Event(NamedEvent),
    /// So many events were dropped before this reader came to them.
    Dropped {
        /// The mutex's name.
        mutex: Arc<str>,
        /// The number of the newest event that is gone.
        seq: u64,
        /// When the reader noticed it.
        at: Time,
        /// How many are gone.
        count: u64,
    },
    /// An event as the server of a mutex elsewhere told it.
    Told {
        /// The event's name in JSON.
        event: String,
        /// The line of JSON.
        line: String,
    },
}

/// An event with the names that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEvent {
    /// The event.
    pub event: Event,
    /// The mutex's name.
    pub mutex: Arc<str>,
    /// The name of the event's module.
    pub module: Option<Arc<str>>,
    /// The name of the second module that it speaks of, as in a conflict.
    pub other: Option<Arc<str>>,
}

impl Events {
    pub(crate) fn new(backend: &Backend, from_the_oldest: bool) -> Self {
        let source = match backend {
            Backend::Local(shared) => {
                let after = from_the_oldest.then_some(0);
                Source::Local(Reader::new(shared.clone(), after))
            }
            #[cfg(feature = "net")]
            Backend::Remote(remote) => Source::Remote(remote.events(from_the_oldest)),
        };
        Events { source }
    }

    /// All new events, without waiting.
    pub fn take(&mut self) -> Vec<Entry> {
        match &mut self.source {
            Source::Local(reader) => {
                let shared = reader.shared.clone();
                shared.with(|state, now| reader.read(state, now))
            }
            #[cfg(feature = "net")]
            Source::Remote(events) => events.take(),
        }
    }

    /// All new events; waits up to `longest` for the first, in the mutex's time.
    pub fn wait(&mut self, longest: Duration) -> Vec<Entry> {
        match &mut self.source {
            Source::Local(reader) => reader.wait(longest),
            #[cfg(feature = "net")]
            Source::Remote(events) => events.wait(longest),
        }
    }

    /// The async twin of [`wait`](Self::wait): all new events, at least one. It waits as long as it takes.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped; the next call finds it.
    pub async fn wait_async(&mut self) -> Vec<Entry> {
        std::future::poll_fn(|context| {
            self.poll(context.waker()).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits a second at most until [`take`](Self::take) finds all that has happened until now; a mutex in this process
    /// tells it at once.
    #[cfg(not(pm_loom))]
    pub(crate) fn catch_up(&mut self) {
        match &mut self.source {
            Source::Local(_) => {}
            #[cfg(feature = "net")]
            Source::Remote(events) => events.catch_up(),
        }
    }

    /// All new events; if there are none, leaves the waker.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Vec<Entry>> {
        match &mut self.source {
            Source::Local(reader) => reader.poll(waker),
            #[cfg(feature = "net")]
            Source::Remote(events) => events.poll(waker),
        }
    }
}

impl Reader {
    /// A reader of the events after the one with this number, or else of those that are yet to come.
    pub(crate) fn new(shared: Arc<Shared>, after: Option<u64>) -> Self {
        let (newest, key) =
            shared.with(|state, _| (state.arbiter.last_seq(), state.readers.new_key()));
        Reader { shared, seen: after.unwrap_or(newest).min(newest), key }
    }

    fn poll(&mut self, waker: &Waker) -> Option<Vec<Entry>> {
        let shared = self.shared.clone();
        let waker = waker.clone();
        let (entries, _old_waker) = shared.with(|state, now| {
            let entries = self.read(state, now);
            let old = if entries.is_empty() { state.readers.leave(self.key, waker) } else { None };
            (entries, old)
        });
        (!entries.is_empty()).then_some(entries)
    }

    fn wait(&mut self, longest: Duration) -> Vec<Entry> {
        let shared = self.shared.clone();
        let end = shared.clock.now() + longest;
        let found = shared.wait(Some(end), |state, waker, now| {
            let entries = self.read(state, now);
            if entries.is_empty() {
                // Only this thread's own wakers are replaced.
                drop(state.readers.leave(self.key, waker));
                return None;
            }
            Some(entries)
        });
        if found.is_none() {
            drop(shared.with(|state, _| state.readers.remove(self.key)));
        }
        found.unwrap_or_default()
    }

    pub(crate) fn read(&mut self, state: &State, now: Time) -> Vec<Entry> {
        let arbiter = &state.arbiter;
        let name = |module: ModuleId| arbiter.module_name(module).clone();
        let mutex = &self.shared.name;
        let (lost, events) = arbiter.events_since(self.seen);
        let dropped =
            Entry::Dropped { mutex: mutex.clone(), seq: self.seen + lost, at: now, count: lost };
        let mut entries: Vec<Entry> = (lost > 0).then_some(dropped).into_iter().collect();
        entries.extend(events.map(|event| {
            Entry::Event(NamedEvent {
                event: event.clone(),
                mutex: mutex.clone(),
                module: event.module.map(name),
                other: other_module(&event.kind).map(name),
            })
        }));
        self.seen = arbiter.last_seq();
        entries
    }
}

/// The line of JSON that stands for the entry in logs and traces, without the line's end.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Event(named) => named.fmt(f),
            Entry::Told { line, .. } => f.write_str(line),
            Entry::Dropped { mutex, seq, at, count } => {
                write!(f, r#"{{"seq":{seq},"t":{at},"event":"dropped","mutex":"#)?;
                write_quoted(mutex, f)?;
                write!(f, r#","count":{count}}}"#)
            }
        }
    }
}

/// A text as a JSON string: a mutex that was built, not named, may be called anything.
fn write_quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// The line of JSON that stands for the event.
impl fmt::Display for NamedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |module: ModuleId| {
            let own = self.event.module == Some(module);
            let name = if own { &self.module } else { &self.other };
            name.as_deref().unwrap_or_default()
        };
        self.event.write_json(&self.mutex, name, f)
    }
}

impl NamedEvent {
    /// The event's kind.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.event.kind
    }
}
