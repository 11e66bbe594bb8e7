//! The lines that a mutex writes through `tracing`, target `packet_mutex`.

use crate::english::English;
use crate::error::Error;
use packet_mutex_arbiter::{DEFAULT_PRIORITY, End, Event, EventKind, ModuleId, Unserved};
use std::sync::Arc;
use tracing::{Level, debug, enabled, info, warn};

const TARGET: &str = "packet_mutex";

/// What is to be written once the mutex's lock is free.
pub(crate) enum Line {
    /// An event.
    Event { event: Event<Arc<str>>, level: Level },
    /// A module that the roster does not name asks for the first time.
    Unknown { name: Arc<str>, nearest: Option<Arc<str>> },
    /// How far the tokens went cannot be stored (S17).
    NotStored { error: String },
}

/// Returns whether anybody listens. It is asked before anything is copied.
pub(crate) fn is_wanted() -> bool {
    enabled!(target: TARGET, Level::WARN)
}

impl Line {
    pub(crate) fn of(event: &Event, name: impl Fn(ModuleId) -> Arc<str>) -> Option<Line> {
        let level = level(&event.kind)?;
        Some(Line::Event { event: event.clone().map_modules(name), level })
    }
}

/// Returns the level at which this kind of event is written, or `None` if it is not written.
fn level(kind: &EventKind<ModuleId>) -> Option<Level> {
    match kind {
        EventKind::Requested { .. } | EventKind::Acknowledged => {
            enabled!(target: TARGET, Level::DEBUG).then_some(Level::DEBUG)
        }
        // The asker writes this one, since it knows why.
        EventKind::Unserved { why: Unserved::TimedOut, .. } => None,
        EventKind::Ended { end: End::Abandoned | End::Revoked | End::Panicked, .. }
        | EventKind::Refused { .. }
        | EventKind::NotHolder
        | EventKind::Overrun { .. }
        | EventKind::Starving { .. }
        | EventKind::Conflict { .. }
        | EventKind::ShortGap { .. } => Some(Level::WARN),
        _ => enabled!(target: TARGET, Level::INFO).then_some(Level::INFO),
    }
}

pub(crate) fn write(mutex: &str, lines: Vec<Line>) {
    for line in lines {
        match line {
            Line::Event { event, level } => {
                let token = event.token.map(|token| token.0);
                let text = sentence(&event);
                match level {
                    Level::DEBUG => debug!(target: TARGET, mutex, token, "{text}"),
                    Level::INFO => info!(target: TARGET, mutex, token, "{text}"),
                    _ => warn!(target: TARGET, mutex, token, "{text}"),
                }
            }
            Line::Unknown { name, nearest } => {
                let hint = nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
                let priority = DEFAULT_PRIORITY;
                warn!(
                    target: TARGET,
                    mutex,
                    "the roster does not name {name}, so it has priority {priority}{hint}"
                );
            }
            Line::NotStored { error } => {
                warn!(target: TARGET, mutex, "cannot store how far the tokens went: {error}");
            }
        }
    }
}

/// Writes why an ask was not granted in time. An ask that would not wait at all is only worth the debug level: a module that
/// tries in a loop would fill the log.
pub(crate) fn write_timeout(mutex: &str, module: &str, error: &Error) {
    match error {
        Error::Timeout(why) if why.waited.is_zero() => {
            debug!(target: TARGET, mutex, "{module} {}", English(why));
        }
        Error::Timeout(why) => warn!(target: TARGET, mutex, "{module} {}", English(why)),
        _ => {}
    }
}

/// Writes that a request is made again after the connection to the server was lost.
#[cfg(feature = "net")]
pub(crate) fn write_requeued(mutex: &str, module: &str) {
    info!(target: TARGET, mutex, "{module} requeued: the connection was lost, and it asks anew");
}

fn sentence(event: &Event<Arc<str>>) -> String {
    let module = event.module.as_deref().unwrap_or("-");
    let other = event.kind.other_module().map_or("-", |other| other);
    match &event.kind {
        EventKind::Granted { waited, pass, urgent, abandoned, .. } => {
            let pass = if *pass { " a pass, not a turn," } else { "" };
            let urgent = if *urgent { ", urgent" } else { "" };
            let mark = if *abandoned { "; an earlier turn was abandoned" } else { "" };
            format!("{module} acquired{pass} after {:.3} s{urgent}{mark}", waited.as_secs_f64())
        }
        EventKind::Ended { end, held, depth, .. } => {
            let still = if *depth > 0 { format!(" ({depth} still open)") } else { String::new() };
            format!("{module} {} after holding {:.3} s{still}", end.name(), held.as_secs_f64())
        }
        EventKind::Unserved { waited, .. } => {
            format!("{module} {} after waiting {:.3} s", event.kind.name(), waited.as_secs_f64())
        }
        EventKind::Refused { error } => format!("{module} refused: {}", error.name()),
        EventKind::NotHolder => {
            format!("refused a release of {module}: the caller does not hold that turn")
        }
        EventKind::Overrun { held } => {
            let held = held.as_secs_f64();
            format!("{module} overruns its longest turn: it has held for {held:.3} s")
        }
        EventKind::Starving { waited, .. } => {
            let waited = waited.as_secs_f64();
            format!("{module} is starving: it has waited for {waited:.3} s, kept out by {other}")
        }
        EventKind::Conflict { .. } => format!("conflict: {module} acts while {other} does"),
        EventKind::ShortGap { missing, .. } => {
            let missing = missing.as_secs_f64();
            format!("short gap: {module} acts {missing:.3} s too soon after {other}")
        }
        EventKind::Paused { reason, .. } => format!("paused: {reason}"),
        EventKind::Resumed { reason } => format!("resumed: {reason}"),
        EventKind::Revoking { reason } => {
            format!("an operator takes the turn of {module} away: {reason}")
        }
        EventKind::Mode { mode } => format!("{module} is now {}", mode.name()),
        kind => format!("{module} {}", kind.name()),
    }
}
