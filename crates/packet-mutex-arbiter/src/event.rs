//! What happened, in order: the event log (S16).

use crate::input::{Below, ModuleId, RequestId, Token};
use crate::named::named;
use crate::output::FailureKind;
use crate::roster::Mode;
use crate::time::Time;
use alloc::sync::Arc;
use core::time::Duration;

/// One entry of the event log.
///
/// `M` stands for a module: its number inside the arbiter, its name for readers. [`map_modules`](Self::map_modules)
/// changes one into the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<M = ModuleId> {
    /// Grows by one with each event of a mutex.
    pub seq: u64,
    /// When it happened. That can be before it was noticed: a late timer changes no outcome (S18).
    pub at: Time,
    /// The module that the event concerns.
    pub module: Option<M>,
    /// The request that the event concerns.
    pub request: Option<RequestId>,
    /// The turn's token, from the grant on.
    pub token: Option<Token>,
    /// What happened.
    pub kind: EventKind<M>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind<M = ModuleId> {
    /// A module asks for a turn.
    Requested {
        /// Whether it goes ahead of all requests that are not urgent.
        urgent: bool,
        /// How long it waits at most.
        timeout: Duration,
    },
    /// The request was made again because its connection was lost.
    Requeued,
    /// The request got a turn, or a pass.
    Granted {
        /// How long it waited.
        waited: Duration,
        /// Whether it is a pass of an observed module. A pass is no turn and has no token.
        pass: bool,
        /// See [`Grant::others_since_request`](crate::Grant::others_since_request).
        others: u64,
        /// Whether an earlier turn was abandoned or revoked and nobody has acknowledged it.
        abandoned: bool,
        /// Whether the request was urgent.
        urgent: bool,
    },
    /// The request was refused at once.
    Refused {
        /// Why.
        error: FailureKind,
    },
    /// The request left the queue without a grant.
    Unserved {
        /// Why.
        why: Unserved,
        /// How long it waited.
        waited: Duration,
    },
    /// A nested turn was granted.
    Nested {
        /// How many holds are open around it.
        depth: usize,
    },
    /// A hold or pass ended.
    Ended {
        /// How it ended.
        end: End,
        /// How long it was held.
        held: Duration,
        /// How many holds of this turn are still open. At 0 the turn is over.
        depth: usize,
        /// Whether it was a pass.
        pass: bool,
    },
    /// Somebody tried to end what it does not hold (S6).
    NotHolder,
    /// A turn has lasted longer than its module's longest (S8).
    Overrun {
        /// How long it has been held.
        held: Duration,
    },
    /// A request has waited for longer than the roster's `starving_after` (S13).
    Starving {
        /// How long it has waited.
        waited: Duration,
        /// The module that keeps it out: the holder's, else the best waiter's, else that of the last turn.
        by: Option<M>,
    },
    /// A pass overlaps a turn or another pass (S15).
    Conflict {
        /// The other module.
        with: M,
        /// The other's request.
        with_request: RequestId,
    },
    /// A pass began, or a turn began after a pass, sooner than the delay allows (S15).
    ShortGap {
        /// The module that acted before.
        after: M,
        /// How much of the delay was left.
        missing: Duration,
    },
    /// A pause was set (S12).
    Paused {
        /// Its reason.
        reason: Arc<str>,
        /// Which requests it holds back.
        below: Below,
        /// When it ends by itself; `None`: when it is resumed.
        until: Option<Time>,
    },
    /// A pause ended.
    Resumed {
        /// Its reason.
        reason: Arc<str>,
    },
    /// The module's requests are refused from now on (S12).
    Disabled,
    /// The module's requests are no longer refused.
    Enabled,
    /// The module's mode was switched (S15).
    Mode {
        /// The new mode.
        mode: Mode,
    },
    /// A holder acknowledged that an earlier turn was abandoned (S7).
    Acknowledged,
    /// An operator takes the open turn away; its end follows as `revoked` (S12).
    Revoking {
        /// The operator's reason.
        reason: Arc<str>,
    },
    /// The mutex takes no more requests (S12).
    Closing,
    /// The roster was replaced (S19).
    Reloaded,
    /// The mutex was reset (S20).
    Reset,
    /// A reader came too late for some events. Readers write it; the arbiter never does (S14).
    Dropped {
        /// How many events are gone. `seq` is that of the newest of them.
        count: u64,
    },
}

named! {
    /// Why a request left the queue without a grant.
    pub enum Unserved {
        /// Its timeout passed.
        TimedOut = "timed_out",
        /// The requests of its module were cancelled.
        Cancelled = "cancelled",
        /// The asker withdrew it.
        Withdrawn = "withdrawn",
        /// The mutex was closed.
        Closed = "closed",
        /// Its owner was lost.
        Lost = "lost",
    }
}

named! {
    /// How a hold ended.
    pub enum End {
        /// The owner was done.
        Released = "released",
        /// A panic or an exception passed through it.
        Panicked = "panicked",
        /// The owner gave it away and asked again.
        Yielded = "yielded",
        /// Nothing was sent; the history stays what it was.
        Declined = "declined",
        /// Its owner was lost.
        Abandoned = "abandoned",
        /// Its lease ran out, or an operator took it away.
        Revoked = "revoked",
    }
}

/// Every event's name, in the order of the references, and whether the event means trouble: something that a person looks
/// for in a long log. Readers in other languages take their lists from here.
pub const EVENT_NAMES: [(&str, bool); 32] = [
    ("requested", false),
    ("requeued", false),
    ("granted", false),
    ("refused", false),
    ("timed_out", true),
    ("cancelled", false),
    ("withdrawn", false),
    ("closed", false),
    ("lost", true),
    ("nested", false),
    ("released", false),
    ("panicked", true),
    ("yielded", false),
    ("declined", false),
    ("abandoned", true),
    ("revoked", true),
    ("not_holder", false),
    ("overrun", true),
    ("starving", true),
    ("conflict", true),
    ("short_gap", true),
    ("paused", false),
    ("resumed", false),
    ("disabled", false),
    ("enabled", false),
    ("mode", false),
    ("acknowledged", false),
    ("revoking", false),
    ("closing", false),
    ("reloaded", false),
    ("reset", false),
    ("dropped", false),
];

impl<M> EventKind<M> {
    /// Returns the event's name, which is the same in JSON and logs. [`EVENT_NAMES`] has them all.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            EventKind::Requested { .. } => "requested",
            EventKind::Requeued => "requeued",
            EventKind::Granted { .. } => "granted",
            EventKind::Refused { .. } => "refused",
            EventKind::Unserved { why, .. } => why.name(),
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
            EventKind::Revoking { .. } => "revoking",
            EventKind::Closing => "closing",
            EventKind::Reloaded => "reloaded",
            EventKind::Reset => "reset",
            EventKind::Dropped { .. } => "dropped",
        }
    }

    /// Returns the second module that the event names, as in a conflict.
    #[must_use]
    pub const fn other_module(&self) -> Option<&M> {
        match self {
            EventKind::Starving { by, .. } => by.as_ref(),
            EventKind::Conflict { with, .. } => Some(with),
            EventKind::ShortGap { after, .. } => Some(after),
            _ => None,
        }
    }

    /// Returns the same kind with each module replaced.
    #[must_use]
    pub fn map_modules<N>(self, mut to: impl FnMut(M) -> N) -> EventKind<N> {
        use EventKind as K;
        match self {
            K::Starving { waited, by } => K::Starving { waited, by: by.map(to) },
            K::Conflict { with, with_request } => K::Conflict { with: to(with), with_request },
            K::ShortGap { after, missing } => K::ShortGap { after: to(after), missing },
            K::Requested { urgent, timeout } => K::Requested { urgent, timeout },
            K::Requeued => K::Requeued,
            K::Granted { waited, pass, others, abandoned, urgent } => {
                K::Granted { waited, pass, others, abandoned, urgent }
            }
            K::Refused { error } => K::Refused { error },
            K::Unserved { why, waited } => K::Unserved { why, waited },
            K::Nested { depth } => K::Nested { depth },
            K::Ended { end, held, depth, pass } => K::Ended { end, held, depth, pass },
            K::NotHolder => K::NotHolder,
            K::Overrun { held } => K::Overrun { held },
            K::Paused { reason, below, until } => K::Paused { reason, below, until },
            K::Resumed { reason } => K::Resumed { reason },
            K::Disabled => K::Disabled,
            K::Enabled => K::Enabled,
            K::Mode { mode } => K::Mode { mode },
            K::Acknowledged => K::Acknowledged,
            K::Revoking { reason } => K::Revoking { reason },
            K::Closing => K::Closing,
            K::Reloaded => K::Reloaded,
            K::Reset => K::Reset,
            K::Dropped { count } => K::Dropped { count },
        }
    }
}

impl<M> Event<M> {
    /// Returns the same event with each module replaced, for instance by its name.
    #[must_use]
    pub fn map_modules<N>(self, mut to: impl FnMut(M) -> N) -> Event<N> {
        let Event { seq, at, module, request, token, kind } = self;
        Event { seq, at, module: module.map(&mut to), request, token, kind: kind.map_modules(to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_table_once() {
        let in_table = |name: &str| EVENT_NAMES.iter().filter(|(known, _)| *known == name).count();
        let ends = End::ALL.iter().map(|end| end.name());
        let unserved = Unserved::ALL.iter().map(|why| why.name());
        for name in ends.chain(unserved).chain(EVENT_NAMES.map(|(name, _)| name)) {
            assert_eq!(in_table(name), 1, "{name}");
        }
    }
}
