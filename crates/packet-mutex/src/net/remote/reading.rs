//! Which thread reads what the server says: see the [module](super).

use super::{Remote, Slot, State};
use crate::net::protocol::FromServer;
use crate::net::stream::Reader;
use crate::sync::Parker;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How often the reading thread checks the clock, if nothing is due earlier.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long the reading thread leaves the reader to threads that ask before it looks again. A notice may come that much later.
const LEFT_TO_ASKERS: Duration = Duration::from_millis(1);

/// What the reading thread does next.
enum Step {
    Read(Reader),
    Park(Duration),
}

/// Reads whenever nobody else does, until the connection is over.
pub(super) fn read_from(remote: &Weak<Remote>) {
    let (mut next_check, mut pause) = (Instant::now(), CHECK_EVERY);
    let mut waits = 0;
    loop {
        let now = Instant::now();
        let Some(strong) = remote.upgrade() else { return };
        if next_check <= now {
            let Some(longest) = strong.check_clock() else { return };
            (next_check, pause) = (now + longest, longest);
        }
        let next = strong.with(|state| state.next_step(&mut waits, next_check - now));
        // Not kept while this thread waits: the last handle of the mutex may be dropped meanwhile.
        drop(strong);
        match next {
            None => return,
            Some(Step::Park(time)) => std::thread::park_timeout(time),
            Some(Step::Read(mut reader)) => {
                let receive = |frame: FromServer<'_>| {
                    remote.upgrade().map(|remote| remote.receive(frame)).is_some()
                };
                match reader.read_within(pause).and_then(|()| reader.next_frame(receive)) {
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
    /// Returns what the reading thread does next, or `None` if the connection is over. `waits` is the count of the last call.
    fn next_step(&mut self, waits: &mut u64, longest: Duration) -> Option<Step> {
        let is_busy = std::mem::replace(waits, self.waits) != self.waits;
        let somebody_waits = self.somebody_waits();
        match &mut self.reader {
            Slot::Gone => None,
            Slot::Here(_) if somebody_waits || !is_busy => self.take_reader().map(Step::Read),
            // Threads ask one after the other, and each reads for itself. To be woken whenever one is done would cost them
            // more than this pause costs anybody.
            Slot::Here(_) => Some(Step::Park(longest.min(LEFT_TO_ASKERS))),
            Slot::Away { .. } if is_busy => Some(Step::Park(longest.min(LEFT_TO_ASKERS))),
            Slot::Away { thread_waits } => {
                *thread_waits = true;
                Some(Step::Park(longest))
            }
        }
    }

    /// Takes the reader if nobody is reading.
    fn take_reader(&mut self) -> Option<Reader> {
        if !matches!(self.reader, Slot::Here(_)) {
            return None;
        }
        match std::mem::replace(&mut self.reader, Slot::Away { thread_waits: false }) {
            Slot::Here(reader) => Some(reader),
            Slot::Away { .. } | Slot::Gone => None,
        }
    }

    /// Takes the reader back. Returns whether the reading thread must be woken.
    fn give_back(&mut self, reader: Reader) -> bool {
        // The connection may have been lost meanwhile, and there may be a new one.
        if reader.connection != self.connection {
            return false;
        }
        let Slot::Away { thread_waits } = self.reader else { return false };
        self.reader = Slot::Here(reader);
        thread_waits || self.somebody_waits()
    }

    /// Returns whether anybody has left a waker to wait for a frame of the server.
    fn somebody_waits(&self) -> bool {
        let asks = self.asks.values().any(|ask| ask.waker.is_some());
        asks || self.calls.values().any(|call| call.waker.is_some())
    }
}

impl Remote {
    /// Waits as a thread until the parker is woken, and reads meanwhile if nobody else does.
    ///
    /// No wake is missed. What this thread reads itself wakes the parker before the next look at it. What another thread reads
    /// wakes it before that thread gives the reader back. Only what happens without a frame, such as the end of a timeout while
    /// the server is silent, can come during the read, and is then noticed at the end of it.
    pub(super) fn read_or_park(&self, parker: &Parker) {
        let reader = self.with(|state| {
            state.waits += 1;
            state.take_reader()
        });
        let Some(mut reader) = reader else { return parker.park() };
        while !parker.take_wake() {
            // The read ends now and then, because the reading thread may have found that the time of this ask is up.
            let read = reader.read_within(CHECK_EVERY);
            if read.and_then(|()| reader.next_frame(|frame| self.receive(frame))).is_err() {
                self.with(|state| {
                    if reader.connection == state.connection {
                        state.reader = Slot::Gone;
                    }
                });
                // It ends or remakes all that waits, and so wakes this thread too.
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

    /// Wakes the reading thread.
    pub(super) fn wake_thread(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
