//! Mutation tests: with a rule taken out of the arbiter's code, a scenario that cites the rule must fail.
//!
//! `mutants.txt` lists the mutants. Each is tried in a copy of the crates and scenarios under `target/mutants`. One build
//! folder serves all of them, so that each costs a small rebuild.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Begins a line of `scenarios`' output that names the rules of a scenario that failed.
pub const FAILED: &str = "FAILED, citing ";

/// A mutant whose scenarios run longer than this hangs. That counts as caught: without a mutant they take far less.
const RUN_TIMEOUT: Duration = Duration::from_secs(30);

/// A rule that is taken out of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The rule, such as `S3`.
    pub rule: String,
    /// The file, in the arbiter's `src`.
    pub file: String,
    /// What no longer holds.
    pub what: String,
    /// The text that is replaced; it occurs in the file once.
    pub find: String,
    /// What it is replaced with.
    pub replace: String,
    /// The line of `mutants.txt`, for messages.
    pub line: usize,
}

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Scenarios that cite the rule failed.
    Caught {
        /// How many scenarios that cite the rule failed.
        citing: usize,
        /// How many scenarios failed in all.
        all: usize,
    },
    /// It did not end in time.
    Hung,
    /// No scenario that cites the rule failed.
    Survived {
        /// How many others failed.
        others: usize,
    },
    /// It cannot be tried: its text is not in the file once, or it does not compile.
    Broken(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Caught { citing, all } => write!(f, "caught by {citing} of {all} failures"),
            Verdict::Hung => f.write_str("caught: it never ends"),
            Verdict::Survived { others } => write!(f, "SURVIVED ({others} failures elsewhere)"),
            Verdict::Broken(why) => write!(f, "BROKEN: {why}"),
        }
    }
}

impl Verdict {
    /// Returns whether the mutant was caught.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Caught { .. } | Verdict::Hung)
    }
}

/// Reads the list of mutants.
///
/// ```text
/// S3 decision.rs: nobody waits for the delay
/// - self.admitted_at(waiter) <= self.now
/// + true
/// ```
///
/// A text of several lines has several `-` or `+` lines; they are compared without regard to indentation.
///
/// # Errors
///
/// The first line that is none of these.
pub fn parse_mutants(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let add = |to: &mut String, text: &str| {
            if !to.is_empty() {
                to.push('\n');
            }
            to.push_str(text.trim());
        };
        if let Some(find) = line.strip_prefix('-') {
            let mutant = mutants.last_mut().filter(|m| m.replace.is_empty());
            add(&mut mutant.ok_or(format!("{number}: - without a mutant"))?.find, find);
        } else if let Some(replace) = line.strip_prefix('+') {
            let mutant = mutants.last_mut().filter(|m| !m.find.is_empty());
            add(&mut mutant.ok_or(format!("{number}: + without a -"))?.replace, replace);
        } else if let Some((head, what)) = line.split_once(": ")
            && let Some((rule, file)) = head.split_once(' ')
        {
            mutants.push(Mutant {
                rule: rule.to_string(),
                file: file.to_string(),
                what: what.to_string(),
                find: String::new(),
                replace: String::new(),
                line: number,
            });
        } else {
            return Err(format!("{number}: neither a head nor a - or + line"));
        }
    }
    Ok(mutants)
}

/// Replaces the mutant's text, which must occur in the source once. The error says how often it occurs.
fn mutate(source: &str, mutant: &Mutant) -> Result<String, String> {
    // Lines are compared trimmed, so that a change of indentation breaks no mutant.
    let lines: Vec<&str> = source.lines().collect();
    let find: Vec<&str> = mutant.find.lines().collect();
    let found_at = |at: &usize| {
        let window = &lines[*at..*at + find.len()];
        match find.as_slice() {
            [part] => window[0].contains(part),
            _ => window.iter().zip(&find).all(|(line, find)| line.trim() == *find),
        }
    };
    let last = (lines.len() + 1).saturating_sub(find.len());
    let places: Vec<usize> = (0..last).filter(found_at).collect();
    let [at] = places.as_slice() else {
        return Err(format!("its text occurs {} times in {}", places.len(), mutant.file));
    };
    let mut text = lines[..*at].to_vec();
    let replaced = match find.as_slice() {
        [part] => lines[*at].replacen(part, &mutant.replace, 1),
        _ => mutant.replace.clone(),
    };
    text.push(&replaced);
    text.extend(&lines[*at + find.len()..]);
    Ok(text.join("\n") + "\n")
}

/// A copy of what is needed to run scenarios.
#[derive(Debug)]
pub struct MutantRunner {
    root: PathBuf,
    folder: PathBuf,
}

impl MutantRunner {
    /// Copies the crates and the scenarios of the workspace at `root`.
    ///
    /// # Errors
    ///
    /// Those of copying, and scenarios that fail already.
    pub fn open(root: &Path) -> io::Result<MutantRunner> {
        let folder = root.join("target/mutants");
        // All crates, since this one may come to depend on others. Cargo builds only what it needs.
        for part in ["crates", "scenarios"] {
            let _ = std::fs::remove_dir_all(folder.join(part));
            copy(&root.join(part), &folder.join(part))?;
        }
        std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
        let own = manifest.lines().map(|line| match line.split_once(" =") {
            Some(("members", _)) => "members = [\"crates/*\"]",
            Some(("default-members", _)) => "",
            _ => line,
        });
        let own: Vec<&str> = own.collect();
        std::fs::write(folder.join("Cargo.toml"), own.join("\n"))?;
        let runner = MutantRunner { root: root.to_path_buf(), folder };
        // Without a mutant, no scenario may fail. No scenario cites a rule `S`, so that is a survivor without failures.
        match runner.try_out("S") {
            Verdict::Survived { others: 0 } => Ok(runner),
            Verdict::Survived { others } => {
                Err(io::Error::other(format!("{others} scenarios fail before any mutant")))
            }
            verdict => Err(io::Error::other(format!("before any mutant: {verdict}"))),
        }
    }

    /// Tries a mutant and undoes it.
    ///
    /// # Errors
    ///
    /// Those of reading and writing the file.
    pub fn judge(&self, mutant: &Mutant) -> io::Result<Verdict> {
        let path = Path::new("crates/packet-mutex-arbiter/src").join(&mutant.file);
        let source = std::fs::read_to_string(self.root.join(&path))?;
        let mutated = match mutate(&source, mutant) {
            Ok(mutated) => mutated,
            Err(why) => return Ok(Verdict::Broken(why)),
        };
        std::fs::write(self.folder.join(&path), mutated)?;
        let verdict = self.try_out(&mutant.rule);
        // Undone even if nothing was caught, so that no mutant leaks into the next.
        std::fs::write(self.folder.join(&path), source)?;
        Ok(verdict)
    }

    fn try_out(&self, rule: &str) -> Verdict {
        let build = self.cargo("build").stdout(Stdio::null()).output();
        match build {
            Ok(Output { status, .. }) if status.success() => {}
            Ok(Output { stderr, .. }) => {
                let text = String::from_utf8_lossy(&stderr);
                let error = text.lines().find(|line| line.starts_with("error"));
                return Verdict::Broken(error.unwrap_or("it does not build").to_string());
            }
            Err(why) => return Verdict::Broken(why.to_string()),
        }
        let program = self.folder.join("target/debug/scenarios");
        let mut run = Command::new(program);
        run.arg(self.folder.join("scenarios")).stderr(Stdio::null());
        match patient_output(&mut run) {
            Ok(Some(text)) => {
                let failures: Vec<&str> =
                    text.lines().filter_map(|line| line.strip_prefix(FAILED)).collect();
                let all = failures.len();
                let cites = |failure: &&&str| failure.split(' ').any(|cited| cited == rule);
                match failures.iter().filter(cites).count() {
                    0 => Verdict::Survived { others: all },
                    citing => Verdict::Caught { citing, all },
                }
            }
            Ok(None) => Verdict::Hung,
            Err(why) => Verdict::Broken(why.to_string()),
        }
    }

    fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            .args([command, "--quiet", "--offline", "-p", "packet-mutex-sim", "--bin", "scenarios"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"));
        cargo
    }
}

/// The program's output, or `None` if it does not end in time.
fn patient_output(command: &mut Command) -> io::Result<Option<String>> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    // A thread reads, since a full pipe would stop the program and look like a hang.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        io::Read::read_to_string(&mut pipe, &mut text).map(|_| text)
    });
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > RUN_TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
    Ok(Some(text))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for item in std::fs::read_dir(from)? {
        let item = item?;
        let (source, target) = (item.path(), to.join(item.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_replaces_its_text_once() {
        let text =
            "# two\nS1 a.rs: all is well\n- x > 1\n+ true\n\nS2 a.rs: two lines\n- a\n- b\n+ c\n";
        let mutants = parse_mutants(text).unwrap();
        assert_eq!(mutants.len(), 2);
        assert_eq!(mutate("if x > 1 {\n", &mutants[0]).unwrap(), "if true {\n");
        assert_eq!(mutate("  a\n    b\nd\n", &mutants[1]).unwrap(), "c\nd\n");
        assert!(mutate("x > 1\nx > 1\n", &mutants[0]).is_err());
        assert!(parse_mutants("- x\n").is_err());
        assert!(parse_mutants("nonsense\n").is_err());
    }

    #[test]
    fn every_rule_has_a_mutant() {
        let mutants = parse_mutants(include_str!("../mutants.txt")).unwrap();
        for rule in (1..=20).map(|n| format!("S{n}")) {
            assert!(mutants.iter().any(|mutant| mutant.rule == rule), "{rule}");
        }
    }
}
