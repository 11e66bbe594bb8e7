//! The server as a process of its own, with a clock of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use packet_mutex::{PacketMutex, Roster};
use practice::clock;
use practice::modules::Mode;
use practice::run::{Config, Watch, run};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn times_are_on_the_clients_clock() {
    // The client's clock starts a while before the server's.
    clock::now();
    std::thread::sleep(Duration::from_millis(700));
    let mut command = Command::new(env!("CARGO_BIN_EXE_practice-server"));
    let command = command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut server = Process(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();

    let config = Config {
        mode: Mode::Without,
        server: address,
        embedded: false,
        length: Duration::from_secs(1),
        seed: 1,
    };
    let outcome = run(
        &config,
        &PacketMutex::new(Roster::default()),
        &AtomicBool::new(false),
        &Watch::default(),
    )
    .unwrap();
    assert!(outcome.frames.len() >= 6 && outcome.frames.len() == outcome.sends.len());
    for (frame, sent) in outcome.frames.iter().zip(&outcome.sends) {
        assert_eq!(frame.n, sent.n);
        let late = frame.t - sent.t;
        assert!((-0.05..0.5).contains(&late), "frame {} is {late} s after its send", frame.n);
    }
}

#[test]
fn bad_arguments_are_a_usage_error() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_practice-server")).args(args).output().unwrap()
    };
    assert_eq!(run(&["--port"]).status.code(), Some(2));
    assert_eq!(run(&["--listen", "nowhere"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}
