//! S12: tasks of any executor, threads beside them, and futures that go away.

use crate::common::{
    Count, SECOND, block_on, events, ms, no_delay, on_manual_clock, poll, ready, roster, secs,
    until_waiting, with_roster,
};
use packet_mutex::{Error, EventKind, Guarded, PacketMutex, TaskTurn, Unserved};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::thread;
use std::time::Duration;

/// Drops a future after so many polls, before or after its grant was decided: somebody else is granted, and nothing stays.
#[test]
fn a_future_may_be_dropped_at_any_point() {
    for (polls, granted) in [(0, false), (1, false), (2, false), (1, true), (2, true)] {
        let (mutex, _clock) = with_roster(no_delay());
        let turn = mutex.acquire("fisher").unwrap();
        let (_, waker) = Count::waker();
        let mut ask = Box::pin(mutex.acquire_async("runemaker"));
        for _ in 0..polls {
            assert!(ask.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let mut next = Box::pin(mutex.acquire_async("eater"));
        assert!(poll(&mut next).is_pending());
        if granted {
            drop(turn);
            assert_eq!(&*mutex.status().holder.unwrap().module, "runemaker");
            drop(ask);
        } else {
            drop(ask);
            drop(turn);
        }
        assert!(ready(poll(&mut next)).is_ok(), "after {polls} polls, granted: {granted}");
        assert!(mutex.status().holder.is_none() && mutex.status().waiters.is_empty());
        let of = |name: &str| events(&mutex).iter().filter(|e| e.kind.name() == name).count();
        assert_eq!(of("withdrawn"), usize::from(polls > 0 && !granted));
        assert_eq!(of("declined"), usize::from(granted));
    }
}

#[test]
fn a_dropped_future_takes_its_waker_along() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let (count, waker) = Count::waker();
    for _ in 0..10_000 {
        let mut ask = Box::pin(mutex.acquire_async("eater"));
        assert!(ask.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    assert_eq!((Arc::strong_count(&count), count.wakes()), (1, 0));
    drop(turn);
}

#[test]
fn a_grant_that_nobody_polls_for_is_declined() {
    let roster = roster(|spec| {
        spec.handover_delay = Duration::ZERO;
        spec.claim_within = secs(2);
    });
    let (mutex, clock) = with_roster(roster);
    let turn = mutex.acquire("fisher").unwrap();
    let mut forgotten = Box::pin(mutex.acquire_async("runemaker"));
    assert!(poll(&mut forgotten).is_pending());
    thread::scope(|s| {
        let next = s.spawn(|| mutex.acquire("eater").map(|turn| turn.waited()));
        until_waiting(&mutex, 2);
        drop(turn);
        clock.advance(ms(1999));
        until_waiting(&mutex, 1);
        clock.advance(ms(1));
        assert_eq!(next.join().unwrap(), Ok(secs(2)));
    });
    // Whoever polls it after all is told, and can ask again.
    assert_eq!(ready(poll(&mut forgotten)).err(), Some(Error::Lost));
    assert!(block_on(mutex.acquire_async("runemaker")).is_ok());
}

/// A grant that was seen in time has no deadline, and one that comes at once is seen at once.
#[test]
fn a_claimed_turn_lasts() {
    let (mutex, clock) = with_roster(no_delay());
    let first = block_on(mutex.acquire_async("fisher")).unwrap();
    clock.advance(secs(60));
    assert!(mutex.status().holder.is_some());
    let mut second = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut second).is_pending());
    drop(first);
    clock.advance(ms(4999));
    let turn = ready(poll(&mut second)).unwrap();
    clock.advance(secs(60));
    assert!(mutex.status().holder.is_some());
    drop(turn);
}

#[test]
fn a_future_times_out_in_the_mutexes_time() {
    let (mutex, clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let (count, waker) = Count::waker();
    let mut ask = Box::pin(mutex.request("eater").timeout(SECOND).acquire_async());
    assert!(ask.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    clock.advance(ms(999));
    assert_eq!(count.wakes(), 0);
    clock.advance(ms(1));
    assert_eq!(count.wakes(), 1);
    assert!(matches!(ready(poll(&mut ask)), Err(Error::Timeout(why)) if why.waited == SECOND));
    assert!(matches!(
        block_on(mutex.request("eater").timeout(Duration::ZERO).acquire_async()),
        Err(Error::Timeout(_))
    ));
    drop(turn);
}

#[test]
fn threads_and_bare_tasks_take_turns() {
    let (mutex, _clock) = with_roster(no_delay());
    let inside = AtomicUsize::new(0);
    let act = || {
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
        thread::yield_now();
        inside.fetch_sub(1, Ordering::SeqCst);
    };
    thread::scope(|s| {
        for module in ["fisher", "eater", "trainer"] {
            let (mutex, act) = (&mutex, &act);
            s.spawn(move || {
                for _ in 0..500 {
                    let _turn = mutex.acquire(module).unwrap();
                    act();
                }
            });
            s.spawn(move || {
                block_on(async {
                    for _ in 0..500 {
                        let _turn = mutex.acquire_async(module).await.unwrap();
                        act();
                    }
                });
            });
        }
    });
    assert_eq!(mutex.status().modules.iter().map(|m| m.turns).sum::<u64>(), 3000);
}

/// The system's clock, for tokio's timers are no part of a mutex's time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_tokio_and_threads_take_turns() {
    let packets = Arc::new(Guarded::new(PacketMutex::new(no_delay()), 0_u32));
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let packets = packets.clone();
            let module = ["fisher", "eater", "trainer"][number % 3];
            tokio::spawn(async move {
                for _ in 0..20 {
                    let mut turn = packets.acquire_async(module).await.unwrap();
                    let before = *turn;
                    tokio::task::yield_now().await;
                    *turn = before + 1;
                }
            })
        })
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let packets = packets.clone();
            thread::spawn(move || {
                for _ in 0..50 {
                    *packets.acquire("runemaker").unwrap() += 1;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*packets.acquire_async("eater").await.unwrap(), 50 * 20 + 4 * 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn select_and_timeout_cancel_cleanly() {
    let mutex = PacketMutex::new(no_delay());
    let turn = mutex.acquire_async("fisher").await.unwrap();
    for _ in 0..20 {
        let timed = tokio::time::timeout(ms(1), mutex.acquire_async("runemaker")).await;
        assert!(timed.is_err());
    }
    tokio::select! {
        _ = mutex.acquire_async("runemaker") => unreachable!("the fisher holds"),
        () = tokio::time::sleep(ms(5)) => {}
    }
    // An aborted task withdraws too.
    let task = {
        let mutex = mutex.clone();
        tokio::spawn(async move { mutex.acquire_async("trainer").await.map(drop) })
    };
    while mutex.status().waiters.is_empty() {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(mutex.status().waiters.is_empty());
    drop(turn);
    assert!(mutex.acquire_async("eater").await.is_ok());
    let withdrawn = EventKind::Unserved { why: Unserved::Withdrawn, waited: Duration::ZERO };
    let is = |kind: &EventKind| kind.name() == withdrawn.name();
    assert_eq!(events(&mutex).iter().filter(|e| is(&e.kind)).count(), 22);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_moves_between_tasks_and_threads() {
    let mutex = PacketMutex::new(no_delay());
    let turn: TaskTurn = mutex.acquire_async("fisher").await.unwrap();
    let token = turn.token();
    let turn = tokio::spawn(async move {
        turn.sleep(ms(1)).await;
        turn
    });
    let turn = turn.await.unwrap();
    assert_eq!(turn.token(), token);
    tokio::task::spawn_blocking(move || drop(turn)).await.unwrap();
    assert!(mutex.status().holder.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_task_wakes_for_an_urgent_one() {
    let mutex = PacketMutex::new(no_delay());
    let mut turn = mutex.acquire_async("fisher").await.unwrap();
    let urgent = {
        let mutex = mutex.clone();
        tokio::spawn(async move { mutex.request("eater").urgent().acquire_async().await.map(drop) })
    };
    assert_eq!(turn.sleep(secs(3600)).await, packet_mutex::Slept::ShouldYield);
    turn.yield_now().await.unwrap();
    assert_eq!(urgent.await.unwrap(), Ok(()));
    assert_eq!(turn.others_since_request(), 1);
}

#[test]
fn a_yield_has_a_timeout_of_its_own() {
    let (mutex, clock) = with_roster(no_delay());
    let mut turn = ready(poll(&mut Box::pin(mutex.acquire_async("fisher")))).unwrap();
    let mut urgent = Box::pin(mutex.request("eater").urgent().acquire_async());
    assert!(poll(&mut urgent).is_pending());
    let mut yields = Box::pin(turn.yield_within(ms(300)));
    assert!(poll(&mut yields).is_pending());
    let holder = ready(poll(&mut urgent)).unwrap();
    clock.advance(ms(300));
    assert_eq!(ready(poll(&mut yields)).unwrap_err().kind(), "timeout");
    drop(holder);
}

/// S4, S14: many waiting tasks, grants in exact order, nothing left behind.
#[test]
fn a_hundred_thousand_tasks_are_granted_in_order() {
    let (mutex, clock) = with_roster(roster(|spec| {
        spec.handover_delay = Duration::ZERO;
        spec.limits.waiters = 100_000;
    }));
    let turn = mutex.acquire("fisher").unwrap();
    let modules = ["eater", "runemaker", "trainer", "fisher"].map(|m| mutex.module(m).unwrap());
    let mut asks: Vec<_> =
        (0..100_000).map(|n| Box::pin(mutex.acquire_async(&modules[n % 4]))).collect();
    for ask in &mut asks {
        assert!(poll(ask).is_pending());
    }
    drop(turn);
    // By priority, then by arrival.
    for lane in [1, 2, 3, 0] {
        for ask in asks.iter_mut().skip(lane).step_by(4) {
            drop(ready(poll(ask)).unwrap());
        }
    }
    assert!(mutex.status().waiters.is_empty() && mutex.status().holder.is_none());
    drop(asks);
    clock.advance(secs(3600));
    assert_eq!(clock.next_alarm(), None);
}
