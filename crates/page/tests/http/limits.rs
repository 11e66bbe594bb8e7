//! What one client may take from the others.

use crate::client::{PATIENCE, Stream, connect, get, raw, steer};
use crate::{page, turn};
use page::{CONNECTIONS_MAX, Page, STREAMS_MAX};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn streams(page: &Page) -> f64 {
    let figures = get(page, "/metrics").body;
    let line = figures.lines().find(|line| line.starts_with("packet_mutex_page_streams "));
    line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_stream_too_many_is_refused() {
    let (_mutex, page) = page();
    let mut open: Vec<Stream> =
        (0..STREAMS_MAX).map(|_| Stream::open(&page, "", "").ok().unwrap()).collect();
    assert_eq!(Stream::open(&page, "", "").err(), Some(503));
    // All else is still answered, and a place that is left is free again.
    assert_eq!(get(&page, "/status.json").status, 200);
    drop(open.pop());
    wait_until("a place is free", || Stream::open(&page, "", "").is_ok());
}

#[test]
fn one_connection_too_many_is_refused() {
    let (_mutex, page) = page();
    let open: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect(&page)).collect();
    let mut answer = String::new();
    // The refusal may come before the request was read, which cuts the connection.
    let _ = connect(&page).read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
    drop(open);
    wait_until("there is room again", || {
        let mut stream = connect(&page);
        let _ = stream.write_all(b"GET /status.json HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.0 200 ")
    });
}

#[test]
fn whoever_says_nothing_is_let_go() {
    let (_mutex, page) = page();
    let begun = ["", "GET / HT", "GET / HTTP/1.1\r\nHost: local"];
    let open = begun.map(|begun| {
        let mut stream = connect(&page);
        stream.write_all(begun.as_bytes()).unwrap();
        stream
    });
    for (mut stream, begun) in open.into_iter().zip(begun) {
        // It may be told why; then the connection ends.
        let mut answer = Vec::new();
        assert!(stream.read_to_end(&mut answer).is_ok(), "{begun:?}");
    }
}

#[test]
fn long_heads_are_refused() {
    let (_mutex, page) = page();
    let long = "x".repeat(100_000);
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n");
    let mut stream = connect(&page);
    // The refusal may come while this is still written.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(get(&page, "/status.json").status, 200);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
    let page = Page::start("127.0.0.1:0", [mutex], Some("s".into())).unwrap();
    let answer = raw(
        &page,
        "POST /steer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer s\r\n\
         Content-Length: 100\r\n\r\n{",
    );
    assert_eq!((answer.status, &answer.json()["error"]), (400, &"bad_frame".into()));
    assert_eq!(steer(&page, Some("s"), r#"{"op":"check"}"#).status, 200);
}

/// It is dropped, and meanwhile delays nobody: the turns that it does not read of go on.
#[test]
fn a_slow_reader_is_dropped() {
    let (mutex, page) = page();
    let stream = Stream::open(&page, "", "");
    wait_until("it reads", || streams(&page) > 0.0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let turns = scope.spawn(|| {
            let mut turns = 0_u64;
            let end = Instant::now() + 2 * PATIENCE;
            while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                turn(&mutex, "fisher");
                turns += 1;
            }
            turns
        });
        wait_until("it is dropped", || streams(&page) == 0.0);
        stop.store(true, Ordering::Relaxed);
        assert!(turns.join().unwrap() > 1000);
    });
    drop(stream);
}
