//! What comes out of the arbiter.

use crate::event::End;
use crate::input::{ModuleId, RequestId, Token};
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
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
    /// The reason of a pause is empty, too long or has control characters.
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

impl Failure {
    /// The kind, by the name that every front uses.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Failure::TimedOut(_) => "timeout",
            Failure::WouldDeadlock { .. } => "would_deadlock",
            Failure::Refused(_) => "refused",
            Failure::Cancelled => "cancelled",
            Failure::Withdrawn => "withdrawn",
            Failure::Disabled { .. } => "disabled",
            Failure::Closed => "closed",
            Failure::NotHolder { .. } => "not_holder",
            Failure::QueueFull { .. } => "queue_full",
            Failure::Lost => "lost",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::TimedOut(why) => write!(f, "{why}"),
            Failure::WouldDeadlock { holds, asked } => write!(
                f,
                "would deadlock: this owner holds a turn of `{holds}` and asks for `{asked}`, which is of another \
                 group; end the turn first, or put both into one group"
            ),
            Failure::Refused(why) => write!(f, "refused: {why}"),
            Failure::Cancelled => {
                f.write_str("cancelled: the module's waiting requests were cancelled")
            }
            Failure::Withdrawn => f.write_str("withdrawn by the asker"),
            Failure::Disabled { module } => {
                write!(f, "disabled: `{module}` is refused until it is enabled again")
            }
            Failure::Closed => f.write_str("closed: this mutex takes no more requests"),
            Failure::NotHolder { holder: Some(holder) } => {
                write!(f, "not the holder: the turn is `{holder}`'s; nothing was changed")
            }
            Failure::NotHolder { holder: None } => {
                f.write_str("not the holder: no such turn is open; nothing was changed")
            }
            Failure::QueueFull { limit } => write!(
                f,
                "queue full: {limit} requests wait already (the roster's `limits.waiters`)"
            ),
            Failure::Lost => {
                f.write_str("lost: the asker was gone or did not claim its grant in time")
            }
        }
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:.3} s", self.waited.as_secs_f64())?;
        if let Some((module, held)) = &self.holder {
            write!(f, "; `{module}` holds since {:.3} s", held.as_secs_f64())?;
        }
        if self.ahead > 0 {
            let more = if self.ahead >= AHEAD_MAX { " or more" } else { "" };
            write!(f, "; {}{more} ahead", self.ahead)?;
        }
        if !self.delay_left.is_zero() {
            write!(f, "; {:.3} s of the handover delay left", self.delay_left.as_secs_f64())?;
        }
        if let Some(reason) = &self.paused {
            write!(f, "; paused: {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UrgencyDenied { module } => {
                write!(f, "the roster denies urgent requests to `{module}`")
            }
            Refusal::TooLong => f.write_str("the duration is longer than 24 h"),
            Refusal::NoLease => f.write_str("a lease of no length"),
            Refusal::NestedOpen => f.write_str("nested turns are open; end them before yielding"),
            Refusal::BadReason => {
                f.write_str("a pause needs a reason of 1 to 200 bytes without control characters")
            }
            Refusal::TooManyPauses { limit } => write!(f, "{limit} pauses are set already"),
            Refusal::NoSuchPause => f.write_str("no pause has this reason"),
            Refusal::TooManyModules { limit } => write!(f, "more than {limit} modules"),
            Refusal::Other(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for Failure {}
