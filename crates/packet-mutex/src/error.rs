//! Why an ask or a call about a turn failed.

use crate::english::English;
use packet_mutex_arbiter::{Failure, FailureKind, InvalidName, NameError, Refusal, TimedOut};
use std::sync::Arc;

/// Why an ask, or a call about a turn, failed. Its text says what happened, who holds, and what to do.
///
/// An ask that failed leaves the caller without the mutex.
///
/// ```
/// use packet_mutex::{Error, PacketMutex, Roster};
///
/// let mutex = PacketMutex::new(Roster::default());
/// let turn = mutex.acquire("fisher")?;
/// std::thread::scope(|s| {
///     s.spawn(|| match mutex.try_acquire("eater") {
///         Err(Error::Timeout(why)) => assert_eq!(&*why.holder.unwrap().0, "fisher"),
///         other => panic!("{other:?}"),
///     });
/// });
/// # drop(turn);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ask was not granted in time (S4). It says who holds, how many are ahead, and how much of the delay is left.
    #[error("{}", English(.0))]
    Timeout(TimedOut),
    /// The caller holds a turn of another group (S5). End that first, or put both modules into one group.
    #[error("{}", English(&Failure::WouldDeadlock { holds: holds.clone(), asked: asked.clone() }))]
    WouldDeadlock {
        /// The module whose turn the caller holds.
        holds: Arc<str>,
        /// The module that it asked for.
        asked: Arc<str>,
    },
    /// The ask or command was refused for a reason that waiting does not change.
    #[error("refused: {}", English(.0))]
    Refused(Refusal),
    /// The module's waiting requests were cancelled (S12).
    #[error("{}", English(&Failure::Cancelled))]
    Cancelled,
    /// The module is disabled (S12). Enable it, or do not ask.
    #[error("{}", English(&Failure::Disabled { module: module.clone() }))]
    Disabled {
        /// The module.
        module: Arc<str>,
    },
    /// The mutex is closed (S12).
    #[error("{}", English(&Failure::Closed))]
    Closed,
    /// The caller does not hold the turn that it names (S6). Nothing was changed.
    #[error("{}", English(&Failure::NotHolder { holder: holder.clone() }))]
    NotHolder {
        /// The module that holds the mutex, if any.
        holder: Option<Arc<str>>,
    },
    /// Too many requests are waiting (S14).
    #[error("{}", English(&Failure::QueueFull { limit: *limit }))]
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The text is not a valid name (S14).
    #[error("{}", English(.0))]
    InvalidName(InvalidName),
    /// The roster is strict and does not have the module.
    #[error("{}", English(.0))]
    UnknownModule(NameError),
    /// The ask's validity check returned `false` inside the turn, and the turn was declined (S9).
    #[error("no longer valid: the check that came with the ask said no inside the turn")]
    NoLongerValid,
    /// The turn is gone: its owner was lost, its lease ran out, or its grant was never claimed (S7, S8, S12).
    #[error("lost: the turn or request is gone; ask again")]
    Lost,
    /// A turn that had the channel was leaked and its thread is gone, so the channel may still be in use (S7). Give the
    /// mutex a new channel with `Guarded::replace`.
    #[error(
        "channel lost: the channel went with a leaked turn; connect anew and call `Guarded::replace`"
    )]
    ChannelLost,
    /// The mutex cannot be reached.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The secret is missing or wrong.
    #[error("unauthorized: the mutex's secret is missing or wrong")]
    Unauthorized,
    /// This mutex cannot do that.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
    /// A client brought another roster than the mutex has (S19).
    #[error("roster differs in: {}", fields.join(", "))]
    RosterDiffers {
        /// The paths of the fields that differ.
        fields: Vec<String>,
    },
}

impl Error {
    /// Returns the name of this kind of error, which every front uses.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Error::Timeout(_) => FailureKind::TimedOut.name(),
            Error::WouldDeadlock { .. } => FailureKind::WouldDeadlock.name(),
            Error::Refused(_) => FailureKind::Refused.name(),
            Error::Cancelled => FailureKind::Cancelled.name(),
            Error::Disabled { .. } => FailureKind::Disabled.name(),
            Error::Closed => FailureKind::Closed.name(),
            Error::NotHolder { .. } => FailureKind::NotHolder.name(),
            Error::QueueFull { .. } => FailureKind::QueueFull.name(),
            Error::InvalidName(_) => InvalidName::KIND,
            Error::UnknownModule(_) => "unknown_module",
            Error::NoLongerValid => "no_longer_valid",
            Error::Lost => FailureKind::Lost.name(),
            Error::ChannelLost => "channel_lost",
            Error::Unavailable(_) => "unavailable",
            Error::Unauthorized => "unauthorized",
            Error::Unsupported(_) => "unsupported",
            Error::RosterDiffers { .. } => "roster_differs",
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TimedOut(why) => Error::Timeout(why),
            Failure::WouldDeadlock { holds, asked } => Error::WouldDeadlock { holds, asked },
            Failure::Refused(why) => Error::Refused(why),
            Failure::Cancelled | Failure::Withdrawn => Error::Cancelled,
            Failure::Disabled { module } => Error::Disabled { module },
            Failure::Closed => Error::Closed,
            Failure::NotHolder { holder } => Error::NotHolder { holder },
            Failure::QueueFull { limit } => Error::QueueFull { limit },
            Failure::Lost => Error::Lost,
        }
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Invalid(why) => Error::InvalidName(why),
            NameError::UnknownModule { .. } => Error::UnknownModule(error),
            NameError::TooManyModules { limit } => {
                Error::Refused(Refusal::TooManyModules { limit })
            }
        }
    }
}
