//! The six in threads of their own, over real TCP.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use packet_mutex::{PacketMutex, Roster};
use practice::judge::judge;
use practice::modules::{Mode, Module};
use practice::run::{Config, Outcome, Watch, run};
use practice::server::Server;

use crate::stand_in::group;

fn mutex() -> PacketMutex {
    PacketMutex::new(Roster::default())
}

fn play(server: &Server, mode: Mode, seed: u64, seconds: u64) -> Outcome {
    let config = Config {
        mode,
        server: server.address(),
        embedded: true,
        length: Duration::from_secs(seconds),
        seed,
    };
    run(&config, &mutex(), &AtomicBool::new(false), &Watch::default()).unwrap()
}

#[test]
fn six_seconds_with_the_mutex() {
    let server = Server::start("127.0.0.1:0").unwrap();
    let outcome = play(&server, Mode::With, 1, 6);
    assert!(outcome.counts.clean(), "{:?}", outcome.counts);
    assert!(outcome.counts.min_handover_s.is_some_and(|least| least >= 1.0));
    assert_eq!(outcome.failures, []);
    assert_eq!(outcome.counts.runes_made, 1);

    // The client's log is the server's.
    assert_eq!(server.frames("with"), outcome.frames);

    // The written logs give the same counts again.
    let directory = tempfile::tempdir().unwrap();
    outcome.write_logs(directory.path()).unwrap();
    let frames = lines(&directory.path().join("frames.jsonl"));
    let sends = lines(&directory.path().join("sends.jsonl"));
    let again = judge(&frames, &sends, &outcome.waits, |module| group(module).to_owned());
    assert_eq!(again, outcome.counts);
}

fn lines<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Vec<T> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_stopped_run_returns_at_once() {
    let begun = Instant::now();
    let server = Server::start("127.0.0.1:0").unwrap();
    let config = Config {
        mode: Mode::With,
        server: server.address(),
        embedded: true,
        length: Duration::from_secs(60),
        seed: 1,
    };
    run(&config, &mutex(), &AtomicBool::new(true), &Watch::default()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_stops_ends_the_run_with_its_reason() {
    let begun = Instant::now();
    let server = Server::start("127.0.0.1:0").unwrap();
    let config = Config {
        mode: Mode::Without,
        server: server.address(),
        embedded: true,
        length: Duration::from_secs(60),
        seed: 1,
    };
    let error = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            run(&config, &mutex(), &AtomicBool::new(false), &Watch::default()).unwrap_err()
        });
        std::thread::sleep(Duration::from_millis(300));
        drop(server);
        running.join().unwrap()
    });
    assert_eq!(error.to_string(), "the practice server closed the connection: the server stops");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
#[ignore = "takes minutes; prints the counts of each mode over many seeds"]
fn survey() {
    let server = Server::start("127.0.0.1:0").unwrap();
    let mut lines = Vec::new();
    for seeds in [0..10_u64, 10..20] {
        std::thread::scope(|scope| {
            let runs: Vec<_> = seeds
                .flat_map(|seed| Mode::ALL.map(|mode| (seed, mode)))
                .map(|(seed, mode)| {
                    let server = &server;
                    (seed, mode, scope.spawn(move || play(server, mode, seed, 30)))
                })
                .collect();
            for (seed, mode, run) in runs {
                let Outcome { counts: c, failures, .. } = run.join().unwrap();
                let turns = Module::ALL.map(|module| c.modules[module.name()].turns);
                lines.push(format!(
                    "{:12} {seed:2}  inter {:3} refused {:3} wrong {:2} lost {} made {} failed {:2} fish {} meals {:2} loot {:2} handover {:?} turns {turns:?} {failures:?}",
                    mode.name(), c.interleavings, c.refusals, c.wrong_items, c.weapons_lost, c.runes_made, c.runes_failed, c.fish, c.meals, c.loot, c.min_handover_s,
                ));
            }
        });
    }
    lines.sort();
    std::io::Write::write_all(&mut std::io::stdout(), (lines.join("\n") + "\n").as_bytes())
        .unwrap();
}
