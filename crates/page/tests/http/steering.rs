//! Steering, with the secret and without.

use crate::client::{get, steer};
use crate::page;
use packet_mutex::{Error, PacketMutex, Roster};
use page::Page;
use std::time::Duration;

const SECRET: &str = "quite secret";

fn steered() -> (PacketMutex, Page) {
    let mutex = PacketMutex::new(Roster::default());
    let page = Page::start("127.0.0.1:0", [mutex.clone()], Some(SECRET.into())).unwrap();
    (mutex, page)
}

#[test]
fn without_a_secret_it_is_read_only() {
    let (mutex, page) = page();
    for told in [None, Some(""), Some("anything")] {
        let answer = steer(&page, told, r#"{"op":"disable","module":"fisher"}"#);
        assert_eq!((answer.status, &answer.json()["error"]), (403, &"unauthorized".into()));
        assert!(answer.json()["message"].as_str().unwrap().contains("PACKET_MUTEX_SECRET"));
    }
    assert!(mutex.try_acquire("fisher").is_ok());
}

#[test]
fn a_wrong_secret_changes_nothing() {
    let (mutex, page) = steered();
    for told in [None, Some(""), Some("quite secre"), Some("quite secret."), Some("QUITE SECRET")] {
        let answer = steer(&page, told, r#"{"op":"disable","module":"fisher"}"#);
        assert_eq!((answer.status, &answer.json()["error"]), (401, &"unauthorized".into()));
        assert!(answer.head.contains("www-authenticate: bearer"));
    }
    assert!(mutex.try_acquire("fisher").is_ok());
    // Reading stays open.
    assert_eq!(get(&page, "/status.json").status, 200);
}

#[test]
fn each_step_does_what_it_says() {
    let (mutex, page) = steered();
    let done = |body: &str| {
        let answer = steer(&page, Some(SECRET), body);
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"ok":true}"#), "{body}");
        get(&page, "/status.json").json()
    };
    done(r#"{"op":"check"}"#);
    let status = done(r#"{"op":"disable","module":"Fisher"}"#);
    assert_eq!(status["modules"]["fisher"]["disabled"], true);
    let status = done(r#"{"op":"enable","module":"fisher"}"#);
    assert_eq!(status["modules"]["fisher"]["disabled"], false);
    let status = done(r#"{"op":"mode","module":"fisher","mode":"observed"}"#);
    assert_eq!(status["modules"]["fisher"]["mode"], "observed");
    let status = done(r#"{"op":"pause","reason":"alarm","below":"urgent"}"#);
    assert_eq!(status["paused"][0]["below"], "urgent");
    let status = done(r#"{"op":"pause","reason":"alarm","below":60,"lasts":100}"#);
    assert_eq!(status["paused"][0]["below"], 60);
    assert!(status["paused"][0]["left"].as_f64().unwrap() > 90.0);
    done(r#"{"op":"pause","reason":"other","below":"urgent"}"#);
    let status = done(r#"{"op":"resume","reason":"alarm"}"#);
    assert_eq!(status["paused"][0]["reason"], "other");
    let status = done(r#"{"op":"resume"}"#);
    assert_eq!(status["paused"], serde_json::json!([]));

    let turn = mutex.acquire("trainer").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| mutex.acquire("eater").map(drop));
        while mutex.status().waiters.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        done(r#"{"op":"cancel","module":"eater"}"#);
        assert_eq!(waiting.join().unwrap(), Err(Error::Cancelled));
    });
    done(r#"{"op":"revoke","reason":"the trainer hangs"}"#);
    assert!(!turn.is_held());
    let status = done(r#"{"op":"reload","roster":"handover_delay = '5s'"}"#);
    assert_eq!(mutex.roster().spec().handover_delay, Duration::from_secs(5));
    assert_eq!(status["closed"], false);
    assert_eq!(done(r#"{"op":"close"}"#)["closed"], true);
}

/// A reset ends the turns of the owner that it names, and a page could name any.
#[test]
fn a_page_resets_nothing() {
    let (mutex, page) = steered();
    let turn = mutex.acquire("trainer").unwrap();
    for body in [r#"{"op":"reset"}"#, r#"{"op":"reset","owner":1}"#] {
        let answer = steer(&page, Some(SECRET), body);
        assert_eq!((answer.status, &answer.json()["error"]), (400, &"bad_frame".into()), "{body}");
    }
    assert!(turn.is_held());
}

#[test]
fn what_cannot_be_done_is_told() {
    let (_mutex, page) = steered();
    let refused = |body: &str| {
        let answer = steer(&page, Some(SECRET), body);
        (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
    };
    let long = format!(r#"{{"op":"pause","below":60,"reason":"{}"}}"#, "x".repeat(5000));
    for body in [
        "",
        "nonsense",
        "[]",
        r#"{"op":"dance"}"#,
        r#"{"op":"cancel"}"#,
        r#"{"op":"mode","module":"fisher","mode":"loose"}"#,
        r#"{"op":"pause","reason":"a"}"#,
        r#"{"op":"acquire","module":"fisher"}"#,
        r#"{"op":"pause","reason":"a","below":256}"#,
        r#"{"op":"pause","reason":"a","below":"all"}"#,
        r#"{"op":"pause","reason":"a","below":60,"lasts":-1}"#,
        r#"{"op":"pause","reason":"a","below":60,"lasts":1e300}"#,
        &long,
    ] {
        assert_eq!(refused(body), (400, "bad_frame".into()), "{body}");
    }
    let by_the_mutex = [
        (r#"{"op":"pause","reason":"","below":60}"#, "refused"),
        (r#"{"op":"revoke","reason":"why not"}"#, "not_holder"),
        (r#"{"op":"resume","reason":"none"}"#, "refused"),
        (r#"{"op":"cancel","module":"no name"}"#, "invalid_name"),
        (r#"{"op":"disable","module":"auto-loot"}"#, "invalid_name"),
    ];
    for (body, kind) in by_the_mutex {
        assert_eq!(refused(body), (409, kind.into()), "{body}");
    }
}
