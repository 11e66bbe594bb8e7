//! The one figure that stands for many rounds.

/// Returns the middle value: unlike a mean, a round that was interrupted does not move it.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
