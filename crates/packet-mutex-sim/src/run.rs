//! Runs scenarios and compares what comes of them with what they expect.

use crate::front::Front;
use crate::scenario::{Scenario, ScenarioError, What};
use std::fmt;
use std::path::{Path, PathBuf};

/// When timers fire while a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timers {
    /// When they are due, except where the scenario says `late`.
    Prompt,
    /// Never by themselves: all that falls due between two steps is done by the second, late (S18).
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

/// What comes of each step of a scenario: `| event`, `! refusal` and `= answer` lines. Events that fall due between two
/// steps belong to the first.
pub fn results(scenario: &Scenario, front: &mut dyn Front, timers: Timers) -> Vec<Vec<String>> {
    let mut results: Vec<Vec<String>> = Vec::new();
    let mut seq = 0;
    for step in &scenario.steps {
        if timers == Timers::Prompt && !step.late {
            front.advance(step.at);
            if let Some(before) = results.last_mut() {
                before.extend(log_lines(front, &mut seq));
            }
        }
        let mut lines = Vec::new();
        match &step.what {
            What::Do(action) => {
                let done = front.act(step.at, action);
                lines.extend(log_lines(front, &mut seq));
                lines.extend(done.err().map(|why| format!("! {why}")));
            }
            What::Ask(query) => {
                let answer = front.ask(step.at, query);
                lines.extend(log_lines(front, &mut seq));
                lines.push(format!("= {answer}"));
            }
        }
        results.push(lines);
    }
    results
}

fn log_lines(front: &mut dyn Front, seq: &mut u64) -> Vec<String> {
    let line = |entry: crate::log::Entry| {
        *seq += 1;
        // Sequence numbers are not part of the text: what matters is that none is missing (S16).
        let gap = if entry.seq == *seq { String::new() } else { format!(" (seq {})", entry.seq) };
        *seq = entry.seq;
        format!("| {entry}{gap}")
    };
    front.log().into_iter().map(line).collect()
}

/// The two lists with `-` before what only the first has and `+` before what only the second has.
pub(crate) fn diff(expected: &[String], found: &[String]) -> Vec<String> {
    // The longest common subsequence, by the textbook's table: the lists are short.
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

/// All scenarios below a folder, in order of their paths.
///
/// # Errors
///
/// The first file that is none, or that cannot be read.
pub fn read_all(folder: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let mut files = Vec::new();
    find(folder, &mut files).map_err(|why| ScenarioError {
        file: folder.to_path_buf(),
        line: 0,
        problem: format!("cannot be read: {why}"),
    })?;
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

/// Rewrites a scenario's file with what came of it. Read the difference against the rules before you keep it.
///
/// # Errors
///
/// Those of writing the file.
pub fn rewrite(scenario: &Scenario, results: &[Vec<String>]) -> std::io::Result<()> {
    std::fs::write(&scenario.file, scenario.text_with(results))
}
