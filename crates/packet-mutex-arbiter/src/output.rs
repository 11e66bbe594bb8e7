//! The outputs of the arbiter.

use crate::event::End;
use crate::input::{ModuleId, RequestId, Token};
use crate::named::named;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

/// Something that the front has to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The one answer to a request (S16). Hand it to the asker that waits for it.
    Answer {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// The holder should yield from now on (S11). Wake it if it sleeps inside its turn.
    ShouldYield {
        /// The turn's oldest open hold.
        hold: RequestId,
    },
    /// A hold or pass ended, but its owner did not end it: it was abandoned, revoked, or declined because nobody claimed it.
    Ended {
        /// The hold.
        hold: RequestId,
        /// How it ended.
        end: End,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A turn, or a nested turn inside the asker's own.
    Turn(Grant),
    /// A pass of an observed or switched-off module (S15).
    Pass(Grant),
    /// The request failed. The asker does not have the mutex.
    Failed(Failure),
}

/// A grant, as the asker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The module.
    pub module: ModuleId,
    /// The turn's token; `None` for a pass.
    pub token: Option<Token>,
    /// How long the request waited.
    pub waited: Duration,
    /// How many turns ended between the request and the grant, including the one that was open at the request. Declined
    /// turns and passes are not counted. If it is not zero, what was computed before the wait is stale (S9).
    pub others_since_request: u64,
    /// Whether an earlier turn was abandoned or revoked and nobody has acknowledged it (S7).
    pub predecessor_abandoned: bool,
    /// How many holds are open around this one: 0 for the first of a turn.
    pub depth: usize,
}

/// Why an ask, or an input about a turn, failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request was not granted in time (S4).
    TimedOut(TimedOut),
    /// The owner holds a turn of another group (S5).
    WouldDeadlock {
        /// The module whose turn the owner holds.
        holds: Arc<str>,
        /// The module that it asked for.
        asked: Arc<str>,
    },
    /// It was refused for a reason that waiting does not change.
    Refused(Refusal),
    /// The module's waiting requests were cancelled (S12).
    Cancelled,
    /// The asker itself withdrew the request (S12).
    Withdrawn,
    /// The module is disabled (S12).
    Disabled {
        /// The module.
        module: Arc<str>,
    },
    /// The mutex is closed (S12).
    Closed,
    /// The caller does not hold the turn that it names (S6).
    NotHolder {
        /// The module that holds the mutex, if any.
        holder: Option<Arc<str>>,
    },
    /// Too many requests are waiting, or too many passes are open (S14).
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The owner was lost while it waited, or the grant was never claimed (S7, S12).
    Lost,
}

/// What kept a request out until it timed out (S4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimedOut {
    /// How long it waited.
    pub waited: Duration,
    /// The holder's module, and for how long it has held.
    pub holder: Option<(Arc<str>, Duration)>,
    /// How many waiters were ahead, counted up to [`AHEAD_MAX`].
    pub ahead: usize,
    /// How much of the handover delay was left for this request.
    pub delay_left: Duration,
    /// The reason of the pause that held it back, if there was one.
    pub paused: Option<Arc<str>>,
}

/// [`TimedOut::ahead`] is counted up to here, so that many timeouts at once stay cheap.
pub const AHEAD_MAX: usize = 1000;

/// The reasons of [`Failure::Refused`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The roster denies urgent requests to the module (S10).
    UrgencyDenied {
        /// The module.
        module: Arc<str>,
    },
    /// The timeout or duration is longer than the longest allowed (S4).
    TooLong,
    /// A lease must be longer than zero (S8).
    NoLease,
    /// A turn with open nested turns cannot be yielded (S11).
    NestedOpen,
    /// The reason of a pause or revocation is empty, too long or has control characters.
    BadReason,
    /// Too many pauses are set already.
    TooManyPauses {
        /// The limit.
        limit: usize,
    },
    /// No pause has this reason.
    NoSuchPause,
    /// The new roster has more modules than the mutex may hold.
    TooManyModules {
        /// The limit.
        limit: usize,
    },
    /// A front refused for a reason of its own.
    Other(String),
}

named! {
    /// The kind of a [`Failure`], by the name that every front uses.
    pub enum FailureKind {
        /// [`Failure::TimedOut`].
        TimedOut = "timeout",
        /// [`Failure::WouldDeadlock`].
        WouldDeadlock = "would_deadlock",
        /// [`Failure::Refused`].
        Refused = "refused",
        /// [`Failure::Cancelled`].
        Cancelled = "cancelled",
        /// [`Failure::Withdrawn`].
        Withdrawn = "withdrawn",
        /// [`Failure::Disabled`].
        Disabled = "disabled",
        /// [`Failure::Closed`].
        Closed = "closed",
        /// [`Failure::NotHolder`].
        NotHolder = "not_holder",
        /// [`Failure::QueueFull`].
        QueueFull = "queue_full",
        /// [`Failure::Lost`].
        Lost = "lost",
    }
}

impl Failure {
    /// Returns the kind of the failure.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        match self {
            Failure::TimedOut(_) => FailureKind::TimedOut,
            Failure::WouldDeadlock { .. } => FailureKind::WouldDeadlock,
            Failure::Refused(_) => FailureKind::Refused,
            Failure::Cancelled => FailureKind::Cancelled,
            Failure::Withdrawn => FailureKind::Withdrawn,
            Failure::Disabled { .. } => FailureKind::Disabled,
            Failure::Closed => FailureKind::Closed,
            Failure::NotHolder { .. } => FailureKind::NotHolder,
            Failure::QueueFull { .. } => FailureKind::QueueFull,
            Failure::Lost => FailureKind::Lost,
        }
    }
}
