//! Where a server listens, and to whom.

use crate::raw::{Place, Served};
use packet_mutex::net::{Options, Server};
use packet_mutex::{PacketMutex, Roster, roster_toml};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

fn start(url: &str) -> Result<packet_mutex::net::Running, packet_mutex::Error> {
    Server::start(url, [PacketMutex::new(Roster::default())], Options::default())
}

#[test]
fn the_directory_is_made_private_or_must_be() {
    let place = Place::new();
    drop(start(&place.url()).unwrap());
    let run = place.path().join("run");
    let mode = std::fs::metadata(&run).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    std::fs::set_permissions(&run, PermissionsExt::from_mode(0o755)).unwrap();
    let error = start(&place.url()).unwrap_err().to_string();
    assert!(error.contains("is open to others"), "{error}");
}

#[test]
fn two_servers_do_not_share_a_socket_and_a_dead_ones_is_taken_over() {
    let served = Served::new(PacketMutex::new(Roster::default()));
    let error = start(&served.url).unwrap_err().to_string();
    assert!(error.contains("another server listens here"), "{error}");
    // What a killed server leaves behind.
    let socket = served.place.path().join("run/left");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    drop(start(&format!("unix:{}", socket.display())).unwrap());
    assert!(!socket.exists());
    std::fs::write(&socket, "a letter").unwrap();
    let error = start(&format!("unix:{}", socket.display())).unwrap_err().to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "a letter");
}

#[test]
fn bad_addresses_are_told() {
    let long = format!("unix:/tmp/pm-{}/{}", std::process::id(), "x".repeat(200));
    for url in ["local:", "unix:relative", "tcp://127.0.0.1:99999", "ftp://x", &long] {
        let error = start(url).unwrap_err();
        assert_eq!(error.kind(), "unavailable", "{url}: {error}");
    }
}

#[test]
fn another_roster_is_refused_with_where_it_differs() {
    let served = Served::new(PacketMutex::new(Roster::default()));
    let mut spec = Roster::default().into_spec();
    let same = roster_toml::to_toml(&Roster::new(spec.clone()).unwrap());
    spec.modules[2].priority = 61;
    spec.timeout = std::time::Duration::from_secs(5);
    let other = roster_toml::to_toml(&Roster::new(spec).unwrap());
    let mut client = crate::raw::Client::new(served.stream());
    let reply = client.call(json!({"op": "hello", "version": 1, "roster": other}));
    assert_eq!(reply["error"], "roster_differs");
    assert_eq!(reply["fields"], json!(["modules.fisher.priority", "timeout"]));
    let mut client = crate::raw::Client::new(served.stream());
    let reply = client.call(json!({"op": "hello", "version": 1, "roster": same}));
    assert_eq!(reply["ok"], true);
}
