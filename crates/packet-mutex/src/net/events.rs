//! The events of a mutex behind a socket, on a connection of their own: a reader that is late must not hold up turns.

use super::frame::{Fields, Object};
use super::stream::{Reader, Stream, greet};
use super::url::Url;
use crate::events::Entry;
use crate::sync::Parker;
use crate::{Clock, SystemClock};
use serde_json::Value;
use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Most events that wait for their reader.
const EVENTS_MAX: usize = 8192;
/// The numbers of the pings that this end sends.
const STILL_HERE: u64 = 2;
const CATCH_UP: u64 = 3;
/// How long the server may take to tell its last events.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);
/// Until the next attempt to reach the server.
const PAUSE: Duration = Duration::from_millis(500);

/// A reader of the events of a mutex behind a socket. Its thread ends with it.
#[derive(Debug)]
pub(crate) struct RemoteEvents {
    queue: Arc<Queue>,
}

#[derive(Debug)]
pub(super) struct Queue {
    mutex: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    dropped: u64,
    waker: Option<Waker>,
    /// To end the connection when the reader goes.
    stream: Option<Stream>,
    /// The server has answered the last of [`RemoteEvents::catch_up`].
    caught_up: bool,
    over: bool,
}

impl RemoteEvents {
    /// A reader that connects at once, so that no event after this call is missed, or else as soon as it can.
    pub(super) fn new(url: Url, secret: Option<String>, so_far: bool) -> Self {
        let queue = Arc::new(Queue { mutex: url.mutex.as_str().into(), state: Mutex::default() });
        let mut from = if so_far { From::Oldest } else { From::Now };
        let mut connected = subscribe(&queue, &url, secret.as_deref(), &mut from);
        let filled = queue.clone();
        let thread = std::thread::Builder::new().name("packet-mutex-events".into());
        // Without a thread there are no events; the mutex works all the same.
        let _ = thread.spawn(move || {
            while !filled.lock().over {
                if let Some(reader) = connected.take() {
                    filled.fill(reader, &mut from);
                } else {
                    std::thread::sleep(PAUSE);
                }
                connected = subscribe(&filled, &url, secret.as_deref(), &mut from);
            }
        });
        RemoteEvents { queue }
    }

    pub(crate) fn take(&mut self) -> Vec<Entry> {
        self.queue.lock().take(&self.queue.mutex)
    }

    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Vec<Entry>> {
        let mut state = self.queue.lock();
        let entries = state.take(&self.queue.mutex);
        if entries.is_empty() {
            state.waker = Some(waker.clone());
            return None;
        }
        Some(entries)
    }

    pub(crate) fn wait(&mut self, longest: Duration) -> Vec<Entry> {
        wait(longest, |waker| self.poll(waker)).unwrap_or_default()
    }

    /// Waits until what has happened at the server until now can be taken, but no longer than a second.
    pub(crate) fn catch_up(&mut self) {
        let stream = {
            let mut state = self.queue.lock();
            state.caught_up = false;
            state.stream.as_ref().and_then(|stream| stream.again().ok())
        };
        // A server tells what has happened before it answers.
        if stream.is_some_and(|stream| stream.write(&ping(CATCH_UP)).is_ok()) {
            wait(CATCH_UP_WITHIN, |waker| {
                let mut state = self.queue.lock();
                state.waker = Some(waker.clone());
                state.caught_up.then_some(())
            });
        }
    }
}

/// Waits up to so long until something is found.
fn wait<T>(longest: Duration, mut find: impl FnMut(&Waker) -> Option<T>) -> Option<T> {
    let parker = Parker::new();
    let end = SystemClock.now() + longest;
    let alarm = SystemClock.wake_at(end, parker.waker());
    let found = loop {
        let found = find(&parker.waker());
        if found.is_some() || SystemClock.now() >= end {
            break found;
        }
        parker.park();
    };
    SystemClock.cancel(alarm);
    found
}

fn ping(id: u64) -> Object {
    let mut ping = Object::new();
    ping.insert("op".into(), "ping".into());
    ping.insert("id".into(), id.into());
    ping
}

impl Drop for RemoteEvents {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.over = true;
        if let Some(stream) = state.stream.take() {
            stream.close();
        }
    }
}

/// From where on events are read.
enum From {
    /// Those that the server still keeps.
    Oldest,
    /// Those that are yet to come.
    Now,
    /// Those after this number, if the server still is in this life, and else all that it keeps.
    After(String, u64),
}

/// Connects and asks for events. When it returns a reader, `from` is where it begins.
fn subscribe(queue: &Queue, url: &Url, secret: Option<&str>, from: &mut From) -> Option<Reader> {
    let welcome = greet(url, secret, None).ok()?;
    let life = welcome.reply.text("life").ok().flatten().unwrap_or_default().to_owned();
    let mut ask = Object::new();
    ask.insert("op".into(), "events".into());
    ask.insert("id".into(), 1.into());
    match from {
        From::Now => {}
        From::After(same, seq) if *same == life => drop(ask.insert("after".into(), (*seq).into())),
        From::Oldest | From::After(..) => drop(ask.insert("so_far".into(), true.into())),
    }
    let mut reader = welcome.reader;
    reader.stream.write(&ask).ok()?;
    // From the reply on, nothing is missed.
    let reply = reader.next().ok()??;
    let newest = reply.number("after").ok()??;
    *from = From::After(life, newest);
    // Over TCP a client that says nothing for a lease is taken for gone.
    let lease = welcome.reply.seconds("lease").ok()?;
    reader.stream.read_within(lease.map(|lease| lease / 4)).ok()?;
    let mut state = queue.lock();
    state.stream = reader.stream.again().ok();
    (!state.over).then_some(reader)
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events from a connection until it ends, and keeps `from` at the newest.
    fn fill(&self, mut reader: Reader, from: &mut From) {
        loop {
            match reader.next() {
                Ok(Some(mut frame)) => {
                    if let Some(Value::Object(event)) = frame.remove("event") {
                        if let (From::After(_, newest), Ok(Some(seq))) =
                            (&mut *from, event.number("seq"))
                        {
                            *newest = seq;
                        }
                        self.push(event);
                    } else if frame.number("id") == Ok(Some(CATCH_UP)) {
                        self.caught_up();
                    }
                }
                Ok(None) if reader.stream.write(&ping(STILL_HERE)).is_ok() => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn caught_up(&self) {
        let mut state = self.lock();
        state.caught_up = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn push(&self, event: Object) {
        let name = event.text("event").ok().flatten().unwrap_or_default().to_owned();
        let entry = Entry::Told { event: name, line: Value::Object(event).to_string() };
        let mut state = self.lock();
        if state.entries.len() >= EVENTS_MAX {
            state.entries.pop_front();
            state.dropped += 1;
        }
        state.entries.push_back(entry);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn take(&mut self, mutex: &Arc<str>) -> Vec<Entry> {
        let dropped = Entry::Dropped {
            mutex: mutex.clone(),
            seq: 0,
            at: SystemClock.now(),
            count: self.dropped,
        };
        let mut entries: Vec<Entry> =
            (take(&mut self.dropped) > 0).then_some(dropped).into_iter().collect();
        entries.extend(take(&mut self.entries));
        entries
    }
}
