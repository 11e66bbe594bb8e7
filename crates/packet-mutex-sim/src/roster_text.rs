//! Roster lines of scenarios: one setting a line, see `scenarios/README.md`.

use crate::seconds::{nanos, parse_seconds, seconds};
use packet_mutex_arbiter::{DelaySpec, Limits, Mode, ModuleSpec, Roster, RosterSpec};
use std::fmt::Write as _;
use std::time::Duration;

/// Returns whether a line begins with a word of a roster line.
pub(crate) fn is_roster_line(line: &str) -> bool {
    const WORDS: [&str; 13] = [
        "roster",
        "module",
        "without",
        "delay",
        "handover",
        "timeout",
        "aging",
        "starving",
        "claim_within",
        "strict",
        "waiters",
        "modules",
        "events",
    ];
    line.split_whitespace().next().is_some_and(|word| WORDS.contains(&word))
}

/// Applies one line to the settings.
pub(crate) fn apply(line: &str, spec: &mut RosterSpec) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["roster", "six"] => *spec = Roster::default().into_spec(),
        ["roster", "none"] => *spec = RosterSpec::default(),
        ["module", name, settings @ ..] => module(name, settings, spec)?,
        ["without", name] => spec.modules.retain(|m| m.name != *name),
        ["delay", from, "->", to, delay] => {
            spec.delays.retain(|d| (d.from.as_str(), d.to.as_str()) != (from, to));
            let (from, to) = ((*from).to_string(), (*to).to_string());
            spec.delays.push(DelaySpec { from, to, delay: duration(delay)? });
        }
        ["handover", delay] => spec.handover_delay = duration(delay)?,
        ["timeout", timeout] => spec.timeout = duration(timeout)?,
        ["aging", interval] => spec.aging = duration_or_off(interval)?,
        ["starving", after] => spec.starving_after = duration_or_off(after)?,
        ["claim_within", within] => spec.claim_within = duration(within)?,
        ["strict"] => spec.strict = true,
        ["waiters", n] => spec.limits.waiters = number(n)?,
        ["modules", n] => spec.limits.modules = number(n)?,
        ["events", n] => spec.limits.events = number(n)?,
        _ => return Err(format!("unknown roster line: {line:?}")),
    }
    Ok(())
}

fn module(name: &str, mut settings: &[&str], spec: &mut RosterSpec) -> Result<(), String> {
    let at = match spec.modules.iter().position(|m| m.name == name) {
        Some(at) => at,
        None => {
            spec.modules.push(ModuleSpec::new(name, packet_mutex_arbiter::DEFAULT_PRIORITY));
            spec.modules.len() - 1
        }
    };
    let module = &mut spec.modules[at];
    if let [first, rest @ ..] = settings
        && first.bytes().all(|b| b.is_ascii_digit())
    {
        module.priority = number(first)?;
        settings = rest;
    }
    loop {
        settings = match settings {
            [] => return Ok(()),
            ["group", group, rest @ ..] => {
                module.group = Some((*group).to_string());
                rest
            }
            ["timeout", t, rest @ ..] => {
                module.timeout = Some(duration(t)?);
                rest
            }
            ["delay", t, rest @ ..] => {
                module.handover_delay = Some(duration(t)?);
                rest
            }
            ["longest", t, rest @ ..] => {
                module.longest_turn = Some(duration(t)?);
                rest
            }
            ["not_urgent", rest @ ..] => {
                module.urgent = false;
                rest
            }
            [mode, rest @ ..] => {
                module.mode = Mode::from_name(mode)
                    .ok_or_else(|| format!("unknown setting of a module: {mode:?}"))?;
                rest
            }
        }
    }
}

/// Returns the lines that make these settings, from an empty roster.
pub(crate) fn write(spec: &RosterSpec) -> Vec<String> {
    let usual = RosterSpec::default();
    let short = |duration: Duration| seconds(nanos(duration));
    let or_off = |duration: Option<Duration>| duration.map_or("off".into(), short);
    let mut lines = vec!["roster none".to_string()];
    let mut line = |differs: bool, text: String| {
        if differs {
            lines.push(text);
        }
    };
    // Named one by one, so that the compiler finds a field that has no line.
    let RosterSpec {
        handover_delay,
        timeout,
        aging,
        strict,
        starving_after,
        claim_within,
        limits: Limits { waiters, modules: most, events },
        modules,
        delays,
    } = spec;
    line(*handover_delay != usual.handover_delay, format!("handover {}", short(*handover_delay)));
    line(*timeout != usual.timeout, format!("timeout {}", short(*timeout)));
    line(*aging != usual.aging, format!("aging {}", or_off(*aging)));
    line(*starving_after != usual.starving_after, format!("starving {}", or_off(*starving_after)));
    line(*claim_within != usual.claim_within, format!("claim_within {}", short(*claim_within)));
    line(*strict, "strict".into());
    line(*waiters != usual.limits.waiters, format!("waiters {waiters}"));
    line(*most != usual.limits.modules, format!("modules {most}"));
    line(*events != usual.limits.events, format!("events {events}"));
    for module in modules {
        let ModuleSpec {
            name,
            priority,
            group,
            timeout,
            handover_delay,
            longest_turn,
            urgent,
            mode,
        } = module;
        let mut text = format!("module {name} {priority}");
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = write!(text, " {key} {value}");
            }
        };
        put("group", group.clone());
        put("timeout", timeout.map(short));
        put("delay", handover_delay.map(short));
        put("longest", longest_turn.map(short));
        if !urgent {
            text.push_str(" not_urgent");
        }
        if *mode != Mode::Enforced {
            text.push(' ');
            text.push_str(mode.name());
        }
        line(true, text);
    }
    for DelaySpec { from, to, delay } in delays {
        line(true, format!("delay {from} -> {to} {}", short(*delay)));
    }
    lines
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let nanos = parse_seconds(text).ok_or_else(|| format!("not a length of time: {text:?}"))?;
    Ok(Duration::from_nanos(nanos))
}

fn duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" { Ok(None) } else { duration(text).map(Some) }
}

pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number, or too large: {text:?}"))
}
