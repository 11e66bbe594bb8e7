//! `packet-mutex watch` in a terminal, as a person has it.
#![cfg(unix)]

mod tmux;

use packet_mutex::net::{Options, Running, Server};
use packet_mutex::{Mode, ModuleStatus, PacketMutex, Roster};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use tmux::Tmux;

const TOOL: &str = env!("CARGO_BIN_EXE_packet-mutex");

/// A mutex of the default roster behind a socket, and a terminal beside it.
struct Watched {
    tmux: Tmux,
    mutex: PacketMutex,
    url: String,
    server: Option<Running>,
}

impl Watched {
    fn new(width: u16, height: u16) -> Option<Self> {
        let tmux = Tmux::new(width, height)?;
        let url = format!("unix:{}/run/socket", tmux.directory.path().display());
        let mutex = PacketMutex::new(Roster::default());
        let mut watched = Watched { tmux, mutex, url, server: None };
        watched.serve();
        Some(watched)
    }

    fn serve(&mut self) {
        let mutexes = vec![self.mutex.clone()];
        self.server = Some(Server::start(&self.url, mutexes, Options::default()).unwrap());
    }

    /// Starts the view in the shell, and waits until it is there.
    fn watch(&self) {
        self.watch_with("");
    }

    fn watch_with(&self, options: &str) {
        let pid = self.tmux.directory.path().join("pid");
        let line = format!(
            "sh -c 'echo $$ > {}; exec {TOOL} watch --url {} {options}'",
            pid.display(),
            self.url
        );
        self.tmux.line(&format!("{line}; echo code $?"));
        self.tmux.until_shown("● live");
    }

    fn pid(&self) -> Pid {
        let pid = std::fs::read_to_string(self.tmux.directory.path().join("pid")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// Waits until something is so at the mutex.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&PacketMutex) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is_so(&self.mutex) {
            assert!(Instant::now() < end, "never {what}: {:?}", self.mutex.status());
            sleep(Duration::from_millis(10));
        }
    }

    fn module(&self, name: &str) -> ModuleStatus {
        let mut modules = self.mutex.status().modules.into_iter();
        modules.find(|module| &*module.module == name).unwrap()
    }

    /// Somebody who waits for a turn and keeps it until he is told.
    fn waiter(&self, module: &'static str) -> Waiter {
        let waiting = self.mutex.status().waiters.len();
        let (mutex, (leave, told)) = (self.mutex.clone(), channel::<()>());
        let thread = std::thread::spawn(move || {
            let turn = mutex.acquire(module);
            let _ = told.recv();
            turn.err().map(|error| error.kind())
        });
        self.until("one waits more", |mutex| mutex.status().waiters.len() > waiting);
        Waiter { leave, thread }
    }
}

/// Is this mark in a row that has this text?
fn is_in_row(screen: &str, row: &str, mark: char) -> bool {
    screen.lines().any(|line| line.contains(row) && line.contains(mark))
}

struct Waiter {
    leave: Sender<()>,
    thread: JoinHandle<Option<&'static str>>,
}

impl Waiter {
    /// Ends his turn; the kind of the error if he got none.
    fn leave(self) -> Option<&'static str> {
        drop(self.leave);
        self.thread.join().unwrap()
    }
}

#[test]
fn what_is_watched_can_be_kept_as_a_trace() {
    let Some(watched) = Watched::new(100, 30) else { return };
    let file = watched.tmux.directory.path().join("trace.jsonl");
    watched.watch_with(&format!("--trace {}", file.display()));
    drop(watched.mutex.acquire("fisher").unwrap());
    watched.tmux.keys(&["q"]);
    let screen = watched.tmux.is_as_before("0");
    assert!(screen.contains("trace: "), "{screen}");
    let trace = std::fs::read_to_string(file).unwrap();
    for kind in ["requested", "granted", "released"] {
        assert_eq!(trace.matches(&format!(r#""event":"{kind}""#)).count(), 1, "{trace}");
    }
}

#[test]
fn it_shows_the_holder_the_queue_and_the_reasons() {
    let Some(watched) = Watched::new(100, 30) else { return };
    let turn = watched.mutex.acquire("fisher").unwrap();
    let trainer = watched.waiter("trainer");
    let eater = watched.waiter("eater");
    watched.watch();
    let tmux = &watched.tmux;
    let screen = tmux.until("the queue and the lanes", |screen| {
        screen.contains("behind trainer")
            && is_in_row(screen, "● fisher ", '█')
            && is_in_row(screen, "○ eater ", '░')
    });
    assert!(screen.contains("● fisher has held for "), "{screen}");
    assert!(screen.contains("for fisher's turn to end, then 1.0 s for the handover"), "{screen}");
    assert!(screen.contains("recently"), "{screen}");
    drop(turn);
    let screen = tmux.until_shown("s for the handover from fisher");
    assert!(screen.contains("free, last fisher"), "{screen}");
    tmux.until_shown("● trainer has held for ");
    assert_eq!(trainer.leave(), None);
    tmux.until_shown("● eater has held for ");
    assert_eq!(eater.leave(), None);
    tmux.until_shown("nobody is waiting");
    tmux.keys(&["?"]);
    tmux.until_shown("keys and marks");
    tmux.keys(&["q"]);
    tmux.until("the help is closed", |screen| !screen.contains("keys and marks"));
    tmux.keys(&["q"]);
    tmux.is_as_before("0");
}

#[test]
fn keys_steer_the_mutex() {
    let Some(watched) = Watched::new(80, 24) else { return };
    let _turn = watched.mutex.acquire("runemaker").unwrap();
    let waiter = watched.waiter("trainer");
    watched.watch();
    let tmux = &watched.tmux;
    // The modules are in the order of their priorities, and the first is chosen.
    tmux.keys(&["Down", "c"]);
    tmux.until_shown("cancel trainer: end 1 waiting request?");
    tmux.keys(&["n", "c", "y"]);
    tmux.until_shown("✓ done: cancel trainer");
    assert_eq!(waiter.leave(), Some("cancelled"));

    tmux.keys(&["d", "y"]);
    watched.until("disabled", |_| watched.module("trainer").disabled);
    tmux.until_shown("trainer   disabled");
    tmux.keys(&["e"]);
    watched.until("enabled", |_| !watched.module("trainer").disabled);

    tmux.keys(&["m", "o"]);
    watched.until("observed", |_| watched.module("trainer").mode == Mode::Observed);
    tmux.until_shown("trainer   observed");
    tmux.keys(&["m", "e"]);
    watched.until("enforced", |_| watched.module("trainer").mode == Mode::Enforced);

    tmux.keys(&["p", "y"]);
    watched.until("paused", |mutex| mutex.status().paused.len() == 1);
    tmux.until_shown("‖ paused: ");
    tmux.keys(&["r"]);
    watched.until("resumed", |mutex| mutex.status().paused.is_empty());
    tmux.keys(&["C-c"]);
    tmux.is_as_before("0");
}

#[test]
fn it_takes_any_size() {
    let Some(watched) = Watched::new(80, 24) else { return };
    let _turn = watched.mutex.acquire("fisher").unwrap();
    watched.watch();
    let tmux = &watched.tmux;
    for (width, height) in [("60", "15"), ("160", "50"), ("12", "3"), ("80", "24")] {
        tmux.ask(&["resize-window", "-x", width, "-y", height]);
        tmux.until("the keys in the last row", |screen| {
            let rows: Vec<&str> = screen.lines().collect();
            rows.len() == height.parse::<usize>().unwrap()
                && rows.last().is_some_and(|row| row.trim_start().starts_with("? help"))
                && rows.iter().all(|row| row.chars().count() <= width.parse().unwrap())
        });
    }
    tmux.until_shown("● fisher has held for ");
    tmux.keys(&["Escape"]);
    tmux.is_as_before("0");
}

#[test]
fn a_server_that_goes_and_comes_back() {
    let Some(mut watched) = Watched::new(80, 24) else { return };
    watched.watch();
    drop(watched.server.take());
    watched.tmux.until_shown("! reconnecting");
    watched.tmux.until_shown("! not connected; this is ");
    watched.serve();
    watched.tmux.until_shown("● live");
    let turn = watched.mutex.acquire("stacker").unwrap();
    watched.tmux.until("the new turn and its lane", |screen| {
        screen.contains("● stacker has held for ") && is_in_row(screen, "● stacker ", '█')
    });
    drop(turn);
    drop(watched.server.take());
    watched.tmux.until_shown("! reconnecting");
    watched.tmux.keys(&["p", "y"]);
    watched.tmux.until_shown("! not done: pause: ");
    watched.tmux.keys(&["q"]);
    watched.tmux.is_as_before("0");
}

/// More may happen than can be drawn, and keys work all the same.
#[test]
fn it_keeps_up_with_a_mutex_where_much_happens() {
    let Some(watched) = Watched::new(100, 30) else { return };
    let mut spec = watched.mutex.roster().into_spec();
    spec.handover_delay = Duration::ZERO;
    watched.mutex.reload(Roster::new(spec).unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for module in ["fisher", "trainer", "eater"] {
            let (mutex, stop) = (&watched.mutex, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(mutex.acquire(module));
                    sleep(Duration::from_micros(100));
                }
            });
        }
        let _stop = Stop(&stop);
        watched.watch();
        let first = watched.tmux.until("lanes", |screen| is_in_row(screen, " fisher ", '█'));
        watched.tmux.until("newer numbers", |screen| screen != first);
        watched.tmux.keys(&["q"]);
        watched.tmux.is_as_before("0");
    });
}

/// Ends threads when it goes, also by a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn signals_end_it_and_the_terminal_is_as_before() {
    for (signal, code) in [(Signal::TERM, "143"), (Signal::HUP, "129"), (Signal::INT, "130")] {
        let Some(watched) = Watched::new(80, 24) else { return };
        watched.watch();
        kill_process(watched.pid(), signal).unwrap();
        watched.tmux.is_as_before(code);
    }
}

#[test]
fn it_can_be_suspended() {
    let Some(watched) = Watched::new(80, 24) else { return };
    watched.tmux.line("set -m");
    watched.watch();
    watched.tmux.keys(&["C-z"]);
    watched.tmux.until_shown("Stopped");
    watched.tmux.is_as_before(&(128 + Signal::STOP.as_raw()).to_string());
    watched.tmux.line("fg; echo code $?");
    watched.tmux.until_shown("● live");
    watched.tmux.keys(&["q"]);
    watched.tmux.is_as_before("0");
}

/// Also if whoever started it wants no SIGHUP.
#[test]
fn it_does_not_outlive_its_terminal() {
    for before in ["", "trap '' HUP"] {
        let Some(watched) = Watched::new(80, 24) else { return };
        let _turn = watched.mutex.acquire("fisher").unwrap();
        watched.tmux.line(before);
        watched.watch();
        let pid = watched.pid();
        watched.tmux.ask(&["kill-server"]);
        watched.until("ended", |_| test_kill_process(pid).is_err());
    }
}

#[test]
fn without_colours_nothing_is_coloured() {
    let Some(watched) = Watched::new(80, 24) else { return };
    let _turn = watched.mutex.acquire("fisher").unwrap();
    // A colour of the terminal's palette, whichever.
    let is_coloured = || watched.tmux.ask(&["capture-pane", "-p", "-e"]).contains("38;5;");
    watched.watch();
    watched.tmux.until_shown("● fisher");
    assert!(is_coloured());
    watched.tmux.keys(&["q"]);
    watched.tmux.is_as_before("0");
    watched.tmux.line("export NO_COLOR=1");
    watched.watch();
    watched.tmux.until_shown("● fisher");
    assert!(!is_coloured());
}

#[test]
fn it_needs_a_terminal_and_a_mutex() {
    let mut command = Command::new(TOOL);
    let output = command.arg("watch").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("status --json") && told.contains("report"), "{told}");
    let Some(tmux) = Tmux::new(80, 24) else { return };
    tmux.line(&format!("{TOOL} watch --url unix:/nowhere/socket; echo code $?"));
    let screen = tmux.is_as_before("69");
    assert!(screen.contains("error: unavailable"), "{screen}");
}
