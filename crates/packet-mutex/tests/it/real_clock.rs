//! S3, S4 on the system's clock: what virtual time cannot show.

use crate::common::ms;
use packet_mutex::{Error, PacketMutex, Roster, Slept};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Never early by any amount; late by what a busy machine needs.
#[test]
fn a_handover_takes_a_second() {
    let mutex = PacketMutex::new(Roster::default());
    let turns = Mutex::new(Vec::new());
    thread::scope(|s| {
        for module in ["fisher", "eater"] {
            let (mutex, turns) = (&mutex, &turns);
            s.spawn(move || {
                for _ in 0..2 {
                    let turn = mutex.acquire(module).unwrap();
                    let began = Instant::now();
                    thread::sleep(ms(5));
                    turns.lock().unwrap().push((module, began, Instant::now()));
                    drop(turn);
                    // So that the other is there when this one is done.
                    thread::sleep(ms(20));
                }
            });
        }
    });
    let mut turns = turns.into_inner().unwrap();
    turns.sort_by_key(|(_, began, _)| *began);
    let mut handovers = 0;
    for pair in turns.windows(2) {
        let [(before, _, ended), (after, began, _)] = pair else { unreachable!() };
        if before != after {
            handovers += 1;
            let gap = *began - *ended;
            assert!((ms(1000)..ms(3000)).contains(&gap), "{before} to {after}: {gap:?}");
        }
    }
    assert!(handovers >= 1, "{turns:?}");
}

#[test]
fn waits_and_sleeps_last_as_long_as_they_say() {
    let mutex = PacketMutex::new(Roster::default());
    let turn = mutex.acquire("fisher").unwrap();
    let began = Instant::now();
    assert_eq!(turn.sleep(ms(50)), Slept::Whole);
    assert!((ms(50)..ms(2000)).contains(&began.elapsed()));
    thread::scope(|s| {
        s.spawn(|| {
            let began = Instant::now();
            let ask = mutex.request("eater").timeout(ms(50)).acquire();
            assert!(matches!(ask, Err(Error::Timeout(_))));
            assert!((ms(50)..ms(2000)).contains(&began.elapsed()));
        });
    });
    let mut events = mutex.events();
    let began = Instant::now();
    assert_eq!(events.wait(ms(50)), []);
    assert!((ms(50)..ms(2000)).contains(&began.elapsed()));
}
