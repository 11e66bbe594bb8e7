//! S5: owners and nesting.

use crate::common::{SECOND, block_on, in_thread, on_manual_clock, poll, ready, with_roster};
use packet_mutex::{Error, PacketMutex, Roster, all_but_urgent};

fn is_free(mutex: &PacketMutex) -> bool {
    mutex.status().holder.is_none()
}

#[test]
fn nested_turns_end_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (mutex, _clock) = on_manual_clock();
        let outer = mutex.acquire("fisher").unwrap();
        let middle = outer.nest("stacker").unwrap();
        let inner = mutex.acquire("fisher").unwrap();
        assert_eq!(outer.token(), middle.token());
        assert_eq!(outer.token(), inner.token());
        let mut turns = [Some(outer), Some(middle), Some(inner)];
        for (at, which) in order.into_iter().enumerate() {
            assert_eq!(mutex.status().holder.unwrap().depth, 3 - at);
            drop(turns[which].take());
        }
        assert!(is_free(&mutex));
        // The delay counts from the last end.
        assert!(mutex.try_acquire("eater").is_err());
    }
}

#[test]
fn another_group_would_deadlock() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let expected = || {
        let [holds, asked] = ["fisher", "eater"].map(Into::into);
        Some(Error::WouldDeadlock { holds, asked })
    };
    assert_eq!(mutex.acquire("eater").err(), expected());
    assert_eq!(turn.nest("eater").err(), expected());
    assert_eq!(mutex.request("eater").urgent().acquire().err(), expected());
    drop(turn);
    // Another thread is another owner.
    let turn = mutex.acquire("fisher").unwrap();
    in_thread(|| assert!(matches!(mutex.try_acquire("stacker"), Err(Error::Timeout(_)))));
    drop(turn);
}

#[test]
fn nesting_goes_on_when_nothing_else_does() {
    let (mutex, _clock) = on_manual_clock();
    let outer = mutex.acquire("fisher").unwrap();
    mutex.disable("stacker").unwrap();
    mutex.pause(all_but_urgent(), "alarm").unwrap();
    mutex.close();
    assert!(outer.nest("stacker").is_ok());
    assert!(mutex.acquire("stacker").is_ok());
    drop(outer);
    assert_eq!(mutex.acquire("fisher").err(), Some(Error::Closed));
}

#[test]
fn a_turn_that_is_over_nests_nothing() {
    let (mutex, clock) = on_manual_clock();
    let mut turn = mutex.acquire("fisher").unwrap();
    mutex.disable("fisher").unwrap();
    assert!(matches!(turn.yield_now(), Err(Error::Disabled { .. })));
    assert_eq!(turn.nest("stacker").err(), Some(Error::NotHolder { holder: None }));
    let mut task = block_on(mutex.acquire_async("stacker")).unwrap();
    mutex.disable("stacker").unwrap();
    assert!(block_on(task.yield_now()).is_err());
    assert!(block_on(task.nest("stacker")).is_err());
    clock.advance(SECOND);
    assert!(mutex.try_acquire("eater").is_ok());
}

#[test]
fn a_task_nests_through_its_turn_and_else_waits() {
    let (mutex, _clock) = on_manual_clock();
    let outer = block_on(mutex.acquire_async("fisher")).unwrap();
    let inner = block_on(outer.nest("stacker")).unwrap();
    assert_eq!(inner.token(), outer.token());
    assert!(matches!(block_on(outer.nest("eater")), Err(Error::WouldDeadlock { .. })));
    // A task is no owner: it waits for its own turn.
    let mut second = Box::pin(mutex.acquire_async("stacker"));
    assert!(poll(&mut second).is_pending());
    drop(outer);
    assert!(poll(&mut second).is_pending());
    drop(inner);
    assert!(ready(poll(&mut second)).is_ok());
}

#[test]
fn the_largest_delay_of_a_nested_turn_holds() {
    let roster = crate::common::roster(|spec| {
        crate::common::module(spec, "stacker").handover_delay = Some(3 * SECOND);
    });
    let (mutex, clock) = with_roster(roster);
    let outer = mutex.acquire("fisher").unwrap();
    drop(outer.nest("stacker").unwrap());
    drop(outer);
    clock.advance(2 * SECOND);
    assert!(mutex.try_acquire("eater").is_err());
    clock.advance(SECOND);
    assert!(mutex.try_acquire("eater").is_ok());
}

#[test]
fn a_handle_stands_for_its_name_on_another_mutex() {
    let one = PacketMutex::new(Roster::default());
    let two = PacketMutex::new(Roster::default());
    let handle = ["healer", "looter"].map(|name| one.module(name).unwrap())[1].clone();
    two.module("miner").unwrap();
    let _turn = one.acquire(&handle).unwrap();
    let other = two.acquire(&handle).unwrap();
    assert_eq!(&**other.module().name(), "looter");
    assert_eq!(two.status().modules.last().map(|module| &*module.module), Some("looter"));
    // What a thread holds on one mutex is nothing to the other.
    drop(other);
    assert!(two.acquire("looter").is_ok());
}
