//! S7, S15: a channel that can only be had with a turn.

use crate::common::{
    SECOND, block_on, in_thread, no_delay, on_manual_clock, poll, ready, until_waiting, with_roster,
};
use packet_mutex::{Error, Guarded, PacketMutex, Refusal, Roster, Slept};
use std::mem::forget;
use std::thread;
use std::time::Duration;

fn channel() -> Guarded<Vec<&'static str>> {
    Guarded::new(with_roster(no_delay()).0, Vec::new())
}

#[test]
fn threads_and_tasks_send_in_turns() {
    let packets = channel();
    packets.acquire("fisher").unwrap().push("cast");
    block_on(packets.acquire_async("eater")).unwrap().push("eat");
    packets.try_acquire("fisher").unwrap().push("reel in");
    packets.request("fisher").urgent().acquire().unwrap().push("flee");
    assert_eq!(packets.into_inner().unwrap(), ["cast", "eat", "reel in", "flee"]);
}

#[test]
fn nested_turns_have_the_same_channel() {
    let packets = channel();
    let mut turn = packets.acquire("fisher").unwrap();
    {
        let mut inner = turn.nest("stacker").unwrap();
        inner.push("stack");
        assert_eq!(inner.len(), 1);
        assert_eq!(packets.mutex().status().holder.unwrap().depth, 2);
        assert_eq!(&**inner.turn().module().name(), "stacker");
    }
    assert!(matches!(turn.nest("eater"), Err(Error::WouldDeadlock { .. })));
    // Past the turn, there is only one way to the channel.
    assert!(matches!(packets.acquire("stacker"), Err(Error::Unsupported(_))));
    turn.push("cast");
    drop(turn);

    let mut turn = block_on(packets.acquire_async("fisher")).unwrap();
    block_on(turn.nest("stacker")).unwrap().push("stack");
    assert!(matches!(block_on(turn.nest("eater")), Err(Error::WouldDeadlock { .. })));
    drop(turn);
    assert_eq!(packets.into_inner().unwrap().len(), 3);
}

#[test]
fn a_yield_takes_the_channel_along() {
    let packets = channel();
    let mut turn = packets.acquire("fisher").unwrap();
    turn.push("one");
    thread::scope(|s| {
        s.spawn(|| packets.acquire("runemaker").unwrap().push("between"));
        until_waiting(packets.mutex(), 1);
        assert!(turn.turn().should_yield());
        assert_eq!(turn.sleep(SECOND), Slept::ShouldYield);
        turn.yield_now().unwrap();
    });
    turn.push("two");
    // One that is refused leaves the turn as it was.
    let inner = turn.turn().nest("stacker").unwrap();
    assert_eq!(turn.yield_now(), Err(Error::Refused(Refusal::NestedOpen)));
    turn.push("three");
    drop(inner);
    drop(turn);

    let mut turn = block_on(packets.acquire_async("fisher")).unwrap();
    assert_eq!(block_on(turn.sleep(Duration::ZERO)), Slept::Whole);
    block_on(turn.yield_now()).unwrap();
    let inner = block_on(turn.turn().nest("stacker")).unwrap();
    assert!(block_on(turn.yield_now()).is_err());
    turn.push("four");
    drop(inner);
    drop(turn);
    assert_eq!(packets.into_inner().unwrap(), ["one", "between", "two", "three", "four"]);
}

#[test]
fn a_failed_yield_leaves_the_channel_with_the_mutex() {
    let packets = channel();
    let mut turn = packets.acquire("fisher").unwrap();
    packets.mutex().disable("fisher").unwrap();
    assert!(matches!(turn.yield_now(), Err(Error::Disabled { .. })));
    packets.acquire("eater").unwrap().push("eat");
    let used = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| turn.push("cheat")));
    assert!(used.is_err());
    drop(turn);
    assert_eq!(packets.into_inner().unwrap(), ["eat"]);
}

#[test]
fn a_dropped_yield_leaves_the_channel_with_the_mutex() {
    let packets = channel();
    let mut turn = block_on(packets.acquire_async("fisher")).unwrap();
    let mut higher = Box::pin(packets.acquire_async("runemaker"));
    assert!(poll(&mut higher).is_pending());
    let mut yields = Box::pin(turn.yield_now());
    assert!(poll(&mut yields).is_pending());
    drop(yields);
    drop(turn);
    ready(poll(&mut higher)).unwrap().push("rune");
    drop(higher);
    assert_eq!(packets.into_inner().unwrap(), ["rune"]);
}

#[test]
fn a_channel_is_replaced_between_turns_only() {
    let packets = channel();
    let turn = packets.acquire("fisher").unwrap();
    assert_eq!(in_thread(|| packets.replace(vec!["new"])), Err(vec!["new"]));
    turn.decline();
    assert_eq!(packets.replace(vec!["new"]), Ok(Some(vec![])));
    assert_eq!(*packets.acquire("eater").unwrap(), ["new"]);
}

#[test]
fn a_turn_that_its_task_leaked_keeps_everybody_out() {
    let packets = channel();
    forget(block_on(packets.acquire_async("fisher")).unwrap());
    assert!(matches!(packets.try_acquire("eater"), Err(Error::Timeout(_))));
    assert!(packets.replace(vec![]).is_err());
}

#[test]
fn a_panic_gives_the_channel_back() {
    let packets = channel();
    thread::scope(|s| {
        let dies = s.spawn(|| {
            packets.acquire("fisher").unwrap().push("half");
            let _turn = packets.acquire("fisher").unwrap();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(dies.join().is_err());
    });
    assert_eq!(*packets.acquire("eater").unwrap(), ["half"]);
}

#[test]
fn a_channel_s_futures_are_cancelled_without_loss() {
    let (mutex, clock) = on_manual_clock();
    let packets = Guarded::new(mutex, vec![1]);
    let turn = packets.acquire("fisher").unwrap();
    let mut ask = Box::pin(packets.acquire_async("eater"));
    assert!(poll(&mut ask).is_pending());
    drop(turn);
    clock.advance(SECOND);
    drop(ask);
    assert_eq!(*packets.try_acquire("trainer").unwrap(), [1]);
}

#[test]
fn a_turn_with_the_channel_ends_with_its_guard_alone() {
    let packets = Guarded::new(PacketMutex::new(Roster::default()), 1);
    let turn = packets.acquire("fisher").unwrap();
    assert!(matches!(packets.mutex().release("fisher"), Err(Error::Unsupported(_))));
    packets.mutex().reset();
    assert!(packets.mutex().status().holder.is_some());
    assert_eq!(packets.replace(2), Err(2));
    drop(turn);
    assert!(packets.mutex().status().holder.is_none());
}
