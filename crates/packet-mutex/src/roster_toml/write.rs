//! A roster as TOML.

use super::duration::format_duration;
use packet_mutex_arbiter::{DelaySpec, ModuleSpec, Roster, RosterSpec};
use std::fmt::Write as _;
use std::time::Duration;

/// The roster as a TOML text, from which [`from_toml`](super::from_toml) makes the same roster.
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
    let spec = roster.spec();
    let mut out = mutex(spec);
    out.extend(spec.modules.iter().map(module));
    out.extend(spec.delays.iter().map(delay));
    out
}

fn mutex(spec: &RosterSpec) -> String {
    format!(
        "handover_delay = \"{}\"\ntimeout = \"{}\"\naging = \"{}\"\nstrict = {}\nstarving_after = \"{}\"\n\
         claim_within = \"{}\"\n\n[limits]\nwaiters = {}\nmodules = {}\nevents = {}\n",
        format_duration(spec.handover_delay),
        format_duration(spec.timeout),
        or_off(spec.aging),
        spec.strict,
        or_off(spec.starving_after),
        format_duration(spec.claim_within),
        spec.limits.waiters,
        spec.limits.modules,
        spec.limits.events,
    )
}

fn module(module: &ModuleSpec) -> String {
    // A dot in a bare key would start a table within.
    let quote = if module.name.contains('.') { "\"" } else { "" };
    let mut out =
        format!("\n[modules.{quote}{}{quote}]\npriority = {}\n", module.name, module.priority);
    let mut line = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{key} = \"{value}\"");
        }
    };
    let duration = |value: Option<Duration>| value.map(format_duration);
    line("group", module.group.as_deref());
    line("timeout", duration(module.timeout).as_deref());
    line("handover_delay", duration(module.handover_delay).as_deref());
    line("longest_turn", duration(module.longest_turn).as_deref());
    line("mode", Some(module.mode.name()));
    let _ = writeln!(out, "urgent = {}", module.urgent);
    out
}

fn delay(delay: &DelaySpec) -> String {
    format!(
        "\n[[delays]]\nfrom = \"{}\"\nto = \"{}\"\ndelay = \"{}\"\n",
        delay.from,
        delay.to,
        format_duration(delay.delay)
    )
}

fn or_off(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "off".to_string(), format_duration)
}
