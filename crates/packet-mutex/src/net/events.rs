//! The events of a mutex behind a socket.
//!
//! They have a connection of their own: a program that is slow to read events must not delay its own turns.

use super::protocol::{FromServer, Notice, Reply, Request};
use super::stream::{Reader, Stream, greet};
use super::url::Url;
use crate::clock::{Clock, SystemClock};
use crate::events::{Event, EventSource};
use crate::sync::{Parker, park_until};
use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// The most events that wait for their reader.
const EVENTS_MAX: usize = 8192;
/// The number of the pings that keep the connection alive.
const STILL_HERE: u64 = 2;
/// The number of the ping whose reply comes after all events until then.
const CATCH_UP: u64 = 3;
/// How long the server may take to send its last events.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);
/// The pause before the next attempt to reach the server.
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
    events: VecDeque<Event>,
    /// How many events were dropped since the reader last took some, and the number of the newest of them.
    dropped: u64,
    newest_dropped: u64,
    waker: Option<Waker>,
    /// Kept so that the connection can be closed when the reader is dropped.
    stream: Option<Stream>,
    /// The server has answered the ping of the last [`RemoteEvents::catch_up`].
    caught_up: bool,
    /// The reader was dropped.
    over: bool,
}

impl RemoteEvents {
    /// Returns a reader that has connected, so that it misses no event after this call. If the server cannot be reached, it
    /// connects as soon as it can.
    pub(super) fn new(url: Url, secret: Option<String>, so_far: bool) -> Self {
        let queue = Arc::new(Queue { mutex: url.mutex.as_str().into(), state: Mutex::default() });
        let mut since = if so_far { Since::Oldest } else { Since::Now };
        let mut connected = subscribe(&queue, &url, secret.as_deref(), &mut since);
        let filled = queue.clone();
        let thread = std::thread::Builder::new().name("packet-mutex-events".into());
        // Without a thread there are no events; the mutex works all the same.
        let _ = thread.spawn(move || {
            while !filled.lock().over {
                if let Some(reader) = connected.take() {
                    filled.fill(reader, &mut since);
                } else {
                    std::thread::sleep(PAUSE);
                }
                connected = subscribe(&filled, &url, secret.as_deref(), &mut since);
            }
        });
        RemoteEvents { queue }
    }
}

impl EventSource for RemoteEvents {
    fn poll(&mut self, waker: &Waker) -> Option<Vec<Event>> {
        let mut state = self.queue.lock();
        let events = state.take_all(&self.queue.mutex);
        if events.is_empty() {
            state.waker = Some(waker.clone());
            return None;
        }
        Some(events)
    }

    fn take(&mut self) -> Vec<Event> {
        self.queue.lock().take_all(&self.queue.mutex)
    }

    /// Waits until all that has happened at the server until now can be taken, but no longer than a second.
    fn catch_up(&mut self) {
        let stream = {
            let mut state = self.queue.lock();
            state.caught_up = false;
            state.stream.as_ref().and_then(|stream| stream.try_clone().ok())
        };
        // The server sends the events until now before it answers the ping.
        if stream.is_some_and(|stream| stream.write(CATCH_UP, Request::Ping).is_ok()) {
            let end = SystemClock.now() + CATCH_UP_WITHIN;
            park_until(&SystemClock, Some(end), Parker::park, |waker| {
                let mut state = self.queue.lock();
                state.waker = Some(waker.clone());
                state.caught_up.then_some(())
            });
        }
    }

    fn forget_waker(&mut self) {
        let _waker = self.queue.lock().waker.take();
    }
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

/// Where reading begins after the next time it connects.
enum Since {
    /// With the oldest event that the server keeps.
    Oldest,
    /// With the next event.
    Now,
    /// After the event with this number, if the life of the mutex is the same. In another life the numbers mean nothing, so
    /// reading begins with the oldest event that is kept.
    After(String, u64),
}

/// Connects, and subscribes to events. If that works, `since` is where the returned reader begins.
fn subscribe(queue: &Queue, url: &Url, secret: Option<&str>, since: &mut Since) -> Option<Reader> {
    let welcome = greet(url, secret, None).ok()?;
    let (so_far, after) = match since {
        Since::Now => (false, None),
        Since::After(life, seq) if *life == welcome.life => (false, Some(*seq)),
        Since::Oldest | Since::After(..) => (true, None),
    };
    let mut reader = welcome.reader;
    reader.stream.write(1, Request::Events { so_far, after }).ok()?;
    // No event after the one in the reply is missed.
    let newest = reader.next_frame(|frame| match frame {
        FromServer::Reply(_, Reply::Events { after }) => Some(after),
        _ => None,
    });
    *since = Since::After(welcome.life, newest.ok()???);
    // Over TCP, a client that is silent for a lease counts as gone. A read that ends early gives the chance to send a ping.
    reader.stream.read_within(welcome.lease.map(|lease| lease / 4)).ok()?;
    let mut state = queue.lock();
    state.stream = reader.stream.try_clone().ok();
    (!state.over).then_some(reader)
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues events from a connection until it ends. Keeps `since` at the newest.
    fn fill(&self, mut reader: Reader, since: &mut Since) {
        loop {
            let read = reader.next_frame(|frame| match frame {
                FromServer::Notice(Notice::Event(event)) => {
                    if let Since::After(_, newest) = &mut *since {
                        *newest = event.seq;
                    }
                    self.push(event);
                }
                FromServer::Reply(Some(CATCH_UP), _) => self.caught_up(),
                FromServer::Reply(..) | FromServer::Notice(_) => {}
            });
            match read {
                Ok(Some(())) => {}
                Ok(None) if reader.stream.write(STILL_HERE, Request::Ping).is_ok() => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Notes that the server has answered the ping of [`RemoteEvents::catch_up`].
    fn caught_up(&self) {
        let mut state = self.lock();
        state.caught_up = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Queues an event. The oldest makes room for it if there are too many.
    fn push(&self, event: Event) {
        let mut state = self.lock();
        if state.events.len() >= EVENTS_MAX
            && let Some(oldest) = state.events.pop_front()
        {
            state.dropped += 1;
            state.newest_dropped = oldest.seq;
        }
        state.events.push_back(event);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn take_all(&mut self, mutex: &Arc<str>) -> Vec<Event> {
        let count = take(&mut self.dropped);
        let now = SystemClock.now();
        let dropped =
            (count > 0).then(|| Event::dropped(mutex.clone(), self.newest_dropped, now, count));
        let mut all: Vec<Event> = dropped.into_iter().collect();
        all.extend(take(&mut self.events));
        all
    }
}
