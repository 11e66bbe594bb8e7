//! What happened, in order: the event log (S16).

use crate::input::{Below, ModuleId, RequestId, Token};
use crate::roster::Mode;
use crate::time::Time;
use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::time::Duration;

/// One entry of the event log. Module names are looked up in the arbiter that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Grows by one with each event of a mutex.
    pub seq: u64,
    /// When it happened, which can be before it was noticed: a late timer changes no outcome (S18).
    pub at: Time,
    /// The module it concerns.
    pub module: Option<ModuleId>,
    /// The request it concerns.
    pub request: Option<RequestId>,
    /// The turn's token, from the grant on.
    pub token: Option<Token>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Somebody asked.
    Requested {
        /// Ahead of all that are not urgent.
        urgent: bool,
        /// How long it waits at most.
        timeout: Duration,
    },
    /// It is asked anew, after the connection was lost over which it waited before.
    Requeued,
    /// The request got a turn, or a pass.
    Granted {
        /// How long it waited.
        waited: Duration,
        /// A pass of an observed module: no turn, no token.
        pass: bool,
        /// See [`Grant::others_since_request`](crate::Grant::others_since_request).
        others: u64,
        /// An earlier turn was abandoned and not acknowledged.
        abandoned: bool,
        /// The request was urgent.
        urgent: bool,
    },
    /// The request was refused at once; the failure's kind.
    Refused {
        /// [`Failure::kind`](crate::Failure::kind).
        error: &'static str,
    },
    /// The request waited in vain.
    Unserved {
        /// In which way it left the queue.
        why: Unserved,
        /// How long it waited.
        waited: Duration,
    },
    /// A nested turn was granted.
    Nested {
        /// Open holds around it.
        depth: usize,
    },
    /// A hold or pass ended.
    Ended {
        /// How.
        end: End,
        /// How long it was held.
        held: Duration,
        /// Holds of this turn that are still open: at 0 the turn is over.
        depth: usize,
        /// It was a pass.
        pass: bool,
    },
    /// Somebody tried to end what it does not hold (S6).
    NotHolder,
    /// A turn is longer than its module's longest.
    Overrun {
        /// How long it is held.
        held: Duration,
    },
    /// A request has waited for long.
    Starving {
        /// How long it waits.
        waited: Duration,
        /// Who keeps it out: the holder, else the best waiter, else whose turn was last.
        by: Option<ModuleId>,
    },
    /// A pass overlaps a turn or another pass (S15).
    Conflict {
        /// The other module.
        with: ModuleId,
        /// The other's request.
        with_request: RequestId,
    },
    /// A pass began, or a turn began after a pass, sooner than the delay allows (S15).
    ShortGap {
        /// The module that acted before.
        after: ModuleId,
        /// How much was missing.
        missing: Duration,
    },
    /// A pause was set.
    Paused {
        /// Its reason.
        reason: Arc<str>,
        /// Whom it holds back.
        below: Below,
        /// When it ends by itself.
        until: Option<Time>,
    },
    /// A pause ended.
    Resumed {
        /// Its reason.
        reason: Arc<str>,
    },
    /// The module is refused from now on.
    Disabled,
    /// The module is no longer refused.
    Enabled,
    /// The module's mode was switched.
    Mode {
        /// The new mode.
        mode: Mode,
    },
    /// A holder acknowledged that a turn before it was abandoned.
    Acknowledged,
    /// The mutex takes no more requests.
    Closing,
    /// The roster was replaced.
    Reloaded,
    /// The mutex was reset.
    Reset,
}

/// How a request left the queue without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unserved {
    /// Its time was up.
    TimedOut,
    /// Its module was cancelled.
    Cancelled,
    /// The asker withdrew it.
    Withdrawn,
    /// The mutex was closed.
    Closed,
    /// Its owner was lost.
    Lost,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The owner was done.
    Released,
    /// A panic or an exception passed through it.
    Panicked,
    /// The owner gave it away and asked again.
    Yielded,
    /// Nothing was sent; the history stays what it was.
    Declined,
    /// Its owner was lost.
    Abandoned,
    /// Its lease ran out.
    Revoked,
}

impl End {
    /// The end's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            End::Released => "released",
            End::Panicked => "panicked",
            End::Yielded => "yielded",
            End::Declined => "declined",
            End::Abandoned => "abandoned",
            End::Revoked => "revoked",
        }
    }
}

impl EventKind {
    /// The event's name in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            EventKind::Requested { .. } => "requested",
            EventKind::Requeued => "requeued",
            EventKind::Granted { .. } => "granted",
            EventKind::Refused { .. } => "refused",
            EventKind::Unserved { why: Unserved::TimedOut, .. } => "timed_out",
            EventKind::Unserved { why: Unserved::Cancelled, .. } => "cancelled",
            EventKind::Unserved { why: Unserved::Withdrawn, .. } => "withdrawn",
            EventKind::Unserved { why: Unserved::Closed, .. } => "closed",
            EventKind::Unserved { why: Unserved::Lost, .. } => "lost",
            EventKind::Nested { .. } => "nested",
            EventKind::Ended { end, .. } => end.name(),
            EventKind::NotHolder => "not_holder",
            EventKind::Overrun { .. } => "overrun",
            EventKind::Starving { .. } => "starving",
            EventKind::Conflict { .. } => "conflict",
            EventKind::ShortGap { .. } => "short_gap",
            EventKind::Paused { .. } => "paused",
            EventKind::Resumed { .. } => "resumed",
            EventKind::Disabled => "disabled",
            EventKind::Enabled => "enabled",
            EventKind::Mode { .. } => "mode",
            EventKind::Acknowledged => "acknowledged",
            EventKind::Closing => "closing",
            EventKind::Reloaded => "reloaded",
            EventKind::Reset => "reset",
        }
    }
}

impl Event {
    /// Writes the event as one line of JSON, without the line's end.
    ///
    /// `mutex` is the mutex's name, `name` looks a module's name up.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_json<'a>(
        &self,
        mutex: &str,
        name: impl Fn(ModuleId) -> &'a str,
        out: &mut impl Write,
    ) -> fmt::Result {
        write!(out, r#"{{"seq":{},"t":{},"event":"{}""#, self.seq, self.at, self.kind.name())?;
        write!(out, r#","mutex":{}"#, Quoted(mutex))?;
        if let Some(module) = self.module {
            write!(out, r#","module":"{}""#, name(module))?;
        }
        if let Some(request) = self.request {
            write!(out, r#","request":{}"#, request.0)?;
        }
        match (self.token, &self.kind) {
            (Some(token), _) => write!(out, r#","token":"{token}""#)?,
            (None, EventKind::Granted { .. } | EventKind::Ended { .. }) => {
                out.write_str(r#","token":null"#)?;
            }
            _ => {}
        }
        self.write_details(name, out)?;
        out.write_char('}')
    }

    fn write_details<'a>(
        &self,
        name: impl Fn(ModuleId) -> &'a str,
        out: &mut impl Write,
    ) -> fmt::Result {
        match &self.kind {
            EventKind::Requested { urgent, timeout } => {
                write!(out, r#","urgent":{urgent},"timeout":{}"#, Seconds(*timeout))
            }
            EventKind::Granted { waited, pass, others, abandoned, urgent } => {
                write!(out, r#","waited":{},"others":{others}"#, Seconds(*waited))?;
                for (key, is) in
                    [("pass", pass), ("urgent", urgent), ("predecessor_abandoned", abandoned)]
                {
                    if *is {
                        write!(out, r#","{key}":true"#)?;
                    }
                }
                Ok(())
            }
            EventKind::Refused { error } => write!(out, r#","error":"{error}""#),
            EventKind::Unserved { waited, .. } => write!(out, r#","waited":{}"#, Seconds(*waited)),
            EventKind::Nested { depth } => write!(out, r#","depth":{depth}"#),
            EventKind::Ended { held, depth, pass, .. } => {
                write!(out, r#","held":{},"depth":{depth}"#, Seconds(*held))?;
                if *pass { out.write_str(r#","pass":true"#) } else { Ok(()) }
            }
            EventKind::Overrun { held } => write!(out, r#","held":{}"#, Seconds(*held)),
            EventKind::Starving { waited, by } => {
                write!(out, r#","waited":{}"#, Seconds(*waited))?;
                by.map_or(Ok(()), |by| write!(out, r#","by":"{}""#, name(by)))
            }
            EventKind::Conflict { with, with_request } => {
                write!(out, r#","with":"{}","with_request":{}"#, name(*with), with_request.0)
            }
            EventKind::ShortGap { after, missing } => {
                write!(out, r#","after":"{}","missing":{}"#, name(*after), Seconds(*missing))
            }
            EventKind::Paused { reason, below, until } => {
                write!(out, r#","reason":{}"#, Quoted(reason))?;
                match below {
                    Below::Priority(level) => write!(out, r#","below":{level}"#)?,
                    Below::Urgent => out.write_str(r#","below":"urgent""#)?,
                }
                until.map_or(Ok(()), |until| write!(out, r#","until":{until}"#))
            }
            EventKind::Resumed { reason } => write!(out, r#","reason":{}"#, Quoted(reason)),
            EventKind::Mode { mode } => write!(out, r#","mode":"{}""#, mode.name()),
            EventKind::NotHolder
            | EventKind::Disabled
            | EventKind::Requeued
            | EventKind::Enabled
            | EventKind::Acknowledged
            | EventKind::Closing
            | EventKind::Reloaded
            | EventKind::Reset => Ok(()),
        }
    }
}

/// A duration in seconds with nine decimals.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

/// A text as a JSON string (RFC 8259, section 7).
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
