//! Percentiles of durations in a fixed amount of memory.

use crate::time::nanos;
use core::time::Duration;

/// Buckets to an octave. The error of a percentile is at most half a bucket, which is 1/16 of its value.
const STEPS: u64 = 8;
const BUCKETS: usize = 256;

/// A log-linear histogram of microseconds. It is exact below 8 µs. Above, each doubling has eight buckets, up to 2.4 hours.
///
/// This is the scheme of G. Tene's HdrHistogram with a coarse step.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: [u32; BUCKETS],
    total: u64,
    max: Duration,
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Histogram { counts: [0; BUCKETS], total: 0, max: Duration::ZERO }
    }

    pub(crate) fn record(&mut self, value: Duration) {
        let bucket = &mut self.counts[bucket_of(nanos(value) / 1000)];
        // After 2^32 values of one size the percentiles lose their accuracy. That is better than a panic in a lock.
        *bucket = bucket.saturating_add(1);
        self.total += 1;
        self.max = self.max.max(value);
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// Returns the least value that `percent` of all values do not exceed, as the middle of its bucket. Without values it
    /// returns zero.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                // A bucket's middle may lie above the largest value, and a percentile above the maximum looks wrong.
                return Duration::from_micros(middle_of(bucket)).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    // The highest set bit names the octave, the three bits below it the step.
    let octave = u64::from(micros.ilog2()) - 3;
    let bucket = (octave * STEPS) + (micros >> octave);
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let octave = bucket / STEPS - 1;
    let lowest = (bucket % STEPS + STEPS) << octave;
    lowest + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_a_sixteenth() {
        let mut histogram = Histogram::new();
        for micros in 1..=1_000_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for percent in [1, 50, 90, 99] {
            let exact = percent as f64 * 10_000.0;
            let got = histogram.percentile(percent).as_micros() as f64;
            assert!((got / exact - 1.0).abs() < 1.0 / 16.0, "p{percent}: {got} for {exact}");
        }
        assert_eq!(histogram.max(), Duration::from_secs(1));
    }

    #[test]
    fn buckets_are_in_order_and_none_is_skipped() {
        let mut last = 0;
        for micros in 0..100_000 {
            let bucket = bucket_of(micros);
            assert!(bucket == last || bucket == last + 1, "{micros}");
            last = bucket;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(Histogram::new().percentile(50), Duration::ZERO);
    }
}
