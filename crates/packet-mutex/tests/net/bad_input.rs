//! Whatever a client sends or leaves undone: a clear error or a bounded wait for it, and nothing for the others.

use crate::raw::{Client, Served, ms, over_tcp, secs};
use packet_mutex::net::{FRAME_MAX, Options};
use packet_mutex::{PacketMutex, Roster};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

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

/// How long an acquire and its release take: the median of many.
fn turn_time(client: &mut Client<UnixStream>) -> Duration {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            let hold = client.acquire("fisher");
            client.call(json!({"op": "release", "request": hold}));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_client_that_never_reads_is_dropped_and_holds_up_nobody() {
    let served = served();
    let mut deaf = served.stream();
    deaf.set_write_timeout(Some(ms(200))).unwrap();
    deaf.write_all(b"{\"id\":1,\"op\":\"hello\",\"version\":1}\n").unwrap();
    // Until neither the socket nor the server takes any more.
    let status = "{\"id\":1,\"op\":\"status\"}\n".repeat(1000);
    let start = Instant::now();
    while deaf.write_all(status.as_bytes()).is_ok() {
        assert!(start.elapsed() < secs(20), "the server reads on and on");
    }
    let mut other = served.client();
    assert!(turn_time(&mut other) < ms(50));
    // It is dropped once it has not read for as long as it may.
    deaf.set_write_timeout(Some(secs(20))).unwrap();
    let error = std::iter::repeat_with(|| deaf.write_all(b"\n")).find_map(Result::err).unwrap();
    let gone = [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::ConnectionReset];
    assert!(gone.contains(&error.kind()), "{error}");
    assert!(start.elapsed() < secs(20));
}

#[test]
fn a_million_tiny_frames_hold_up_nobody() {
    let served = served();
    let mut busy = served.client();
    let mut reader = busy.stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let writing = std::thread::spawn(move || {
        let frames = "\n".repeat(5) + "{\"id\":1,\"op\":\"ping\"}\n";
        for _ in 0..170 {
            busy.send_bytes(frames.repeat(1000).as_bytes());
        }
        busy.stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let mut other = served.client();
    let mut longest = Duration::ZERO;
    while !writing.is_finished() {
        longest = longest.max(turn_time(&mut other));
    }
    assert!(longest < ms(100), "{longest:?}");
    writing.join().unwrap();
    let _ = reading.join();
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

#[test]
fn many_idle_connections_cost_the_others_nothing() {
    // Both ends of each are in this process.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
    let room = files.maximum.unwrap_or(u64::MAX).saturating_sub(200) / 2;
    let served = served();
    let mut other = served.client();
    let alone = turn_time(&mut other);
    let idle: Vec<_> = (0..room.min(5_000)).map(|_| served.client()).collect();
    let among_many = turn_time(&mut other);
    assert!(idle.len() >= 400, "{} connections are not many", idle.len());
    assert!(among_many < 2 * alone + ms(1), "{alone:?} alone, {among_many:?} among many");
}
