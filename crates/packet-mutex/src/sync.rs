//! How a thread waits. Every blocking call is its polling twin and [`park_until`].
//!
//! Locks and threads come from the standard library. When loom checks the models in `tests/loom.rs`, they come from loom. The
//! switch is not called `loom`, since other crates have one of that name.

use crate::clock::Clock;
use packet_mutex_arbiter::Time;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Wake, Waker};

#[cfg(not(pm_loom))]
use std::sync::atomic::AtomicBool;
#[cfg(not(pm_loom))]
pub(crate) use std::{sync::Mutex, thread_local};

#[cfg(pm_loom)]
use loom::sync::atomic::AtomicBool;
#[cfg(pm_loom)]
pub(crate) use loom::{sync::Mutex, thread_local};

/// Calls `look` until it finds something, or until the time `end`. In between, the thread waits with `park`.
///
/// `look` must leave the waker where it is woken when there is something new.
pub(crate) fn park_until<R>(
    clock: &dyn Clock,
    end: Option<Time>,
    park: impl Fn(&Parker),
    mut look: impl FnMut(&Waker) -> Option<R>,
) -> Option<R> {
    let parker = Parker::new();
    let waker = parker.waker();
    let mut alarm = None;
    let found = loop {
        // Read before the look: so what happened before the end is found, even by a thread that was slow to look.
        let is_over = end.is_some_and(|end| end <= clock.now());
        let found = look(&waker);
        if found.is_some() || is_over {
            break found;
        }
        // Set after the first look, so that what is there at once costs no alarm.
        if let (Some(end), None) = (end, alarm) {
            alarm = Some(clock.wake_at(end, waker.clone()));
        }
        park(&parker);
    };
    alarm.into_iter().for_each(|alarm| clock.cancel(alarm));
    found
}

/// A thread that waits. A wake that comes before it parks is kept.
#[derive(Debug)]
pub struct Parker(Arc<Thread>);

#[derive(Debug)]
struct Thread {
    woken: AtomicBool,
    #[cfg(not(pm_loom))]
    handle: std::thread::Thread,
    /// Loom's own `park` never wakes early, and panics on a stray unpark (loom issue 249). Its `Notify` does both well.
    #[cfg(pm_loom)]
    handle: loom::sync::Notify,
}

impl Parker {
    pub(crate) fn new() -> Self {
        #[cfg(not(pm_loom))]
        let handle = std::thread::current();
        #[cfg(pm_loom)]
        let handle = loom::sync::Notify::new();
        Parker(Arc::new(Thread { woken: AtomicBool::new(false), handle }))
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// Waits until a waker of this parker has been used since the last time.
    pub(crate) fn park(&self) {
        // `park` may return without reason, and other code on this thread may use up or cause an unpark. Only the
        // flag counts.
        while !self.take_wake() {
            #[cfg(not(pm_loom))]
            std::thread::park();
            #[cfg(pm_loom)]
            self.0.handle.wait();
        }
    }

    /// Returns whether a waker of this parker has been used since the last time.
    pub(crate) fn take_wake(&self) -> bool {
        self.0.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The flag first, since the thread that this unparks looks at it. It is swapped, as where it is taken: loom does not
        // know that nothing comes between the two halves of a swap, and would let a plain store be forgotten.
        self.woken.swap(true, Ordering::Release);
        #[cfg(not(pm_loom))]
        self.handle.unpark();
        #[cfg(pm_loom)]
        self.handle.notify();
    }
}

#[cfg(all(test, not(pm_loom)))]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::time::Duration;

    #[test]
    fn what_happens_before_the_end_is_found_after_it() {
        let clock = ManualClock::new();
        let end = Time::ZERO + Duration::from_secs(1);
        let mut looks = 0;
        let found = park_until(&clock, Some(end), Parker::park, |_| {
            looks += 1;
            // It happens behind the first look's back, and the time passes too.
            clock.advance_to(end);
            (looks > 1).then_some(looks)
        });
        assert_eq!(found, Some(2));
    }

    #[test]
    fn a_wake_before_the_thread_parks_is_kept_once() {
        let parker = Parker::new();
        parker.waker().wake();
        parker.waker().wake();
        parker.park();
        assert!(!parker.take_wake());
    }
}
