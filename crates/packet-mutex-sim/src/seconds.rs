//! Times in scenarios: decimal seconds outside, whole nanoseconds inside.

use std::time::Duration;

/// Nanoseconds: since a scenario's start, or a length of time.
///
/// The oracle counts in these rather than in the arbiter's types, so that the two cannot share a mistake.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Reads decimal seconds with at most nine decimals, such as `1`, `0.25`, `12.004000001`.
pub(crate) fn parse_seconds(text: &str) -> Option<Nanos> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let decimals: Nanos = format!("{decimals:0<9}").parse().ok()?;
    whole.parse::<Nanos>().ok()?.checked_mul(SECOND)?.checked_add(decimals)
}

/// Writes seconds without trailing zeros: `1`, `0.25`.
pub(crate) fn seconds(nanos: Nanos) -> String {
    let text = format!("{}.{:09}", nanos / SECOND, nanos % SECOND);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Writes a moment with at least three decimals, so that a log's columns line up: `1.000`.
#[must_use]
pub fn moment(nanos: Nanos) -> String {
    let mut text = format!("{}.{:09}", nanos / SECOND, nanos % SECOND);
    while text.ends_with('0') && text.len() - text.find('.').unwrap_or(0) > 4 {
        text.pop();
    }
    text
}

/// Returns a duration as nanoseconds, at most [`Nanos::MAX`].
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_trip() {
        for text in ["0", "1", "0.25", "12.004000001", "100", "3600.5"] {
            assert_eq!(seconds(parse_seconds(text).unwrap()), text);
        }
        for text in ["", ".", "1.", ".5", "-1", "1e3", "0.0000000001", "99999999999999999999"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
        assert_eq!(moment(SECOND), "1.000");
        assert_eq!(moment(SECOND + 1), "1.000000001");
    }
}
