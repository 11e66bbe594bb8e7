//! All six in virtual time: what the modes promise, over many seeds.

use std::time::Duration;

use practice::judge::Counts;
use practice::modules::{Mode, Module};

use crate::stand_in::simulate;

const LENGTH: Duration = Duration::from_secs(30);

#[test]
fn with_the_mutex_nothing_goes_wrong_and_all_are_served() {
    for seed in 0..300 {
        let (counts, frames, sends) = simulate(&Module::ALL, Mode::With, seed, LENGTH);
        assert!(counts.clean(), "seed {seed}: {counts:?}");
        assert!(counts.min_handover_s.is_some_and(|least| least >= 1.0), "seed {seed}: {counts:?}");
        assert!(counts.modules.values().all(|module| module.turns > 0), "seed {seed}: {counts:?}");
        assert!(counts.runes_made > 0 && counts.meals > 0 && counts.loot > 0, "seed {seed}");
        assert_eq!(frames.len(), sends.len());
    }
}

#[test]
fn each_module_is_right_when_it_is_alone() {
    for module in Module::ALL {
        for seed in 0..50 {
            let (counts, frames, _) = simulate(&[module], Mode::Without, seed, LENGTH * 2);
            assert!(counts.clean() && !frames.is_empty(), "{module:?}, seed {seed}: {counts:?}");
        }
    }
}

#[test]
fn with_the_mutex_an_hour_is_as_clean() {
    let (counts, ..) = simulate(&Module::ALL, Mode::With, 1, Duration::from_secs(3600));
    assert!(counts.clean(), "{counts:?}");
    assert!(counts.modules.values().all(|module| module.turns > 30), "{counts:?}");
}

#[test]
fn without_it_each_kind_of_conflict_shows() {
    for seed in 0..20 {
        let (c, ..) = simulate(&Module::ALL, Mode::Without, seed, LENGTH);
        let kinds = [c.interleavings, c.refusals, c.wrong_items, c.weapons_lost, c.runes_failed];
        assert!(kinds.iter().all(|count| *count > 0), "seed {seed}: {c:?}");
    }
}

#[test]
fn around_each_action_only_what_was_read_is_stale() {
    for seed in 0..20 {
        let (c, ..) = simulate(&Module::ALL, Mode::ActionOnly, seed, LENGTH);
        assert!(c.wrong_items > 0 && c.min_handover_s >= Some(1.0), "seed {seed}: {c:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for mode in Mode::ALL {
        assert_eq!(
            simulate(&Module::ALL, mode, 5, LENGTH),
            simulate(&Module::ALL, mode, 5, LENGTH)
        );
    }
}

#[test]
#[ignore = "prints what the workload does, for those who tune it"]
fn survey() {
    type Pick = (&'static str, fn(&Counts) -> u64);
    let pick: [Pick; 9] = [
        ("interleavings", |c| c.interleavings),
        ("refusals", |c| c.refusals),
        ("wrong", |c| c.wrong_items),
        ("lost", |c| c.weapons_lost),
        ("made", |c| c.runes_made),
        ("failed", |c| c.runes_failed),
        ("fish", |c| c.fish),
        ("meals", |c| c.meals),
        ("loot", |c| c.loot),
    ];
    for mode in Mode::ALL {
        let all: Vec<_> =
            (0..5000).map(|seed| simulate(&Module::ALL, mode, seed, LENGTH).0).collect();
        let mut lines = format!("{}\n", mode.name());
        for (name, of) in pick {
            let mut values: Vec<_> = all.iter().map(of).collect();
            values.sort_unstable();
            let zero = values.iter().filter(|v| **v == 0).count();
            lines += &format!(
                "  {name:14} zero {zero:5}  min {} p50 {} max {}\n",
                values[0], values[2500], values[4999]
            );
        }
        for module in Module::ALL {
            let mut values: Vec<_> = all.iter().map(|c| c.modules[module.name()].turns).collect();
            values.sort_unstable();
            let zero = values.iter().filter(|v| **v == 0).count();
            lines += &format!(
                "  {:14} zero {zero:5}  min {} p50 {} max {}\n",
                module.name(),
                values[0],
                values[2500],
                values[4999]
            );
        }
        let least = all.iter().filter_map(|c| c.min_handover_s).min_by(f64::total_cmp);
        std::io::Write::write_all(
            &mut std::io::stdout(),
            format!("{lines}  least handover {least:?}\n").as_bytes(),
        )
        .unwrap();
    }
}
