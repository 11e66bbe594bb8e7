//! The examples in other languages, against the raw protocol, beside threads of this one: judged from what each wrote down
//! inside its turns.

use crate::raw::{Served, ms};
use packet_mutex::{PacketMutex, Roster};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

const TURNS: usize = 60;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What can be run here: the program and its first arguments.
fn programs(place: &Path) -> Vec<(&'static str, Command)> {
    let mut programs = Vec::new();
    if is_there("node") {
        let mut node = Command::new("node");
        node.arg(example("node/fisher.mjs"));
        programs.push(("fisher", node));
    }
    if is_there("cc") {
        let program = place.join("fisher");
        let mut compile = Command::new("cc");
        compile.args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
        assert!(compile.arg(example("c/fisher.c")).status().unwrap().success());
        programs.push(("trainer", Command::new(program)));
    }
    programs
}

#[test]
fn three_languages_share_the_mutex() {
    let mut spec = Roster::default().into_spec();
    spec.handover_delay = Duration::ZERO;
    let served = Served::new(PacketMutex::new(Roster::new(spec).unwrap()));
    let log = served.place.path().join("log");
    let mut file = File::options().create(true).append(true).open(&log).unwrap();
    let start = |(module, mut program): (&str, Command)| -> Child {
        program.arg(served.place.socket()).arg(module).arg(TURNS.to_string());
        program.arg(&log).spawn().unwrap()
    };
    let children: Vec<Child> = programs(served.place.path()).into_iter().map(start).collect();
    let languages = children.len() + 1;
    let client = PacketMutex::connect(&served.url).unwrap();
    for _ in 0..TURNS {
        let turn = client.acquire("eater").unwrap();
        let token = turn.token().unwrap();
        writeln!(file, "begin {token}").unwrap();
        std::thread::sleep(ms(1));
        writeln!(file, "end {token}").unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2 * TURNS * languages);
    let mut last = 0;
    for turn in lines.chunks(2) {
        let token = turn[0].strip_prefix("begin ").unwrap_or_else(|| panic!("{turn:?} overlap"));
        assert_eq!(turn[1], format!("end {token}"), "turns overlap");
        let token = token.parse::<u64>().unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
    }
}
