//! S7: what becomes of a turn whose thread leaked it and died.

use packet_mutex::{Error, Guarded, ManualClock, PacketMutex, Roster};
use std::mem::forget;
use std::thread;
use std::time::Duration;

/// Runs in a thread that is gone when this returns; the scope alone would not wait for its thread-locals to be dropped.
fn die(last_words: impl FnOnce() + Send) {
    thread::scope(|s| s.spawn(last_words).join().unwrap());
}

#[test]
fn a_leaked_channel_is_lost_and_never_handed_out_twice() {
    let packets = Guarded::new(PacketMutex::new(Roster::default()), vec![1]);
    die(|| forget(packets.acquire("fisher").unwrap()));
    let urgent = packets.request("fisher").urgent();
    assert_eq!(urgent.acquire().err(), Some(Error::ChannelLost));
    assert_eq!(packets.replace(vec![2]), Ok(None));
    assert_eq!(*packets.request("fisher").urgent().acquire().unwrap(), [2]);
}

#[test]
fn a_leaked_turn_is_recovered_when_its_thread_ends() {
    let clock = ManualClock::new();
    let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
    die(|| forget(mutex.acquire("fisher").unwrap()));
    // The delay holds for its own group too.
    assert!(mutex.try_acquire("fisher").is_err());
    clock.advance(Duration::from_secs(1));
    let turn = mutex.try_acquire("fisher").unwrap();
    assert!(turn.predecessor_abandoned());
    turn.acknowledge().unwrap();
    drop(turn);
    assert!(!mutex.try_acquire("stacker").unwrap().predecessor_abandoned());
}

#[test]
fn a_leaked_turn_of_a_living_thread_keeps_everybody_out() {
    let mutex = PacketMutex::new(Roster::default());
    forget(mutex.acquire("fisher").unwrap());
    thread::scope(|s| {
        s.spawn(|| {
            let Err(Error::Timeout(why)) = mutex.try_acquire("eater") else { panic!() };
            assert_eq!(&*why.holder.unwrap().0, "fisher");
        });
    });
    // Its own thread can still release it by name, and then no more.
    mutex.release("fisher").unwrap();
    assert_eq!(mutex.release("fisher"), Err(Error::NotHolder { holder: None }));
}
