//! Every scenario on the bare arbiter. `UPDATE=1` rewrites the files with what came of them: read the difference against
//! the rules before you keep it.

use packet_mutex_sim::{ArbiterFront, Scenario, Timers, read_all, results, rewrite, run};
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
                let results =
                    results(&scenario, &mut ArbiterFront::new(&scenario), Timers::Prompt);
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
