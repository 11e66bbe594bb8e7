//! Durations as rosters write them: `"250ms"`, `"1.5s"`, `"2m"`.

use crate::english::English;
use packet_mutex_arbiter::{DURATION_MAX, RosterProblem};
use std::time::Duration;

/// The units and their nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// Returns a duration as a roster writes it, in the largest of s, ms, us and ns that needs no fraction.
///
/// ```
/// use packet_mutex::roster_toml::format_duration;
/// use std::time::Duration;
/// assert_eq!(format_duration(Duration::from_secs(30)), "30s");
/// assert_eq!(format_duration(Duration::from_millis(1500)), "1500ms");
/// ```
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let whole = UNITS[..4].iter().rev().find(|(_, size)| nanos.is_multiple_of(u128::from(*size)));
    let (unit, size) = whole.unwrap_or(&UNITS[0]);
    format!("{}{unit}", nanos / u128::from(*size))
}

/// Reads a duration: a number and its unit. Without a unit, the number is in seconds. Every front reads durations with this.
///
/// ```
/// use packet_mutex::roster_toml::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
/// assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
/// assert_eq!(parse_duration("-1s"), Err("must not be negative".into()));
/// ```
///
/// # Errors
///
/// What is wrong with it, as the predicate of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("must not be negative".into());
    }
    let number_ends = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let well_formed =
        !whole.is_empty() && !fraction.contains('.') && number.contains('.') != fraction.is_empty();
    if !well_formed {
        return Err("must be a number and a unit, such as \"250ms\", \"1.5s\" or \"2m\"".into());
    }
    let unit = if unit.is_empty() { "s" } else { unit };
    let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err("has an unknown unit; the units are ns, us, ms, s, m and h".into());
    };
    let nanos = nanos(whole, fraction.trim_end_matches('0'), u128::from(*size))?;
    match u64::try_from(nanos).map(Duration::from_nanos) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(English(&RosterProblem::TooLong).to_string()),
    }
}

/// Returns `whole.fraction` units of `size` nanoseconds each, exactly.
fn nanos(whole: &str, fraction: &str, size: u128) -> Result<u128, String> {
    let too_fine = || String::from("is finer than a nanosecond");
    // Digits that overflow here are too long a duration in any unit.
    let whole = whole.parse::<u64>().map_err(|_| English(&RosterProblem::TooLong).to_string())?;
    if fraction.is_empty() {
        return Ok(u128::from(whole) * size);
    }
    // 18 digits are finer than a nanosecond of any unit, and they fit.
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 18);
    let scale = 10_u128.pow(digits.ok_or_else(too_fine)?);
    let part = fraction.parse::<u128>().map_err(|_| too_fine())? * size;
    if !part.is_multiple_of(scale) {
        return Err(too_fine());
    }
    Ok(u128::from(whole) * size + part / scale)
}
