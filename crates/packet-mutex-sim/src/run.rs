//! Runs scenarios and compares their results with what they expect.

use crate::action::Action;
use crate::front::Front;
use crate::scenario::{Scenario, ScenarioError, What};
use crate::seconds::Nanos;
use std::fmt;
use std::path::{Path, PathBuf};

/// When timers fire while a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timers {
    /// When they are due, except where the scenario says `late`.
    Prompt,
    /// Never by themselves: the second of two steps does late what fell due between them (S18).
    Late,
}

/// Where a run differs from what its scenario expects. Its text is a diff.
#[derive(Debug)]
pub struct Mismatch {
    /// The scenario.
    pub file: PathBuf,
    /// Its title.
    pub title: String,
    /// The diff, a line each.
    pub lines: Vec<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.file.display(), self.title)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl std::error::Error for Mismatch {}

/// Runs a scenario and compares the result with what it expects, step by step.
///
/// # Errors
///
/// The differences.
pub fn run(scenario: &Scenario, front: &mut dyn Front) -> Result<(), Mismatch> {
    let results = results(scenario, front, Timers::Prompt);
    let mut lines = Vec::new();
    for (step, results) in scenario.steps.iter().zip(&results) {
        if step.expected == *results {
            continue;
        }
        lines.push(format!("line {}: {}", step.line, step.source()));
        lines.extend(diff(&step.expected, results));
    }
    if lines.is_empty() {
        return Ok(());
    }
    Err(Mismatch { file: scenario.file.clone(), title: scenario.title.clone(), lines })
}

/// Returns the results of each step of a scenario: `| event`, `! refusal` and `= answer` lines. Events that fall due between
/// two steps belong to the first.
pub fn results(scenario: &Scenario, front: &mut dyn Front, timers: Timers) -> Vec<Vec<String>> {
    let mut results: Vec<Vec<String>> = Vec::new();
    let mut seq = 0;
    for step in &scenario.steps {
        if timers == Timers::Prompt && !step.late {
            let due = advance(front, step.at, &mut seq);
            if let Some(before) = results.last_mut() {
                before.extend(due);
            }
        }
        results.push(match &step.what {
            What::Do(action) => act(front, step.at, action, &mut seq),
            What::Ask(query) => {
                let answer = front.ask(step.at, query);
                let mut lines = log_lines(front, &mut seq);
                lines.push(format!("= {answer}"));
                lines
            }
        });
    }
    results
}

/// Lets time pass up to a step and returns the lines of what fell due. `seq` is the number of the last event.
pub(crate) fn advance(front: &mut dyn Front, to: Nanos, seq: &mut u64) -> Vec<String> {
    front.advance(to);
    log_lines(front, seq)
}

/// Carries out an action and returns the lines of its events and its refusal.
pub(crate) fn act(front: &mut dyn Front, at: Nanos, action: &Action, seq: &mut u64) -> Vec<String> {
    let done = front.act(at, action);
    let mut lines = log_lines(front, seq);
    lines.extend(done.err().map(|why| format!("! {why}")));
    lines
}

fn log_lines(front: &mut dyn Front, seq: &mut u64) -> Vec<String> {
    let line = |entry: crate::log::Entry| {
        *seq += 1;
        // Scenarios do not state sequence numbers. A gap is written out, so that it shows as a difference (S16).
        let gap = if entry.seq == *seq { String::new() } else { format!(" (seq {})", entry.seq) };
        *seq = entry.seq;
        format!("| {entry}{gap}")
    };
    front.log().into_iter().map(line).collect()
}

/// Returns both lists as one, with `-` before what only the first has and `+` before what only the second has.
pub(crate) fn diff(expected: &[String], found: &[String]) -> Vec<String> {
    // The longest common subsequence. The quadratic table is fast enough: the lists are short.
    let (n, m) = (expected.len(), found.len());
    let mut common = vec![vec![0_usize; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            common[i][j] = if expected[i] == found[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < n || j < m {
        if i < n && j < m && expected[i] == found[j] {
            lines.push(format!("    {}", expected[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == m || (i < n && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("  - {}", expected[i]));
            i += 1;
        } else {
            lines.push(format!("  + {}", found[j]));
            j += 1;
        }
    }
    lines
}

/// Reads all scenarios below a folder, in order of their paths.
///
/// # Errors
///
/// The first file that cannot be read or is not a scenario.
pub fn read_all(folder: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let mut files = Vec::new();
    find(folder, &mut files).map_err(|why| ScenarioError {
        file: folder.to_path_buf(),
        line: 0,
        problem: format!("cannot be read: {why}"),
    })?;
    // The order in which a file system lists its files differs from machine to machine.
    files.sort();
    files.iter().map(|file| Scenario::read(file)).collect()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "scenario") {
            files.push(path);
        }
    }
    Ok(())
}

/// Rewrites a scenario's file with these results. Compare the difference with the rules before you keep it.
///
/// # Errors
///
/// Those of writing the file.
pub fn rewrite(scenario: &Scenario, results: &[Vec<String>]) -> std::io::Result<()> {
    std::fs::write(&scenario.file, scenario.text_with(results))
}
