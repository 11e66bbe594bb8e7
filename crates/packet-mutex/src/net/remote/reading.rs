//! Who reads what the server says: see the [module](super).

use super::{Remote, Slot, State};
use crate::net::protocol::FromServer;
use crate::net::stream::Reader;
use crate::sync::Parker;
use std::sync::Weak;
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
                let take = |frame: FromServer<'_>| {
                    remote.upgrade().map(|remote| remote.receive(frame)).is_some()
                };
                match reader.read_within(pause).and_then(|()| reader.next(take)) {
                    Ok(Some(true) | None) => {}
                    Ok(Some(false)) | Err(_) => return,
                }
                let Some(remote) = remote.upgrade() else { return };
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

    /// Whether anybody has left a waker who waits for the server to say something.
    fn somebody_waits(&self) -> bool {
        let asks = self.asks.values().any(|ask| ask.waker.is_some());
        asks || self.calls.values().any(|call| call.waker.is_some())
    }
}

impl Remote {
    /// Waits as a thread until the parker is woken. If nobody else reads what the server says, it reads meanwhile: to be
    /// woken by another thread takes longer than the server's answer.
    pub(super) fn read_or_park(&self, parker: &Parker) {
        let reader = self.with(|state| {
            state.waits += 1;
            state.take_reader()
        });
        let Some(mut reader) = reader else { return parker.park() };
        while !parker.take_wake() {
            // It comes back now and then, as the reading thread may have found that its time is up.
            let read = reader.read_within(LOOK);
            if read.and_then(|()| reader.next(|frame| self.receive(frame))).is_err() {
                self.with(|state| {
                    if reader.connection == state.connection {
                        state.reader = Slot::Gone;
                    }
                });
                self.wake_thread();
                return parker.park();
            }
        }
        let wake_thread = self.with(|state| {
            state.waits += 1;
            state.give_back(reader)
        });
        if wake_thread {
            self.wake_thread();
        }
    }

    pub(super) fn wake_thread(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
