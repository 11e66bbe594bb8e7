//! S16: events and snapshots as JSON.

use crate::common::{SECOND, ms, on_manual_clock, poll, roster, secs};
use packet_mutex::{Event, ManualClock, PacketMutex, status_from_json, status_to_json};

#[test]
fn events_as_lines() {
    let (mutex, clock) = on_manual_clock();
    let mut events = mutex.events();
    let turn = mutex.acquire("fisher").unwrap();
    clock.advance(ms(1500));
    drop(turn);
    let lines: Vec<String> = events.take().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            r#"{"seq":1,"t":0.0,"event":"requested","mutex":"main","module":"fisher","request":1,"urgent":false,"timeout":30.0}"#,
            r#"{"seq":2,"t":0.0,"event":"granted","mutex":"main","module":"fisher","request":1,"token":"1","waited":0.0,"others":0}"#,
            r#"{"seq":3,"t":1.5,"event":"released","mutex":"main","module":"fisher","request":1,"token":"1","held":1.5,"depth":0}"#,
        ]
    );
}

/// A name that needs escaping, in an event that the arbiter does not write.
#[test]
fn a_strange_name_as_a_line() {
    let roster = roster(|spec| spec.limits.events = 1);
    let clock = ManualClock::new();
    let builder = PacketMutex::builder(roster).clock(clock.clone());
    let mutex = builder.name("a \"strange\"\nname").build();
    let mut events = mutex.events();
    drop(mutex.acquire("fisher").unwrap());
    clock.advance(SECOND);
    let dropped = events.take().remove(0);
    assert_eq!(
        dropped.to_string(),
        r#"{"seq":2,"t":1.0,"event":"dropped","mutex":"a \"strange\"\nname","count":2}"#
    );
    assert_eq!(serde_json::from_str::<Event>(&dropped.to_string()).unwrap(), dropped);
}

#[test]
fn a_status_as_a_line() {
    let (mutex, clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let mut waits = Box::pin(mutex.acquire_async("trainer"));
    assert!(poll(&mut waits).is_pending());
    clock.advance(secs(2));
    drop(turn);
    clock.advance(ms(300));
    let line = status_to_json(mutex.name(), &mutex.status());
    let begin = r#"{"mutex":"main","t":2.3,"holder":null,"waiters":[{"module":"trainer""#;
    assert!(line.starts_with(begin), "{line}");
    assert_eq!(status_from_json(&line).unwrap(), mutex.status());
}
