//! The locks, and how each is taken.

use crate::between::handovers;
use packet_mutex::{Guarded, Module, PacketMutex, Roster, RosterSpec};
use packet_mutex_arbiter::{Arbiter, Input, Leave, Owner, Request, Start, Time};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// A lock that is measured.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Takes and releases it this many times.
    pub(crate) alone: Box<dyn FnMut(u64)>,
    /// Hands it over this many times between two threads. Returns the nanoseconds of each handover.
    pub(crate) between: Option<Box<dyn Fn(usize) -> Vec<f64>>>,
}

/// One thread asks for a module of high priority, the other for one of low priority. They are of different groups.
const SIDES: [&str; 2] = ["runemaker", "eater"];

/// Makes a contender of a lock and the expression that takes it, for the thread on this side. A macro, since the guards borrow
/// from the lock and have no common type.
macro_rules! contender {
    ($name:literal, $lock:expr, |$of:ident, $side:ident| $take:expr) => {{
        let alone = Arc::new($lock);
        let between = alone.clone();
        Contender {
            name: $name,
            alone: Box::new(move |turns| {
                let ($of, $side) = (&*alone, 0_usize);
                let _ = $side;
                (0..turns).for_each(|_| drop(black_box($take)));
            }),
            between: Some(Box::new(move |count| {
                let $of = &*between;
                handovers(
                    |$side: usize| {
                        let _ = $side;
                        $take
                    },
                    count,
                )
            })),
        }
    }};
}

/// Returns all locks. The others are compared with the first two.
pub(crate) fn contenders() -> Vec<Contender> {
    vec![
        contender!("std", std::sync::Mutex::new(()), |lock, side| lock.lock().expect("a lock")),
        contender!("parking_lot", parking_lot::Mutex::new(()), |lock, side| lock.lock()),
        contender!("tokio", tokio::sync::Mutex::new(()), |lock, side| block_on(lock.lock())),
        contender!("priomutex", priomutex::Mutex::new(()), |lock, side| lock
            .lock(side)
            .expect("a lock")),
        contender!("PacketMutex, handle", handled(), |lock, side| lock
            .0
            .acquire(&lock.1[side])
            .expect("a turn")),
        contender!("PacketMutex, name", mutex(), |lock, side| lock
            .acquire(SIDES[side])
            .expect("a turn")),
        contender!("PacketMutex, async", handled(), |lock, side| block_on(
            lock.0.acquire_async(&lock.1[side])
        )
        .expect("a turn")),
        contender!("Guarded, handle", guarded(), |lock, side| lock
            .0
            .acquire(&lock.1[side])
            .expect("a turn")),
        the_decision_alone(),
    ]
}

/// Returns a mutex without a handover delay, which the other locks do not have either.
fn mutex() -> PacketMutex {
    let spec = RosterSpec { handover_delay: Duration::ZERO, ..Roster::default().spec().clone() };
    PacketMutex::new(Roster::new(spec).expect("a roster"))
}

fn modules(mutex: &PacketMutex) -> [Module; 2] {
    SIDES.map(|side| mutex.module(side).expect("a module of the roster"))
}

fn handled() -> (PacketMutex, [Module; 2]) {
    let mutex = mutex();
    let modules = modules(&mutex);
    (mutex, modules)
}

fn guarded() -> (Guarded<u64>, [Module; 2]) {
    let guarded = Guarded::new(mutex(), 0);
    let modules = modules(guarded.mutex());
    (guarded, modules)
}

/// Returns the arbiter alone: no lock, no clock, no thread.
fn the_decision_alone() -> Contender {
    let mut arbiter = Arbiter::new(Roster::default(), Start::default());
    let module = arbiter.resolve(SIDES[0]).expect("a module of the roster").module;
    let owner = Some(Owner(1));
    let mut now = Time::ZERO;
    let alone = move |turns| {
        for _ in 0..turns {
            now = now + Duration::from_micros(1);
            let id = arbiter.next_request();
            let request = Request { owner, ..Request::new(id, module) };
            let asked = arbiter.handle(now, Input::Request(request));
            black_box((asked, arbiter.poll_output(), arbiter.poll_timeout())).0.expect("a turn");
            let ended = arbiter.handle(now, Input::End { hold: id, owner, how: Leave::Released });
            black_box((ended, arbiter.poll_output(), arbiter.poll_timeout())).0.expect("an end");
        }
    };
    Contender { name: "the arbiter alone", alone: Box::new(alone), between: None }
}

/// Waits for a future in this thread. All asynchronous locks use it, so that no runtime adds to one of them only.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    }
    let mut future = pin!(future);
    WAKER.with(|waker| {
        loop {
            match future.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Ready(done) => return done,
                Poll::Pending => std::thread::park(),
            }
        }
    })
}
