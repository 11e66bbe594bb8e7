//! Clients that are gone: over a Unix socket, the closed connection is the end of the turn (S7).

use crate::raw::{Served, kinds, secs, until};
use serde_json::json;
use std::net::Shutdown;

#[test]
fn a_closed_connection_abandons_the_turn() {
    let (served, clock) = Served::on_manual_clock();
    let mut events = served.mutex.events();
    let mut fisher = served.client();
    fisher.acquire("fisher");
    drop(fisher);
    until(|| served.mutex.status().holder.is_none());
    assert_eq!(kinds(&mut events), ["requested", "granted", "abandoned"]);
    // Its own group waits too, and is told.
    let mut stacker = served.client();
    let (id, _) = stacker.wait(json!({"op": "acquire", "module": "stacker"}));
    clock.advance(secs(1));
    let grant = stacker.reply(id);
    assert_eq!(grant["predecessor_abandoned"], true);
    let done = stacker.call(json!({"op": "acknowledge", "request": grant["request"]}));
    assert_eq!(done["ok"], true);
    assert!(!served.mutex.status().abandoned);
}

/// A client that half closes has heard all that was said before, and then it is gone.
#[test]
fn a_half_closed_connection_is_a_closed_one() {
    let (served, _clock) = Served::on_manual_clock();
    let mut fisher = served.client();
    let id = fisher.send(json!({"op": "acquire", "module": "fisher"}));
    fisher.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(fisher.reply(id)["ok"], true);
    assert!(fisher.is_closed());
    until(|| served.mutex.status().holder.is_none());
    assert!(served.mutex.status().abandoned);
}

#[test]
fn a_frame_cut_off_counts_for_nothing() {
    let (served, _clock) = Served::on_manual_clock();
    let mut events = served.mutex.events();
    let mut fisher = served.client();
    fisher.send_bytes(br#"{"id":9,"op":"acquire","module":"fisher"}"#);
    drop(fisher);
    let mut other = served.client();
    other.acquire("eater");
    assert_eq!(kinds(&mut events), ["requested", "granted"]);
}

/// One of a client's threads is gone, and the others go on.
#[test]
fn a_clients_own_thread_can_be_lost() {
    let (served, _clock) = Served::on_manual_clock();
    let mut client = served.client();
    let turn = client.call(json!({"op": "acquire", "module": "fisher", "owner": 1}));
    let (id, _) = client.wait(json!({"op": "acquire", "module": "fisher", "owner": 2}));
    assert_eq!(client.call(json!({"op": "owner_lost", "owner": 1}))["ok"], true);
    assert!(served.mutex.status().holder.is_none() && served.mutex.status().abandoned);
    let late = client.call(json!({"op": "release", "request": turn["request"]}));
    assert_eq!(late["error"], "not_holder");
    assert_eq!(client.call(json!({"op": "owner_lost", "owner": 2}))["ok"], true);
    assert_eq!(client.reply(id)["error"], "lost");
}

#[test]
fn a_server_that_stops_abandons_what_its_clients_had() {
    let (mut served, _clock) = Served::on_manual_clock();
    let (mut fisher, mut eater) = (served.client(), served.client());
    fisher.acquire("fisher");
    eater.wait(json!({"op": "acquire", "module": "eater"}));
    drop(served.server.take());
    let status = served.mutex.status();
    assert!(status.holder.is_none() && status.waiters.is_empty() && status.abandoned);
    assert!(fisher.is_closed() && eater.is_closed());
}
