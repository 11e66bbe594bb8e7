//! The server as a process of its own, with a clock of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use packet_mutex::{PacketMutex, Roster};
use practice::clock;
use practice::modules::Mode;
use practice::run::{Config, Watch, run};

pub(crate) struct Process(pub(crate) Child);

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
    assert_eq!(run(&["--log"]).status.code(), Some(2));
    assert_eq!(run(&["--log", "no/such/directory/log"]).status.code(), Some(2));
    assert_eq!(run(&["--listen", "nowhere"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn the_other_programs_tell_their_usage_and_what_is_wrong() {
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let output = command.args(args).env_remove("PACKET_MUTEX_URL").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let module = env!("CARGO_BIN_EXE_practice-module");
    let judge = env!("CARGO_BIN_EXE_practice-judge");
    for args in [&[][..], &["fisher"], &["nobody", "--server", "127.0.0.1:1", "--log", "x"]] {
        let (code, errors) = run(module, args);
        assert!(code == Some(2) && errors.starts_with("usage: practice-module"), "{errors}");
    }
    let (code, errors) = run(module, &["fisher", "--server", "127.0.0.1:1", "--log", "x"]);
    assert!(code == Some(1) && errors.starts_with("fisher: PACKET_MUTEX_URL: "), "{errors}");
    let (code, errors) = run(judge, &[]);
    assert!(code == Some(2) && errors.starts_with("usage: practice-judge"), "{errors}");
    let (code, errors) = run(judge, &["no/such/directory"]);
    assert!(code == Some(2) && errors.starts_with("practice-judge: no/such/directory"), "{errors}");
}
