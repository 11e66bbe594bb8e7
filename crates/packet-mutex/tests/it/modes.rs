//! S15: observed and off.

use crate::common::{
    SECOND, block_on, events, in_thread, no_delay, on_manual_clock, poll, ready, roster,
    with_roster,
};
use packet_mutex::{Error, EventKind, Guarded, Mode};
use std::thread;

#[test]
fn an_observed_module_passes_and_its_conflicts_are_told() {
    let (mutex, _clock) = on_manual_clock();
    mutex.set_mode("eater", Mode::Observed).unwrap();
    let turn = mutex.acquire("fisher").unwrap();
    in_thread(|| {
        let pass = mutex.acquire("eater").unwrap();
        assert!(pass.is_pass() && pass.token().is_none());
        assert_eq!(
            pass.acknowledge().err(),
            Some(Error::NotHolder { holder: Some("fisher".into()) })
        );
        mutex.release("eater").unwrap();
    });
    drop(turn);
    let told = events(&mutex);
    let conflict = told.iter().find_map(|event| match &event.kind {
        EventKind::Conflict { with, .. } => Some((event.module.as_deref(), &**with)),
        _ => None,
    });
    assert_eq!(conflict, Some((Some("eater"), "fisher")));
    assert!(mutex.status().modules.iter().any(|m| &*m.module == "eater" && m.passes == 1));
    // A pass begins no delay, but comes too soon after the turn.
    drop(mutex.acquire("eater").unwrap());
    assert!(events(&mutex).iter().any(|e| matches!(e.kind, EventKind::ShortGap { .. })));
    assert!(mutex.try_acquire("stacker").is_ok());
}

#[test]
fn a_module_that_is_off_leaves_no_trace() {
    let (mutex, _clock) = on_manual_clock();
    mutex.set_mode("eater", Mode::Off).unwrap();
    let before = events(&mutex).len();
    let turn = block_on(mutex.acquire_async("eater")).unwrap();
    assert!(turn.is_pass());
    drop(turn);
    assert_eq!(events(&mutex).len(), before);
}

#[test]
fn a_switch_applies_to_waiters_at_once() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let mut task = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut task).is_pending());
    thread::scope(|s| {
        let waits = s.spawn(|| mutex.acquire("eater").unwrap().is_pass());
        crate::common::until_waiting(&mutex, 2);
        mutex.set_mode("eater", Mode::Observed).unwrap();
        assert!(waits.join().unwrap());
    });
    assert!(ready(poll(&mut task)).unwrap().is_pass());
    // Open turns stay as they are.
    mutex.set_mode("fisher", Mode::Off).unwrap();
    assert!(mutex.status().holder.is_some());
    drop(turn);
    assert!(mutex.status().holder.is_none());
}

#[test]
fn a_pass_that_is_given_but_not_seen_is_taken_back() {
    let (mutex, _clock) = with_roster(no_delay());
    let turn = mutex.acquire("fisher").unwrap();
    let mut task = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut task).is_pending());
    mutex.set_mode("eater", Mode::Observed).unwrap();
    drop(task);
    let last = events(&mutex).pop().unwrap();
    assert_eq!((last.kind.name(), last.module.as_deref()), ("declined", Some("eater")));
    drop(turn);
}

#[test]
fn a_channel_is_for_enforced_modules_only() {
    let observed = || roster(|spec| crate::common::module(spec, "eater").mode = Mode::Observed);
    let (mutex, _clock) = with_roster(observed());
    let packets = Guarded::new(mutex, ());
    assert!(matches!(packets.acquire("eater"), Err(Error::Unsupported(_))));
    assert!(matches!(block_on(packets.acquire_async("eater")), Err(Error::Unsupported(_))));
    let mutex = packets.mutex();
    assert!(matches!(mutex.set_mode("fisher", Mode::Off), Err(Error::Unsupported(_))));
    assert!(matches!(mutex.reload(observed()), Err(Error::Unsupported(_))));
    mutex.set_mode("eater", Mode::Enforced).unwrap();
    assert!(packets.acquire("eater").is_ok());
}

#[test]
fn a_panic_in_a_pass_and_a_lost_pass_are_told() {
    let (mutex, clock) = on_manual_clock();
    mutex.set_mode("eater", Mode::Observed).unwrap();
    let _ = thread::scope(|s| {
        s.spawn(|| {
            let _pass = mutex.acquire("eater").unwrap();
            std::panic::resume_unwind(Box::new(()));
        })
        .join()
    });
    in_thread(|| std::mem::forget(mutex.acquire("eater").unwrap()));
    clock.advance(SECOND);
    let told = events(&mutex);
    let ends = told.iter().filter(|e| matches!(e.kind, EventKind::Ended { .. }));
    assert_eq!(ends.map(|e| e.kind.name()).collect::<Vec<_>>(), ["panicked", "abandoned"]);
}
