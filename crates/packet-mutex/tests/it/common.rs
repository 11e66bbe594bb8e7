//! What the tests of the front share.
#![allow(dead_code, reason = "each test file uses its part")]

use packet_mutex::{
    Event, EventKind, Events, ManualClock, ModuleSpec, PacketMutex, Roster, RosterSpec,
};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The default roster on a clock that stands still.
pub(crate) fn on_manual_clock() -> (PacketMutex, ManualClock) {
    with_roster(Roster::default())
}

pub(crate) fn with_roster(roster: Roster) -> (PacketMutex, ManualClock) {
    let clock = ManualClock::new();
    (PacketMutex::builder(roster).clock(clock.clone()).build(), clock)
}

/// The default roster, changed.
pub(crate) fn roster(change: impl FnOnce(&mut RosterSpec)) -> Roster {
    let mut spec = Roster::default().into_spec();
    change(&mut spec);
    Roster::new(spec).unwrap()
}

/// One module's settings in a roster.
pub(crate) fn module<'a>(spec: &'a mut RosterSpec, name: &str) -> &'a mut ModuleSpec {
    spec.modules.iter_mut().find(|module| module.name == name).unwrap()
}

pub(crate) fn no_delay() -> Roster {
    roster(|spec| spec.handover_delay = Duration::ZERO)
}

/// Waits in real time until something is so in the mutex, for other threads need it to get there.
pub(crate) fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + secs(20);
    while !what() {
        assert!(Instant::now() < end, "it never came to be");
        thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn until_waiting(mutex: &PacketMutex, count: usize) {
    until(|| mutex.status().waiters.len() == count);
}

/// Runs in a thread that is gone, thread-locals and all, when this returns.
pub(crate) fn in_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|s| s.spawn(work).join().unwrap())
}

/// The events that are still kept.
pub(crate) fn events(mutex: &PacketMutex) -> Vec<Event> {
    complete(mutex.events_so_far().take())
}

/// Events of which none was dropped.
pub(crate) fn complete(events: Vec<Event>) -> Vec<Event> {
    let dropped = events.iter().find(|event| matches!(event.kind, EventKind::Dropped { .. }));
    assert_eq!(dropped, None, "events were dropped");
    events
}

/// The new events as `kind module`, without the requests.
pub(crate) fn story(reader: &mut Events) -> Vec<String> {
    let line = |event: &Event| match &event.module {
        Some(module) => format!("{} {module}", event.kind.name()),
        None => event.kind.name().to_owned(),
    };
    let events = complete(reader.take());
    let told = events.iter().filter(|event| !matches!(event.kind, EventKind::Requested { .. }));
    told.map(line).collect()
}

/// A waker that counts.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Count {
    pub(crate) fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    pub(crate) fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with a waker that does nothing.
pub(crate) fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("still pending"),
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor there is.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
