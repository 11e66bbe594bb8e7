//! Runs steps one after another, to the end, and sums them up.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// A step of `cargo xtask test`.
pub(crate) struct Step {
    /// Its heading.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) run: fn() -> Result<Done, Failed>,
}

/// A step that did not fail.
#[derive(Default)]
pub(crate) struct Done {
    /// The tests that it ran.
    pub(crate) tests: Tests,
    /// What there is to say about it.
    pub(crate) note: String,
    /// It could not be done here, and the note says why.
    pub(crate) skipped: bool,
}

/// A step that failed.
pub(crate) struct Failed {
    pub(crate) tests: Tests,
    pub(crate) why: String,
}

/// How many tests ended how.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tests {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

impl Done {
    pub(crate) fn with(note: impl Into<String>) -> Self {
        Done { note: note.into(), ..Done::default() }
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Done { note: why.into(), skipped: true, ..Done::default() }
    }
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Failed { tests: Tests::default(), why }
    }
}

impl Tests {
    /// Adds what a line of a test program's output says, if it is the line that sums up: cargo's or pytest's.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim();
        let pytest =
            line.strip_prefix('=').filter(|rest| rest.contains(" in ") && line.ends_with('='));
        let Some(counts) = line.strip_prefix("test result: ").or(pytest) else {
            return;
        };
        for part in counts.trim_matches('=').split(['.', ';', ',']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), kind) = (words.next().map(str::parse::<usize>), words.next())
            else {
                continue;
            };
            match kind {
                Some("passed") => self.passed += count,
                Some("failed" | "error" | "errors") => self.failed += count,
                Some("ignored" | "skipped") => self.ignored += count,
                _ => {}
            }
        }
    }

    fn add(&mut self, other: Tests) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Runs all steps and prints a table. Returns whether none failed.
pub(crate) fn run(steps: &[Step]) -> bool {
    let start = Instant::now();
    let mut table = String::new();
    let mut all = Tests::default();
    let mut counts = Tests::default();
    for (number, step) in steps.iter().enumerate() {
        println!("\n=== {}/{} {} ===", number + 1, steps.len(), step.name);
        let began = Instant::now();
        let result = (step.run)();
        let time = began.elapsed();
        let (verdict, tests, note) = match result {
            Ok(done) if done.skipped => {
                counts.ignored += 1;
                ("skipped", done.tests, done.note)
            }
            Ok(done) => {
                counts.passed += 1;
                ("passed", done.tests, done.note)
            }
            Err(failed) => {
                counts.failed += 1;
                ("FAILED", failed.tests, failed.why)
            }
        };
        println!(
            "--- {verdict} in {}{}{note}",
            seconds(time),
            if note.is_empty() { "" } else { ": " }
        );
        all.add(tests);
        let short = note.lines().next().unwrap_or_default();
        let of_tests = match tests.passed + tests.failed {
            0 => String::new(),
            run => format!("{}/{run}", tests.passed),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{verdict:<8} {:>8} {of_tests:>8}  {:<26} {short}",
            seconds(time),
            step.name
        );
    }
    println!("\n{:<8} {:>8} {:>8}  step\n{table}", "", "time", "tests");
    println!(
        "steps: {} passed, {} failed, {} skipped; tests: {} passed, {} failed; total {}",
        counts.passed,
        counts.failed,
        counts.ignored,
        all.passed,
        all.failed,
        seconds(start.elapsed()),
    );
    println!("{} passed, {} failed", counts.passed + all.passed, counts.failed + all.failed);
    counts.failed + all.failed == 0
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::Tests;

    #[test]
    fn sums_of_test_programs_are_read() {
        let mut tests = Tests::default();
        tests.read("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s");
        tests.read("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s");
        tests.read("test passed ... ok");
        tests.read("===== 1 failed, 7 passed, 2 skipped in 3.21s =====");
        tests.read("===== warnings summary =====");
        assert_eq!((tests.passed, tests.failed, tests.ignored), (22, 3, 3));
    }
}
