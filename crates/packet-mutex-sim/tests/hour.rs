//! An hour of the six modules in virtual time, 1,000 seeds: no overlap, no lost request, order and delays as the oracle says.

use packet_mutex_sim::{SECOND, Tally, run_six};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// `HOUR_SEEDS` sets another number.
const SEEDS: u64 = 1000;

#[test]
fn an_hour_of_the_six_as_the_oracle_says() {
    let wish = std::env::var("HOUR_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = wish.unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let hours = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            let one = run_six(seed, 3600 * SECOND).unwrap_or_else(|why| panic!("{why}"));
            assert!(one.turns > 800, "seed {seed}: too little happened: {one:?}");
            sum.requests += one.requests;
            sum.turns += one.turns;
            sum.timeouts += one.timeouts;
            sum.events += one.events;
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let sum = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(hours)).collect();
        workers.into_iter().fold(Tally::default(), |mut sum, worker| {
            let one = worker.join().unwrap_or_else(|why| std::panic::resume_unwind(why));
            sum.requests += one.requests;
            sum.turns += one.turns;
            sum.timeouts += one.timeouts;
            sum.events += one.events;
            sum
        })
    });
    // Seen with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "a test's own report")]
    {
        println!("{seeds} hours: {sum:?}");
    }
}
