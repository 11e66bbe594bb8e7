//! Durations on the command line: `5`, `5s`, `1500ms`.

use packet_mutex::roster_toml::parse_duration;
use std::time::Duration;

/// Reads a duration as rosters write it, or a plain number of seconds.
///
/// # Errors
///
/// What is wrong with it, for clap to show after the argument.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number { parse_duration(&format!("{text}s")) } else { parse_duration(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_need_no_unit() {
        for text in ["5", "5s", "5000ms", "5.0", "5.0s"] {
            assert_eq!(duration(text), Ok(Duration::from_secs(5)), "{text}");
        }
        assert_eq!(duration("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", ".", "5x", "s", "-1", "1e3", "5 s", "1000000"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
