//! All six in virtual time: what the modes promise, over many seeds.

mod common;

use std::time::Duration;

use common::simulate;
use practice::judge::Counts;
use practice::modules::Mode;

const LENGTH: Duration = Duration::from_secs(30);

#[test]
#[ignore = "prints what the workload does, for those who tune it"]
fn survey() {
    let pick: [(&str, fn(&Counts) -> u64); 9] = [
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
        let all: Vec<_> = (0..5000).map(|seed| simulate(mode, seed, LENGTH).0).collect();
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
        for module in practice::modules::Module::ALL {
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

#[test]
#[ignore]
fn trace() {
    for seed in 0..5000 {
        let (c, frames, sends) = simulate(Mode::Without, seed, LENGTH);
        if c.runes_failed == 0 {
            println!("seed {seed} {c:?}");
            for (f, s) in frames.iter().zip(&sends) {
                println!(
                    "{:7.3} {:10} {:2} {:?} {:?} {}",
                    f.t, s.module, s.cycle, f.verdict, f.effects, f.hex
                );
            }
            return;
        }
    }
}
