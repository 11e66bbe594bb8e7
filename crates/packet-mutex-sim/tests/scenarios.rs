//! Every scenario on the bare arbiter. `UPDATE=1` rewrites the files with what came of them: read the difference against
//! the rules before you keep it.

use packet_mutex_sim::{ArbiterFront, Scenario, Timers, check, read_all, results, rewrite, run};
use std::path::Path;

fn scenarios() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    read_all(&folder).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn scenarios_hold_on_the_arbiter() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for scenario in scenarios() {
        if let Err(mismatch) = run(&scenario, &mut ArbiterFront::new(&scenario)) {
            if update {
                let results = results(&scenario, &mut ArbiterFront::new(&scenario), Timers::Prompt);
                rewrite(&scenario, &results).expect("the file can be written");
            }
            wrong.push(mismatch.to_string());
        }
    }
    assert!(wrong.is_empty() || update, "{} scenarios differ\n{}", wrong.len(), wrong.join("\n"));
}

/// S18: a late timer changes no outcome.
#[test]
fn late_timers_change_nothing() {
    for scenario in scenarios() {
        let front = || ArbiterFront::new(&scenario);
        let prompt = results(&scenario, &mut front(), Timers::Prompt).concat();
        let late = results(&scenario, &mut front(), Timers::Late).concat();
        assert_eq!(prompt, late, "{}", scenario.file.display());
    }
}

/// S18: the same inputs at the same times give the same outputs.
#[test]
fn runs_repeat() {
    for scenario in scenarios() {
        let run = || results(&scenario, &mut ArbiterFront::new(&scenario), Timers::Prompt);
        assert_eq!(run(), run(), "{}", scenario.file.display());
    }
}

#[test]
fn every_rule_has_scenarios() {
    let scenarios = scenarios();
    for rule in (1..=20).map(|n| format!("S{n}")) {
        let citing = scenarios.iter().filter(|s| s.rules.contains(&rule)).count();
        assert!(citing >= 3, "{rule} is cited by {citing} scenarios");
    }
    for scenario in &scenarios {
        let folder = scenario.file.parent().and_then(Path::file_name).unwrap_or_default();
        let folder = folder.to_string_lossy();
        let number = folder.trim_start_matches('S').split('-').next().unwrap_or_default();
        let rule = format!("S{}", number.trim_start_matches('0'));
        assert_eq!(scenario.rules.first(), Some(&rule), "{}", scenario.file.display());
    }
}

/// The oracle reads every scenario as the arbiter does.
#[test]
fn the_oracle_agrees() {
    for scenario in scenarios() {
        if let Err(mismatch) = check(&scenario, &mut ArbiterFront::new(&scenario)) {
            panic!("{mismatch}");
        }
    }
}

/// What is wrong with a scenario file is told with its line, and nothing panics.
#[test]
fn bad_files_are_told_with_their_line() {
    let head = "title: x\nrules: S1\n";
    let bad = [
        ("", "no `title:` line"),
        ("title: x\n0 tick\n", "no `rules:` line"),
        ("title: x\nrules: S21\n", "2: not a rule of docs/RULES.md"),
        ("title: x\nrules: S1\nmodule a nonsense\n", "3: unknown setting of a module"),
        ("title: x\nrules: S1\nmodule A/B 3\n0 tick\n", "4: modules.?"),
        ("title: x\nrules: S1\nmodule a 256\n", "3: not a number, or too large"),
        ("title: x\nrules: S1\n", "no steps"),
        ("0 f ends\n", "there is no request \"f\" so far"),
        ("0 f: a asks\n0 f: a asks\n", "4: there is a request \"f\" already"),
        ("1 tick\n0 tick\n", "4: the time is before the last"),
        ("1 tick\n2 back tick\n", "4: `back`, but the time is not before"),
        ("99999999999999 tick\n", "3: not a time"),
        ("0 f: a asks timeout soon\n", "not a length of time"),
        ("0 pause alarm below 3\n", "double quotes"),
        ("0 pause \"alarm\n", "closing quote"),
        ("0 reload\n  + module a 3 group /\n", "4: modules.a.group"),
        ("  | 0.000 granted\n0 tick\n", "unknown header line"),
        ("0 dance\n", "3: unknown action"),
        ("0 ? dance\n", "3: unknown question"),
        ("0 tick\nwhat\n", "4: a line begins with"),
    ];
    for (text, problem) in bad {
        let text = if text.starts_with("title") || text.is_empty() {
            text.to_string()
        } else {
            format!("{head}{text}")
        };
        let error = Scenario::parse(Path::new("x"), &text).expect_err(&text).to_string();
        assert!(error.contains(problem), "{text:?}: {error}");
    }
}
