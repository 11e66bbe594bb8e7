//! A short campaign: random crews at work while threads die, modules flood, and somebody disables, pauses and switches.
//! The long one is `cargo run --release -p packet-mutex-sim --bin campaign -- --hours N`.

use packet_mutex_sim::simulate::{Campaign, Counts};

/// `CAMPAIGN_HOURS` sets another number.
const HOURS: u64 = 600;
const RUN_HOURS: u32 = 6;

#[test]
fn no_rule_breaks_while_things_go_wrong() {
    let wish = std::env::var("CAMPAIGN_HOURS").ok().and_then(|text| text.parse().ok());
    let runs = wish.unwrap_or(HOURS).div_ceil(RUN_HOURS.into());
    let mut counts = Counts::default();
    for seed in 0..runs {
        match (Campaign { seed, hours: RUN_HOURS }).run() {
            Ok(run) => counts.add(&run),
            Err(broken) => panic!(
                "seed {seed}: {}\nreplay: cargo run --release -p packet-mutex-sim --bin campaign -- --seed {seed} \
                 --hours {RUN_HOURS} --run-hours {RUN_HOURS}\n{}",
                broken.why,
                broken.scenario.unwrap_or_default()
            ),
        }
    }
    // Seen with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "a test's own report")]
    {
        println!("{counts:?}");
    }
    assert!(counts.turns > counts.hours * 100, "too little happened: {counts:?}");
    assert!(counts.abandoned > 0 && counts.unserved > 0 && counts.oracle_hours > 0, "{counts:?}");
}

#[test]
fn a_run_repeats() {
    let run = || Campaign { seed: 3, hours: 2 }.run().map_err(|broken| broken.why);
    assert_eq!(run(), run());
}
