//! Every order of steps in which threads and tasks can meet in a mutex; where three of them ask, up to three preemptions
//! a run.
//!
//! `RUSTFLAGS="--cfg pm_loom" cargo test --release -p packet-mutex --test loom`, best with a target directory of its own.
//! The models run on the real front and the real arbiter. A wake-up that is lost shows as loom's `deadlock`.
//!
//! Each model was seen to fail on a mutex that was broken for it; its comment says how.
#![cfg(pm_loom)]

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use packet_mutex::{
    Alarm, Clock, Error, EventKind, ManualClock, PacketMutex, Roster, Slept, Time, all_but_urgent,
};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The channel: it knows if two are in it.
#[derive(Default)]
struct Channel(AtomicBool);

impl Channel {
    fn act(&self) {
        assert!(!self.0.swap(true, Ordering::Relaxed), "two at a time");
        self.0.store(false, Ordering::Relaxed);
    }
}

struct Set {
    mutex: PacketMutex,
    clock: SeenClock,
    channel: Channel,
}

/// A clock whose every use loom sees, so that it tries all orders of moving the clock on, reading it, and setting it:
/// loom changes the order of two steps only if both touch one of its own objects.
#[derive(Clone, Debug, Default)]
struct SeenClock {
    clock: ManualClock,
    uses: Arc<AtomicUsize>,
}

impl SeenClock {
    fn advance(&self, by: Duration) {
        self.uses.fetch_add(1, Ordering::AcqRel);
        self.clock.advance(by);
    }
}

impl Clock for SeenClock {
    fn now(&self) -> Time {
        self.uses.load(Ordering::Acquire);
        self.clock.now()
    }

    fn wake_at(&self, at: Time, waker: Waker) -> Alarm {
        self.uses.fetch_add(1, Ordering::AcqRel);
        self.clock.wake_at(at, waker)
    }

    fn cancel(&self, alarm: Alarm) {
        self.clock.cancel(alarm);
    }
}

fn model(run: impl Fn(Arc<Set>) + Send + Sync + 'static) {
    model_with(None, run);
}

fn model_with(preemptions: Option<usize>, run: impl Fn(Arc<Set>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let mut spec = Roster::default().into_spec();
        spec.handover_delay = Duration::ZERO;
        let clock = SeenClock::default();
        let mutex = PacketMutex::builder(Roster::new(spec).unwrap()).clock(clock.clone()).build();
        run(Arc::new(Set { mutex: mutex.clone(), clock, channel: Channel::default() }));
        check_the_end(&mutex);
    });
}

/// Nobody holds, nobody waits, and every request had one outcome and every grant one end.
fn check_the_end(mutex: &PacketMutex) {
    let status = mutex.status();
    assert_eq!((status.holder, status.waiters.len()), (None, 0));
    let (mut requests, mut outcomes, mut grants, mut ends) = (0, 0, 0, 0);
    for event in mutex.events_so_far().take() {
        match &event.kind {
            EventKind::Dropped { .. } => panic!("{event:?}"),
            EventKind::Requested { .. } => requests += 1,
            EventKind::Granted { .. } => (outcomes, grants) = (outcomes + 1, grants + 1),
            EventKind::Refused { .. } | EventKind::Unserved { .. } => outcomes += 1,
            EventKind::Ended { .. } => ends += 1,
            _ => {}
        }
    }
    assert_eq!((requests, grants), (outcomes, ends));
}

/// A thread that takes a turn.
fn takes_a_turn(set: &Arc<Set>, module: &'static str) -> thread::JoinHandle<()> {
    let set = set.clone();
    thread::spawn(move || {
        let _turn = set.mutex.acquire(module).unwrap();
        set.channel.act();
    })
}

/// Broken: nobody is woken; or an asker leaves its waker without looking whether its answer is there already; or the
/// arbiter grants while somebody holds (`two at a time`).
#[test]
fn two_threads_hand_over() {
    model(|set| {
        let other = takes_a_turn(&set, "eater");
        let turn = set.mutex.acquire("fisher").unwrap();
        set.channel.act();
        drop(turn);
        other.join().unwrap();
    });
}

/// Broken as above.
#[test]
fn three_threads_hand_over() {
    model_with(Some(3), |set| {
        let others = ["eater", "runemaker"].map(|module| takes_a_turn(&set, module));
        let turn = set.mutex.acquire("fisher").unwrap();
        set.channel.act();
        drop(turn);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

/// Broken: of the wakers of one step, only the first is woken.
#[test]
fn all_that_wait_are_closed() {
    model_with(Some(3), |set| {
        let turn = set.mutex.acquire("fisher").unwrap();
        let others = ["eater", "runemaker"].map(|module| {
            let set = set.clone();
            thread::spawn(move || set.mutex.acquire(module).err())
        });
        set.mutex.close();
        drop(turn);
        assert!(
            others.map(|other| other.join().unwrap()).iter().all(|e| *e == Some(Error::Closed))
        );
    });
}

/// The clock comes to the deadline while the holder releases. Broken: the ticker hands in nothing.
#[test]
fn a_timeout_meets_a_grant() {
    model(|set| {
        let turn = set.mutex.acquire("fisher").unwrap();
        let waits = {
            let set = set.clone();
            thread::spawn(move || {
                let ask = set.mutex.request("eater").timeout(SECOND);
                match ask.acquire() {
                    Ok(_turn) => set.channel.act(),
                    Err(Error::Timeout(why)) => assert_eq!(why.waited, SECOND),
                    Err(other) => panic!("{other}"),
                }
            })
        };
        let ticks = {
            let set = set.clone();
            thread::spawn(move || set.clock.advance(SECOND))
        };
        set.channel.act();
        drop(turn);
        waits.join().unwrap();
        ticks.join().unwrap();
    });
}

/// Nobody releases: the deadline alone ends the wait, though the clock is moved on as soon as the request can be seen.
/// Broken: a clock that was moved on before the alarm was set does not ring.
#[test]
fn a_deadline_is_not_missed() {
    model(|set| {
        let turn = set.mutex.acquire("fisher").unwrap();
        let mut events = set.mutex.events();
        let waits = {
            let set = set.clone();
            thread::spawn(move || set.mutex.request("eater").timeout(SECOND).acquire().err())
        };
        assert!(!events.wait(10 * SECOND).is_empty());
        set.clock.advance(SECOND);
        assert!(matches!(waits.join().unwrap(), Some(Error::Timeout(_))));
        drop(turn);
    });
}

/// Broken: the asker's waker is dropped with the answer of a cancel.
#[test]
fn a_cancel_meets_a_grant() {
    model(|set| {
        let turn = set.mutex.acquire("fisher").unwrap();
        let waits = {
            let set = set.clone();
            thread::spawn(move || match set.mutex.acquire("eater") {
                Ok(_turn) => set.channel.act(),
                Err(error) => assert_eq!(error, Error::Cancelled),
            })
        };
        let cancels = {
            let set = set.clone();
            thread::spawn(move || set.mutex.cancel("eater").unwrap())
        };
        set.channel.act();
        drop(turn);
        waits.join().unwrap();
        cancels.join().unwrap();
    });
}

/// Broken: a future that is dropped takes its asker out but withdraws nothing, so that its grant holds the next out.
#[test]
fn a_dropped_future_meets_its_grant() {
    model_with(Some(3), |set| {
        let turn = set.mutex.acquire("fisher").unwrap();
        let drops = {
            let set = set.clone();
            thread::spawn(move || {
                let mut ask = Box::pin(set.mutex.acquire_async("runemaker"));
                match ask.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(turn) => {
                        set.channel.act();
                        drop(turn.unwrap());
                    }
                    Poll::Pending => drop(ask),
                }
            })
        };
        let next = takes_a_turn(&set, "eater");
        set.channel.act();
        drop(turn);
        drops.join().unwrap();
        next.join().unwrap();
    });
}

/// S12: a grant that its future has not seen in time is declined, so the future must look again before it acts.
/// Broken: it does not claim what it was granted (`two at a time`).
#[test]
fn a_grant_meets_the_end_of_its_claim() {
    model_with(Some(3), |set| {
        let turn = set.mutex.acquire("fisher").unwrap();
        let claims = {
            let set = set.clone();
            thread::spawn(move || match block_on(set.mutex.acquire_async("runemaker")) {
                Ok(_turn) => set.channel.act(),
                Err(error) => assert_eq!(error, Error::Lost),
            })
        };
        let next = takes_a_turn(&set, "eater");
        drop(turn);
        set.clock.advance(5 * SECOND);
        claims.join().unwrap();
        next.join().unwrap();
    });
}

/// Broken: a task's waker is taken from its first poll only.
#[test]
fn a_thread_and_a_task_hand_over() {
    model(|set| {
        let task = {
            let set = set.clone();
            thread::spawn(move || {
                let mut ask = pin!(set.mutex.acquire_async("runemaker"));
                // The first poll leaves a waker that wakes nobody.
                let first = ask.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                let turn = match first {
                    Poll::Ready(turn) => turn,
                    Poll::Pending => block_on(ask),
                };
                let _turn = turn.unwrap();
                set.channel.act();
            })
        };
        let turn = set.mutex.acquire("fisher").unwrap();
        set.channel.act();
        drop(turn);
        task.join().unwrap();
    });
}

/// S11: the turn is given away and asked for again in one step. Broken: the new request has no asker.
#[test]
fn a_yield_meets_an_ask() {
    model(|set| {
        let other = takes_a_turn(&set, "eater");
        let mut turn = set.mutex.acquire("fisher").unwrap();
        let first = turn.token();
        set.channel.act();
        turn.yield_now().unwrap();
        assert!(turn.token() > first);
        set.channel.act();
        drop(turn);
        other.join().unwrap();
    });
}

/// S11: a sleep ends early, for the clock stands still. Broken: a sleeper looks, and leaves its waker in a second step.
#[test]
fn a_sleeper_meets_what_it_should_yield_to() {
    model(|set| {
        let turn = set.mutex.acquire("fisher").unwrap();
        let pauses = {
            let set = set.clone();
            thread::spawn(move || set.mutex.pause(all_but_urgent(), "alarm").unwrap())
        };
        assert_eq!(turn.sleep(SECOND), Slept::ShouldYield);
        pauses.join().unwrap();
        drop(turn);
    });
}

/// S16. Broken: a reader looks, and leaves its waker in a second step.
#[test]
fn a_reader_meets_an_event() {
    model(|set| {
        let mut events = set.mutex.events();
        let other = takes_a_turn(&set, "eater");
        assert!(!events.wait(SECOND).is_empty());
        other.join().unwrap();
    });
}

/// S7: a thread ends with a turn that it leaked, and the next gets it. Broken: threads that end tell nobody.
#[test]
fn an_ending_thread_meets_an_ask() {
    model(|set| {
        let dies = {
            let set = set.clone();
            thread::spawn(move || std::mem::forget(set.mutex.acquire("fisher").unwrap()))
        };
        let next = takes_a_turn(&set, "eater");
        dies.join().unwrap();
        next.join().unwrap();
        // Joining a thread does not wait for the end of its thread-locals; this does.
        drop(set.mutex.acquire("eater").unwrap());
    });
}
