//! S11: giving a turn away, and sleeping inside it.

use crate::common::{
    SECOND, block_on, ms, no_delay, on_manual_clock, poll, ready, roster, secs, until,
    until_waiting, with_roster,
};
use packet_mutex::{Error, Mode, PacketMutex, Refusal, Roster, Slept, all_but_urgent, below};
use std::thread;
use std::time::Duration;

#[test]
fn a_turn_should_yield_to_a_higher_one_only() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let mut equal = Box::pin(mutex.acquire_async("fisher"));
    let mut lower = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut equal).is_pending() && poll(&mut lower).is_pending());
    assert!(!turn.should_yield());
    let mut higher = Box::pin(mutex.acquire_async("runemaker"));
    assert!(poll(&mut higher).is_pending());
    assert!(turn.should_yield());
    drop(higher);
    assert!(!turn.should_yield());
    let mut urgent = Box::pin(mutex.request("eater").urgent().acquire_async());
    assert!(poll(&mut urgent).is_pending());
    assert!(turn.should_yield());
}

#[test]
fn a_turn_should_yield_to_a_pause_and_after_its_longest_time() {
    let roster = roster(|spec| {
        crate::common::module(spec, "eater").longest_turn = Some(secs(3));
    });
    let (mutex, clock) = with_roster(roster);
    let turn = mutex.acquire("eater").unwrap();
    mutex.pause(below(20), "not for it").unwrap();
    assert!(!turn.should_yield());
    mutex.pause(below(21), "for it").unwrap();
    assert!(turn.should_yield());
    mutex.resume("for it").unwrap();
    assert!(!turn.should_yield());
    clock.advance(ms(2999));
    assert!(!turn.should_yield());
    clock.advance(ms(1));
    assert!(turn.should_yield());
    // Overrun alone lets nobody in.
    assert!(poll(&mut Box::pin(mutex.acquire_async("runemaker"))).is_pending());
}

#[test]
fn a_yield_arrives_anew_and_gets_a_new_token() {
    let (mutex, _clock) = with_roster(no_delay());
    let mut turn = mutex.acquire("fisher").unwrap();
    let token = turn.token();
    thread::scope(|s| {
        let equal = s.spawn(|| mutex.acquire("fisher").unwrap().token());
        until_waiting(&mutex, 1);
        turn.yield_now().unwrap();
        let between = equal.join().unwrap();
        assert!(token < between && between < turn.token());
    });
    assert_eq!(turn.others_since_request(), 1);
    // Nobody waits: it comes back at once.
    let before = turn.token();
    turn.yield_now().unwrap();
    assert!(turn.token() > before);
    drop(turn);
    assert!(mutex.status().holder.is_none());
}

#[test]
fn a_failed_yield_leaves_no_turn() {
    let (mutex, clock) = on_manual_clock();
    let mut turn = mutex.acquire("fisher").unwrap();
    let mut other = Box::pin(mutex.request("eater").urgent().acquire_async());
    assert!(poll(&mut other).is_pending());
    thread::scope(|s| {
        let yields = s.spawn(|| {
            // The mutex's own turn of this thread.
            let mut turn = mutex.acquire("trainer").unwrap();
            turn.yield_within(ms(500)).err()
        });
        assert!(turn.yield_within(ms(0)).is_err());
        assert!(!turn.should_yield());
        assert_eq!(turn.sleep(secs(60)), Slept::ShouldYield);
        assert_eq!(turn.yield_now(), Err(Error::NotHolder { holder: Some("eater".into()) }));
        until_waiting(&mutex, 1);
        drop(ready(poll(&mut other)).unwrap());
        clock.advance(SECOND);
        // The trainer gets it, and somebody urgent is there when it yields.
        until(|| mutex.status().last.is_some_and(|(module, _)| &*module == "trainer"));
        assert_eq!(yields.join().unwrap(), None);
    });
    drop(turn);
    assert!(mutex.status().holder.is_none());
}

#[test]
fn a_yield_that_times_out_says_so() {
    let (mutex, clock) = on_manual_clock();
    let mut turn = mutex.acquire("fisher").unwrap();
    let mut other = Box::pin(mutex.request("eater").urgent().acquire_async());
    assert!(poll(&mut other).is_pending());
    thread::scope(|s| {
        s.spawn(|| {
            until(|| mutex.status().holder.is_some_and(|h| &*h.module == "eater"));
            until_waiting(&mutex, 1);
            clock.advance(ms(100));
        });
        let Err(Error::Timeout(why)) = turn.yield_within(ms(100)) else { panic!() };
        assert_eq!(why.waited, ms(100));
        assert_eq!(&*why.holder.unwrap().0, "eater");
    });
}

#[test]
fn a_turn_with_nested_ones_open_is_not_given_away() {
    let (mutex, _clock) = on_manual_clock();
    let mut outer = mutex.acquire("fisher").unwrap();
    let inner = outer.nest("stacker").unwrap();
    assert_eq!(outer.yield_now(), Err(Error::Refused(Refusal::NestedOpen)));
    drop(inner);
    assert!(mutex.status().holder.is_some());
    outer.yield_now().unwrap();
}

#[test]
fn a_sleep_is_whole_or_ends_early() {
    let (mutex, clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    assert_eq!(turn.sleep(Duration::ZERO), Slept::Whole);
    let sleeps = |wakes: &(dyn Fn() + Sync)| {
        thread::scope(|s| {
            s.spawn(|| {
                // Let it fall asleep; awake, it would see the same.
                thread::sleep(ms(10));
                wakes();
            });
            turn.sleep(secs(10))
        })
    };
    assert_eq!(sleeps(&|| clock.advance(secs(10))), Slept::Whole);
    assert_eq!(sleeps(&|| mutex.pause(all_but_urgent(), "alarm").unwrap()), Slept::ShouldYield);
    assert_eq!(turn.sleep(secs(10)), Slept::ShouldYield);
    mutex.resume("alarm").unwrap();
    let urgent = || {
        let _ = mutex.request("eater").urgent().timeout(ms(100)).acquire();
    };
    thread::scope(|s| {
        s.spawn(urgent);
        assert_eq!(turn.sleep(Duration::MAX), Slept::ShouldYield);
        until_waiting(&mutex, 1);
        clock.advance(ms(100));
    });
    assert_eq!(turn.sleep(Duration::ZERO), Slept::Whole);
}

/// Whoever of a nested turn sleeps, the turn as a whole is what should yield.
#[test]
fn a_nested_sleep_ends_early_too() {
    let (mutex, _clock) = on_manual_clock();
    let outer = mutex.acquire("fisher").unwrap();
    let inner = outer.nest("stacker").unwrap();
    thread::scope(|s| {
        s.spawn(|| {
            thread::sleep(ms(20));
            mutex.pause(all_but_urgent(), "alarm").unwrap();
        });
        assert_eq!(inner.sleep(secs(10)), Slept::ShouldYield);
    });
}

#[test]
fn a_pass_sleeps_whole_and_yields_at_once() {
    let (mutex, clock) = on_manual_clock();
    mutex.set_mode("eater", Mode::Observed).unwrap();
    let mut pass = mutex.acquire("eater").unwrap();
    mutex.pause(all_but_urgent(), "alarm").unwrap();
    assert!(!pass.should_yield());
    thread::scope(|s| {
        s.spawn(|| {
            thread::sleep(ms(20));
            clock.advance(SECOND);
        });
        assert_eq!(pass.sleep(SECOND), Slept::Whole);
    });
    pass.yield_now().unwrap();
    assert!(pass.is_pass());
    // Once the module is enforced again, a yield asks for a turn.
    mutex.resume_all();
    mutex.set_mode("eater", Mode::Enforced).unwrap();
    pass.yield_now().unwrap();
    assert!(!pass.is_pass());
}

#[test]
fn a_task_sleeps_and_yields() {
    let (mutex, clock) = with_roster(no_delay());
    let mut turn = block_on(mutex.acquire_async("fisher")).unwrap();
    let token = turn.token();
    {
        let mut sleep = Box::pin(turn.sleep(SECOND));
        assert!(poll(&mut sleep).is_pending());
        clock.advance(ms(999));
        assert!(poll(&mut sleep).is_pending());
        clock.advance(ms(1));
        assert_eq!(ready(poll(&mut sleep)), Slept::Whole);
        let mut sleep = Box::pin(turn.sleep(SECOND));
        assert!(poll(&mut sleep).is_pending());
        mutex.pause(all_but_urgent(), "alarm").unwrap();
        assert_eq!(ready(poll(&mut sleep)), Slept::ShouldYield);
        mutex.resume_all();
        assert_eq!(block_on(turn.sleep(Duration::ZERO)), Slept::Whole);
        drop(turn.sleep(Duration::MAX));
    }
    assert_eq!(clock.next_alarm().filter(|at| *at == packet_mutex::Time::MAX), None);

    let mut higher = Box::pin(mutex.acquire_async("runemaker"));
    assert!(poll(&mut higher).is_pending());
    let mut yields = Box::pin(turn.yield_now());
    assert!(poll(&mut yields).is_pending());
    drop(ready(poll(&mut higher)).unwrap());
    ready(poll(&mut yields)).unwrap();
    drop(yields);
    assert!(turn.token() > token);
    drop(turn);
    assert!(mutex.status().holder.is_none());
}

/// Cancel safety: a dropped yield leaves no turn, whether or not it was granted again.
#[test]
fn a_dropped_yield_leaves_no_turn() {
    for granted in [false, true] {
        let (mutex, _clock) = with_roster(no_delay());
        let mut turn = block_on(mutex.acquire_async("fisher")).unwrap();
        let mut higher = Box::pin(mutex.acquire_async("runemaker"));
        assert!(poll(&mut higher).is_pending());
        let mut yields = Box::pin(turn.yield_now());
        assert!(poll(&mut yields).is_pending());
        let other = ready(poll(&mut higher)).unwrap();
        if granted {
            drop(other);
            assert_eq!(&*mutex.status().holder.unwrap().module, "fisher");
            drop(yields);
        } else {
            drop(yields);
            drop(other);
        }
        assert!(mutex.status().holder.is_none() && mutex.status().waiters.is_empty());
        drop(turn);
        assert!(mutex.try_acquire("eater").is_ok());
    }
}

/// A task that gave its turn away and is never polled again holds nobody up either (S12).
#[test]
fn a_yield_that_nobody_polls_is_declined() {
    let (mutex, clock) = with_roster(no_delay());
    let mut turn = block_on(mutex.acquire_async("fisher")).unwrap();
    let mut higher = Box::pin(mutex.acquire_async("runemaker"));
    assert!(poll(&mut higher).is_pending());
    let mut yields = Box::pin(turn.yield_now());
    assert!(poll(&mut yields).is_pending());
    drop(ready(poll(&mut higher)).unwrap());
    let mut next = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut next).is_pending());
    clock.advance(secs(5));
    assert!(ready(poll(&mut next)).is_ok());
    assert_eq!(ready(poll(&mut yields)), Err(Error::Lost));
}

#[test]
fn huge_times_are_refused_or_saturate() {
    let mutex = PacketMutex::new(Roster::default());
    let too_long = mutex.request("fisher").timeout(Duration::MAX).acquire();
    assert_eq!(too_long.err(), Some(Error::Refused(Refusal::TooLong)));
    let mut turn = mutex.acquire("fisher").unwrap();
    assert!(turn.yield_within(Duration::MAX).is_err());
    drop(turn);
    let turn = mutex.acquire("fisher").unwrap();
    thread::scope(|s| {
        s.spawn(|| {
            thread::sleep(ms(20));
            mutex.pause(all_but_urgent(), "alarm").unwrap();
        });
        assert_eq!(turn.sleep(Duration::MAX), Slept::ShouldYield);
    });
    drop(turn);
    let lasts = mutex.pause_for(Duration::MAX, all_but_urgent(), "for ever");
    assert_eq!(lasts, Err(Error::Refused(Refusal::TooLong)));
}
