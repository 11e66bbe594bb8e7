//! Warnings, from the roster alone, about modules that may never get their turn (S13).

use super::duration::format_duration;
use packet_mutex_arbiter::{Mode, ModuleSpec, Roster, RosterSpec, nearest_name};
use std::fmt;
use std::time::Duration;

/// Something in a roster that is allowed, but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterWarning {
    /// The field's path, such as `modules.eater` or `delays[0].to`.
    pub field: String,
    /// What to look at.
    pub message: String,
}

impl fmt::Display for RosterWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Returns what a roster's author should know: which modules can be locked out, and which delays are for groups without
/// modules.
///
/// ```
/// use packet_mutex::roster_toml::warnings;
/// use packet_mutex_arbiter::Roster;
///
/// let warnings = warnings(&Roster::default());
/// assert!(warnings[0].message.contains("trainer, fisher, auto_loot, stacker, eater"));
/// ```
#[must_use]
pub fn warnings(roster: &Roster) -> Vec<RosterWarning> {
    let mut warnings = match roster.spec().aging {
        None => strict_lockouts(roster.spec()),
        Some(aging) => aging_lockouts(roster, aging),
    };
    warnings.extend(unknown_groups(roster.spec()));
    warnings
}

/// Returns the longest time that a request of the module can wait, if it is not ended before. It is `None` if there is no
/// bound, or if the roster has no such module that takes turns.
///
/// The bound leaves out urgent requests and pauses. It assumes that only the roster's modules ask, each with one request at a
/// time, and that turns keep to their `longest_turn`:
///
/// 1. With aging, a request does not get ahead if it arrives more than (its priority − the module's) × `aging` after the
///    module's request. So once that time has passed for the highest priority, no further request gets ahead. For the highest
///    module itself the time is zero, with or without aging.
/// 2. After that, every other module takes at most one more turn. Each of these turns, and the one before them, is followed
///    by at most the longest handover delay.
///
/// ```
/// use packet_mutex::roster_toml::{from_toml, longest_wait};
/// use std::time::Duration;
///
/// let roster = from_toml("r.toml", "
///     aging = '250ms'
///     modules.arm = { priority = 90, longest_turn = '2s' }
///     modules.camera = { priority = 10, longest_turn = '500ms' }
/// ").unwrap();
/// // 80 × 250 ms, the arm's turn of 2 s, and twice the delay of 1 s.
/// assert_eq!(longest_wait(&roster, "camera"), Some(Duration::from_secs(24)));
/// ```
#[must_use]
pub fn longest_wait(roster: &Roster, module: &str) -> Option<Duration> {
    let spec = roster.spec();
    let module = roster.module(module).filter(|module| takes_turns(module))?;
    let head_start = match spec.aging {
        Some(aging) => head_start(spec, module, aging),
        None if steps_above(spec, module) == 0 => Duration::ZERO,
        None => return None,
    };
    let mut wait = head_start;
    for other in turn_takers(spec) {
        wait = wait.saturating_add(longest_delay(spec));
        if other.name != module.name {
            wait = wait.saturating_add(other.longest_turn?);
        }
    }
    Some(wait)
}

/// Warns of lockouts without aging. A single module above another locks it out if it asks again before the handover delay is
/// over.
fn strict_lockouts(spec: &RosterSpec) -> Vec<RosterWarning> {
    let below: Vec<&ModuleSpec> =
        turn_takers(spec).filter(|module| steps_above(spec, module) > 0).collect();
    if below.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "off, so nothing bounds the wait of {}: a higher module that keeps asking locks them out",
        names(&below)
    );
    vec![RosterWarning { field: "aging".into(), message }]
}

fn aging_lockouts(roster: &Roster, aging: Duration) -> Vec<RosterWarning> {
    let spec = roster.spec();
    let mut warnings = Vec::new();
    let unlimited: Vec<&ModuleSpec> =
        turn_takers(spec).filter(|module| module.longest_turn.is_none()).collect();
    if !unlimited.is_empty() && turn_takers(spec).count() > 1 {
        let message = format!(
            "does not bound any wait until these have a `longest_turn`: {}",
            names(&unlimited)
        );
        warnings.push(RosterWarning { field: "aging".into(), message });
    }
    for module in turn_takers(spec) {
        let timeout = module.timeout.unwrap_or(spec.timeout);
        let head_start = head_start(spec, module, aging);
        let message = if head_start > Duration::ZERO && head_start >= timeout {
            format!(
                "can be locked out: it overtakes the highest module only after {}, but times out after {}",
                format_duration(head_start),
                format_duration(timeout)
            )
        } else if let Some(wait) = longest_wait(roster, &module.name).filter(|wait| *wait > timeout)
        {
            format!(
                "may wait up to {}, but times out after {}",
                format_duration(wait),
                format_duration(timeout)
            )
        } else {
            continue;
        };
        warnings.push(RosterWarning { field: format!("modules.{}", module.name), message });
    }
    warnings
}

fn unknown_groups(spec: &RosterSpec) -> Vec<RosterWarning> {
    let groups = || spec.modules.iter().map(group);
    let mut warnings = Vec::new();
    for (at, delay) in spec.delays.iter().enumerate() {
        for (key, name) in [("from", &delay.from), ("to", &delay.to)] {
            if name == "*" || groups().any(|group| group == name) {
                continue;
            }
            let namesake = spec.modules.iter().find(|module| module.name == *name);
            let hint = match (namesake, nearest_name(name, groups())) {
                (Some(module), _) => format!("the module `{name}` is in `{}`", group(module)),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) if spec.strict => "so this delay never applies".into(),
                (None, None) => "so it applies only to an unlisted module of that name".into(),
            };
            let message = format!("no module is in the group `{name}`; {hint}");
            warnings.push(RosterWarning { field: format!("delays[{at}].{key}"), message });
        }
    }
    warnings
}

/// Returns how much later than the module's request one of the highest module may arrive and still go ahead.
fn head_start(spec: &RosterSpec, module: &ModuleSpec, aging: Duration) -> Duration {
    aging.saturating_mul(steps_above(spec, module))
}

/// Returns by how much the highest priority is above the module's.
fn steps_above(spec: &RosterSpec, module: &ModuleSpec) -> u32 {
    let highest = turn_takers(spec).map(|other| other.priority).max().unwrap_or_default();
    u32::from(highest.saturating_sub(module.priority))
}

/// Returns the longest delay between any two of the roster's groups.
fn longest_delay(spec: &RosterSpec) -> Duration {
    let modules = spec.modules.iter().filter_map(|module| module.handover_delay);
    let pairs = spec.delays.iter().map(|delay| delay.delay);
    modules.chain(pairs).fold(spec.handover_delay, Duration::max)
}

fn turn_takers(spec: &RosterSpec) -> impl Iterator<Item = &ModuleSpec> {
    spec.modules.iter().filter(|module| takes_turns(module))
}

fn takes_turns(module: &ModuleSpec) -> bool {
    module.mode == Mode::Enforced
}

fn group(module: &ModuleSpec) -> &str {
    module.group.as_deref().unwrap_or(&module.name)
}

/// Returns the modules' names, as many as fit in a line.
fn names(modules: &[&ModuleSpec]) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = modules.iter().take(SHOWN).map(|module| module.name.as_str()).collect();
    match modules.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
