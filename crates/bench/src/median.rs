//! What a figure is of many rounds.

/// Returns the value in the middle, which a round that something interrupted does not move.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
