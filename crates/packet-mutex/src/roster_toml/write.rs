//! Writes a roster as TOML.

use super::keys::{Table, values};
use packet_mutex_arbiter::{Roster, RosterSpec};

/// Returns the roster as a TOML text, from which [`from_toml`](super::from_toml) makes the same roster.
///
/// ```
/// use packet_mutex::roster_toml::{from_toml, to_toml};
/// use packet_mutex_arbiter::Roster;
///
/// let text = to_toml(&Roster::default());
/// assert!(text.contains("[modules.runemaker]\npriority = 100\n"));
/// assert_eq!(from_toml("roster.toml", &text).unwrap(), Roster::default());
/// ```
#[must_use]
pub fn to_toml(roster: &Roster) -> String {
    let RosterSpec { limits, modules, delays, .. } = roster.spec();
    let mut out = written("", roster.spec()) + &written("\n[limits]\n", limits);
    for module in modules {
        // A dot in a bare key would begin an inner table.
        let quote = if module.name.contains('.') { "\"" } else { "" };
        out += &written(&format!("\n[modules.{quote}{}{quote}]\n", module.name), module);
    }
    for delay in delays {
        out += &written("\n[[delays]]\n", delay);
    }
    out
}

fn written<S: Table>(header: &str, spec: &S) -> String {
    let lines = values(spec).into_iter().map(|(key, value)| format!("{key} = {value}\n"));
    header.to_owned() + &lines.collect::<String>()
}
