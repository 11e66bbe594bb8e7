//! The text that scenarios expect, from the arbiter's own types.

use crate::action::{Query, below_text};
use crate::log::{Entry, Name, Value};
use crate::seconds::{nanos, seconds};
use packet_mutex::English;
use packet_mutex_arbiter::{Answer, Below, Event, EventKind, Failure, Grant, RequestId, Status};
use std::fmt::Write as _;
use std::time::Duration;

/// Returns an event with names in place of numbers.
#[must_use]
pub fn entry(event: Event<Name>, request: impl Fn(RequestId) -> Name) -> Entry {
    Entry {
        seq: event.seq,
        at: event.at.as_nanos(),
        event: event.kind.name(),
        details: details(&event.kind, &request),
        request: event.request.map(&request),
        module: event.module,
        token: event.token.map(|token| token.0),
    }
}

/// Returns an event that a program has read, with names in place of numbers.
#[must_use]
pub fn read_entry(event: packet_mutex::Event, request: impl Fn(RequestId) -> Name) -> Entry {
    let packet_mutex::Event { mutex: _, seq, at, module, request: id, token, kind } = event;
    entry(Event { seq, at, module, request: id, token, kind }, request)
}

fn details(
    kind: &EventKind<Name>,
    request: &dyn Fn(RequestId) -> Name,
) -> Vec<(&'static str, Value)> {
    let length = |t: &Duration| Value::For(nanos(*t));
    let flags = |flags: &[(&'static str, bool)]| {
        let set = flags.iter().filter(|(_, is)| *is);
        set.map(|(key, _)| (*key, Value::Yes)).collect::<Vec<_>>()
    };
    match kind {
        EventKind::Requested { urgent, timeout } => {
            let mut details = vec![("timeout", length(timeout))];
            details.extend(flags(&[("urgent", *urgent)]));
            details
        }
        EventKind::Granted { waited, pass, others, abandoned, urgent } => {
            let mut details = vec![("waited", length(waited))];
            if *others > 0 {
                details.push(("others", Value::Count(*others)));
            }
            details.extend(flags(&[
                ("pass", *pass),
                ("urgent", *urgent),
                ("predecessor_abandoned", *abandoned),
            ]));
            details
        }
        EventKind::Refused { error } => vec![("error", Value::Fixed(error.name()))],
        EventKind::Unserved { why: _, waited } => vec![("waited", length(waited))],
        EventKind::Nested { depth } => vec![("depth", Value::Count(*depth as u64))],
        EventKind::Ended { end: _, held, depth, pass } => {
            let mut details = vec![("held", length(held))];
            if *depth > 0 {
                details.push(("depth", Value::Count(*depth as u64)));
            }
            details.extend(flags(&[("pass", *pass)]));
            details
        }
        EventKind::Overrun { held } => vec![("held", length(held))],
        EventKind::Starving { waited, by } => {
            let mut details = vec![("waited", length(waited))];
            details.extend(by.iter().map(|by| ("by", Value::Word(by.clone()))));
            details
        }
        EventKind::Conflict { with, with_request } => vec![
            ("with", Value::Word(with.clone())),
            ("with_request", Value::Word(request(*with_request))),
        ],
        EventKind::ShortGap { after, missing } => {
            vec![("after", Value::Word(after.clone())), ("missing", length(missing))]
        }
        EventKind::Paused { reason, below, until } => {
            let below = match below {
                Below::Priority(level) => Value::Count(u64::from(*level)),
                Below::Urgent => Value::Fixed("urgent"),
            };
            let mut details = vec![("reason", Value::Text(reason.clone())), ("below", below)];
            details.extend(until.map(|until| ("until", Value::At(until.as_nanos()))));
            details
        }
        EventKind::Resumed { reason } | EventKind::Revoking { reason } => {
            vec![("reason", Value::Text(reason.clone()))]
        }
        EventKind::Dropped { count } => vec![("count", Value::Count(*count))],
        EventKind::Mode { mode } => vec![("mode", Value::Fixed(mode.name()))],
        EventKind::NotHolder
        | EventKind::Disabled
        | EventKind::Requeued
        | EventKind::Enabled
        | EventKind::Acknowledged
        | EventKind::Closing
        | EventKind::Reloaded
        | EventKind::Reset => Vec::new(),
    }
}

/// Returns the part of a status that is asked for, in short.
#[must_use]
pub fn status(status: &Status, query: &Query, request: impl Fn(RequestId) -> Name) -> String {
    let short = |t: Duration| seconds(nanos(t));
    let none = || "none".to_string();
    match query {
        Query::Holder => status.holder.as_ref().map_or_else(none, |holder| {
            let (module, token, held) = (&holder.module, holder.token, short(holder.held));
            format!("{module} token {token} held {held} depth {}", holder.depth)
        }),
        Query::Waiters => list(status.waiters.iter().map(|waiter| {
            let mut text = format!(
                "{} {} priority {} effective {} waited {} deadline {}",
                request(waiter.request),
                waiter.module,
                waiter.priority,
                waiter.effective,
                short(waiter.waited),
                short(waiter.deadline),
            );
            if waiter.urgent {
                text.push_str(" urgent");
            }
            if let Some(reason) = &waiter.paused {
                // Writing to a string cannot fail.
                let _ = write!(text, " paused {reason:?}");
            }
            text
        })),
        Query::Why => list(status.waiters.iter().enumerate().map(|(at, waiter)| {
            let why = status.reason(at).map(|why| English(&why).to_string()).unwrap_or_default();
            format!("{} {why}", request(waiter.request))
        })),
        Query::Next => {
            let next = status.next.as_ref();
            next.map_or_else(none, |(module, within)| format!("{module} in {}", short(*within)))
        }
        Query::Last => {
            let last = status.last.as_ref();
            last.map_or_else(none, |(module, ago)| format!("{module} ended {} ago", short(*ago)))
        }
        Query::Paused => list(status.paused.iter().map(|pause| {
            let below = below_text(pause.below);
            let left = pause.left.map_or(String::new(), |left| format!(" left {}", short(left)));
            format!("{:?} below {below}{left}", pause.reason)
        })),
        Query::Module(name) => {
            let found = status.modules.iter().find(|module| *module.module == **name);
            found.map_or_else(none, |module| {
                format!(
                    "{}{} turns {} passes {} timeouts {} wait max {} hold max {}",
                    module.mode.name(),
                    if module.disabled { " disabled" } else { "" },
                    module.turns,
                    module.passes,
                    module.timeouts,
                    short(module.wait.max),
                    short(module.hold.max),
                )
            })
        }
        // These are no part of a status; each front answers them itself.
        _ => none(),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_string() } else { items.join("; ") }
}

/// Returns a request's answer in short.
#[must_use]
pub fn told(answer: &Answer) -> String {
    let grant = |what: &str, grant: &Grant| {
        let mut text = what.to_string();
        // Writing to a string cannot fail.
        if let Some(token) = grant.token {
            let _ = write!(text, " token {token}");
        }
        let _ = write!(text, " waited {}", seconds(nanos(grant.waited)));
        let _ = write!(text, " others {}", grant.others_since_request);
        if grant.predecessor_abandoned {
            text.push_str(" predecessor_abandoned");
        }
        if grant.depth > 0 {
            let _ = write!(text, " depth {}", grant.depth);
        }
        text
    };
    match answer {
        Answer::Turn(turn) => grant("turn", turn),
        Answer::Pass(pass) => grant("pass", pass),
        Answer::Failed(why) => failure(why),
    }
}

/// Returns a failure in short: its kind and details.
#[must_use]
pub fn failure(why: &Failure) -> String {
    let mut text = why.kind().name().to_string();
    // Writing to a string cannot fail.
    let _ = match why {
        Failure::TimedOut(why) => {
            let _ = write!(text, " waited {}", seconds(nanos(why.waited)));
            if let Some((module, held)) = &why.holder {
                let _ = write!(text, " holder {module} held {}", seconds(nanos(*held)));
            }
            let _ = write!(text, " ahead {}", why.ahead);
            let _ = write!(text, " delay_left {}", seconds(nanos(why.delay_left)));
            why.paused.as_ref().map_or(Ok(()), |reason| write!(text, " paused {reason:?}"))
        }
        Failure::WouldDeadlock { holds, asked } => write!(text, " holds {holds} asked {asked}"),
        Failure::Refused(why) => write!(text, ": {}", English(why)),
        Failure::Disabled { module } => write!(text, " {module}"),
        Failure::NotHolder { holder: Some(holder) } => write!(text, " holder {holder}"),
        Failure::QueueFull { limit } => write!(text, " limit {limit}"),
        _ => Ok(()),
    };
    text
}
