//! 64 threads, six modules, no delay, a million turns, and everything that can happen to an ask or a turn: nobody is in
//! the channel beside another, nobody is forgotten, every request has one outcome and every grant one end.
#![cfg(not(pm_loom))]

#[path = "it/common.rs"]
mod common;

use packet_mutex::{
    End, Error, Event, EventKind, Events, Module, PacketMutex, Roster, Token, Turn, Unserved,
};
use random::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const THREADS: usize = 64;
const TURNS: usize = 1_000_000;
const MODULES: [&str; 6] = ["runemaker", "trainer", "fisher", "auto_loot", "stacker", "eater"];

/// The channel: it knows if two are in it, and that tokens grow.
#[derive(Default)]
struct Channel {
    inside: AtomicUsize,
    last_token: AtomicU64,
    turns: AtomicUsize,
}

impl Channel {
    fn act(&self, turn: &Turn) {
        let Some(Token(token)) = turn.token() else { panic!("a pass") };
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
        let last = self.last_token.swap(token, Ordering::SeqCst);
        assert!(last < token, "token {token} after {last}");
        self.turns.fetch_add(1, Ordering::SeqCst);
        if token.is_multiple_of(64) {
            // Others get to run into a turn that is open.
            thread::yield_now();
        }
        assert_eq!(self.inside.fetch_sub(1, Ordering::SeqCst), 1, "two at a time");
    }
}

/// What the threads saw, to be compared with what the events say.
#[derive(Debug, Default)]
struct Seen {
    granted: AtomicUsize,
    timed_out: AtomicUsize,
    cancelled: AtomicUsize,
    refused: AtomicUsize,
    nested: AtomicUsize,
    declined: AtomicUsize,
    panicked: AtomicUsize,
    yielded: AtomicUsize,
}

fn one_more(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

struct Worker<'a> {
    mutex: &'a PacketMutex,
    module: &'a Module,
    /// A module of the same group, and one of another.
    partner: Option<&'a Module>,
    stranger: &'a Module,
    channel: &'a Channel,
    seen: &'a Seen,
    rng: Rng,
}

impl Worker<'_> {
    fn step(&mut self) {
        let way = self.rng.below(100);
        let ask = self.mutex.request(self.module);
        let asked = match way {
            0..4 => self.mutex.try_acquire(self.module),
            4..8 => ask.timeout(Duration::from_micros(200)).acquire(),
            8..11 => ask.urgent().acquire(),
            11 => ask.valid_if(|| false).acquire(),
            _ => ask.acquire(),
        };
        match asked {
            Ok(turn) => {
                one_more(&self.seen.granted);
                self.use_up(turn);
            }
            Err(Error::NoLongerValid) => {
                one_more(&self.seen.granted);
                one_more(&self.seen.declined);
            }
            Err(error) => self.note(error),
        }
        if way == 12 && self.rng.below(20) == 0 {
            self.mutex.cancel(self.module).unwrap();
        }
    }

    fn note(&self, error: Error) {
        match error {
            Error::Timeout(_) => one_more(&self.seen.timed_out),
            Error::Cancelled => one_more(&self.seen.cancelled),
            Error::WouldDeadlock { .. } => one_more(&self.seen.refused),
            other => panic!("{other}"),
        }
    }

    fn use_up(&mut self, mut turn: Turn) {
        match self.rng.below(40) {
            0 => {
                one_more(&self.seen.declined);
                turn.decline();
            }
            1 => {
                self.channel.act(&turn);
                one_more(&self.seen.panicked);
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _turn = turn;
                    panic_any(());
                }));
                assert!(unwound.is_err());
            }
            2 => {
                self.channel.act(&turn);
                one_more(&self.seen.yielded);
                match turn.yield_now() {
                    Ok(()) => {
                        one_more(&self.seen.granted);
                        self.channel.act(&turn);
                    }
                    Err(error) => self.note(error),
                }
            }
            3 if self.partner.is_some() => {
                self.channel.act(&turn);
                let inner = turn.nest(self.partner.unwrap()).unwrap();
                one_more(&self.seen.nested);
                assert_eq!(inner.token(), turn.token());
                if self.rng.below(2) == 0 {
                    drop(turn);
                }
            }
            4 => {
                self.channel.act(&turn);
                self.note(self.mutex.acquire(self.stranger).unwrap_err());
            }
            5 => {
                let _ = turn.should_yield();
                self.channel.act(&turn);
                turn.release();
            }
            _ => self.channel.act(&turn),
        }
    }
}

/// What the events say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    requested: usize,
    granted: usize,
    timed_out: usize,
    cancelled: usize,
    refused: usize,
    nested: usize,
    ends: usize,
    declined: usize,
    panicked: usize,
    yielded: usize,
    open: usize,
}

impl Told {
    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match &event.kind {
                EventKind::Dropped { .. } => panic!("the reader was too slow: {event:?}"),
                EventKind::Requested { .. } => self.requested += 1,
                EventKind::Granted { .. } => {
                    assert_eq!(self.open, 0, "a turn inside a turn: {event:?}");
                    self.open = 1;
                    self.granted += 1;
                }
                EventKind::Nested { depth } => {
                    assert_eq!(self.open, *depth, "{event:?}");
                    self.open += 1;
                    self.nested += 1;
                }
                EventKind::Refused { .. } => self.refused += 1,
                EventKind::Unserved { why: Unserved::TimedOut, .. } => self.timed_out += 1,
                EventKind::Unserved { why: Unserved::Cancelled, .. } => self.cancelled += 1,
                EventKind::Ended { end, depth, .. } => {
                    self.open -= 1;
                    assert_eq!(self.open, *depth, "{event:?}");
                    self.ends += 1;
                    match end {
                        End::Released => {}
                        End::Declined => self.declined += 1,
                        End::Panicked => self.panicked += 1,
                        End::Yielded => self.yielded += 1,
                        End::Abandoned | End::Revoked => panic!("{event:?}"),
                    }
                }
                _ => panic!("{event:?}"),
            }
        }
    }
}

fn listen(mut events: Events, stop: &AtomicBool) -> Told {
    let mut told = Told::default();
    loop {
        // Looked at before the events, so that none comes after the last look.
        let last = stop.load(Ordering::SeqCst);
        told.take(events.take());
        if last {
            return told;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_million_turns() {
    // The panics of the test are meant and would only fill its output.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<()>() {
            usual(info);
        }
    }));
    let mut spec = Roster::default().into_spec();
    spec.handover_delay = Duration::ZERO;
    // A thread that is not granted within this was forgotten: priorities are aged so that none is starved.
    spec.timeout = Duration::from_secs(60);
    spec.aging = Some(Duration::from_micros(50));
    spec.starving_after = None;
    spec.limits.events = 2_000_000;
    let mutex = PacketMutex::new(Roster::new(spec).unwrap());
    let modules = MODULES.map(|name| mutex.module(name).unwrap());
    let (channel, seen, stop) = (Channel::default(), Seen::default(), AtomicBool::new(false));
    let events = mutex.events();
    let told = thread::scope(|s| {
        let listener = s.spawn(|| listen(events, &stop));
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let at = number % MODULES.len();
                let partner = match MODULES[at] {
                    "fisher" => Some(&modules[4]),
                    "stacker" => Some(&modules[2]),
                    "auto_loot" => Some(&modules[5]),
                    "eater" => Some(&modules[3]),
                    _ => None,
                };
                let mut worker = Worker {
                    mutex: &mutex,
                    module: &modules[at],
                    partner,
                    stranger: &modules[(at + 1) % MODULES.len()],
                    channel: &channel,
                    seen: &seen,
                    rng: Rng::new(number as u64),
                };
                s.spawn(move || {
                    while worker.channel.turns.load(Ordering::Relaxed) < TURNS {
                        worker.step();
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        stop.store(true, Ordering::SeqCst);
        listener.join().unwrap()
    });
    let turns = channel.turns.load(Ordering::SeqCst);
    assert!(turns >= TURNS);

    let outcomes = told.granted + told.timed_out + told.cancelled + told.refused;
    assert_eq!(told.requested, outcomes, "one outcome for every request");
    assert_eq!(told.granted + told.nested, told.ends, "one end for every grant");
    let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    let seen = Told {
        requested: told.requested,
        ends: told.ends,
        open: 0,
        granted: of(&seen.granted),
        timed_out: of(&seen.timed_out),
        cancelled: of(&seen.cancelled),
        refused: of(&seen.refused),
        nested: of(&seen.nested),
        declined: of(&seen.declined),
        panicked: of(&seen.panicked),
        yielded: of(&seen.yielded),
    };
    assert_eq!(told, seen, "the events tell what the threads saw");
    let status = mutex.status();
    assert_eq!((status.holder, status.waiters.len()), (None, 0));
}
