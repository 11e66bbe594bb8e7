//! The six in processes of their own, at a mutex behind a socket, judged from what the server and each of them wrote down.

use std::fs::{self, File};
use std::process::Command;

use packet_mutex::net;
use packet_mutex::{PacketMutex, Roster};
use practice::logs::{Findings, Logs};
use practice::modules::Module;
use practice::server::Server;

use crate::process::Process;

/// Begins cycles for six seconds, with the mutex or without. Who waits for its turn at the end still gets it.
fn play(form: &str) -> Findings {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let log = File::create(place.join("frames.jsonl")).unwrap();
    let server = Server::start_logging("127.0.0.1:0", Some(log)).unwrap();
    let mutex = PacketMutex::new(Roster::default());
    let mut events = mutex.events();
    let serving = net::Server::start("tcp://127.0.0.1:0", [mutex], net::Options::default());
    let serving = serving.unwrap();
    let start = |module: Module| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_practice-module"));
        command.arg(module.name()).args(["--seconds", "6", "--log"]);
        command.arg(place.join(format!("sends-{}.jsonl", module.name())));
        command.args(["--server", &server.address().to_string()]);
        match form {
            "with" => command.env("PACKET_MUTEX_URL", serving.address().to_string()),
            _ => command.arg("--without").env_remove("PACKET_MUTEX_URL"),
        };
        Process(command.spawn().unwrap())
    };
    for mut process in Module::ALL.map(start) {
        assert!(process.0.wait().unwrap().success());
    }
    let lines: String = events.take().iter().map(|entry| format!("{entry}\n")).collect();
    fs::write(place.join("events.jsonl"), lines).unwrap();
    Logs::read(place).unwrap().judge(&Roster::default())
}

#[test]
fn six_processes_take_turns_and_conflict_without() {
    let (with, without) = std::thread::scope(|scope| {
        let without = scope.spawn(|| play("without"));
        (play("with"), without.join().unwrap())
    });
    assert!(with.clean(), "{with:?}");
    assert_eq!(with.without_turn, 0);
    assert!(with.counts.min_handover_s.is_some_and(|least| least >= 1.0), "{with:?}");
    assert!(with.counts.runes_made > 0, "{with:?}");
    assert!(with.counts.modules.values().all(|module| module.turns > 0), "{with:?}");
    let waited = with.counts.modules.values().filter(|module| module.wait_max_s > 1.0).count();
    assert!(waited >= 4, "the first has its turn at once, its own group may follow: {with:?}");
    assert!(!without.clean() && without.counts.interleavings > 0, "{without:?}");
    assert_eq!((without.unexplained_frames, without.unseen_sends), (0, 0));
}
