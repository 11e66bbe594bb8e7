//! Six modules in six processes, in three languages, at one mutex: started, waited for, and judged from the logs that they
//! leave.

use crate::command::{cargo, command, metadata, output, root, run};
use crate::practice::{WRONGS, complaints, count};
use crate::tools;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
/// What is made, by the names in the JSON.
const MADE: [&str; 4] = ["runes_made", "fish", "loot", "meals"];
/// In a run as long as this some fish is caught, as good as surely.
const LONG: u64 = 60;
/// How the logs may fail to fit together.
const MISFITS: [&str; 4] = ["unexplained_frames", "unseen_sends", "late", "not_granted"];
/// How long after its time a run may take to end: the last cycles, and the waits for them.
const GRACE: Duration = Duration::from_secs(60);
/// How often it is looked whether processes have ended.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
enum Language {
    Rust,
    Python,
    Node,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::Python => "Python",
            Language::Node => "Node",
        }
    }
}

/// How it went.
pub(crate) struct Judged {
    /// What is not as it should be.
    pub(crate) complaints: Vec<String>,
    /// A line that sums it up.
    pub(crate) line: String,
}

/// `cargo xtask practice-processes [SECONDS] [SEED]`. Whether all is as it should be.
pub(crate) fn task(numbers: &[&str]) -> Result<bool, String> {
    let number = |at: usize, default: u64| match numbers.get(at) {
        Some(text) => text.parse().map_err(|_| format!("`{text}` is no number")),
        None => Ok(default),
    };
    let judged =
        once(number(0, LONG)?, number(1, 1)?)?.map_err(|why| format!("not here: {why}"))?;
    for complaint in &judged.complaints {
        println!("wrong: {complaint}");
    }
    println!("{}", judged.line);
    Ok(judged.complaints.is_empty())
}

/// Builds, plays with and without the mutex, and judges. The inner error: why it cannot be done on this machine.
pub(crate) fn once(seconds: u64, seed: u64) -> Result<Result<Judged, &'static str>, String> {
    let programs = match Programs::build()? {
        Ok(programs) => programs,
        Err(why) => return Ok(Err(why)),
    };
    let (without, with) = thread::scope(|scope| {
        let play = |form| programs.play(form, seconds, seed);
        let without = scope.spawn(move || play("without"));
        let with = play("with");
        let without = without.join().unwrap_or_else(|_| Err("the run without panicked".into()));
        (without, with)
    });
    let (without, with) = (without?, with?);
    show(&without, &with);
    println!("logs: {}", programs.logs.display());
    let outcome = json!({ "exit": 0, "without": without.findings, "with": with.findings });
    let mut complaints = complaints(&outcome);
    complaints.extend(misfits(&outcome, seconds));
    let wrongs = |run| WRONGS.map(|kind| count(&outcome, run, kind)).iter().sum::<u64>();
    let made = MADE.map(|kind| format!("{} {}", count(&outcome, "with", kind), said(kind)));
    let line = format!(
        "seed {seed}, {seconds} s: {} things wrong without the mutex, {} with it; with it {}",
        wrongs("without"),
        wrongs("with"),
        made.join(", ")
    );
    Ok(Ok(Judged { complaints, line }))
}

/// What several processes can do wrong besides.
fn misfits(outcome: &Value, seconds: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect_none = |run: &str, kind: &str| match outcome[run][kind].as_u64() {
        Some(0) => {}
        count => wrong.push(format!("{} {} in the run {run}", count.unwrap_or(0), said(kind))),
    };
    for kind in MISFITS {
        expect_none("with", kind);
        expect_none("without", kind);
    }
    expect_none("with", "without_turn");
    for kind in MADE {
        if count(outcome, "with", kind) == 0 && (kind != "fish" || seconds >= LONG) {
            wrong.push(format!("no {} with the mutex", said(kind)));
        }
    }
    wrong
}

/// A name in the JSON, for people.
fn said(kind: &str) -> String {
    kind.replace('_', " ")
}

/// What a run was.
struct Played {
    /// The modules' processes, in the order of the crew.
    pids: Vec<u32>,
    findings: Value,
}

fn show(without: &Played, with: &Played) {
    println!("\nmodule      language     pid  turns   wait: median   longest   cycles without");
    for ((module, language), pid) in CREW.iter().zip(&with.pids) {
        let of = |played: &Played, what| played.findings["modules"][module][what].clone();
        let seconds = |what| of(with, what).as_f64().unwrap_or_default();
        println!(
            "{module:<10}  {:<8}  {pid:>6}  {:>5}  {:>11.3} s  {:>6.3} s  {:>15}",
            language.name(),
            of(with, "turns").to_string(),
            seconds("wait_p50_s"),
            seconds("wait_max_s"),
            of(without, "turns").to_string(),
        );
    }
    println!("\n{:<20}  without  with", "");
    for kind in WRONGS.into_iter().chain(MADE).chain(["without_turn"]).chain(MISFITS) {
        let [without, with] = [without, with].map(|run| run.findings[kind].to_string());
        println!("{:<20}  {without:>7}  {with:>4}", said(kind));
    }
    let least = with.findings["min_handover_s"].as_f64().unwrap_or_default();
    println!("{:<20}  {:>7}  {least:.6} s\n", "least handover", "");
}

/// What is run.
struct Programs {
    /// Where the release builds are.
    built: PathBuf,
    /// An interpreter that has the package.
    python: String,
    node: &'static str,
    /// Where each run's logs go, in a directory of its own.
    logs: PathBuf,
}

impl Programs {
    /// The inner error: what is missing here.
    fn build() -> Result<Result<Programs, &'static str>, String> {
        if !cfg!(unix) {
            return Ok(Err("there are no Unix sockets"));
        }
        let Some(python) = tools::python() else {
            return Ok(Err("there is no Python of version 3.11 or later"));
        };
        let Some(node) = tools::node() else {
            return Ok(Err("there is no Node of version 18.3 or later"));
        };
        let packages = ["--package", "practice", "--package", "packet-mutex-cli"];
        run(cargo(&["build", "--release"]).args(packages))?;
        let installed = output(&mut command(python, &["python/run_tests.py", "--install"]))?;
        let python = installed.lines().last().unwrap_or_default().to_string();
        let target = metadata()?["target_directory"].as_str().map(PathBuf::from);
        let target = target.ok_or_else(|| "cargo names no target directory".to_string())?;
        let (built, logs) = (target.join("release"), target.join("practice-processes"));
        Ok(Ok(Programs { built, python, node, logs }))
    }

    fn built(&self, name: &str) -> Command {
        let mut command = Command::new(self.built.join(name));
        command.current_dir(root());
        command
    }

    fn module(&self, module: &str, language: Language) -> Command {
        let mut command = match language {
            Language::Rust => self.built("practice-module"),
            Language::Python => command(&self.python, &["examples/python/module.py"]),
            Language::Node => command(self.node, &["examples/node/module.mjs"]),
        };
        command.arg(module);
        command
    }

    /// One run, `with` the mutex or `without`. Whatever happens, none of its processes is left when this returns.
    fn play(&self, form: &str, seconds: u64, seed: u64) -> Result<Played, String> {
        let logs = self.logs.join(form);
        let failed = |why: std::io::Error| format!("{}: {why}", logs.display());
        if logs.exists() {
            fs::remove_dir_all(&logs).map_err(failed)?;
        }
        fs::create_dir_all(&logs).map_err(failed)?;
        let mut server = self.built("practice-server");
        server.args(["--listen", "127.0.0.1:0", "--log"]).arg(logs.join("frames.jsonl"));
        let (_server, address) = Process::serving(&mut server, Stream::Out, "listening on ")?;
        let mutex = if form == "with" { Some(self.serve(&logs)?) } else { None };
        let mut modules = Vec::new();
        for (module, language) in CREW {
            let mut command = self.module(module, language);
            command.args(["--server", &address, "--seconds", &seconds.to_string()]);
            command.args(["--seed", &seed.to_string(), "--log"]);
            command.arg(logs.join(format!("sends-{module}.jsonl")));
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
            process.end()?; // in order, so that its events are written to the last
        }
        Ok(Played { pids, findings: self.judge(&logs)? })
    }

    /// The mutex behind a socket, its URL, and where the socket is.
    fn serve(&self, logs: &Path) -> Result<(Process, String, Place), String> {
        // A path to a socket must be short, which the target directory's may not be.
        let name = format!("packet-mutex-processes-{}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        let mut serve = self.built("packet-mutex");
        serve.arg("serve").arg(format!("unix:{}/socket", place.0.display()));
        serve.arg("--state").arg(logs.join("state")).arg("--trace").arg(logs.join("events.jsonl"));
        let (process, url) = Process::serving(&mut serve, Stream::Err, "serving main at ")?;
        Ok((process, url, place))
    }

    fn judge(&self, logs: &Path) -> Result<Value, String> {
        let judge = self.built("practice-judge").arg(logs).output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&judge.stdout).map_err(|_| {
            let why = String::from_utf8_lossy(&judge.stderr);
            format!("the logs in {} cannot be judged: {why}", logs.display())
        })
    }
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
                    return Err(format!("{name}, in {}, ended with {status}", language.name()));
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

/// A directory that does not outlive this.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // One that cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that does not outlive this.
struct Process(Child);

/// Where a server says that it is there.
enum Stream {
    Out,
    Err,
}

impl Process {
    fn start(command: &mut Command) -> Result<Process, String> {
        command.stdin(Stdio::null()).spawn().map(Process).map_err(|why| why.to_string())
    }

    /// Starts a server and waits until it says where it serves.
    fn serving(
        command: &mut Command,
        stream: Stream,
        before: &str,
    ) -> Result<(Process, String), String> {
        let program = command.get_program().to_string_lossy().into_owned();
        match stream {
            Stream::Out => command.stdout(Stdio::piped()),
            Stream::Err => command.stderr(Stdio::piped()),
        };
        let mut process = Process::start(command).map_err(|why| format!("{program}: {why}"))?;
        let stream: Option<Box<dyn Read + Send>> = match stream {
            Stream::Out => process.0.stdout.take().map(|stream| Box::new(stream) as _),
            Stream::Err => process.0.stderr.take().map(|stream| Box::new(stream) as _),
        };
        let mut lines = BufReader::new(stream.ok_or("no stream")?).lines().map_while(Result::ok);
        let line = lines.next().unwrap_or_default();
        let Some(address) = line.strip_prefix(before) else {
            return Err(format!("{program}: {line}"));
        };
        // What it says later is shown; the thread ends with the process.
        thread::spawn(move || lines.for_each(|line| println!("{line}")));
        Ok((process, address.to_string()))
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

#[cfg(test)]
mod tests {
    use super::{MADE, MISFITS, misfits};
    use serde_json::{Map, Value, json};

    fn findings(misfits: u64, made: u64) -> Value {
        let misfits = MISFITS.iter().chain(&["without_turn"]).map(|kind| (*kind, misfits));
        let all = misfits.chain(MADE.iter().map(|kind| (*kind, made)));
        Value::Object(all.map(|(kind, n)| (kind.to_string(), json!(n))).collect::<Map<_, _>>())
    }

    #[test]
    fn logs_must_fit_together_and_something_be_made() {
        let check = |without, with, seconds| {
            misfits(&json!({ "without": without, "with": with }), seconds).len()
        };
        let mut without = findings(0, 1);
        without["without_turn"] = json!(30);
        assert_eq!(check(without.clone(), findings(0, 1), 60), 0);
        assert_eq!(check(without.clone(), findings(1, 1), 60), 5);
        assert_eq!(check(without.clone(), findings(0, 0), 60), 4);
        assert_eq!(check(without.clone(), findings(0, 0), 30), 3);
        assert_eq!(check(findings(1, 1), findings(0, 1), 60), 4);
        assert_eq!(check(without, json!({}), 60), 9);
    }
}
