//! S16: events in a file.

use crate::common::{on_manual_clock, roster, secs, with_roster};
use packet_mutex::{PacketMutex, Roster, Trace};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The clock of the mutex may stand still.
#[test]
fn all_events_of_all_mutexes_are_in_it_when_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("two.jsonl");
    let (main, clock) = on_manual_clock();
    let other = PacketMutex::builder(Roster::default()).name("other").build();
    drop(main.acquire("fisher").unwrap());
    let trace = Trace::start(&file, [&main, &other]).unwrap();
    clock.advance(secs(2));
    drop(other.acquire("stacker").unwrap());
    drop(main.acquire("eater").unwrap());
    trace.finish().unwrap();
    drop(main.acquire("eater").unwrap());

    let text = fs::read_to_string(&file).unwrap();
    let of = |mutex: &str| {
        let mutex = format!(r#""mutex":"{mutex}""#);
        let lines = text.lines().filter(|line| line.contains(&mutex));
        let kind = |line: &str| line.split('"').nth(7).unwrap().to_owned();
        lines.map(kind).collect::<Vec<_>>()
    };
    assert_eq!(
        of("main"),
        ["requested", "granted", "released", "requested", "granted", "released"]
    );
    assert_eq!(of("other"), ["requested", "granted", "released"]);
    assert_eq!(text.lines().count(), 9);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_at_the_end_and_ends_no_turn() {
    let (mutex, _clock) = on_manual_clock();
    let trace = Trace::start("/dev/full", [&mutex]).unwrap();
    drop(mutex.acquire("fisher").unwrap());
    drop(mutex.acquire("fisher").unwrap());
    assert_eq!(trace.finish().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert!(Trace::start("/nowhere/at/all", [&mutex]).is_err());
}

/// It neither misses its stop nor writes for as long as there is something new.
#[test]
fn it_ends_while_events_keep_coming() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("busy.jsonl");
    let (mutex, _clock) = with_roster(roster(|spec| spec.limits.events = 100));
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(mutex.acquire("fisher"));
                }
            });
        }
        for _ in 0..100 {
            Trace::start(&file, [&mutex]).unwrap().finish().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
