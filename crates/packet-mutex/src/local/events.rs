//! Reading the events of a mutex in this process.

use super::mutex::{LocalMutex, State};
use crate::events::{Event, EventSource};
use packet_mutex_arbiter::{ModuleId, Time};
use std::sync::Arc;
use std::task::Waker;

/// A reader of the events of a mutex in this process.
#[derive(Debug)]
pub(crate) struct Reader {
    mutex: Arc<LocalMutex>,
    /// The number of the newest event that it has read.
    pub(crate) seen: u64,
    /// The key under which it leaves its waker.
    pub(crate) key: u64,
}

impl Reader {
    /// Makes a reader of the events after the one with this number. With `None`, it reads those that are yet to come.
    pub(crate) fn new(mutex: Arc<LocalMutex>, after: Option<u64>) -> Self {
        let (newest, key) =
            mutex.with(|state, _| (state.arbiter.last_seq(), state.readers.new_key()));
        Reader { mutex, seen: after.unwrap_or(newest).min(newest), key }
    }

    /// Takes all new events, under the mutex's lock.
    pub(crate) fn read(&mut self, state: &State, now: Time) -> Vec<Event> {
        let arbiter = &state.arbiter;
        let name = |module: ModuleId| arbiter.module_name(module).clone();
        let mutex = &self.mutex.identity.name;
        let (lost, events) = arbiter.events_since(self.seen);
        let dropped =
            (lost > 0).then(|| Event::dropped(mutex.clone(), self.seen + lost, now, lost));
        let mut all: Vec<Event> = dropped.into_iter().collect();
        all.extend(events.map(|event| Event::new(mutex.clone(), event.clone().map_modules(name))));
        self.seen = arbiter.last_seq();
        all
    }
}

impl EventSource for Reader {
    fn poll(&mut self, waker: &Waker) -> Option<Vec<Event>> {
        let mutex = self.mutex.clone();
        let waker = waker.clone();
        let (events, _old_waker) = mutex.with(|state, now| {
            let events = self.read(state, now);
            let old = if events.is_empty() { state.readers.leave(self.key, waker) } else { None };
            (events, old)
        });
        (!events.is_empty()).then_some(events)
    }

    fn take(&mut self) -> Vec<Event> {
        let mutex = self.mutex.clone();
        mutex.with(|state, now| self.read(state, now))
    }

    fn forget_waker(&mut self) {
        let _waker = self.mutex.try_with(|state, _| state.readers.remove(self.key));
    }
}
