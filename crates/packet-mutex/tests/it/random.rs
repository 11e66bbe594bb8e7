//! Several threads do what they like while one moves the clock; a small checker reads the event log afterwards.

use crate::common::{complete, in_thread, ms, poll, roster, with_roster};
use packet_mutex::{Below, End, Error, Event, EventKind, PacketMutex, Time, Turn, Unserved, below};
use random::Rng;
use std::collections::BTreeMap;
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const MODULES: [(&str, u8, &str); 6] = [
    ("runemaker", 100, "runemaker"),
    ("trainer", 80, "trainer"),
    ("fisher", 60, "fishing"),
    ("auto_loot", 40, "looting"),
    ("stacker", 30, "fishing"),
    ("eater", 20, "looting"),
];

// What the threads do.

fn step(mutex: &PacketMutex, rng: &mut Rng) {
    let (module, _, group) = MODULES[rng.below(6) as usize];
    let timeout = ms(rng.below(8000));
    match rng.below(20) {
        0 => mutex.cancel(module).unwrap(),
        1 => mutex.pause_for(timeout, below(rng.below(101) as u8), "alarm").unwrap(),
        2 => {
            // Its thread dies with the turn.
            let ask = || mutex.request(module).timeout(timeout).acquire().map(forget);
            drop(in_thread(ask));
        }
        3 => {
            let mut ask = Box::pin(mutex.request(module).timeout(timeout).acquire_async());
            for _ in 0..rng.below(4) {
                if poll(&mut ask).is_ready() {
                    return;
                }
                thread::yield_now();
            }
        }
        4 => drop(mutex.try_acquire(module).map(|turn| use_up(turn, group, rng))),
        5 => {
            let ask = mutex.request(module).timeout(timeout).urgent();
            drop(ask.acquire().map(|turn| use_up(turn, group, rng)));
        }
        6 => {
            let ask = mutex.request(module).timeout(timeout).valid_if(|| false);
            assert!(ask.acquire().is_err());
        }
        _ => {
            let ask = mutex.request(module).timeout(timeout);
            drop(ask.acquire().map(|turn| use_up(turn, group, rng)));
        }
    }
}

fn use_up(mut turn: Turn, group: &str, rng: &mut Rng) {
    turn.sleep(ms(rng.below(700)));
    match rng.below(8) {
        0 => turn.decline(),
        1 => drop(turn.yield_within(ms(rng.below(5000)))),
        2 => {
            let other = MODULES.iter().rfind(|(_, _, of)| *of == group);
            let inner = turn.nest(other.unwrap().0).unwrap();
            if rng.below(2) == 0 {
                drop(turn);
            }
            inner.sleep(ms(rng.below(200)));
        }
        3 => {
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _turn = turn;
                resume_unwind(Box::new(()));
            }));
            assert!(unwound.is_err());
        }
        4 => {
            let other = MODULES.iter().find(|(_, _, of)| *of != group).unwrap().0;
            let refused = turn.nest(other).err();
            assert!(matches!(refused, Some(Error::WouldDeadlock { .. })), "{refused:?}");
        }
        _ => drop(turn),
    }
}

// What the log must say.

struct Waiter {
    urgent: bool,
    priority: u8,
    group: &'static str,
    deadline: Time,
}

struct Open {
    token: u64,
    group: &'static str,
    holds: usize,
    /// Something in it ended otherwise than declined.
    acted: bool,
}

#[derive(Default)]
struct Checker {
    at: Time,
    seq: u64,
    token: u64,
    waiters: BTreeMap<u64, Waiter>,
    open: Option<Open>,
    /// When the last turn of each group ended that began a delay.
    ended: BTreeMap<&'static str, Time>,
    /// When the last turn was abandoned: then the delay holds for all.
    abandoned: Option<Time>,
    pause: Option<u8>,
    counts: BTreeMap<&'static str, usize>,
}

impl Checker {
    fn take(&mut self, event: &Event) {
        assert_eq!(event.seq, self.seq + 1);
        assert!(self.at <= event.at, "time goes back: {event:?}");
        (self.seq, self.at) = (event.seq, event.at);
        *self.counts.entry(event.kind.name()).or_default() += 1;
        let request = event.request.map(|request| request.0).unwrap_or_default();
        let module = event.module.as_deref();
        let found = MODULES.iter().find(|(name, ..)| Some(*name) == module);
        let (_, priority, group) = found.copied().unwrap_or(("", 0, ""));
        match &event.kind {
            EventKind::Requested { urgent, timeout } => {
                let deadline = event.at + *timeout;
                let waiter = Waiter { urgent: *urgent, priority, group, deadline };
                assert!(self.waiters.insert(request, waiter).is_none(), "asked twice: {event:?}");
            }
            EventKind::Granted { .. } => self.grant(request, event),
            EventKind::Refused { .. } => _ = self.leave(request, event),
            EventKind::Unserved { why, .. } => {
                let deadline = self.waiters[&request].deadline;
                let in_time = match why {
                    Unserved::TimedOut => event.at == deadline,
                    _ => event.at <= deadline,
                };
                assert!(in_time, "its deadline was {deadline}: {event:?}");
                _ = self.leave(request, event);
            }
            EventKind::Nested { depth } => {
                // It was no request that waits.
                let open = self.open.as_mut().unwrap();
                assert_eq!((open.holds, open.group), (*depth, group), "{event:?}");
                open.holds += 1;
            }
            EventKind::Ended { end, depth, .. } => {
                let mut open = self.open.take().unwrap();
                assert_eq!(Some(open.token), event.token.map(|token| token.0), "{event:?}");
                assert_eq!(open.holds, depth + 1, "{event:?}");
                open.acted |= *end != End::Declined;
                open.holds = *depth;
                if *depth > 0 {
                    self.open = Some(open);
                } else if open.acted {
                    self.ended.insert(open.group, event.at);
                    if *end == End::Abandoned {
                        self.abandoned = Some(event.at);
                    }
                }
            }
            EventKind::Paused { below: Below::Priority(level), .. } => self.pause = Some(*level),
            EventKind::Resumed { .. } => self.pause = None,
            EventKind::Starving { .. } => {}
            _ => panic!("{event:?}"),
        }
    }

    fn leave(&mut self, request: u64, event: &Event) -> Waiter {
        self.waiters.remove(&request).unwrap_or_else(|| panic!("a second outcome: {event:?}"))
    }

    /// S1, S2, S3, S4, S10, S12, S17.
    fn grant(&mut self, request: u64, event: &Event) {
        let at = event.at;
        assert!(self.open.is_none(), "two at a time: {event:?}");
        let granted = self.leave(request, event);
        assert!(at <= granted.deadline, "too late: {event:?}");
        let is_held_back =
            |w: &Waiter| !w.urgent && self.pause.is_some_and(|level| w.priority < level);
        assert!(!is_held_back(&granted), "paused: {event:?}");
        let rank = |w: &Waiter| (w.urgent, if w.urgent { 0 } else { w.priority });
        for (other, waiter) in self.waiters.iter().filter(|(_, w)| !is_held_back(w)) {
            let first =
                rank(waiter) < rank(&granted) || rank(waiter) == rank(&granted) && request < *other;
            assert!(first, "request {other} was before: {event:?}");
        }
        if !granted.urgent {
            let of_others = self.ended.iter().filter(|(group, _)| **group != granted.group);
            for end in of_others.map(|(_, end)| *end).chain(self.abandoned) {
                assert!(end + Duration::from_secs(1) <= at, "too soon after {end}: {event:?}");
            }
        }
        let token = event.token.unwrap().0;
        assert!(self.token < token, "tokens grow: {event:?}");
        self.token = token;
        self.open = Some(Open { token, group: granted.group, holds: 1, acted: false });
    }
}

fn run(seed: u64) -> BTreeMap<&'static str, usize> {
    const THREADS: u64 = 6;
    let roster = roster(|spec| spec.limits.events = 1_000_000);
    let (mutex, clock) = with_roster(roster);
    let done = AtomicUsize::new(0);
    thread::scope(|s| {
        for number in 0..THREADS {
            let (mutex, done) = (&mutex, &done);
            s.spawn(move || {
                let mut rng = Rng::new(seed * THREADS + number);
                for _ in 0..100 {
                    step(mutex, &mut rng);
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut rng = Rng::new(!seed);
        while done.load(Ordering::SeqCst) < THREADS as usize {
            clock.advance(ms(rng.below(100)));
            thread::yield_now();
        }
    });
    let mut checker = Checker::default();
    let events = complete(mutex.events_so_far().take());
    events.iter().for_each(|event| checker.take(event));
    assert!(checker.waiters.is_empty() && checker.open.is_none());
    let status = mutex.status();
    assert_eq!((status.holder, status.waiters.len()), (None, 0));
    checker.counts
}

#[test]
fn whatever_threads_do_the_log_keeps_the_rules() {
    let mut seen = BTreeMap::new();
    for seed in 0..100 {
        for (kind, count) in run(seed) {
            *seen.entry(kind).or_insert(0) += count;
        }
    }
    // The runs are worth something only if all of this happened.
    let kinds = [
        "granted",
        "refused",
        "timed_out",
        "cancelled",
        "withdrawn",
        "nested",
        "released",
        "panicked",
        "yielded",
        "declined",
        "abandoned",
        "paused",
        "resumed",
    ];
    for kind in kinds {
        assert!(seen.get(kind).is_some_and(|count| *count > 20), "{kind}: {seen:?}");
    }
}
