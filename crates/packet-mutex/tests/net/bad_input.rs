//! Whatever a client sends or leaves undone: a clear error or a bounded wait for it, and nothing for the others.

use crate::abuse::{ABUSES, Abuse, IDLE};
use crate::raw::{Client, Served, ms, over_tcp, secs};
use packet_mutex::net::{FRAME_MAX, Options};
use packet_mutex::{PacketMutex, Roster};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

fn served() -> Served {
    Served::new(PacketMutex::new(Roster::default()))
}

/// Sends these bytes after a hello. The error, and whether the connection ended with it.
fn answer_to(served: &Served, bytes: &[u8]) -> (Value, bool) {
    let mut client = served.client();
    client.send_bytes(bytes);
    let reply = client.read().unwrap();
    let ping = client.stream.write_all(b"{\"id\":99,\"op\":\"ping\"}\n");
    let alive = ping.is_ok() && client.read().is_some_and(|pong| pong["id"] == 99);
    assert!(reply["message"].as_str().is_some_and(|text| !text.is_empty()), "{reply}");
    (reply, !alive)
}

#[test]
fn what_is_no_frame_is_told_and_ends_the_connection() {
    let served = served();
    let deep = "{\"a\":".repeat(10_000) + "\n";
    let many = "[".repeat(FRAME_MAX - 1) + "\n";
    for bad in ["nonsense\n", "[]\n", "\u{0}\u{1}\n", "{\"id\":1\n", "\"x\"\n", &deep, &many] {
        let (reply, ended) = answer_to(&served, bad.as_bytes());
        assert_eq!(reply["error"], "bad_frame", "{bad:.30}: {reply}");
        assert!(ended, "{bad:.30}");
    }
    let (reply, ended) = answer_to(&served, b"\xff\xfe{}\n");
    assert_eq!(reply["error"], "bad_frame");
    assert!(ended);
}

#[test]
fn a_bad_field_is_told_and_changes_nothing() {
    let served = served();
    let bad = [
        json!({"op": 1, "id": 1}),
        json!({"id": 1}),
        json!({"op": "acquire", "id": 1}),
        json!({"op": "acquire", "id": 1, "module": 7}),
        json!({"op": "acquire", "id": 1, "module": "fisher", "timeout": -1}),
        json!({"op": "acquire", "id": 1, "module": "fisher", "timeout": 1e300}),
        json!({"op": "acquire", "id": 1, "module": "fisher", "urgent": "yes"}),
        json!({"op": "release", "id": 1, "request": "1"}),
        json!({"op": "release", "id": 1, "request": 1, "how": "slowly"}),
        json!({"op": "pause", "id": 1, "reason": "x"}),
        json!({"op": "pause", "id": 1, "reason": "x", "below": 256}),
        json!({"op": "mode", "id": 1, "module": "fisher", "mode": "loose"}),
        json!({"op": "reload", "id": 1, "roster": "priority ="}),
        json!({"op": "ping"}),
        json!({"op": "ping", "id": "one"}),
    ];
    for frame in bad {
        let (reply, ended) = answer_to(&served, format!("{frame}\n").as_bytes());
        assert_eq!(reply["error"], "bad_frame", "{frame}: {reply}");
        assert!(!ended, "{frame}");
    }
    let (reply, ended) = answer_to(&served, b"{\"op\":\"dance\",\"id\":1}\n");
    assert_eq!((&reply["error"], ended), (&json!("unsupported"), false));
    assert!(served.mutex.status().holder.is_none());
}

#[test]
fn errors_of_the_mutex_have_their_kinds() {
    let served = served();
    let long = "x".repeat(65);
    let frames = [
        (json!({"op": "acquire", "module": ""}), "invalid_name"),
        (json!({"op": "acquire", "module": "\u{1b}[31m"}), "invalid_name"),
        (json!({"op": "acquire", "module": "auto-loot"}), "invalid_name"),
        (json!({"op": "acquire", "module": long}), "invalid_name"),
        (json!({"op": "acquire", "module": "fisher", "timeout": 1e6}), "refused"),
        (json!({"op": "pause", "reason": "", "below": 3}), "refused"),
        (json!({"op": "resume", "reason": "never"}), "refused"),
    ];
    let mut client = served.client();
    for (frame, kind) in frames {
        let reply = client.call(frame.clone());
        assert_eq!(reply["error"], kind, "{frame}: {reply}");
        assert!(!reply.to_string().contains('\u{1b}'));
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let served = served();
    let mut client = served.client();
    let frame = json!({"op": "acquire", "module": "fisher", "colour": {"of": ["the", "sea"]}});
    assert_eq!(client.call(frame)["ok"], true);
}

#[test]
fn a_frame_has_a_limit() {
    let served = served();
    let fits = format!("{{\"id\":1,\"op\":\"ping\",\"x\":\"{}\"}}", "y".repeat(FRAME_MAX - 30));
    assert!(fits.len() < FRAME_MAX);
    let mut client = served.client();
    client.send_bytes(format!("{fits}\n").as_bytes());
    assert_eq!(client.reply(1)["ok"], true);
    // It is refused as soon as it is too long, whether or not its end comes.
    client.send_bytes(&vec![b' '; FRAME_MAX]);
    let reply = client.read().unwrap();
    assert_eq!(reply["error"], "frame_too_long");
    assert!(client.is_closed());
}

#[test]
fn the_first_frame_is_a_hello_of_a_known_version() {
    let served = served();
    let firsts = [
        (json!({"op": "acquire", "module": "fisher"}), "bad_frame"),
        (json!({"op": "hello"}), "bad_frame"),
        (json!({"op": "hello", "version": 2}), "unsupported"),
        (json!({"op": "hello", "version": 1, "mutex": "\n"}), "invalid_name"),
    ];
    for (frame, kind) in firsts {
        let mut client = Client::new(served.stream());
        let reply = client.call(frame.clone());
        assert_eq!(reply["error"], kind, "{frame}: {reply}");
        assert!(client.is_closed());
    }
    let mut client = Client::new(served.stream());
    client.send_bytes(&vec![b'x'; FRAME_MAX]);
    assert_eq!(client.read().unwrap()["error"], "frame_too_long");
    assert!(served.mutex.status().holder.is_none());
}

#[test]
fn one_connection_has_a_bounded_share() {
    let served = served();
    let mut client = served.client();
    client.acquire("fisher");
    for _ in 1..packet_mutex::net::PER_CONNECTION_MAX {
        client.wait(json!({"op": "acquire", "module": "fisher", "timeout": 60}));
    }
    let reply = client.call(json!({"op": "acquire", "module": "fisher"}));
    assert_eq!((&reply["error"], &reply["limit"]), (&json!("queue_full"), &json!(1024)));
    drop(client);
    crate::raw::until(|| served.mutex.status().waiters.is_empty());
}

/// Both ends of all connections are in this process.
fn let_many_files_be_open() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
    let enough = 2 * IDLE as u64 + 200;
    assert!(files.maximum.is_none_or(|most| most >= enough), "{enough} files must be allowed");
}

/// The ways of misuse, each ended as it should be; an honest client has its turns meanwhile. What they cost it is measured by
/// `cargo xtask bench --service`.
#[test]
fn each_way_of_misuse_ends_and_holds_up_nobody() {
    let_many_files_be_open();
    let served = served();
    let (served, mut honest) = (&served, served.client());
    std::thread::scope(|scope| {
        let misuse = |abuse: &'static Abuse| {
            move || {
                let sockets = (abuse.begin)(&|| Ok(Box::new(served.stream()))).unwrap();
                let see = |socket| {
                    abuse.ends.see(socket).unwrap_or_else(|why| panic!("{}: {why}", abuse.name))
                };
                sockets.into_iter().for_each(see);
            }
        };
        let running: Vec<_> =
            ABUSES.iter().map(|abuse| (abuse, scope.spawn(misuse(abuse)))).collect();
        for (abuse, running) in running {
            let mut turns = 0;
            while turns == 0 || !running.is_finished() {
                let (start, hold) = (Instant::now(), honest.acquire("fisher"));
                honest.call(json!({"op": "release", "request": hold}));
                let took = start.elapsed();
                assert!(took < secs(5), "{took:?} beside {}", abuse.name);
                turns += 1;
            }
            running.join().unwrap();
        }
    });
}

/// One byte now and then before the hello: for a while, and then it is told to go.
#[test]
fn one_byte_at_a_time_is_a_frame_too() {
    let served = served();
    let mut slow = Client::new(served.stream());
    for byte in b"{\"id\":1,\"op\":\"hello\",\"version\":1}\n" {
        slow.send_bytes(&[*byte]);
        std::thread::sleep(ms(2));
    }
    assert_eq!(slow.reply(1)["ok"], true);
}

#[test]
fn whoever_says_no_hello_is_turned_away() {
    let served = served();
    let start = Instant::now();
    let mut silent = Client::new(served.stream());
    let mut slow = Client::new(served.stream());
    let mut dripping = slow.stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while dripping.write_all(b" ").is_ok() && start.elapsed() < secs(20) {
            std::thread::sleep(ms(1000));
        }
    });
    assert!(silent.is_closed() && slow.is_closed());
    let waited = start.elapsed();
    assert!((secs(9)..secs(15)).contains(&waited), "{waited:?}");
    drip.join().unwrap();
}

#[test]
fn a_reset_in_mid_frame_is_a_client_that_is_gone() {
    let mutex = PacketMutex::new(Roster::default());
    let options = Options { lease: ms(300), ..Options::default() };
    let (_server, address) = over_tcp(&mutex, options);
    let mut client = Client::greeted(TcpStream::connect(&address).unwrap());
    client.acquire("fisher");
    // What it has not read when it closes makes the close a reset.
    client.send(json!({"op": "ping"}));
    std::thread::sleep(ms(50));
    client.send_bytes(b"{\"id\":3,\"op\":\"rel");
    drop(client);
    assert!(mutex.status().holder.is_some());
    crate::raw::until(|| mutex.status().holder.is_none());
    assert!(mutex.status().abandoned);
}
