//! Wakers, clocks and checks are anybody's code: they panic, call back, and drop what they like.

use crate::common::{
    Count, SECOND, block_on, ms, no_delay, on_manual_clock, poll, ready, roster, secs,
    until_waiting, with_roster,
};
use packet_mutex::{Alarm, Clock, Error, ManualClock, PacketMutex, Roster, Slept, Time};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread::{self, ThreadId};

/// A waker made of two closures.
struct Hostile<W: Fn(), D: Fn()> {
    wake: W,
    drop: D,
}

impl<W: Fn(), D: Fn()> Wake for Hostile<W, D> {
    fn wake(self: Arc<Self>) {
        (self.wake)();
    }
}

impl<W: Fn(), D: Fn()> Drop for Hostile<W, D> {
    fn drop(&mut self) {
        (self.drop)();
    }
}

fn hostile(
    wake: impl Fn() + Send + Sync + 'static,
    drop: impl Fn() + Send + Sync + 'static,
) -> Waker {
    Waker::from(Arc::new(Hostile { wake, drop }))
}

fn poll_with<F: Future>(future: &mut Pin<Box<F>>, waker: &Waker) -> bool {
    future.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
}

#[test]
fn a_hundred_thousand_are_woken_at_once() {
    let roster = roster(|spec| spec.limits.waiters = 200_000);
    let (mutex, _clock) = with_roster(roster);
    let turn = mutex.acquire("fisher").unwrap();
    let (count, waker) = Count::waker();
    let mut asks: Vec<_> = (0..100_000).map(|_| Box::pin(mutex.acquire_async("eater"))).collect();
    for ask in &mut asks {
        assert!(!poll_with(ask, &waker));
    }
    // In a thread with a small stack.
    thread::scope(|s| s.spawn(|| mutex.close()).join().unwrap());
    assert_eq!(count.wakes(), 100_000);
    for ask in &mut asks {
        assert_eq!(ready(poll(ask)).err(), Some(Error::Closed));
    }
    drop(asks);
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1, "no waker is left behind");
    drop(turn);
}

#[test]
fn a_waker_that_panics_takes_nothing_from_the_others() {
    let (mutex, clock) = with_roster(no_delay());
    let turn = mutex.acquire("runemaker").unwrap();
    let mut granted = Box::pin(mutex.acquire_async("trainer"));
    assert!(!poll_with(&mut granted, &hostile(|| panic!("a bad waker"), || ())));
    let mut next = Box::pin(mutex.acquire_async("fisher"));
    let (count, waker) = Count::waker();
    assert!(!poll_with(&mut next, &waker));

    // Who releases is not to blame.
    drop(turn);
    assert_eq!(&*mutex.status().holder.unwrap().module, "trainer");
    // The alarm for the grant that nobody claims was set all the same.
    clock.advance(secs(5));
    assert_eq!(count.wakes(), 1);
    assert!(ready(poll(&mut next)).is_ok());
    assert_eq!(ready(poll(&mut granted)).err(), Some(Error::Lost));
}

#[test]
fn all_are_woken_though_some_wakers_panic() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("runemaker").unwrap();
    let (count, good) = Count::waker();
    let bad = hostile(|| panic!("a bad waker"), || ());
    let mut asks: Vec<_> = (0..6).map(|_| Box::pin(mutex.acquire_async("eater"))).collect();
    for (at, ask) in asks.iter_mut().enumerate() {
        assert!(!poll_with(ask, if at % 2 == 0 { &bad } else { &good }));
    }
    mutex.cancel("eater").unwrap();
    assert_eq!(count.wakes(), 3);
    drop(turn);
}

#[test]
fn a_waker_may_call_the_mutex() {
    let (mutex, _clock) = with_roster(no_delay());
    let turn = mutex.acquire("runemaker").unwrap();
    let (handle, called) = (mutex.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = called.clone();
    let waker = hostile(
        move || {
            let holder = handle.status().holder.unwrap();
            assert_eq!(&*holder.module, "fisher");
            assert!(handle.try_acquire("eater").is_err());
            handle.pause(packet_mutex::all_but_urgent(), "woken").unwrap();
            seen.fetch_add(1, Ordering::SeqCst);
        },
        || (),
    );
    let mut ask = Box::pin(mutex.acquire_async("fisher"));
    assert!(!poll_with(&mut ask, &waker));
    drop(turn);
    assert_eq!(called.load(Ordering::SeqCst), 1);
    assert!(ready(poll(&mut ask)).unwrap().should_yield());
}

/// Executors keep the future in the waker, so that dropping a waker can drop a turn of this very mutex.
#[test]
fn dropping_a_waker_may_call_the_mutex() {
    let (mutex, clock) = with_roster(no_delay());
    let dropped = Arc::new(AtomicUsize::new(0));
    let waker = || {
        let (handle, dropped) = (mutex.clone(), dropped.clone());
        hostile(
            || (),
            move || {
                let _ = handle.status();
                dropped.fetch_add(1, Ordering::SeqCst);
            },
        )
    };
    let turn = block_on(mutex.acquire_async("fisher")).unwrap();

    let mut sleep = Box::pin(turn.sleep(SECOND));
    assert!(!poll_with(&mut sleep, &waker()));
    assert!(!poll_with(&mut sleep, &waker()));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    drop(sleep);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);

    let mut ask = Box::pin(mutex.acquire_async("eater"));
    assert!(!poll_with(&mut ask, &waker()));
    assert!(!poll_with(&mut ask, &waker()));
    assert_eq!(dropped.load(Ordering::SeqCst), 3);
    drop(ask);
    assert_eq!(dropped.load(Ordering::SeqCst), 4);

    let mut ask = Box::pin(mutex.request("eater").timeout(SECOND).acquire_async());
    assert!(!poll_with(&mut ask, &waker()));
    clock.advance(SECOND);
    assert_eq!(dropped.load(Ordering::SeqCst), 5);
    drop(ask);
    drop(turn);
}

/// The check runs in the asker, inside the turn, and without the mutex's lock.
#[test]
fn a_check_may_call_the_mutex_and_end_turns() {
    let (mutex, clock) = on_manual_clock();
    std::mem::forget(mutex.acquire("fisher").unwrap());
    let turn = mutex
        .request("stacker")
        .valid_if(|| {
            assert_eq!(mutex.status().holder.unwrap().depth, 2);
            assert_eq!(
                mutex.acquire("fisher").unwrap().token(),
                mutex.status().holder.map(|h| h.token)
            );
            mutex.release("fisher").unwrap();
            assert!(matches!(mutex.try_acquire("eater"), Err(Error::WouldDeadlock { .. })));
            mutex.status().holder.unwrap().depth == 1
        })
        .acquire()
        .unwrap();
    drop(turn);
    clock.advance(SECOND);

    let first = block_on(mutex.acquire_async("eater")).unwrap();
    let ask = mutex.request("eater").valid_if(|| {
        mutex.close();
        true
    });
    let mut ask = Box::pin(ask.acquire_async());
    assert!(poll(&mut ask).is_pending());
    drop(first);
    // Closing lets the holder finish, and that is who is being checked.
    drop(ready(poll(&mut ask)).unwrap());
    assert_eq!(mutex.try_acquire("eater").err(), Some(Error::Closed));
}

// What breaks.

/// A clock that panics on demand, under the mutex's lock: the one piece of foreign code there.
#[derive(Clone, Debug, Default)]
struct BadClock {
    clock: ManualClock,
    /// The thread whose next look at it panics.
    bad_for: Arc<Mutex<Option<ThreadId>>>,
}

impl BadClock {
    fn be_bad(&self) {
        *self.bad_for.lock().unwrap() = Some(thread::current().id());
    }
}

impl Clock for BadClock {
    fn now(&self) -> Time {
        let bad = self.bad_for.lock().unwrap().take_if(|id| *id == thread::current().id());
        assert!(bad.is_none(), "a bad clock");
        self.clock.now()
    }

    fn wake_at(&self, at: Time, waker: Waker) -> Alarm {
        self.clock.wake_at(at, waker)
    }

    fn cancel(&self, alarm: Alarm) {
        self.clock.cancel(alarm);
    }
}

#[test]
fn a_mutex_that_broke_lets_nobody_in_and_nobody_hang() {
    let clock = BadClock::default();
    let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
    let turn = mutex.acquire("fisher").unwrap();
    let task_turn = {
        let other = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
        block_on(other.acquire_async("fisher")).unwrap()
    };
    thread::scope(|s| {
        let waiter = s.spawn(|| mutex.acquire("eater").map(drop));
        until_waiting(&mutex, 1);
        let mut events = mutex.events();
        let reader = s.spawn(move || events.wait(secs(60)));
        thread::sleep(ms(20));
        clock.be_bad();
        assert!(catch_unwind(AssertUnwindSafe(|| mutex.status())).is_err());
        // It sleeps no longer, and is told in the only way that cannot be overlooked.
        assert!(waiter.join().is_err());
        assert!(reader.join().is_err());
        // A thread that asked it can end.
        assert!(s.spawn(|| mutex.acquire("eater").map(drop)).join().is_err());
    });
    assert!(catch_unwind(AssertUnwindSafe(|| mutex.try_acquire("eater"))).is_err());
    drop(turn);
    drop(task_turn);
}

#[test]
fn turns_of_a_broken_mutex_unwind() {
    let clock = BadClock::default();
    let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _outer = mutex.acquire("fisher").unwrap();
        let _inner = mutex.acquire("stacker").unwrap();
        clock.be_bad();
        let _ = mutex.status();
    }));
    assert!(unwound.is_err());
}

// What is left behind.

/// Counts the alarms that are set.
#[derive(Clone, Debug, Default)]
struct CountingClock {
    clock: ManualClock,
    rung: Arc<AtomicUsize>,
    set: Arc<AtomicUsize>,
    cancelled: Arc<AtomicUsize>,
}

impl CountingClock {
    fn outstanding(&self) -> usize {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        of(&self.set) - of(&self.rung) - of(&self.cancelled)
    }
}

impl Clock for CountingClock {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn wake_at(&self, at: Time, waker: Waker) -> Alarm {
        self.set.fetch_add(1, Ordering::SeqCst);
        let rung = self.rung.clone();
        let ring = hostile(
            move || {
                rung.fetch_add(1, Ordering::SeqCst);
                waker.wake_by_ref();
            },
            || (),
        );
        self.clock.wake_at(at, ring)
    }

    fn cancel(&self, alarm: Alarm) {
        self.cancelled.fetch_add(1, Ordering::SeqCst);
        self.clock.cancel(alarm);
    }
}

#[test]
fn no_alarms_pile_up() {
    let clock = CountingClock::default();
    let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
    let mut patient = Box::pin(mutex.request("eater").timeout(secs(24 * 60 * 60)).acquire_async());
    mutex.pause(packet_mutex::below(60), "alarm").unwrap();
    assert!(poll(&mut patient).is_pending());
    for _ in 0..10_000 {
        let turn = mutex.try_acquire("fisher").unwrap();
        let mut short = Box::pin(mutex.request("fisher").timeout(ms(100)).acquire_async());
        assert!(poll(&mut short).is_pending());
        clock.clock.advance(ms(100));
        assert!(matches!(ready(poll(&mut short)), Err(Error::Timeout(_))));
        assert_eq!(turn.sleep(std::time::Duration::ZERO), Slept::Whole);
        drop(turn);
    }
    let left = clock.outstanding();
    assert!(left < 10, "{left} alarms are set");
}

#[test]
fn a_late_alarm_rings_at_once() {
    let clock = ManualClock::new();
    clock.advance(secs(5));
    let (count, waker) = Count::waker();
    // Somebody else moved the clock on between a look at it and this.
    clock.wake_at(Time::from_nanos(3_000_000_000), waker);
    assert_eq!(count.wakes(), 1);
    assert_eq!(clock.next_alarm(), None);
}

#[test]
fn a_thread_that_waits_for_a_moving_clock_wakes() {
    let (mutex, clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                clock.advance(ms(1));
            }
        });
        for _ in 0..200 {
            assert_eq!(turn.sleep(ms(5)), Slept::Whole);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
