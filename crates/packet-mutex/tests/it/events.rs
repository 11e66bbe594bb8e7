//! S14, S16: the event log and the status.

use crate::common::{
    SECOND, complete, in_thread, ms, on_manual_clock, poll, ready, roster, secs, until_waiting,
    with_roster,
};
use packet_mutex::{Clock, Event, EventKind, ManualClock, PacketMutex};
use std::thread;
use std::time::Duration;

#[test]
fn a_reader_sees_every_event_once() {
    let (mutex, clock) = on_manual_clock();
    drop(mutex.acquire("fisher").unwrap());
    let (mut late, mut all) = (mutex.events(), mutex.events_so_far());
    clock.advance(SECOND);
    drop(mutex.acquire("eater").unwrap());
    let kinds = |events| complete(events).iter().map(|e| e.kind.name()).collect::<Vec<_>>();
    assert_eq!(kinds(late.take()), ["requested", "granted", "released"]);
    assert_eq!(late.take(), []);
    let seqs: Vec<u64> = complete(all.take()).iter().map(|e| e.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_task_waits_for_events() {
    let (mutex, _clock) = on_manual_clock();
    let mut events = mutex.events();
    let mut waits = Box::pin(events.wait_async());
    assert!(poll(&mut waits).is_pending());
    drop(waits);
    drop(mutex.acquire("fisher").unwrap());
    let mut waits = Box::pin(events.wait_async());
    assert_eq!(ready(poll(&mut waits)).len(), 3);
}

#[test]
fn a_slow_reader_is_told_what_it_lost() {
    let roster = roster(|spec| spec.limits.events = 4);
    let clock = ManualClock::new();
    let builder = PacketMutex::builder(roster).clock(clock.clone());
    let mutex = builder.name("other").build();
    let mut events = mutex.events();
    for _ in 0..3 {
        drop(mutex.acquire("fisher").unwrap());
    }
    clock.advance(SECOND);
    let read = events.take();
    let [Event { seq: 5, kind: EventKind::Dropped { count: 5 }, .. }, first, ..] = &read[..] else {
        panic!("{read:?}")
    };
    assert_eq!((first.seq, read.len()), (6, 5));
    assert_eq!(complete(read[1..].to_vec()).len(), 4);
    assert_eq!((&*read[0].mutex, read[0].at), ("other", clock.now()));
    assert_eq!(events.take(), []);
}

#[test]
fn a_reader_waits_for_the_first() {
    let (mutex, clock) = on_manual_clock();
    let mut events = mutex.events();
    assert_eq!(events.wait(Duration::ZERO), []);
    let waits = |events: &mut packet_mutex::Events, wakes: &(dyn Fn() + Sync)| {
        thread::scope(|s| {
            s.spawn(|| {
                // Let it fall asleep; awake, it would see the same.
                thread::sleep(ms(10));
                wakes();
            });
            events.wait(SECOND).len()
        })
    };
    assert_eq!(waits(&mut events, &|| clock.advance(SECOND)), 0);
    assert_ne!(waits(&mut events, &|| mutex.close()), 0);
}

#[test]
fn a_status_is_one_instant() {
    let (mutex, clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let inner = turn.nest("stacker").unwrap();
    let mut urgent = Box::pin(mutex.request("eater").urgent().timeout(secs(10)).acquire_async());
    let mut high = Box::pin(mutex.acquire_async("trainer"));
    assert!(poll(&mut high).is_pending() && poll(&mut urgent).is_pending());
    clock.advance(secs(2));
    let status = mutex.status();
    let holder = status.holder.unwrap();
    assert_eq!((&*holder.module, holder.held, holder.depth), ("fisher", secs(2), 2));
    assert_eq!(Some(holder.token), turn.token());
    let waiters = status.waiters.iter().map(|w| (&*w.module, w.priority, w.waited, w.deadline));
    assert_eq!(
        waiters.collect::<Vec<_>>(),
        [("eater", 20, secs(2), secs(8)), ("trainer", 80, secs(2), secs(28))]
    );
    assert_eq!(status.next, Some(("eater".into(), Duration::ZERO)));
    drop(inner);
    drop(turn);
    drop(urgent);
    clock.advance(ms(300));
    let status = mutex.status();
    assert_eq!(status.last, Some(("fisher".into(), ms(300))));
    assert_eq!(status.next, Some(("trainer".into(), ms(700))));
}

/// Nothing falls due by itself in a look: the status counts what fell due until now.
#[test]
fn a_starving_waiter_and_an_overrun_are_told_in_time() {
    let roster = roster(|spec| {
        crate::common::module(spec, "fisher").longest_turn = Some(secs(3));
        spec.starving_after = Some(secs(5));
    });
    let (mutex, clock) = with_roster(roster);
    let mut events = mutex.events();
    let turn = mutex.acquire("fisher").unwrap();
    thread::scope(|s| {
        s.spawn(|| mutex.acquire("eater").map(drop));
        until_waiting(&mutex, 1);
        clock.advance(secs(60));
    });
    let told = complete(events.take());
    let told = told.iter().skip(2).map(|e| (e.kind.name(), e.at.as_nanos() / 1_000_000_000));
    let at: Vec<_> = told.collect();
    assert_eq!(at, [("requested", 0), ("overrun", 3), ("starving", 5), ("timed_out", 30)]);
    assert!(turn.should_yield());
}

#[test]
fn abandoned_turns_are_marked_until_somebody_acknowledges() {
    let (mutex, clock) = on_manual_clock();
    in_thread(|| std::mem::forget(mutex.acquire("fisher").unwrap()));
    assert!(mutex.status().abandoned);
    clock.advance(SECOND);
    let turn = mutex.acquire("eater").unwrap();
    assert!(turn.predecessor_abandoned());
    drop(turn);
    let turn = mutex.acquire("eater").unwrap();
    assert!(turn.predecessor_abandoned());
    turn.acknowledge().unwrap();
    drop(turn);
    assert!(!mutex.acquire("eater").unwrap().predecessor_abandoned());
    assert!(!mutex.status().abandoned);
}
