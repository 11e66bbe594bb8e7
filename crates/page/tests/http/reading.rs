//! The page, the status, the figures; and who may not ask.

use crate::client::{get, raw};
use crate::{page, turn};
use packet_mutex::{Error, PacketMutex, Roster};
use page::Page;
use std::net::TcpStream;

#[test]
fn the_page_needs_nothing_beside_it() {
    let (_mutex, page) = page();
    let answer = get(&page, "/");
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("<!DOCTYPE html>") && answer.body.ends_with("</html>\n"));
    for word in ["https:", "src=", "@import", "url("] {
        assert!(!answer.body.contains(word), "{word}");
    }
    // The name of a kind of picture, not a place.
    let places = answer.body.replace("http://www.w3.org/2000/svg", "");
    assert!(!places.contains("http:"));
    for header in [
        "content-type: text/html",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
        "content-security-policy: default-src 'none'",
        "frame-ancestors 'none'",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(answer.head.contains(header), "{header}: {}", answer.head);
    }
    assert!(!answer.head.contains("access-control"));
}

#[test]
fn the_status_is_that_of_now() {
    let (mutex, page) = page();
    assert!(get(&page, "/status.json").json()["holder"].is_null());
    let turn = mutex.acquire("fisher").unwrap();
    let answer = get(&page, "/status.json");
    assert!(answer.head.contains("content-type: application/json"));
    assert_eq!(answer.json()["holder"]["module"], "fisher");
    drop(turn);
    assert!(get(&page, "/status.json").json()["holder"].is_null());
}

#[test]
fn several_mutexes_are_told_apart() {
    let mutexes =
        ["main", "second"].map(|name| PacketMutex::builder(Roster::default()).name(name).build());
    let page = Page::start("127.0.0.1:0", mutexes.clone(), None).unwrap();
    let _turn = mutexes[1].acquire("eater").unwrap();
    assert_eq!(get(&page, "/status.json").json()["mutex"], "main");
    let second = get(&page, "/status.json?mutex=second").json();
    assert_eq!(
        (&second["mutex"], &second["holder"]["module"]),
        (&"second".into(), &"eater".into())
    );
    assert!(get(&page, "/?mutex=second").body.contains("<title>second · PacketMutex</title>"));
    for path in ["/?mutex=third", "/status.json?mutex=third", "/events?mutex=third"] {
        let answer = get(&page, path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["message"].as_str().unwrap().ends_with("there is: main, second"));
    }
}

#[test]
fn the_figures_are_open_metrics() {
    let roster = Roster::default();
    let odd = PacketMutex::builder(roster).name("a \"name\"\\\nof two lines").build();
    let mutex = PacketMutex::new(Roster::default());
    let page = Page::start("127.0.0.1:0", [mutex.clone(), odd], None).unwrap();
    turn(&mutex, "fisher");
    turn(&mutex, "fisher");
    mutex.pause(packet_mutex::below(50), "alarm").unwrap();
    mutex.disable("eater").unwrap();
    mutex.set_mode("stacker", packet_mutex::Mode::Observed).unwrap();
    let _turn = mutex.acquire("fisher").unwrap();
    let answer = get(&page, "/metrics");
    assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    for line in [
        "# TYPE packet_mutex_turns counter",
        r#"packet_mutex_turns_total{mutex="main",module="fisher"} 3"#,
        r#"packet_mutex_timeouts_total{mutex="main",module="eater"} 0"#,
        "# UNIT packet_mutex_wait_seconds seconds",
        r#"packet_mutex_holds{mutex="main",module="fisher"} 1.0"#,
        r#"packet_mutex_holds{mutex="main",module="eater"} 0.0"#,
        r#"packet_mutex_disabled{mutex="main",module="eater"} 1.0"#,
        r#"packet_mutex_mode{mutex="main",module="stacker",mode="observed"} 1.0"#,
        r#"packet_mutex_mode{mutex="main",module="stacker",mode="enforced"} 0.0"#,
        r#"packet_mutex_pauses{mutex="main"} 1.0"#,
        r#"packet_mutex_waiters{mutex="main"} 0.0"#,
        r#"packet_mutex_abandoned{mutex="main"} 0.0"#,
        r#"packet_mutex_waiters{mutex="a \"name\"\\\nof two lines"} 0.0"#,
        "packet_mutex_page_streams 0.0",
    ] {
        assert!(answer.body.lines().any(|it| it == line), "{line}\n{}", answer.body);
    }
    let held = answer.body.lines().find(|line| line.starts_with("packet_mutex_held_seconds{"));
    assert!(held.unwrap().split(' ').nth(1).unwrap().parse::<f64>().unwrap() > 0.0);
    for quantile in ["0.5", "0.99", "1"] {
        let start = format!(
            r#"packet_mutex_hold_seconds{{mutex="main",module="fisher",quantile="{quantile}"}} "#
        );
        assert!(answer.body.contains(&start), "{start}");
    }
    assert!(answer.body.ends_with("# EOF\n"));
}

#[test]
fn what_is_not_there() {
    let (_mutex, page) = page();
    assert_eq!(get(&page, "/favicon.ico").status, 404);
    assert_eq!(get(&page, "/../etc/passwd").status, 404);
    assert_eq!(get(&page, "/steer").status, 405);
    let answer = raw(&page, "DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 405);
    assert_eq!(raw(&page, "NONSENSE\r\n\r\n").status, 400);
    // Refusals have the headers too.
    assert!(get(&page, "/favicon.ico").head.contains("x-content-type-options: nosniff"));
}

#[test]
fn other_names_for_this_machine_are_refused() {
    let (_mutex, page) = page();
    let ask = |host: &str| {
        raw(&page, &format!("GET /status.json HTTP/1.1\r\n{host}Connection: close\r\n\r\n"))
    };
    for host in ["", "Host: game.example\r\n", "Host: game.example:80\r\n", "Host: 10.1.1.1\r\n"] {
        let answer = ask(host);
        assert_eq!(answer.status, 421, "{host}");
        assert_eq!(answer.json()["error"], "host");
    }
    for host in ["Host: localhost:9\r\n", "Host: 127.0.0.1\r\n", "Host: [::1]:7721\r\n"] {
        assert_eq!(ask(host).status, 200, "{host}");
    }
}

#[test]
fn what_it_does_not_start_with() {
    let mutex = || PacketMutex::new(Roster::default());
    let refused = |address: &str, mutexes: Vec<PacketMutex>, secret: Option<&str>| match Page::start(
        address,
        mutexes,
        secret.map(String::from),
    ) {
        Err(Error::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    let here = "127.0.0.1:0";
    assert!(refused(here, vec![], None).contains("no mutex"));
    assert!(refused(here, vec![mutex(), mutex()], None).contains("two mutexes are named `main`"));
    assert!(refused(here, vec![mutex()], Some("")).contains("the secret is empty"));
    assert!(refused("0.0.0.0:0", vec![mutex()], None).contains("PACKET_MUTEX_SECRET"));
    assert!(refused("nowhere", vec![mutex()], None).starts_with("http://nowhere: "));
    let page = Page::start(here, [mutex()], None).unwrap();
    let taken = page.address().to_string();
    assert!(refused(&taken, vec![mutex()], None).contains(&taken));
}

#[test]
fn beyond_the_loopback_it_answers_to_any_name() {
    let mutex = PacketMutex::new(Roster::default());
    let page = Page::start("0.0.0.0:0", [mutex], Some("s".into())).unwrap();
    assert!(page.url().starts_with("http://127.0.0.1:"), "{}", page.url());
    let answer = raw(&page, "GET / HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn dropping_it_stops_it() {
    let (_mutex, page) = page();
    let address = page.address();
    let open = crate::client::Stream::open(&page, "", "");
    drop(page);
    assert!(TcpStream::connect(address).is_err());
    let mut open = open.ok().unwrap();
    while open.next().is_some() {}
}
