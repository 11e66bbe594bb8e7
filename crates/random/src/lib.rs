//! The workspace's generator of random numbers, for simulations and tests. Do not use it for secrets.

// Written here rather than taken from a crate: reports and documents name runs by their seed, and no update of a dependency
// may change what a seed stands for.

/// SplitMix64 (Steele, Lea and Flood, 2014): an addition and a mix for each number.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Returns a generator whose numbers depend only on the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`; 0 if the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The remainder favours small numbers, but by less than 2^-16 even for a day in nanoseconds.
        self.next_u64() % limit.max(1)
    }

    /// Returns a number from `low` to `high`, both included; `low` if the range is empty.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        match high.checked_sub(low) {
            None => low,
            // One more than this width does not fit into a `u64`.
            Some(u64::MAX) => self.next_u64(),
            Some(width) => low + self.below(width + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_sequence() {
        let mut rng = Rng::new(1234567);
        assert_eq!(rng.next_u64(), 6457827717110365317);
        assert_eq!(rng.next_u64(), 3203168211198807973);
    }

    #[test]
    fn stays_in_range() {
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| (3..=5).contains(&rng.range(3, 5))));
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!((rng.range(5, 3), rng.below(0)), (5, 0));
        rng.range(0, u64::MAX);
    }
}
