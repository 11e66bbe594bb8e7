//! S9: turns in which nothing was sent, and checks inside the turn.

use crate::common::{
    SECOND, block_on, in_thread, ms, no_delay, on_manual_clock, poll, ready, until_waiting,
    with_roster,
};
use packet_mutex::{Error, Guarded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

#[test]
fn a_declined_turn_leaves_no_delay_and_no_history() {
    let (mutex, clock) = on_manual_clock();
    drop(mutex.acquire("runemaker").unwrap());
    clock.advance(SECOND);
    mutex.acquire("fisher").unwrap().decline();
    assert_eq!(&*mutex.status().last.unwrap().0, "runemaker");
    let turn = mutex.try_acquire("eater").unwrap();
    assert_eq!(turn.others_since_request(), 0);
    turn.decline();
    // A decline does not shorten a delay that runs.
    drop(mutex.try_acquire("eater").unwrap());
    mutex.try_acquire("auto_loot").unwrap().decline();
    clock.advance(ms(999));
    assert!(mutex.try_acquire("fisher").is_err());
    clock.advance(ms(1));
    assert!(mutex.try_acquire("fisher").is_ok());
}

#[test]
fn a_turn_with_something_nested_that_sent_is_no_declined_one() {
    let (mutex, _clock) = on_manual_clock();
    let outer = mutex.acquire("fisher").unwrap();
    drop(outer.nest("stacker").unwrap());
    outer.decline();
    assert!(mutex.try_acquire("eater").is_err());
}

#[test]
fn a_check_that_says_no_declines() {
    let (mutex, _clock) = on_manual_clock();
    let mut calls = 0;
    let ask = mutex.request("fisher").valid_if(|| {
        calls += 1;
        false
    });
    assert_eq!(ask.acquire().err(), Some(Error::NoLongerValid));
    assert_eq!(calls, 1);
    assert!(mutex.try_acquire("eater").unwrap().module().name().starts_with("eater"));

    let ask = mutex.request("eater").valid_if(|| false);
    assert_eq!(block_on(ask.acquire_async()).err(), Some(Error::NoLongerValid));
    assert!(mutex.status().holder.is_none());
    assert!(mutex.request("eater").valid_if(|| true).acquire().is_ok());
}

#[test]
fn a_check_that_panics_declines_and_the_panic_goes_on() {
    let (mutex, _clock) = on_manual_clock();
    let check = || -> bool { panic!("in the check") };
    let thread = || mutex.request("fisher").valid_if(check).acquire();
    let task = || block_on(mutex.request("fisher").valid_if(check).acquire_async());
    let said = |panic: Box<dyn std::any::Any + Send>| *panic.downcast_ref::<&str>().unwrap();
    assert_eq!(said(catch_unwind(AssertUnwindSafe(thread)).unwrap_err()), "in the check");
    assert_eq!(said(catch_unwind(AssertUnwindSafe(task)).unwrap_err()), "in the check");
    assert!(mutex.try_acquire("eater").is_ok());
}

#[test]
fn a_check_does_not_run_without_the_turn() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("runemaker").unwrap();
    in_thread(|| {
        let ask = mutex.request("fisher").timeout(Duration::ZERO).valid_if(|| unreachable!());
        assert!(matches!(ask.acquire(), Err(Error::Timeout(_))));
    });
    drop(turn);
}

#[test]
fn a_check_before_a_channel_runs_inside_the_turn() {
    let (mutex, _clock) = on_manual_clock();
    let packets = Guarded::new(mutex.clone(), 7);
    let held = || mutex.status().holder.is_some();
    assert_eq!(*packets.request("fisher").valid_if(held).acquire().unwrap(), 7);
    let no = packets.request("fisher").valid_if(|| false).acquire();
    assert_eq!(no.err(), Some(Error::NoLongerValid));
    assert_eq!(packets.into_inner(), Some(7));
}

#[test]
fn turns_of_others_since_the_request_are_counted() {
    let (mutex, _clock) = with_roster(no_delay());
    let first = mutex.acquire("runemaker").unwrap();
    let mut eater = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut eater).is_pending());
    thread::scope(|s| {
        let trainer = s.spawn(|| {
            let turn = mutex.acquire("trainer").unwrap();
            turn.others_since_request()
        });
        until_waiting(&mutex, 2);
        drop(first);
        assert_eq!(trainer.join().unwrap(), 1);
    });
    // The first holder's and the trainer's.
    assert_eq!(ready(poll(&mut eater)).unwrap().others_since_request(), 2);
}
