//! `serve`, `exec`, `status`, the steering commands and `report`, as real processes.
#![cfg(unix)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOOL: &str = env!("CARGO_BIN_EXE_packet-mutex");

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A server as a process, and a directory of its own.
struct Served {
    directory: TempDir,
    url: String,
    server: Option<Child>,
}

impl Served {
    fn new() -> Self {
        Served::with("", |place| format!("unix:{}/run/socket", place.display()))
    }

    fn over_tcp(lease: &str) -> Self {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Served::with(lease, |_| format!("tcp://127.0.0.1:{port}"))
    }

    fn with(lease: &str, url: impl Fn(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let roster = "handover_delay = '50ms'\n[modules.auto_loot]\npriority = 40\n";
        std::fs::write(directory.path().join("roster.toml"), roster).unwrap();
        let url = url(directory.path());
        let mut served = Served { directory, url, server: None };
        served.start(lease);
        served
    }

    fn start(&mut self, lease: &str) {
        let mut command = Command::new(TOOL);
        command.args(["serve", &self.url, "--roster"]).arg(self.file("roster.toml"));
        command.arg("--state").arg(self.file("state"));
        command.arg("--trace").arg(self.file("trace.jsonl"));
        if !lease.is_empty() {
            command.args(["--lease", lease]);
        }
        command.env_remove("PACKET_MUTEX_SECRET").stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("serving main at "), "{line}");
        self.server = Some(server);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tool(&self, args: &[&str]) -> Command {
        let mut command = Command::new(TOOL);
        command.args(args).env("PACKET_MUTEX_URL", &self.url).stdin(Stdio::null());
        command.env_remove("PACKET_MUTEX_TOKEN").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A wrapper whose command runs.
    fn hold(&self, module: &str) -> Child {
        let script = "echo up; exec sleep 60";
        let mut wrapper =
            self.tool(&["exec", "-m", module, "--", "sh", "-c", script]).spawn().unwrap();
        assert_eq!(first_line(&mut wrapper), "up");
        wrapper
    }

    fn run(&self, args: &[&str]) -> Output {
        self.tool(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}: {told}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    /// Waits until something is so in the status.
    #[track_caller]
    fn until(&self, what: impl Fn(&Value) -> bool) {
        let end = Instant::now() + ms(20_000);
        while !what(&self.status()) {
            assert!(Instant::now() < end, "it never came to be: {}", self.status());
            sleep(ms(10));
        }
    }

    fn until_free(&self) {
        self.until(|status| status["holder"].is_null());
    }

    /// Ends the server in an orderly way, and reads its trace.
    fn trace(&mut self) -> Vec<Value> {
        let mut server = self.server.take().unwrap();
        signal(&server, Signal::TERM);
        assert!(server.wait().unwrap().success());
        let text = std::fs::read_to_string(self.file("trace.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The wrapper is the only one to know when its turn begins and ends, so its trace has both.
#[test]
fn exec_writes_a_trace_of_its_own() {
    for served in [Served::new(), Served::over_tcp("2")] {
        let file = served.file("exec.jsonl");
        let file = file.to_str().unwrap();
        let done = served.run(&["exec", "-m", "eater", "--trace", file, "--", "true"]);
        assert!(done.status.success(), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("trace: "), "{done:?}");
        let text = std::fs::read_to_string(file).unwrap();
        let events: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<&str> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["requested", "granted", "released"]);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(pid(child), signal).unwrap();
}

/// Is it more than an entry that nobody has collected?
fn is_alive(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Reads the first line that a process writes.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn exec_passes_the_code_and_the_token_on() {
    let served = Served::new();
    let token = served.ok(&["exec", "-m", "fisher", "--", "sh", "-c", "echo $PACKET_MUTEX_TOKEN"]);
    assert_eq!(token, "1\n");
    let code =
        |args: &[&str]| served.run(&[&["exec", "-m", "fisher", "--"], args].concat()).status.code();
    assert_eq!(code(&["sh", "-c", "exit 42"]), Some(42));
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(code(&["/no/such/command"]), Some(127));
    assert_eq!(code(&["/"]), Some(126));
    assert!(served.status()["holder"].is_null());
    let token = served.ok(&["exec", "-m", "fisher", "--", "sh", "-c", "echo $PACKET_MUTEX_TOKEN"]);
    assert_eq!(token, "6\n");
}

#[test]
fn exec_times_out_with_75_and_tells_who_holds() {
    let served = Served::new();
    let mut holder = served.hold("runemaker");
    let output = served.run(&["exec", "-m", "fisher", "--timeout", "0.1", "--", "true"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert!(told.contains("`runemaker` has held the turn for"), "{told}");
    signal(&holder, Signal::TERM);
    // The command got the signal, and its end is the wrapper's.
    assert_eq!(holder.wait().unwrap().code(), Some(128 + 15));
    served.until_free();
    assert!(!served.status()["abandoned"].as_bool().unwrap());
}

#[test]
fn who_cannot_be_reached_is_69_and_bad_input_is_2() {
    let served = Served::new();
    let code = |args: &[&str]| served.run(args).status.code();
    let nowhere = "unix:/nowhere/at/all";
    assert_eq!(code(&["exec", "--url", nowhere, "-m", "fisher", "--", "true"]), Some(69));
    assert_eq!(code(&["status", "--url", nowhere]), Some(69));
    assert_eq!(code(&["status", "--url", "gopher:"]), Some(2));
    assert_eq!(code(&["exec", "-m", "auto-loot", "--", "true"]), Some(2));
    assert_eq!(code(&["exec", "-m", "fisher", "--timeout", "-1", "--", "true"]), Some(2));
    assert_eq!(code(&["resume", "never"]), Some(2));
    assert_eq!(code(&["serve", &served.url]), Some(69));
    served.ok(&["disable", "fisher"]);
    assert_eq!(code(&["exec", "-m", "fisher", "--", "true"]), Some(1));
}

#[test]
fn steering_is_seen_in_the_status() {
    let served = Served::new();
    served.ok(&["pause", "alarm", "--below", "60"]);
    served.ok(&["mode", "eater", "observed"]);
    served.ok(&["disable", "trainer"]);
    served.ok(&["cancel", "trainer"]);
    let status = served.status();
    assert_eq!(status["paused"][0]["reason"], "alarm");
    assert_eq!(status["modules"]["eater"]["mode"], "observed");
    assert_eq!(status["modules"]["trainer"]["disabled"], true);
    let text = served.ok(&["status"]);
    assert!(text.starts_with("main: free\npaused: alarm (all below 60)\n"), "{text}");
    served.ok(&["resume"]);
    served.ok(&["enable", "trainer"]);
    assert_eq!(served.status()["paused"], serde_json::json!([]));
}

/// The operator's way out when a holder hangs: its turn is taken away, its command is told, and the next can go on.
#[test]
fn a_turn_is_revoked() {
    let mut served = Served::new();
    let nobody = served.run(&["revoke", "--reason", "nobody is there"]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
    let mut wrapper = served.hold("fisher");
    served.ok(&["revoke", "--reason", "the fisher hangs"]);
    let status = served.status();
    assert!(status["holder"].is_null() && status["abandoned"].as_bool().unwrap(), "{status}");
    served.ok(&["exec", "-m", "eater", "--", "true"]);
    signal(&wrapper, Signal::TERM);
    wrapper.wait().unwrap();
    let mut told = String::new();
    wrapper.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("the turn was lost"), "{told}");
    let trace = served.trace();
    let revoking = trace.iter().find(|event| event["event"] == "revoking").unwrap();
    assert_eq!(revoking["reason"], "the fisher hangs");
    assert!(trace.iter().any(|event| event["event"] == "revoked"));
}

#[test]
fn a_roster_is_replaced_and_a_mutex_closed() {
    let served = Served::new();
    let roster = served.directory.path().join("new.toml");
    std::fs::write(&roster, "[modules.newcomer]\npriority = 7\n").unwrap();
    served.ok(&["reload", roster.to_str().unwrap()]);
    assert!(served.status()["modules"]["newcomer"].is_object());
    std::fs::write(&roster, "handover_delay = -7\n").unwrap();
    assert_eq!(served.run(&["reload", roster.to_str().unwrap()]).status.code(), Some(2));
    served.ok(&["close"]);
    assert_eq!(served.status()["closed"], true);
    assert_eq!(served.run(&["exec", "-m", "eater", "--", "true"]).status.code(), Some(1));
}

/// Wherever a duration is read, a plain number is in seconds.
#[test]
fn durations_have_three_forms() {
    let served = Served::over_tcp("1500ms");
    for length in ["90", "90s", "90000ms"] {
        served.ok(&["pause", "alarm", "--for", length]);
        let left = served.status()["paused"][0]["left"].as_f64().unwrap();
        assert!(left > 60.0 && left <= 90.0, "{left}");
    }
    let code = |timeout: &str| {
        let output = served.run(&["exec", "-m", "fisher", "--timeout", timeout, "--", "true"]);
        output.status.code()
    };
    assert_eq!([code("0.1"), code("0.1s"), code("100ms"), code("1x")], [75, 75, 75, 2].map(Some));
}

/// A wrapper that is killed takes its turn with it only once its command is gone too.
#[test]
fn the_turn_stays_while_the_command_lives() {
    let mut served = Served::new();
    let mut wrapper = served
        .tool(&["exec", "-m", "fisher", "--", "sh", "-c", "echo $$; exec sleep 60"])
        .spawn()
        .unwrap();
    let command: i32 = first_line(&mut wrapper).parse().unwrap();
    wrapper.kill().unwrap();
    wrapper.wait().unwrap();
    sleep(ms(300));
    assert_eq!(served.status()["holder"]["module"], "fisher");
    kill_process(Pid::from_raw(command).unwrap(), Signal::KILL).unwrap();
    served.until_free();
    assert!(served.status()["abandoned"].as_bool().unwrap());
    assert!(served.trace().iter().any(|event| event["event"] == "abandoned"));
}

/// Over TCP the command is ended with its wrapper, and the turn when its lease is over.
#[test]
fn over_tcp_the_command_is_ended_with_its_wrapper() {
    let served = Served::over_tcp("1.5");
    let script = "echo $$; sleep 60 & wait";
    let mut wrapper =
        served.tool(&["exec", "-m", "fisher", "--", "sh", "-c", script]).spawn().unwrap();
    let command = Pid::from_raw(first_line(&mut wrapper).parse().unwrap()).unwrap();
    let killed = Instant::now();
    wrapper.kill().unwrap();
    wrapper.wait().unwrap();
    while is_alive(command) {
        assert!(killed.elapsed() < ms(1000), "the command acts on");
        sleep(ms(5));
    }
    assert_eq!(served.status()["holder"]["module"], "fisher", "not before the lease is over");
    served.until_free();
}

/// A stopped process that is still connected keeps its turn (S7).
#[test]
fn a_stopped_holder_keeps_its_turn() {
    let served = Served::new();
    let mut wrapper = served.hold("fisher");
    signal(&wrapper, Signal::STOP);
    let output = served.run(&["exec", "-m", "eater", "--timeout", "0.5", "--", "true"]);
    assert_eq!(output.status.code(), Some(75));
    signal(&wrapper, Signal::CONT);
    signal(&wrapper, Signal::TERM);
    assert_eq!(wrapper.wait().unwrap().code(), Some(143));
    served.ok(&["exec", "-m", "eater", "--", "true"]);
}

/// Over TCP a stopped holder's turn is revoked, its command is ended, and its token is old.
#[test]
fn over_tcp_a_stopped_holder_is_too_late() {
    let served = Served::over_tcp("0.6");
    let mut wrapper = served.hold("fisher");
    let old: u64 = served.status()["holder"]["token"].as_str().unwrap().parse().unwrap();
    signal(&wrapper, Signal::STOP);
    served.until_free();
    let token = served.ok(&["exec", "-m", "eater", "--", "sh", "-c", "echo $PACKET_MUTEX_TOKEN"]);
    assert!(token.trim().parse::<u64>().unwrap() > old);
    signal(&wrapper, Signal::CONT);
    assert_eq!(wrapper.wait().unwrap().code(), Some(128 + 9));
    let mut told = String::new();
    wrapper.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("the turn was lost"), "{told}");
}

/// Killed at any moment, a waiter holds up nobody.
#[test]
fn killed_waiters_leave_the_queue() {
    let served = Served::new();
    let mut holder = served.hold("runemaker");
    let waiting = |_| served.tool(&["exec", "-m", "fisher", "--", "true"]).spawn().unwrap();
    let mut waiters: Vec<Child> = (0..4).map(waiting).collect();
    served.until(|status| status["waiters"].as_array().unwrap().len() == 4);
    for waiter in &mut waiters[..3] {
        waiter.kill().unwrap();
        waiter.wait().unwrap();
    }
    served.until(|status| status["waiters"].as_array().unwrap().len() == 1);
    signal(&holder, Signal::TERM);
    holder.wait().unwrap();
    assert!(waiters[3].wait().unwrap().success());
}

/// A server that is killed: what waits survives, tokens grow, and the first turn is warned.
#[test]
fn a_killed_server_comes_back() {
    let mut served = Served::new();
    let token = |output: &str| output.trim().parse::<u64>().unwrap();
    let script = "echo $PACKET_MUTEX_TOKEN";
    let before = token(&served.ok(&["exec", "-m", "fisher", "--", "sh", "-c", script]));
    let mut holder = served.hold("runemaker");
    let waiter = served.tool(&["exec", "-m", "eater", "--", "sh", "-c", script]).spawn().unwrap();
    served.until(|status| status["waiters"].as_array().unwrap().len() == 1);
    let mut server = served.server.take().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    served.start("");
    let output = waiter.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(token(&String::from_utf8(output.stdout).unwrap()) > before + 1);
    // Over a Unix socket the command goes on, and its wrapper says that it is without a turn.
    signal(&holder, Signal::TERM);
    assert_eq!(holder.wait().unwrap().code(), Some(143));
    let mut told = String::new();
    holder.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("the turn was lost"), "{told}");
}

/// The six modules of the practice game over the socket, with no line of theirs changed: the same zeroes.
#[test]
fn the_six_modules_share_a_character_over_the_socket() {
    use practice::modules::Mode;
    use practice::run::{Config, Watch, run};
    let mut served = Served::new();
    let game = practice::server::Server::start(("127.0.0.1", 0)).unwrap();
    let config = Config {
        mode: Mode::With,
        server: game.address(),
        embedded: true,
        length: ms(6000),
        seed: 1,
    };
    let mutex = packet_mutex::PacketMutex::connect(&served.url).unwrap();
    let outcome = run(&config, &mutex, &false.into(), &Watch::default()).unwrap();
    let counts = &outcome.counts;
    let wrong = [
        counts.interleavings,
        counts.refusals,
        counts.wrong_items,
        counts.weapons_lost,
        counts.runes_failed,
    ];
    assert_eq!(wrong, [0; 5], "{counts:?}");
    assert!(outcome.frames.len() > 10);
    drop(mutex);
    let turns = served.trace().iter().filter(|event| event["event"] == "granted").count();
    assert!(turns >= 6, "{turns} turns");
}

#[test]
fn a_trace_is_rendered_in_three_ways() {
    let mut served = Served::new();
    for module in ["fisher", "eater", "fisher"] {
        served.ok(&["exec", "-m", module, "--", "sleep", "0.05"]);
    }
    let trace = served.trace();
    let kinds: Vec<&str> = trace.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds, ["requested", "granted", "released"].repeat(3));
    let path = |name: &str| served.file(name).display().to_string();
    let (html, perfetto) = (path("t.html"), path("t.json"));
    let text = served.ok(&[
        "report",
        &path("trace.jsonl"),
        "--html",
        &html,
        "--perfetto",
        &perfetto,
        "--text",
    ]);
    assert!(text.contains("fisher") && text.contains('█'), "{text}");
    assert!(std::fs::read_to_string(html).unwrap().starts_with("<!DOCTYPE html>"));
    let perfetto: Value =
        serde_json::from_str(&std::fs::read_to_string(perfetto).unwrap()).unwrap();
    let events = perfetto["traceEvents"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["name"] == "holds").count(), 3);
    assert_eq!(served.run(&["report", "/no/such/trace"]).status.code(), Some(2));
}

#[test]
fn serve_shows_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let url = format!("unix:{}/run/socket", place.display());
    let mut command = Command::new(TOOL);
    command.args(["serve", &url, "--http", "127.0.0.1:0", "--state"]).arg(place.join("state"));
    command.env_remove("PACKET_MUTEX_SECRET").stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.take(2).last().unwrap();
    let at =
        told.strip_prefix("the page is at http://").and_then(|at| at.strip_suffix("/ (read only)"));
    let mut page = std::net::TcpStream::connect(at.unwrap()).unwrap();
    page.write_all(b"GET /status.json HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 200 OK") && answer.contains(r#"{"mutex":"main""#),
        "{answer}"
    );
    signal(&server, Signal::TERM);
    assert!(server.wait().unwrap().success());

    // Beyond the loopback only with a secret.
    let mut command = Command::new(TOOL);
    command.args(["serve", &url, "--http", "0.0.0.0:0", "--state"]).arg(place.join("state"));
    let beyond = command.env_remove("PACKET_MUTEX_SECRET").output().unwrap();
    let why = String::from_utf8_lossy(&beyond.stderr);
    assert_eq!(beyond.status.code(), Some(69), "{why}");
    assert!(why.contains("PACKET_MUTEX_SECRET"), "{why}");
}
