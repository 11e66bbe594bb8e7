//! Turns through the socket.

use crate::raw::{Served, kinds, ms, secs};
use packet_mutex::{PacketMutex, Roster};
use serde_json::json;

#[test]
fn a_turn_and_its_end() {
    let (served, clock) = Served::on_manual_clock();
    let mut fisher = served.client();
    let reply = fisher.call(json!({"op": "acquire", "module": "Fisher"}));
    assert_eq!(
        reply,
        json!({
            "id": 2, "ok": true, "request": 1, "module": "fisher", "token": "1", "waited": 0.0, "others": 0,
            "predecessor_abandoned": false, "depth": 0,
        })
    );
    clock.advance(ms(250));
    let done = fisher.call(json!({"op": "release", "request": 1}));
    assert_eq!(done, json!({"id": 3, "ok": true}));
    let again = fisher.call(json!({"op": "release", "request": 1}));
    assert_eq!((&again["error"], &again["holder"]), (&json!("not_holder"), &json!(null)));
}

#[test]
fn a_waiter_is_told_that_it_waits_and_later_its_answer() {
    let (served, clock) = Served::on_manual_clock();
    let (mut fisher, mut eater) = (served.client(), served.client());
    let hold = fisher.acquire("fisher");
    let (id, request) = eater.wait(json!({"op": "acquire", "module": "eater"}));
    fisher.call(json!({"op": "release", "request": hold}));
    clock.advance(secs(1));
    let grant = eater.reply(id);
    assert_eq!((&grant["request"], &grant["waited"]), (&request, &json!(1.0)));
    assert_eq!(grant["others"], 1);
}

#[test]
fn a_timeout_tells_why() {
    let (served, clock) = Served::on_manual_clock();
    let (mut fisher, mut eater) = (served.client(), served.client());
    fisher.acquire("fisher");
    let (id, _) = eater.wait(json!({"op": "acquire", "module": "eater", "timeout": 2.5}));
    clock.advance(secs(3));
    let answer = eater.reply(id);
    assert_eq!(answer["error"], "timeout");
    assert_eq!(
        answer["message"],
        "timed out after 2.500 s; `fisher` has held the turn for 2.500 s"
    );
    assert_eq!((&answer["holder"], &answer["held"]), (&json!("fisher"), &json!(2.5)));
}

#[test]
fn the_holder_is_told_to_yield_and_that_it_need_not_any_more() {
    let (served, _clock) = Served::on_manual_clock();
    let (mut eater, mut runemaker) = (served.client(), served.client());
    let hold = eater.acquire("eater");
    let (_, waiting) = runemaker.wait(json!({"op": "acquire", "module": "runemaker"}));
    let told = eater.notice("should_yield");
    assert_eq!((&told["request"], &told["should_yield"]), (&hold, &json!(true)));
    let asked = eater.call(json!({"op": "should_yield", "request": hold}));
    assert_eq!(asked["should_yield"], true);
    runemaker.call(json!({"op": "withdraw", "request": waiting}));
    assert_eq!(eater.notice("should_yield")["should_yield"], false);
}

#[test]
fn yield_asks_anew_in_one_step() {
    let (served, clock) = Served::on_manual_clock();
    let (mut eater, mut runemaker) = (served.client(), served.client());
    let hold = eater.acquire("eater");
    let (id, _) = runemaker.wait(json!({"op": "acquire", "module": "runemaker"}));
    let (again, _) = eater.wait(json!({"op": "yield", "request": hold}));
    clock.advance(secs(1));
    let rune = runemaker.reply(id);
    runemaker.call(json!({"op": "release", "request": rune["request"]}));
    clock.advance(secs(1));
    assert_eq!(eater.reply(again)["token"], "3");
}

#[test]
fn nesting_goes_through_the_turn_or_the_owner() {
    let (served, _clock) = Served::on_manual_clock();
    let mut client = served.client();
    let outer = client.acquire("fisher");
    let inner = client.call(json!({"op": "acquire", "module": "stacker", "within": outer}));
    assert_eq!((&inner["depth"], &inner["token"]), (&json!(1), &json!("1")));
    let other = client.call(json!({"op": "acquire", "module": "eater", "within": outer}));
    assert_eq!(other["error"], "would_deadlock");
    for request in [&inner["request"], &outer] {
        assert_eq!(client.call(json!({"op": "release", "request": request}))["ok"], true);
    }
    let outer = client.call(json!({"op": "acquire", "module": "fisher", "owner": 7}));
    let inner = client.call(json!({"op": "acquire", "module": "fisher", "owner": 7}));
    assert_eq!((&outer["depth"], &inner["depth"]), (&json!(0), &json!(1)));
}

/// S6: no frame can end, nest in, renew or acknowledge what is another's, whatever numbers it guesses.
#[test]
fn what_is_anothers_is_out_of_reach() {
    let (served, _clock) = Served::on_manual_clock();
    let task_turn = {
        let asked = Box::pin(served.mutex.acquire_async("fisher"));
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked).unwrap()
    };
    let mut thief = served.client();
    for op in ["release", "yield", "acknowledge", "heartbeat"] {
        let reply = thief.call(json!({"op": op, "request": 1}));
        assert_eq!(reply["error"], "not_holder", "{op}: {reply}");
        assert_eq!(reply["holder"], "fisher");
    }
    let nested = thief.call(json!({"op": "acquire", "module": "fisher", "within": 1}));
    assert_eq!(nested["error"], "not_holder");
    thief.call(json!({"op": "withdraw", "request": 1}));
    assert_eq!(served.mutex.status().holder.unwrap().token, task_turn.token().unwrap());
}

#[test]
fn steering_and_looking() {
    let (served, _clock) = Served::on_manual_clock();
    let mut client = served.client();
    let mut ok = |frame| {
        let reply = client.call(frame);
        assert_eq!(reply["ok"], true, "{reply}");
        reply
    };
    ok(json!({"op": "pause", "reason": "alarm", "below": 60, "lasts": 5}));
    ok(json!({"op": "disable", "module": "trainer"}));
    ok(json!({"op": "mode", "module": "eater", "mode": "observed"}));
    let status = ok(json!({"op": "status"}))["status"].clone();
    assert_eq!(status["paused"][0], json!({"reason": "alarm", "below": 60, "left": 5.0}));
    assert_eq!(status["modules"]["trainer"]["disabled"], true);
    assert_eq!(status["modules"]["eater"]["mode"], "observed");
    let pass = ok(json!({"op": "acquire", "module": "eater"}));
    assert_eq!(pass["token"], json!(null));
    ok(json!({"op": "release", "request": pass["request"]}));
    ok(json!({"op": "resume"}));
    ok(json!({"op": "enable", "module": "trainer"}));
    ok(json!({"op": "cancel", "module": "trainer"}));
    let roster = ok(json!({"op": "roster"}))["roster"].clone();
    ok(json!({"op": "reload", "roster": roster}));
    ok(json!({"op": "reset"}));
    assert_eq!(ok(json!({"op": "module", "module": "Fisher"}))["module"], "fisher");
    ok(json!({"op": "close"}));
    let refused = client.call(json!({"op": "acquire", "module": "fisher"}));
    assert_eq!(refused["error"], "closed");
}

#[test]
fn a_revoked_turn_is_lost() {
    let (served, _clock) = Served::on_manual_clock();
    let (mut fisher, mut operator) = (served.client(), served.client());
    let hold = fisher.acquire("fisher");
    let revoke = json!({"op": "revoke", "reason": "the fisher hangs"});
    assert_eq!(operator.call(revoke.clone())["ok"], true);
    assert_eq!(fisher.notice("lost")["request"], hold);
    let late = fisher.call(json!({"op": "release", "request": hold}));
    assert_eq!(late["error"], "not_holder");
    assert_eq!(operator.call(revoke)["error"], "not_holder");
    assert_eq!(operator.call(json!({"op": "revoke"}))["error"], "bad_frame");
    let kinds = kinds(&mut served.mutex.events_so_far());
    assert_eq!(kinds[..4], ["requested", "granted", "revoking", "revoked"]);
}

#[test]
fn events_come_as_they_happen() {
    let (served, _clock) = Served::on_manual_clock();
    let (mut looker, mut fisher) = (served.client(), served.client());
    fisher.acquire("fisher");
    looker.call(json!({"op": "events", "so_far": true}));
    let mut seen = || looker.notice("event")["event"]["event"].as_str().unwrap().to_owned();
    assert_eq!([seen(), seen()], ["requested", "granted"]);
    fisher.call(json!({"op": "release", "request": 1}));
    assert_eq!(seen(), "released");
}

#[test]
fn several_mutexes_behind_one_socket() {
    use packet_mutex::net::{Options, Server};
    let place = crate::raw::Place::new();
    let mutexes =
        ["main", "second"].map(|name| PacketMutex::builder(Roster::default()).name(name).build());
    let _server = Server::start(&place.url(), mutexes.clone(), Options::default()).unwrap();
    let stream = || std::os::unix::net::UnixStream::connect(place.socket()).unwrap();
    let mut second = crate::raw::Client::new(stream());
    let reply = second.call(json!({"op": "hello", "version": 1, "mutex": "Second"}));
    assert_eq!(reply["mutex"], "second");
    second.acquire("fisher");
    assert!(mutexes[0].status().holder.is_none() && mutexes[1].status().holder.is_some());
    let mut third = crate::raw::Client::new(stream());
    let reply = third.call(json!({"op": "hello", "version": 1, "mutex": "third"}));
    assert_eq!(reply["error"], "unavailable");
    let twice =
        Server::start(&place.url(), [mutexes[0].clone(), mutexes[0].clone()], Options::default());
    assert!(twice.unwrap_err().to_string().contains("two mutexes are named `main`"));
}

/// S12: a grant that falls while the asker goes is never lost to the others.
#[test]
fn whoever_leaves_makes_room() {
    let (served, clock) = Served::on_manual_clock();
    let mut events = served.mutex.events();
    let (mut fisher, mut eater) = (served.client(), served.client());
    let hold = fisher.acquire("fisher");
    let (id, _) = eater.wait(json!({"op": "acquire", "module": "eater"}));
    {
        let mut trainer = served.client();
        trainer.wait(json!({"op": "acquire", "module": "trainer"}));
    }
    crate::raw::until(|| served.mutex.status().waiters.len() == 1);
    fisher.call(json!({"op": "release", "request": hold}));
    clock.advance(secs(1));
    assert_eq!(eater.reply(id)["ok"], true);
    let seen = kinds(&mut events);
    assert_eq!(seen.iter().filter(|kind| **kind == "lost").count(), 1, "{seen:?}");
}
