//! Random lengths of time, counts and choices.

use crate::seconds::{Nanos, SECOND};
use random::Rng;

/// The longest sample: a day, the longest duration that a roster can have.
const LONGEST: f64 = 24.0 * 3600.0 * SECOND as f64;
/// The normal distribution's 99th percentile.
const Z99: f64 = 2.326_347_874_040_841;

/// A distribution of lengths of time.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Always(Nanos),
    /// Evenly from the first to the second, both included.
    Uniform(Nanos, Nanos),
    /// Exponential with this mean, as between independent arrivals.
    Exponential(Nanos),
    /// Lognormal: mostly short, sometimes long.
    Lognormal {
        /// Half of the samples are shorter.
        median: Nanos,
        /// One of a hundred samples is longer.
        p99: Nanos,
    },
    /// One of these with equal probability, such as measured lengths.
    OneOf(Vec<Nanos>),
}

impl Distribution {
    /// Draws a length of time.
    pub fn sample(&self, rng: &mut Rng) -> Nanos {
        // The functions are `libm`'s and not the system's, so that every machine draws the same.
        let drawn = match self {
            Distribution::Always(length) => return *length,
            Distribution::Uniform(low, high) => return rng.range(*low, *high),
            Distribution::OneOf(lengths) => {
                let last = lengths.len().saturating_sub(1) as u64;
                let at = usize::try_from(rng.range(0, last)).unwrap_or(0);
                return lengths.get(at).copied().unwrap_or(0);
            }
            Distribution::Exponential(mean) => -libm::log(unit(rng)) * *mean as f64,
            Distribution::Lognormal { median, p99 } => {
                let spread = libm::log(*p99 as f64 / *median as f64) / Z99;
                // The Box-Muller transform. Its second number is left unused, so that every sample draws equally often.
                let radius = libm::sqrt(-2.0 * libm::log(unit(rng)));
                let normal = radius * libm::cos(2.0 * std::f64::consts::PI * unit(rng));
                *median as f64 * libm::exp(spread * normal)
            }
        };
        drawn.clamp(0.0, LONGEST) as Nanos
    }

    /// Returns about the mean. A workload needs one above zero, or it would ask without end at one instant.
    pub(super) fn mean(&self) -> Nanos {
        match self {
            Distribution::Always(length) | Distribution::Exponential(length) => *length,
            Distribution::Uniform(low, high) => low / 2 + high / 2,
            // A lognormal's mean is never below its median.
            Distribution::Lognormal { median, .. } => *median,
            Distribution::OneOf(lengths) => {
                let sum: u128 = lengths.iter().map(|length| u128::from(*length)).sum();
                Nanos::try_from(sum / lengths.len().max(1) as u128).unwrap_or(Nanos::MAX)
            }
        }
    }
}

/// Draws a number above 0 and at most 1.
pub(super) fn unit(rng: &mut Rng) -> f64 {
    // An `f64` holds whole numbers of 53 bits exactly. Zero is left out, since its logarithm is infinite.
    const STEPS: f64 = (1_u64 << 53) as f64;
    ((rng.next_u64() >> 11) + 1) as f64 / STEPS
}

/// Returns `true` with this probability.
pub(super) fn chance(rng: &mut Rng, probability: f64) -> bool {
    unit(rng) <= probability
}

/// Draws a whole number from the first to the second, both included.
pub(super) fn count(rng: &mut Rng, (low, high): (u32, u32)) -> u32 {
    u32::try_from(rng.range(low.into(), high.into())).unwrap_or(high)
}

/// Returns the generator for the `at`th draw of a stream, such as a module's turns.
///
/// A module's draws depend only on the seed, its name and how often it drew before, so two rosters under one seed meet the
/// same demand.
pub(super) fn rng_for(seed: u64, stream: u64, at: u64) -> Rng {
    // A number is drawn between the parts, so that neighbouring seeds or places have unrelated generators.
    let start = Rng::new(seed ^ stream).next_u64();
    Rng::new(Rng::new(start.wrapping_add(at)).next_u64())
}

/// Returns the stream of a name and a purpose: their hash (FNV-1a).
pub(super) fn stream(purpose: &str, name: &str) -> u64 {
    let bytes = purpose.bytes().chain([0]).chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The middle and the 99th percentile of many draws.
    fn quantiles(draw: &Distribution) -> (f64, f64) {
        let mut drawn: Vec<Nanos> =
            (0..20_000).map(|at| draw.sample(&mut rng_for(7, stream("test", "x"), at))).collect();
        drawn.sort_unstable();
        let second = |at: usize| drawn[at] as f64 / SECOND as f64;
        (second(10_000), second(19_800))
    }

    #[test]
    fn draws_have_the_shape_that_they_are_told() {
        let near = |is: f64, should: f64| (is / should - 1.0).abs() < 0.05;
        let cases = [
            (Distribution::Always(SECOND), (1.0, 1.0)),
            (Distribution::Uniform(2 * SECOND, 4 * SECOND), (3.0, 3.98)),
            // Median and 99th percentile of an exponential are ln 2 and ln 100 times its mean.
            (Distribution::Exponential(SECOND), (0.693, 4.605)),
            (Distribution::Lognormal { median: SECOND, p99: 5 * SECOND }, (1.0, 5.0)),
            (Distribution::OneOf(vec![SECOND, SECOND, 2 * SECOND]), (1.0, 2.0)),
        ];
        for (draw, (median, p99)) in cases {
            let (is_median, is_p99) = quantiles(&draw);
            assert!(
                near(is_median, median) && near(is_p99, p99),
                "{draw:?}: {is_median}, {is_p99}"
            );
        }
    }

    #[test]
    fn a_draw_depends_on_seed_stream_and_place() {
        let first = |seed, name, at| rng_for(seed, stream("turn", name), at).next_u64();
        assert_eq!(first(1, "fisher", 5), first(1, "fisher", 5));
        for (seed, name, at) in [(2, "fisher", 5), (1, "eater", 5), (1, "fisher", 6)] {
            assert_ne!(first(1, "fisher", 5), first(seed, name, at));
        }
    }
}
