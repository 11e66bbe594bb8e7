//! S16: events in a file.

use crate::common::{on_manual_clock, secs};
use packet_mutex::{PacketMutex, Roster, Trace};
use std::fs;

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
