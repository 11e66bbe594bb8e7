//! An hour of `crews/six.toml` in virtual time, 1,000 seeds, while things go wrong: every event is as the oracle says, no rule
//! is broken in the checker's books either (S1 among them), and every request has its answer.

use packet_mutex_sim::simulate::{Campaign, Counts, Crew};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// `HOUR_SEEDS` sets another number.
const SEEDS: u64 = 1000;

#[test]
fn an_hour_of_the_six_as_the_oracle_says() {
    let wish = std::env::var("HOUR_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = wish.unwrap_or(SEEDS);
    let crew = six();
    let next = AtomicU64::new(0);
    let hours = || {
        let mut sum = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            let one = Campaign { seed, hours: 1 }.run_crew(&crew).unwrap_or_else(|broken| {
                panic!("seed {seed}: {}\n{}", broken.why, broken.scenario.unwrap_or_default())
            });
            assert!(one.turns > 800, "seed {seed}: too little happened: {one:?}");
            sum.add(&one);
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let sum = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(hours)).collect();
        workers.into_iter().fold(Counts::default(), |mut sum, worker| {
            sum.add(&worker.join().unwrap_or_else(|why| std::panic::resume_unwind(why)));
            sum
        })
    });
    // Seen with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "a test's own report")]
    {
        println!("{sum:?}");
    }
    assert_eq!(sum.oracle_hours, seeds);
    let happened = [
        ("urgent", sum.urgent),
        ("nested", sum.nested),
        ("declined", sum.declined),
        ("yielded", sum.yielded),
        ("panicked", sum.panicked),
        ("abandoned", sum.abandoned),
        ("timed out", sum.timed_out),
        ("withdrawn", sum.withdrawn),
    ];
    for (what, times) in happened {
        assert!(times > seeds, "{what} {times} times in {seeds} hours");
    }
}

/// The six, with what their crew file leaves out.
fn six() -> Crew {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crews/six.toml");
    let mut crew = Crew::open(&path).unwrap_or_else(|why| panic!("{why}"));
    for work in &mut crew.demand.works {
        (work.nests, work.yields, work.panics, work.dies) = (0.05, 0.03, 0.004, 0.002);
    }
    crew
}
