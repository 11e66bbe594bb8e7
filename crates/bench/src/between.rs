//! How long it takes to hand a lock over from one thread to another.
//!
//! Two threads that merely take a lock in a loop do not hand it over: each runs for a whole time slice and finds the lock
//! free every time. Here the holder keeps the lock until the other thread has asked and had time to fall asleep. It does not
//! ask again before the other has the lock. So every sample is a real handover to a sleeping thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long after its ask a thread is assumed to be asleep. Locks that spin first give up sooner.
const FALLS_ASLEEP: Duration = Duration::from_micros(100);

/// Returns the nanoseconds of each of `count` handovers, from before the release until the other thread holds.
pub(crate) fn handovers<G>(take: impl Fn(usize) -> G + Sync, count: usize) -> Vec<f64> {
    let start = Instant::now();
    let now = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // The number of turns that were asked for and that have begun, and when the last release began.
    let (asked, began) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ending = AtomicU64::new(0);
    let samples = Mutex::new(Vec::with_capacity(count));
    let turns_of = |side: usize| {
        for turn in (side..=count).step_by(2) {
            wait_for(|| began.load(Ordering::Acquire) >= turn);
            asked.store(turn + 1, Ordering::Release);
            let guard = take(side);
            let at = now();
            if turn > 0 {
                let sample = at - ending.load(Ordering::Acquire);
                if let Ok(mut samples) = samples.lock() {
                    samples.push(sample as f64);
                }
            }
            began.store(turn + 1, Ordering::Release);
            if turn < count {
                wait_for(|| asked.load(Ordering::Acquire) > turn + 1);
                let asleep = Instant::now() + FALLS_ASLEEP;
                // It yields rather than sleeps, so that the releasing thread does not itself have to be woken.
                wait_for(|| Instant::now() >= asleep);
            }
            ending.store(now(), Ordering::Release);
            drop(guard);
        }
    };
    std::thread::scope(|scope| {
        for side in [0, 1] {
            scope.spawn(move || turns_of(side));
        }
    });
    let samples = samples.into_inner().unwrap_or_default();
    assert_eq!(samples.len(), count, "every turn but the first was handed over");
    samples
}

/// Waits and lets other threads have the processor: the woken thread may have been given this very core.
fn wait_for(happened: impl Fn() -> bool) {
    while !happened() {
        std::thread::yield_now();
    }
}
