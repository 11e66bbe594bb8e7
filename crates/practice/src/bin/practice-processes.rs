//! Six modules in six processes, in three languages, at one mutex: `practice-processes [SECONDS] [SEED]`, 60 seconds of seed 1
//! if not told. They are played with the mutex and at the same time without, and judged from the logs that they leave.
//!
//! It starts the programs that stand beside it, `packet-mutex` and `practice-module`, and the interpreters that `PYTHON` and
//! `NODE` name; that Python must have the package `packet_mutex`. The last line sums up; exit code 1: something is not as it
//! should be.
#![allow(clippy::print_stdout, reason = "the tables are what it is for")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use packet_mutex::Roster;
use practice::check::{complaints, misfits, numbers, spaced, summary};
use practice::logs::{Findings, Logs};
use practice::server::Server;
use tempfile::TempDir;

/// Each module and its language. Both groups of the default roster are of two languages: there the mutex passes on without
/// delay, and what the one has just done must be seen by the other.
const CREW: [(&str, Language); 6] = [
    ("runemaker", Language::Rust),
    ("trainer", Language::Rust),
    ("fisher", Language::Python),
    ("auto_loot", Language::Node),
    ("stacker", Language::Node),
    ("eater", Language::Python),
];
/// How long after its time a run may take to end: the last cycles, and the waits for them.
const GRACE: Duration = Duration::from_secs(60);
/// How often it is looked whether processes have ended.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
enum Language {
    Rust,
    Python,
    Node,
}

fn main() -> ExitCode {
    match numbers([60, 1]).and_then(|[seconds, seed]| play_both(seconds, seed)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Plays with and without the mutex, and judges. Returns whether all is as it should be.
fn play_both(seconds: u64, seed: u64) -> Result<bool, String> {
    let programs = Programs::find()?;
    let (without, with) = thread::scope(|scope| {
        let without = scope.spawn(|| programs.play(false, seconds, seed));
        let with = programs.play(true, seconds, seed);
        let without = without.join().unwrap_or_else(|_| Err("the run without panicked".into()));
        (without, with)
    });
    let (without, with) = (without?, with?);
    show(&without, &with);
    println!("logs: {}", programs.logs.display());
    let (without, with) = (&without.findings, &with.findings);
    let mut complaints = complaints(&without.counts, &with.counts);
    complaints.extend(misfits(without, with, seconds));
    for complaint in &complaints {
        println!("wrong: {complaint}");
    }
    let made = with.counts.made().map(|(kind, count)| format!("{count} {}", spaced(kind)));
    let summary = summary(seconds, seed, &without.counts, &with.counts);
    println!("{summary}; with it {}", made.join(", "));
    Ok(complaints.is_empty())
}

/// What a run was.
struct Played {
    /// The modules' processes, in the order of the crew.
    pids: Vec<u32>,
    findings: Findings,
}

fn show(without: &Played, with: &Played) {
    println!("\nmodule      language     pid  turns   wait: median   longest   cycles without");
    for ((module, language), pid) in CREW.iter().zip(&with.pids) {
        let [own, other] = [with, without]
            .map(|run| run.findings.counts.modules.get(*module).cloned().unwrap_or_default());
        println!(
            "{module:<10}  {:<8}  {pid:>6}  {:>5}  {:>11.3} s  {:>6.3} s  {:>15}",
            format!("{language:?}"),
            own.turns,
            own.wait_p50_s,
            own.wait_max_s,
            other.turns,
        );
    }
    println!("\n{:<20}  without  with", "");
    let all = |run: &Played| {
        let Played { findings, .. } = run;
        let counts = findings.counts.wrongs().into_iter().chain(findings.counts.made());
        let turnless = [("without_turn", findings.without_turn)];
        counts.chain(turnless).chain(findings.misfits()).collect::<Vec<_>>()
    };
    for ((kind, without), (_, with)) in all(without).into_iter().zip(all(with)) {
        println!("{:<20}  {without:>7}  {with:>4}", spaced(kind));
    }
    let least = with.findings.counts.min_handover_s.unwrap_or_default();
    println!("{:<20}  {:>7}  {least:.6} s\n", "least handover", "");
}

/// What is run.
struct Programs {
    /// This program, beside which the others are.
    own: PathBuf,
    /// The repository, which has the modules in Python and Node.
    root: &'static Path,
    /// Where each run's logs go, in a directory of its own.
    logs: PathBuf,
}

impl Programs {
    fn find() -> Result<Programs, String> {
        let own = std::env::current_exe().map_err(|why| why.to_string())?;
        let target = own.ancestors().nth(2).ok_or("this program is in no target directory")?;
        let logs = target.join("practice-processes");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        Ok(Programs { root: root.unwrap_or(Path::new(".")), logs, own })
    }

    fn module(&self, module: &str, language: Language) -> Command {
        let interpreted = |variable: &str, usual: &str, script: &str| {
            let program = std::env::var(variable).unwrap_or_else(|_| usual.into());
            let mut command = Command::new(program);
            command.arg(self.root.join("examples").join(script));
            command
        };
        let mut command = match language {
            Language::Rust => Command::new(self.own.with_file_name("practice-module")),
            Language::Python => interpreted("PYTHON", "python3", "python/module.py"),
            Language::Node => interpreted("NODE", "node", "node/module.mjs"),
        };
        command.arg(module);
        command
    }

    /// Plays one run. Whatever happens, none of its processes is left when this returns.
    fn play(&self, with_mutex: bool, seconds: u64, seed: u64) -> Result<Played, String> {
        let form = if with_mutex { "with" } else { "without" };
        let logs = self.logs.join(form);
        let log = empty(&logs).and_then(|()| File::create(logs.join("frames.jsonl")));
        let server = log.and_then(|log| Server::start_logging("127.0.0.1:0", Some(log)));
        let server = server.map_err(|why| format!("{}: {why}", logs.display()))?;
        let mutex = if with_mutex { Some(self.serve(&logs)?) } else { None };
        let mut modules = Vec::new();
        for (module, language) in CREW {
            let mut command = self.module(module, language);
            command.args(["--server", &server.address().to_string()]);
            command.args(["--seconds", &seconds.to_string(), "--seed", &seed.to_string()]);
            command.arg("--log").arg(logs.join(format!("sends-{module}.jsonl")));
            match &mutex {
                Some((_, url, _)) => command.env("PACKET_MUTEX_URL", url),
                None => command.arg("--without").env_remove("PACKET_MUTEX_URL"),
            };
            modules.push(Process::start(&mut command).map_err(|why| format!("{module}: {why}"))?);
        }
        let pids = modules.iter().map(|module| module.0.id()).collect();
        wait_for(&mut modules, Duration::from_secs(seconds) + GRACE)
            .map_err(|why| format!("{form}: {why}"))?;
        if let Some((process, ..)) = mutex {
            // In order, so that its events are written to the last.
            process.end()?;
        }
        let logs = Logs::read(&logs).map_err(|why| format!("cannot be judged: {why}"))?;
        Ok(Played { pids, findings: logs.judge(&Roster::default()) })
    }

    /// Starts a mutex behind a socket, and returns its URL and where the socket is.
    fn serve(&self, logs: &Path) -> Result<(Process, String, TempDir), String> {
        // A path to a socket must be short, which the target directory's may not be.
        let directory = tempfile::tempdir().map_err(|why| why.to_string())?;
        let mut serve = Command::new(self.own.with_file_name("packet-mutex"));
        serve.arg("serve").arg(format!("unix:{}/run/socket", directory.path().display()));
        serve.arg("--state").arg(logs.join("state")).arg("--trace").arg(logs.join("events.jsonl"));
        let mut process = Process::start(serve.stderr(Stdio::piped()))?;
        let stderr = process.0.stderr.take().ok_or("packet-mutex has no stderr")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let line = lines.next().unwrap_or_default();
        let url = line.strip_prefix("serving main at ").ok_or(format!("packet-mutex: {line}"))?;
        let url = url.to_owned();
        // What it says later is shown; the thread ends with the process.
        thread::spawn(move || lines.for_each(|line| println!("{line}")));
        Ok((process, url, directory))
    }
}

/// Makes a directory that holds nothing.
fn empty(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)
}

/// Waits until all have ended well. The first that does not, or the time, ends the waiting.
fn wait_for(modules: &mut [Process], limit: Duration) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let mut left = 0;
        for (module, (name, language)) in modules.iter_mut().zip(CREW) {
            match module.ended()? {
                None => left += 1,
                Some(status) if status.success() => {}
                Some(status) => {
                    return Err(format!("{name}, in {language:?}, ended with {status}"));
                }
            }
        }
        match left {
            0 => return Ok(()),
            _ if begun.elapsed() >= limit => {
                return Err(format!("{left} of the modules did not end in {limit:?}"));
            }
            _ => thread::sleep(LOOK),
        }
    }
}

/// A process that does not outlive this.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Result<Process, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).spawn();
        child.map(Process).map_err(|why| format!("{program}: {why}"))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.0.try_wait().map_err(|why| why.to_string())
    }

    /// Asks it to end, and waits until it has.
    fn end(mut self) -> Result<(), String> {
        let pid = self.0.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        asked.map_err(|why| format!("kill: {why}"))?;
        self.0.wait().map(|_| ()).map_err(|why| why.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already can be neither killed nor missed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
