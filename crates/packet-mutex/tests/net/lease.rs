//! Over TCP turns have leases (S8).

use crate::raw::{Client, SECRET, kinds, ms, over_tcp, secs, until};
use packet_mutex::net::Options;
use packet_mutex::{ManualClock, PacketMutex, Roster};
use serde_json::json;
use std::net::TcpStream;
use std::time::Instant;

fn served() -> (PacketMutex, ManualClock, packet_mutex::net::Running, String) {
    let clock = ManualClock::new();
    let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
    let (server, address) = over_tcp(&mutex, Options::default());
    (mutex, clock, server, address)
}

#[test]
fn the_hello_tells_the_lease() {
    let (_mutex, _clock, _server, address) = served();
    let mut client = Client::new(TcpStream::connect(&address).unwrap());
    let reply = client.call(json!({"op": "hello", "version": 1}));
    assert_eq!((&reply["lease"], &reply["timeout"]), (&json!(10.0), &json!(30.0)));
}

#[test]
fn a_heartbeat_renews_it_and_without_one_it_is_revoked() {
    let (mutex, clock, _server, address) = served();
    let mut client = Client::greeted(TcpStream::connect(&address).unwrap());
    let hold = client.acquire("fisher");
    clock.advance(secs(9));
    assert_eq!(client.call(json!({"op": "heartbeat"}))["ok"], true);
    clock.advance(ms(9999));
    assert!(mutex.status().holder.is_some());
    clock.advance(ms(1));
    assert!(mutex.status().holder.is_none());
    assert_eq!(client.notice("lost")["request"], hold);
    let late = client.call(json!({"op": "release", "request": hold}));
    assert_eq!(late["error"], "not_holder");
}

/// Perhaps only the wire is cut and the holder acts on.
#[test]
fn a_closed_connection_keeps_the_turn_until_the_lease_is_over() {
    let (mutex, clock, _server, address) = served();
    let mut events = mutex.events();
    let mut client = Client::greeted(TcpStream::connect(&address).unwrap());
    client.acquire("fisher");
    let mut waiter = Client::greeted(TcpStream::connect(&address).unwrap());
    waiter.wait(json!({"op": "acquire", "module": "eater"}));
    drop((client, waiter));
    until(|| mutex.status().waiters.is_empty());
    clock.advance(ms(9999));
    assert!(mutex.status().holder.is_some());
    clock.advance(ms(1));
    assert!(mutex.status().holder.is_none());
    let seen = kinds(&mut events);
    assert_eq!(seen, ["requested", "granted", "requested", "lost", "revoked"]);
}

/// In real time: a client whose machine is gone closes nothing.
#[test]
fn a_silent_client_is_gone_after_a_lease() {
    let mutex = PacketMutex::new(Roster::default());
    let options = Options { lease: ms(300), ..Options::default() };
    let (_server, address) = over_tcp(&mutex, options);
    let mut silent = Client::greeted(TcpStream::connect(&address).unwrap());
    silent.acquire("fisher");
    let start = Instant::now();
    let mut waiter = Client::greeted(TcpStream::connect(&address).unwrap());
    waiter.wait(json!({"op": "acquire", "module": "fisher"}));
    until(|| mutex.status().holder.is_none());
    assert!(start.elapsed() >= ms(250));
    until(|| mutex.status().waiters.is_empty());
    silent.notice("lost");
    assert!(silent.is_closed());
}

#[test]
fn a_secret_is_asked_for_and_needed_beyond_the_loopback() {
    let mutex = PacketMutex::new(Roster::default());
    let options = Options { secret: Some(SECRET.into()), ..Options::default() };
    let (_server, address) = over_tcp(&mutex, options);
    for secret in [json!(null), json!(""), json!("correct horsf"), json!("correct horse ")] {
        let mut client = Client::new(TcpStream::connect(&address).unwrap());
        let reply = client.call(json!({"op": "hello", "version": 1, "secret": secret}));
        assert_eq!(reply["error"], "unauthorized");
        assert!(client.is_closed());
    }
    Client::greeted(TcpStream::connect(&address).unwrap()).acquire("fisher");

    let open = packet_mutex::net::Server::start("tcp://0.0.0.0:0", [mutex], Options::default());
    assert!(open.unwrap_err().to_string().contains("a secret is required"));
    let shown = format!("{:?}", Options { secret: Some(SECRET.into()), ..Options::default() });
    assert!(!shown.contains(SECRET), "{shown}");
}
