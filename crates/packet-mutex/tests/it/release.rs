//! S6: who ends a turn, and how.

use crate::common::{SECOND, events, in_thread, on_manual_clock};
use packet_mutex::{End, Error, EventKind, Guarded, PacketMutex, TaskTurn};
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn ends(mutex: &PacketMutex) -> Vec<End> {
    let of = |kind: &EventKind| match kind {
        EventKind::Ended { end, .. } => Some(*end),
        _ => None,
    };
    events(mutex).iter().filter_map(|event| of(&event.kind)).collect()
}

#[test]
fn every_way_to_end_is_told() {
    let (mutex, _clock) = on_manual_clock();
    drop(mutex.acquire("fisher").unwrap());
    mutex.acquire("fisher").unwrap().release();
    mutex.acquire("fisher").unwrap().decline();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _turn = mutex.acquire("fisher").unwrap();
        panic!("in a turn");
    }));
    mutex.acquire("fisher").unwrap().yield_now().unwrap();
    forget(mutex.acquire("fisher").unwrap());
    mutex.release("fisher").unwrap();
    in_thread(|| forget(mutex.acquire("stacker").unwrap()));
    use End::{Abandoned, Declined, Panicked, Released, Yielded};
    assert_eq!(
        ends(&mutex),
        [Released, Released, Declined, Panicked, Yielded, Released, Released, Abandoned]
    );
}

/// A turn that is granted while a panic unwinds, as by a destructor, ends in the usual way.
#[test]
fn a_turn_inside_an_unwinding_destructor_is_released() {
    struct SaysGoodbye(PacketMutex);
    impl Drop for SaysGoodbye {
        fn drop(&mut self) {
            drop(self.0.acquire("fisher").unwrap());
        }
    }
    let (mutex, _clock) = on_manual_clock();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _goodbye = SaysGoodbye(mutex.clone());
        panic!("elsewhere");
    }));
    assert!(unwound.is_err());
    assert_eq!(ends(&mutex), [End::Released]);
}

#[test]
fn only_its_own_thread_releases_a_turn_by_name() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let expected = Err(Error::NotHolder { holder: Some("fisher".into()) });
    in_thread(|| assert_eq!(mutex.release("fisher"), expected));
    assert_eq!(mutex.release("stacker"), expected);
    let told = events(&mutex);
    assert_eq!(told.iter().filter(|e| e.kind == EventKind::NotHolder).count(), 2);
    assert_eq!(mutex.status().holder.unwrap().depth, 1);
    drop(turn);
}

/// A turn that was ended by name is over: dropping it ends nobody else's.
#[test]
fn a_stale_turn_ends_nothing() {
    let (mutex, clock) = on_manual_clock();
    let stale = mutex.acquire("fisher").unwrap();
    mutex.release("fisher").unwrap();
    clock.advance(SECOND);
    let task = crate::common::block_on(mutex.acquire_async("eater")).unwrap();
    assert!(!stale.should_yield());
    drop(stale);
    assert_eq!(&*mutex.status().holder.unwrap().module, "eater");
    drop(task);
}

#[test]
fn a_task_turn_may_be_moved_and_ended_elsewhere() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (mutex, _clock) = on_manual_clock();
    drop(is_send(mutex.acquire_async("fisher")));
    drop(is_send(mutex.request("fisher").valid_if(|| true).acquire_async()));
    let turn: TaskTurn = is_send(crate::common::block_on(mutex.acquire_async("fisher")).unwrap());
    in_thread(move || turn.release());
    assert_eq!(ends(&mutex), [End::Released]);

    let packets = Guarded::new(mutex, 0);
    drop(is_send(packets.acquire_async("fisher")));
    let mut turn = is_send(crate::common::block_on(packets.acquire_async("fisher")).unwrap());
    in_thread(|| {
        *turn += 1;
        drop(turn);
    });
    assert_eq!(*packets.acquire("fisher").unwrap(), 1);
}
