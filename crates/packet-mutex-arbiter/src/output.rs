//! What comes out of the arbiter.

use crate::event::End;
use crate::input::{ModuleId, RequestId, Token};
use crate::named::named;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

/// Something that the front has to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The one answer of a request (S16). Hand it to who waits for it.
    Answer {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// From now on the holder should yield (S11): wake it if it sleeps inside its turn.
    ShouldYield {
        /// The turn's oldest open hold.
        hold: RequestId,
    },
    /// A hold or pass was ended by somebody else: abandoned, revoked, or declined because nobody claimed it.
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
    /// A turn, or a turn nested in one's own.
    Turn(Grant),
    /// A pass of an observed or switched-off module (S15).
    Pass(Grant),
    /// It failed; the asker does not have the mutex.
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
    /// Turns that ended between the request and the grant, the one that was open then included, and that were not
    /// declined: if it is not zero, what was computed before the wait is stale (S9). Passes are not counted.
    pub others_since_request: u64,
    /// An earlier turn was abandoned or revoked and nobody has acknowledged it (S7).
    pub predecessor_abandoned: bool,
    /// How many holds of the owner are open around this one: 0 for a turn of its own.
    pub depth: usize,
}

/// Why an ask, or an input about a turn, failed: what happened, who holds, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not granted in time (S4).
    TimedOut(TimedOut),
    /// The owner holds a turn of another group (S5).
    WouldDeadlock {
        /// The module whose turn the owner holds.
        holds: Arc<str>,
        /// The module that it asked for.
        asked: Arc<str>,
    },
    /// Refused for a reason that waiting does not change.
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
    /// The caller does not hold what it speaks of (S6).
    NotHolder {
        /// Who holds the mutex instead, if anybody.
        holder: Option<Arc<str>>,
    },
    /// Too many requests wait, or too many passes are open (S14).
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The owner was lost while it waited, or the grant was never claimed (S7, S12).
    Lost,
}

/// Who kept a request out until its time was up (S4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimedOut {
    /// How long it waited.
    pub waited: Duration,
    /// The holder's module, and for how long it holds.
    pub holder: Option<(Arc<str>, Duration)>,
    /// How many waiters were ahead, counted up to [`AHEAD_MAX`].
    pub ahead: usize,
    /// How much was left of the handover delay before this request.
    pub delay_left: Duration,
    /// The reason of the pause that held it back, if one did.
    pub paused: Option<Arc<str>>,
}

/// [`TimedOut::ahead`] is counted up to here, so that many timeouts at once stay cheap.
pub const AHEAD_MAX: usize = 1000;

/// Reasons of [`Failure::Refused`].
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
    /// There are too many pauses.
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
    /// The kind.
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
