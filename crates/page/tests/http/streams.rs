//! What the page hears: nothing missing, nothing twice.

use crate::client::{Stream, get};
use crate::{page, turn};
use packet_mutex::{Limits, PacketMutex, Roster, RosterSpec};
use page::Page;

#[test]
fn first_what_was_then_what_comes() {
    let (mutex, page) = page();
    turn(&mutex, "fisher");
    let mut stream = Stream::open(&page, "", "").ok().unwrap();
    let hello = stream.next().unwrap();
    assert_eq!(hello.name, "hello");
    assert_eq!((&hello.data["mutex"], &hello.data["resumed"]), (&"main".into(), &false.into()));
    assert_eq!(hello.data["lanes"][0]["module"], "runemaker");
    assert_eq!(hello.data["steering"], false);
    let (events, _) = stream.events(3);
    assert_eq!(events, [(1, "requested".into()), (2, "granted".into()), (3, "released".into())]);

    let held = mutex.acquire("fisher").unwrap();
    let (events, _) = stream.events(2);
    assert_eq!(events, [(4, "requested".into()), (5, "granted".into())]);
    let status = loop {
        let message = stream.until("status");
        if !message.data["holder"].is_null() {
            break message;
        }
    };
    assert_eq!(status.data["holder"]["module"], "fisher");
    assert!(status.data["t"].as_f64().unwrap() > 0.0);
    // While somebody holds, it is told again and again.
    let again = stream.until("status");
    assert!(again.data["t"].as_f64() > status.data["t"].as_f64());
    drop(held);
    assert_eq!(stream.events(1).0, [(6, "released".into())]);
}

#[test]
fn whoever_comes_back_goes_on() {
    let (mutex, page) = page();
    turn(&mutex, "fisher");
    let mut stream = Stream::open(&page, "", "").ok().unwrap();
    let (_, id) = stream.events(3);
    drop(stream);
    turn(&mutex, "fisher");
    for (query, head) in [
        (String::new(), format!("Last-Event-ID: {id}\r\n")),
        (format!("?after={id}"), String::new()),
    ] {
        let mut stream = Stream::open(&page, &query, &head).ok().unwrap();
        assert_eq!(stream.next().unwrap().data["resumed"], true);
        let (events, newest) = stream.events(3);
        assert_eq!(events.iter().map(|event| event.0).collect::<Vec<_>>(), [4, 5, 6]);
        assert!(newest.ends_with("-6"), "{newest}");
    }
}

#[test]
fn after_a_restart_it_starts_afresh() {
    let (mutex, page) = page();
    turn(&mutex, "fisher");
    let (_, id) = Stream::open(&page, "", "").ok().unwrap().events(3);
    drop(page);
    let page = Page::start("127.0.0.1:0", [mutex], None).unwrap();
    for id in [id.as_str(), "", "-", "x-1", "7", "x-y-z"] {
        let head = format!("Last-Event-ID: {id}\r\n");
        let mut stream = Stream::open(&page, "", &head).ok().unwrap();
        assert_eq!(stream.next().unwrap().data["resumed"], false, "{id}");
        assert_eq!(stream.events(3).0[0].0, 1);
    }
}

#[test]
fn what_is_gone_is_counted() {
    let limits = Limits { events: 4, ..Limits::default() };
    let roster = Roster::new(RosterSpec { limits, ..Roster::default().into_spec() }).unwrap();
    let mutex = PacketMutex::new(roster);
    let page = Page::start("127.0.0.1:0", [mutex.clone()], None).unwrap();
    turn(&mutex, "fisher");
    let (_, id) = Stream::open(&page, "", "").ok().unwrap().events(3);
    for _ in 0..4 {
        turn(&mutex, "fisher");
    }
    // 15 events, of which the last four are kept: who knows three has lost eight.
    let head = format!("Last-Event-ID: {id}\r\n");
    let mut stream = Stream::open(&page, "", &head).ok().unwrap();
    let list = stream.until("events").data;
    assert_eq!(list[0]["event"], "dropped");
    assert_eq!((&list[0]["count"], &list[0]["seq"]), (&8.into(), &11.into()));
    let rest: Vec<_> = list.as_array().unwrap()[1..].iter().map(|e| e["seq"].as_u64()).collect();
    assert_eq!(rest, [Some(12), Some(13), Some(14), Some(15)]);
}

#[test]
fn an_idle_mutex_gives_a_sign_of_life() {
    let (_mutex, page) = page();
    let mut stream = Stream::open(&page, "", "").ok().unwrap();
    let first = stream.until("status").data["t"].as_f64().unwrap();
    let mut next = first;
    while next - first < 3.0 {
        next = stream.until("status").data["t"].as_f64().unwrap();
    }
    // Not four times a second, as it would be told if somebody held.
    let mut told = 0;
    while next - first < 7.5 {
        next = stream.until("status").data["t"].as_f64().unwrap();
        told += 1;
    }
    assert!(told <= 2, "{told}");
}

#[test]
fn the_streams_are_counted() {
    let (_mutex, page) = page();
    let stream = Stream::open(&page, "", "");
    assert!(get(&page, "/metrics").body.contains("packet_mutex_page_streams 1.0\n"));
    drop(stream);
}
