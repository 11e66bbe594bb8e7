//! The inputs of the arbiter.

use crate::named::named;
use crate::roster::{Mode, Roster};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// A module of one arbiter, from [`Arbiter::resolve`](crate::Arbiter::resolve). It stays valid for the arbiter's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub(crate) u16);

impl ModuleId {
    /// No module of any arbiter. It stands where a module's number means nothing.
    pub const NONE: ModuleId = ModuleId(u16::MAX);

    /// Returns the module's place in the arbiter's table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of one ask for the mutex, and later of the hold or pass that it was answered with. Numbers grow with each
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The number of an asker: a thread, a task, or a client's task. Numbers are never reused (S5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u64);

/// A turn's fencing number: larger than that of every turn before on this mutex (S17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Something that happened outside, on which the arbiter has to decide.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed and nothing else happened. A spurious tick changes nothing.
    Tick,
    /// Somebody asks for the mutex. Its one answer comes as [`Output::Answer`](crate::Output::Answer).
    Request(Request),
    /// A hold or pass ends.
    End {
        /// The request that was answered with it.
        hold: RequestId,
        /// The owner that ends it. Nobody else may (S6).
        owner: Option<Owner>,
        /// How it ends.
        how: Leave,
    },
    /// The newest open hold or pass of a module and owner ends. This is for callers that keep no handle.
    EndModule {
        /// The module.
        module: ModuleId,
        /// The owner that ends it.
        owner: Owner,
    },
    /// A holder gives its turn away and asks again in one step (S11).
    Yield {
        /// The hold that ends. No nested hold may be open beside it.
        hold: RequestId,
        /// The owner that yields.
        owner: Option<Owner>,
        /// The number of the new request, for the same module.
        id: RequestId,
        /// How long the new request waits at most; `None`: as the roster says.
        timeout: Option<Duration>,
    },
    /// The asker went away. A waiting request is withdrawn; a grant that was already decided is declined (S12).
    Withdraw {
        /// The request.
        request: RequestId,
    },
    /// The asker has seen its grant. Only requests with [`Request::claim`] need this.
    Claim {
        /// The request.
        request: RequestId,
    },
    /// The holder has dealt with what an abandoned turn left behind. Later turns see no mark (S7).
    Acknowledge {
        /// The hold.
        hold: RequestId,
    },
    /// The holder of a lease is alive, so the lease starts anew (S8).
    Heartbeat {
        /// The hold.
        hold: RequestId,
    },
    /// An owner is gone. Its turns and passes end as abandoned, and its waiting requests end as lost (S7).
    OwnerLost {
        /// The owner.
        owner: Owner,
    },
    /// An operator steers (S12, S15, S19, S20).
    Steer(Steer),
}

/// What an operator can do to a running mutex. Each front parses its own form of a `Steer` and hands it over. Only the
/// arbiter carries it out.
///
/// `M` stands for a module: its number inside the arbiter, its name outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steer<M = ModuleId> {
    /// Ends all waiting requests of a module as cancelled. A grant that was already decided stays (S12).
    Cancel {
        /// The module.
        module: M,
    },
    /// Refuses a module's new requests until it is enabled. Requests that already wait, stay (S12).
    Disable {
        /// The module.
        module: M,
    },
    /// Undoes [`Steer::Disable`].
    Enable {
        /// The module.
        module: M,
    },
    /// Switches a module's mode. This applies to its waiters at once (S15).
    Mode {
        /// The module.
        module: M,
        /// The new mode.
        mode: Mode,
    },
    /// Holds requests back (S12). A pause with the reason of an earlier one replaces it.
    Pause {
        /// Why, for people: at most [`REASON_MAX`] bytes without control characters.
        reason: String,
        /// Which requests are held back.
        below: Below,
        /// How long it lasts from now; `None`: until it is resumed.
        lasts: Option<Duration>,
    },
    /// Ends the pause with this reason, or all pauses (S12).
    Resume {
        /// The reason; `None`: all pauses.
        reason: Option<String>,
    },
    /// Ends all waiters with `closed`, lets the holder finish, and refuses new requests (S12).
    Close,
    /// Replaces the roster. Waiters keep their arrival, and running delays do not shrink (S19).
    Reload(Box<Roster>),
    /// Takes the open turn away. It ends as revoked, its holder is told, and the next turns see the mark (S7, S12).
    Revoke {
        /// Why, for people: at most [`REASON_MAX`] bytes without control characters.
        reason: String,
    },
    /// For tests: ends the caller's own turn, cancels the waiters, clears the counts and forgets the delay (S20).
    Reset {
        /// The caller.
        owner: Option<Owner>,
    },
}

impl<M> Steer<M> {
    /// Returns the same command with its module replaced, for instance by its number.
    ///
    /// # Errors
    ///
    /// The errors of `to`.
    pub fn try_map_module<N, E>(self, to: impl FnOnce(M) -> Result<N, E>) -> Result<Steer<N>, E> {
        Ok(match self {
            Steer::Cancel { module } => Steer::Cancel { module: to(module)? },
            Steer::Disable { module } => Steer::Disable { module: to(module)? },
            Steer::Enable { module } => Steer::Enable { module: to(module)? },
            Steer::Mode { module, mode } => Steer::Mode { module: to(module)?, mode },
            Steer::Pause { reason, below, lasts } => Steer::Pause { reason, below, lasts },
            Steer::Resume { reason } => Steer::Resume { reason },
            Steer::Close => Steer::Close,
            Steer::Reload(roster) => Steer::Reload(roster),
            Steer::Revoke { reason } => Steer::Revoke { reason },
            Steer::Reset { owner } => Steer::Reset { owner },
        })
    }
}

impl<M: AsRef<str>> Steer<M> {
    /// Returns the same command with its module borrowed.
    #[must_use]
    pub fn as_str(&self) -> Steer<&str> {
        match self {
            Steer::Cancel { module } => Steer::Cancel { module: module.as_ref() },
            Steer::Disable { module } => Steer::Disable { module: module.as_ref() },
            Steer::Enable { module } => Steer::Enable { module: module.as_ref() },
            Steer::Mode { module, mode } => Steer::Mode { module: module.as_ref(), mode: *mode },
            Steer::Pause { reason, below, lasts } => {
                Steer::Pause { reason: reason.clone(), below: *below, lasts: *lasts }
            }
            Steer::Resume { reason } => Steer::Resume { reason: reason.clone() },
            Steer::Close => Steer::Close,
            Steer::Reload(roster) => Steer::Reload(roster.clone()),
            Steer::Revoke { reason } => Steer::Revoke { reason: reason.clone() },
            Steer::Reset { owner } => Steer::Reset { owner: *owner },
        }
    }
}

/// The longest reason of a pause or a revocation, in bytes.
pub const REASON_MAX: usize = 200;

/// One ask for the mutex.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its number, from [`Arbiter::next_request`](crate::Arbiter::next_request).
    pub id: RequestId,
    /// The module that asks.
    pub module: ModuleId,
    /// The owner that asks; `None` where the language has no owners.
    pub owner: Option<Owner>,
    /// The hold through which a nested turn is asked for (S5).
    pub within: Option<RequestId>,
    /// Whether it goes ahead of all requests that are not urgent, and skips the delay (S10).
    pub urgent: bool,
    /// How long it waits at most; `None`: as the roster says (S4).
    pub timeout: Option<Duration>,
    /// The lease: the turn ends as revoked if no heartbeat comes for this long (S8). `None`: no lease.
    pub lease: Option<Duration>,
    /// Whether the grant must be claimed. It counts as declined if no [`Input::Claim`] comes within the roster's
    /// `claim_within`.
    pub claim: bool,
    /// Whether it waited before, was lost with a connection, and is made again. Only the log shows the difference.
    pub requeued: bool,
}

impl Request {
    /// Makes a plain request: not urgent, without an owner, with the roster's timeout.
    #[must_use]
    pub fn new(id: RequestId, module: ModuleId) -> Self {
        Request {
            id,
            module,
            owner: None,
            within: None,
            urgent: false,
            timeout: None,
            lease: None,
            claim: false,
            requeued: false,
        }
    }
}

named! {
    /// How a holder ends its hold.
    pub enum Leave {
        /// It is done.
        Released = "released",
        /// A panic or an exception passed through it. It ends all the same.
        Panicked = "panicked",
        /// It sent nothing: no delay starts, and the history stays what it was (S9).
        Declined = "declined",
    }
}

/// Which requests a pause holds back. It never holds back urgent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Below {
    /// Modules of a lower priority than this.
    Priority(u8),
    /// Every request that is not urgent.
    Urgent,
}

impl Below {
    pub(crate) fn holds_back(self, priority: u8) -> bool {
        match self {
            Below::Priority(level) => priority < level,
            Below::Urgent => true,
        }
    }
}
