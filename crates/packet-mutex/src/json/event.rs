//! An event as one line of JSON.

use super::{below, seconds, token};
use crate::events::{Event, EventKind};
use packet_mutex_arbiter::{Below, End, FailureKind, Mode, RequestId, Time, Token, Unserved};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// All fields of all events, in the order in which they are written.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    seq: u64,
    #[serde(with = "seconds")]
    t: Option<Time>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    mutex: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    module: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<u64>,
    /// The event that begins or ends a turn or a pass says which it is: a pass has the token `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenField>,
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    waited: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<u64>,
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    held: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<usize>,
    #[serde(skip_serializing_if = "is_false")]
    pass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    urgent: Option<bool>,
    #[serde(skip_serializing_if = "is_false")]
    predecessor_abandoned: bool,
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    by: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    with: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with_request: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    after: Option<Cow<'a, str>>,
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    missing: Option<Duration>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(with = "below", skip_serializing_if = "Option::is_none")]
    below: Option<Below>,
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    mode: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct TokenField(#[serde(with = "token")] Option<Token>);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl<'a> From<&'a Event> for Fields<'a> {
    fn from(event: &'a Event) -> Self {
        let Event { mutex, seq, at, module, request, token, kind } = event;
        let of_turn = matches!(kind, EventKind::Granted { .. } | EventKind::Ended { .. });
        let mut fields = Fields {
            seq: *seq,
            t: Some(*at),
            event: kind.name().into(),
            mutex: (&**mutex).into(),
            module: module.as_deref().map(Cow::from),
            request: request.map(|request| request.0),
            token: (token.is_some() || of_turn).then_some(TokenField(*token)),
            ..Fields::default()
        };
        match kind {
            EventKind::Requested { urgent, timeout } => {
                (fields.urgent, fields.timeout) = (Some(*urgent), Some(*timeout));
            }
            EventKind::Granted { waited, pass, others, abandoned, urgent } => {
                (fields.waited, fields.others) = (Some(*waited), Some(*others));
                (fields.pass, fields.predecessor_abandoned) = (*pass, *abandoned);
                fields.urgent = urgent.then_some(true);
            }
            EventKind::Refused { error } => fields.error = Some(error.name().into()),
            EventKind::Unserved { why: _, waited } => fields.waited = Some(*waited),
            EventKind::Nested { depth } => fields.depth = Some(*depth),
            EventKind::Ended { end: _, held, depth, pass } => {
                (fields.held, fields.depth, fields.pass) = (Some(*held), Some(*depth), *pass);
            }
            EventKind::Overrun { held } => fields.held = Some(*held),
            EventKind::Starving { waited, by } => {
                (fields.waited, fields.by) = (Some(*waited), by.as_deref().map(Cow::from));
            }
            EventKind::Conflict { with, with_request } => {
                fields.with = Some((&**with).into());
                fields.with_request = Some(with_request.0);
            }
            EventKind::ShortGap { after, missing } => {
                (fields.after, fields.missing) = (Some((&**after).into()), Some(*missing));
            }
            EventKind::Paused { reason, below, until } => {
                fields.reason = Some((&**reason).into());
                (fields.below, fields.until) = (Some(*below), *until);
            }
            EventKind::Resumed { reason } | EventKind::Revoking { reason } => {
                fields.reason = Some((&**reason).into());
            }
            EventKind::Mode { mode } => fields.mode = Some(mode.name().into()),
            EventKind::Dropped { count } => fields.count = Some(*count),
            EventKind::NotHolder
            | EventKind::Disabled
            | EventKind::Requeued
            | EventKind::Enabled
            | EventKind::Acknowledged
            | EventKind::Closing
            | EventKind::Reloaded
            | EventKind::Reset => {}
        }
        fields
    }
}

/// Why a JSON object is not an event.
struct NotAnEvent(Cow<'static, str>);

impl fmt::Display for NotAnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn needed<T>(field: Option<T>, name: &str) -> Result<T, NotAnEvent> {
    field.ok_or_else(|| NotAnEvent(format!("the event has no `{name}`").into()))
}

impl TryFrom<Fields<'_>> for Event {
    type Error = NotAnEvent;

    fn try_from(fields: Fields<'_>) -> Result<Event, NotAnEvent> {
        let kind = fields.kind()?;
        Ok(Event {
            mutex: Arc::from(&*fields.mutex),
            seq: fields.seq,
            at: needed(fields.t, "t")?,
            module: fields.module.as_deref().map(Arc::from),
            request: fields.request.map(RequestId),
            token: fields.token.and_then(|token| token.0),
            kind,
        })
    }
}

impl Fields<'_> {
    fn kind(&self) -> Result<EventKind, NotAnEvent> {
        let name: &str = &self.event;
        let text = |field: &Option<Cow<'_, str>>, name| {
            needed(field.as_deref(), name).map(Arc::<str>::from)
        };
        let waited = || needed(self.waited, "waited");
        let held = || needed(self.held, "held");
        let depth = || needed(self.depth, "depth");
        if let Some(why) = Unserved::from_name(name) {
            return Ok(EventKind::Unserved { why, waited: waited()? });
        }
        if let Some(end) = End::from_name(name) {
            let (held, depth, pass) = (held()?, depth()?, self.pass);
            return Ok(EventKind::Ended { end, held, depth, pass });
        }
        Ok(match name {
            "requested" => EventKind::Requested {
                urgent: self.urgent.unwrap_or_default(),
                timeout: needed(self.timeout, "timeout")?,
            },
            "requeued" => EventKind::Requeued,
            "granted" => EventKind::Granted {
                waited: waited()?,
                pass: self.pass,
                others: needed(self.others, "others")?,
                abandoned: self.predecessor_abandoned,
                urgent: self.urgent.unwrap_or_default(),
            },
            "refused" => {
                let error = self.error.as_deref().and_then(FailureKind::from_name);
                EventKind::Refused { error: needed(error, "error")? }
            }
            "nested" => EventKind::Nested { depth: depth()? },
            "not_holder" => EventKind::NotHolder,
            "overrun" => EventKind::Overrun { held: held()? },
            "starving" => {
                EventKind::Starving { waited: waited()?, by: self.by.as_deref().map(Arc::from) }
            }
            "conflict" => EventKind::Conflict {
                with: text(&self.with, "with")?,
                with_request: RequestId(needed(self.with_request, "with_request")?),
            },
            "short_gap" => EventKind::ShortGap {
                after: text(&self.after, "after")?,
                missing: needed(self.missing, "missing")?,
            },
            "paused" => EventKind::Paused {
                reason: text(&self.reason, "reason")?,
                below: needed(self.below, "below")?,
                until: self.until,
            },
            "resumed" => EventKind::Resumed { reason: text(&self.reason, "reason")? },
            "revoking" => EventKind::Revoking { reason: text(&self.reason, "reason")? },
            "disabled" => EventKind::Disabled,
            "enabled" => EventKind::Enabled,
            "mode" => {
                let mode = self.mode.as_deref().and_then(Mode::from_name);
                EventKind::Mode { mode: needed(mode, "mode")? }
            }
            "acknowledged" => EventKind::Acknowledged,
            "closing" => EventKind::Closing,
            "reloaded" => EventKind::Reloaded,
            "reset" => EventKind::Reset,
            "dropped" => EventKind::Dropped { count: needed(self.count, "count")? },
            // The name is not repeated, since it may be any text.
            _ => return Err(NotAnEvent("an event of this name is not known".into())),
        })
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Fields::from(self).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Fields::deserialize(from)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// Shows the event as its line of JSON in logs and traces, without the line's end.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A structure of plain fields can always be written as JSON.
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet_mutex_arbiter::EVENT_NAMES;

    fn event(kind: EventKind) -> Event {
        Event {
            mutex: "ma\"in".into(),
            seq: 17,
            at: Time::from_nanos(12_004_381_001),
            module: Some("fisher".into()),
            request: Some(RequestId(9)),
            token: Some(Token(u64::MAX)),
            kind,
        }
    }

    /// One event for each name of the table.
    fn all() -> Vec<Event> {
        let (second, nanos) = (Duration::from_secs(1), Duration::from_nanos(123_456_789_012_345));
        let mut kinds = vec![
            EventKind::Requested { urgent: true, timeout: nanos },
            EventKind::Requeued,
            EventKind::Granted {
                waited: nanos,
                pass: true,
                others: 3,
                abandoned: true,
                urgent: true,
            },
            EventKind::Refused { error: FailureKind::WouldDeadlock },
            EventKind::Nested { depth: 2 },
            EventKind::NotHolder,
            EventKind::Overrun { held: second },
            EventKind::Starving { waited: second, by: Some("eater".into()) },
            EventKind::Conflict { with: "eater".into(), with_request: RequestId(4) },
            EventKind::ShortGap { after: "eater".into(), missing: second },
            EventKind::Paused {
                reason: "a \"b\"\u{1}".into(),
                below: Below::Priority(60),
                until: Some(Time::from_nanos(1)),
            },
            EventKind::Resumed { reason: "alarm".into() },
            EventKind::Revoking { reason: "stuck".into() },
            EventKind::Disabled,
            EventKind::Enabled,
            EventKind::Mode { mode: Mode::Observed },
            EventKind::Acknowledged,
            EventKind::Closing,
            EventKind::Reloaded,
            EventKind::Reset,
            EventKind::Dropped { count: 5 },
        ];
        kinds.extend(
            Unserved::ALL.iter().map(|why| EventKind::Unserved { why: *why, waited: second }),
        );
        let ended = |end: &End| EventKind::Ended { end: *end, held: nanos, depth: 1, pass: true };
        kinds.extend(End::ALL.iter().map(ended));
        kinds.into_iter().map(event).collect()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut names: Vec<_> = EVENT_NAMES.iter().map(|(name, _)| *name).collect();
        for event in all() {
            let line = event.to_string();
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event, "{line}");
            names.retain(|name| *name != event.kind.name());
        }
        assert!(names.is_empty(), "not tried: {names:?}");
    }

    #[test]
    fn a_line_looks_as_documented() {
        let mut granted = event(EventKind::Granted {
            waited: Duration::from_millis(250),
            pass: false,
            others: 0,
            abandoned: false,
            urgent: false,
        });
        (granted.mutex, granted.token) = ("main".into(), Some(Token(5)));
        assert_eq!(
            granted.to_string(),
            r#"{"seq":17,"t":12.004381001,"event":"granted","mutex":"main","module":"fisher","request":9,"token":"5","waited":0.25,"others":0}"#
        );
        granted.token = None;
        assert!(granted.to_string().contains(r#""token":null"#));
    }

    #[test]
    fn what_is_not_an_event_says_why() {
        let bad = [
            ("7", "invalid type"),
            (r#"{"t":1,"event":"elsewhere"}"#, "not known"),
            (r#"{"t":1,"event":"granted","others":0}"#, "no `waited`"),
            (r#"{"event":"reset"}"#, "no `t`"),
            (r#"{"t":-1,"event":"reset"}"#, "seconds from 0"),
        ];
        for (line, why) in bad {
            let error = serde_json::from_str::<Event>(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
