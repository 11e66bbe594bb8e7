//! Project tasks: `cargo xtask <task>`.
#![allow(clippy::print_stdout, reason = "what a task prints is all of its interface")]

mod bench;
mod command;
mod cycles;
mod gen_docs;
mod no_std;
mod pictures;
mod practice;
mod report;
mod steps;
mod texts;
mod tools;

use std::process::{Command, ExitCode};

/// The tasks and what they do, as `cargo xtask` shows them.
const TASKS: [(&str, &str); 11] = [
    ("test [WORD…]", "all checks and all tests, with a summary; or the steps with such a name"),
    ("bench [--instructions]", "what a turn costs beside other locks; counts instructions too"),
    ("bench --service", "what it costs over a socket, and beside clients that misuse the server"),
    ("gen [--check]", "writes the references in docs/, or checks that they are fresh"),
    (
        "cycles",
        "files that use each other in a circle; fails where one crosses folders or is large",
    ),
    ("mutants [RULE]", "takes the rules out of the arbiter one by one: a scenario must notice"),
    ("sim [--hours N] …", "random crews in virtual time while things go wrong, judged as they run"),
    (
        "chaos [MINUTES] [--seed N]",
        "clients and servers killed, stopped and cut off at random, judged from their logs",
    ),
    (
        "pictures [practice|page|watch]",
        "plays, and makes the pictures of the timeline, the page and the terminal in docs/images",
    ),
    (
        "practice-seeds [N] [SECONDS]",
        "practice over N seeds (20 of 30 s) and a table of what went wrong",
    ),
    (
        "practice-processes [SECONDS] …",
        "six modules in six processes (60 s), in Rust, Python and Node; the seed may follow",
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test", words @ ..] => test(words),
        ["bench", options @ ..] => bench::bench(options),
        ["gen"] => gen_docs::write(),
        ["gen", "--check"] => gen_docs::check().map(|_| true),
        ["cycles"] => cycles::check().map(|line| {
            println!("{line}");
            true
        }),
        ["mutants", rule @ ..] => command::run(&mut mutants(rule)).map(|()| true),
        ["sim", options @ ..] => command::run(&mut campaign(options)).map(|()| true),
        ["chaos", options @ ..] => watch_chaos(options),
        ["pictures", of @ ..] => pictures::make(of).map(|()| true),
        ["practice-seeds", numbers @ ..] => practice::seeds(numbers).and_then(show),
        ["practice-processes", numbers @ ..] => match practice::processes(numbers) {
            Ok(Ok(program)) => show(program),
            Ok(Err(why)) => Err(format!("not here: {why}")),
            Err(why) => Err(why),
        },
        _ => Err(usage()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Runs a program that judges what it does. Returns whether all is well.
fn show(mut program: Command) -> Result<bool, String> {
    command::watch(&mut program, |_| ())
}

/// The simulator's campaign, with its own options.
fn campaign(options: &[&str]) -> Command {
    let campaign = ["--release", "--package", "packet-mutex-sim", "--bin", "campaign"];
    command::program(&campaign, options)
}

/// Processes in earnest, for a while: a minute, unless it is told.
fn watch_chaos(options: &[&str]) -> Result<bool, String> {
    let (minutes, options) = match options {
        [minutes, options @ ..] if !minutes.starts_with('-') => (*minutes, options),
        options => ("1", options),
    };
    let mut chaos = command::program(&["--package", "chaos"], &["--minutes", minutes]);
    chaos.args(options);
    show(chaos)
}

/// The simulator's mutants: all rules, or one.
fn mutants(rule: &[&str]) -> Command {
    command::program(&["--package", "packet-mutex-sim", "--bin", "mutants"], rule)
}

fn test(words: &[&str]) -> Result<bool, String> {
    let mut steps = steps::all();
    steps.retain(|step| words.is_empty() || words.iter().any(|word| step.name.contains(word)));
    if steps.is_empty() {
        return Err(format!("no step has a name with {}", words.join(" or ")));
    }
    Ok(report::run(&steps))
}

fn usage() -> String {
    let tasks = TASKS.map(|(task, does)| format!("  cargo xtask {task:<30} {does}\n"));
    format!("Usage:\n{}", tasks.concat())
}

/// Returns whether there is a task of this name.
fn is_task(name: &str) -> bool {
    TASKS.iter().any(|(task, _)| task.split(' ').next() == Some(name))
}
