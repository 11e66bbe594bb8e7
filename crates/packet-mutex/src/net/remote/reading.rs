//! Who reads what the server says: see the [module](super).

use super::{Remote, Slot, State};
use crate::net::stream::Reader;
use crate::sync::Parker;
use std::sync::Weak;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How often the reading thread looks at the clock.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long the reading thread leaves the reader to threads that ask. Notices come so much later at most.
const NAP: Duration = Duration::from_millis(1);

/// What the reading thread does next.
enum Next {
    Read(Reader),
    Park(Duration),
}

/// Reads while nobody else does, until the connection is over.
pub(super) fn read_from(remote: &Weak<Remote>) {
    let (mut next_look, mut pause) = (Instant::now(), LOOK);
    let mut waits = 0;
    loop {
        let now = Instant::now();
        let Some(strong) = remote.upgrade() else { return };
        if next_look <= now {
            let Some(longest) = strong.look() else { return };
            (next_look, pause) = (now + longest, longest);
        }
        let next = strong.with(|state| state.next(&mut waits, next_look - now));
        // Not kept while it waits: the mutex's last handle may be dropped meanwhile.
        drop(strong);
        match next {
            None => return,
            Some(Next::Park(time)) => std::thread::park_timeout(time),
            Some(Next::Read(mut reader)) => {
                let read = reader.read_within(pause).and_then(|()| reader.next());
                let Some(remote) = remote.upgrade() else { return };
                match read {
                    Ok(Some(frame)) => remote.take(frame),
                    Ok(None) => {}
                    Err(_) => return,
                }
                let _ = remote.with(|state| state.give_back(reader));
            }
        }
    }
}

impl State {
    /// What the reading thread does; `waits` is what it last was when this was asked. `None`: the connection is over.
    fn next(&mut self, waits: &mut u64, longest: Duration) -> Option<Next> {
        let is_busy = std::mem::replace(waits, self.waits) != self.waits;
        let somebody_waits = self.somebody_waits();
        match &mut self.reader {
            Slot::Gone => None,
            Slot::Here(_) if somebody_waits || !is_busy => self.take_reader().map(Next::Read),
            // Threads come and go, and read themselves. To be woken by each that goes would cost more than a nap.
            Slot::Here(_) => Some(Next::Park(longest.min(NAP))),
            Slot::Away { .. } if is_busy => Some(Next::Park(longest.min(NAP))),
            Slot::Away { thread_waits } => {
                *thread_waits = true;
                Some(Next::Park(longest))
            }
        }
    }

    fn take_reader(&mut self) -> Option<Reader> {
        if !matches!(self.reader, Slot::Here(_)) {
            return None;
        }
        match std::mem::replace(&mut self.reader, Slot::Away { thread_waits: false }) {
            Slot::Here(reader) => Some(reader),
            Slot::Away { .. } | Slot::Gone => None,
        }
    }

    /// Whether the reading thread is to be woken.
    fn give_back(&mut self, reader: Reader) -> bool {
        // It may be that of a connection that was lost meanwhile.
        if reader.connection != self.connection {
            return false;
        }
        let Slot::Away { thread_waits } = self.reader else { return false };
        self.reader = Slot::Here(reader);
        thread_waits || self.somebody_waits()
    }

    /// Has anybody left a waker who waits for the server to say something?
    fn somebody_waits(&self) -> bool {
        let asks = self.asks.values().any(|ask| ask.waker.is_some());
        asks || self.calls.values().any(|call| call.waker.is_some())
    }
}

impl Remote {
    /// Waits as a thread, until `look`, which gets a waker to leave, finds what it waits for.
    pub(super) fn wait<R>(&self, mut look: impl FnMut(&mut State, &Waker) -> Option<R>) -> R {
        let parker = Parker::new();
        let waker = parker.waker();
        let mut reader: Option<Reader> = None;
        loop {
            let mut wake_thread = false;
            let found = self.with(|state| {
                let found = look(state, &waker);
                if found.is_some() {
                    state.waits += 1;
                    wake_thread = reader.take().is_some_and(|reader| state.give_back(reader));
                } else if reader.is_none() {
                    state.waits += 1;
                    reader = state.take_reader();
                }
                found
            });
            if wake_thread {
                self.wake_thread();
            }
            if let Some(found) = found {
                return found;
            }
            let Some(reading) = &mut reader else {
                parker.park();
                continue;
            };
            // It looks now and then, as the reading thread may have found that its time is up.
            match reading.read_within(LOOK).and_then(|()| reading.next()) {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => {}
                Err(_) => {
                    self.with(|state| {
                        if reader.take().is_some_and(|reader| reader.connection == state.connection)
                        {
                            state.reader = Slot::Gone;
                        }
                    });
                    self.wake_thread();
                }
            }
        }
    }

    pub(super) fn wake_thread(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
