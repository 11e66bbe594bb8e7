//! What goes into the arbiter.

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
    /// No module of any arbiter: where a module's number means nothing.
    pub const NONE: ModuleId = ModuleId(u16::MAX);

    /// The module's place in the arbiter's table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One ask for the mutex, and later the hold or pass that it was answered with. Numbers grow with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Who asks: a thread, a task, a client's task. Numbers are never reused (S5).
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

/// Something that happened outside and that the arbiter has to decide on.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed; nothing else happened. A spurious one changes nothing.
    Tick,
    /// Somebody asks for the mutex. Its one answer comes as [`Output::Answer`](crate::Output::Answer).
    Request(Request),
    /// A hold or pass ends.
    End {
        /// The request that was answered with it.
        hold: RequestId,
        /// Who ends it; only its owner may (S6).
        owner: Option<Owner>,
        /// In which way.
        how: Leave,
    },
    /// The newest open hold or pass of a module and owner ends: for callers who keep no handle.
    EndModule {
        /// The module.
        module: ModuleId,
        /// Who ends it.
        owner: Owner,
    },
    /// A holder gives its turn away and asks again in one step (S11).
    Yield {
        /// The hold that ends; no nested one may be open beside it.
        hold: RequestId,
        /// Who yields.
        owner: Option<Owner>,
        /// The number of the new request, for the same module.
        id: RequestId,
        /// How long the new request waits; `None`: as the roster says.
        timeout: Option<Duration>,
    },
    /// The asker went away. A waiting request is withdrawn; a grant that was already decided is declined (S12).
    Withdraw {
        /// The request.
        request: RequestId,
    },
    /// The asker has seen its grant; needed only for requests with [`Request::claim`].
    Claim {
        /// The request.
        request: RequestId,
    },
    /// The holder has dealt with what an abandoned turn left behind; later turns see no mark (S7).
    Acknowledge {
        /// The hold.
        hold: RequestId,
    },
    /// The holder of a lease is alive: the lease starts anew (S8).
    Heartbeat {
        /// The hold.
        hold: RequestId,
    },
    /// An owner is gone: its turns and passes end as abandoned, its waiting requests as lost (S7).
    OwnerLost {
        /// The owner.
        owner: Owner,
    },
    /// An operator steers (S12, S15, S19, S20).
    Steer(Steer),
}

/// What an operator can do to a running mutex. Every way in parses its own form of this and hands it over; the arbiter alone
/// carries it out.
///
/// `M` stands for a module: its number inside the arbiter, its name outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steer<M = ModuleId> {
    /// Ends all waiting requests of a module as cancelled. A grant that was decided stays (S12).
    Cancel {
        /// The module.
        module: M,
    },
    /// Refuses a module's new requests until it is enabled; what waits, stays (S12).
    Disable {
        /// The module.
        module: M,
    },
    /// Undoes [`Steer::Disable`].
    Enable {
        /// The module.
        module: M,
    },
    /// Switches a module's mode, its waiters at once (S15).
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
        /// Who is held back.
        below: Below,
        /// When it ends by itself, counted from now; `None`: when resumed.
        lasts: Option<Duration>,
    },
    /// Ends the pause with this reason, or all (S12).
    Resume {
        /// The reason; `None`: all pauses.
        reason: Option<String>,
    },
    /// Ends all waiters with `closed`, lets the holder finish and refuses what comes (S12).
    Close,
    /// Replaces the roster. Waiters keep their arrival, running delays do not shrink (S19).
    Reload(Box<Roster>),
    /// Takes the open turn away. It ends as revoked, its holder is told, and the next turns see the mark (S7, S12).
    Revoke {
        /// Why, for people: at most [`REASON_MAX`] bytes without control characters.
        reason: String,
    },
    /// For tests: ends the caller's own turn, cancels the waiters, clears counts, forgets the delay (S20).
    Reset {
        /// The caller.
        owner: Option<Owner>,
    },
}

impl<M> Steer<M> {
    /// The same with its module replaced: by its number, for the arbiter.
    ///
    /// # Errors
    ///
    /// Those of `to`.
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
    /// The same with its module borrowed.
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
    /// Who asks; `None` where the language has no owners.
    pub owner: Option<Owner>,
    /// The hold through which a nested turn is asked for (S5).
    pub within: Option<RequestId>,
    /// Goes before all that are not urgent, and skips the delay (S10).
    pub urgent: bool,
    /// How long it waits at most; `None`: as the roster says (S4).
    pub timeout: Option<Duration>,
    /// The turn ends as revoked if no heartbeat comes for so long (S8).
    pub lease: Option<Duration>,
    /// The grant counts as declined if no [`Input::Claim`] comes within the roster's `claim_within`.
    pub claim: bool,
    /// It waited before, was lost with a connection, and is asked anew; only the log tells the difference.
    pub requeued: bool,
}

impl Request {
    /// A plain request: not urgent, no owner, timeout as the roster says.
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
        /// A panic or an exception passed through it; it ends all the same.
        Panicked = "panicked",
        /// It sent nothing: no delay starts, and the history stays what it was (S9).
        Declined = "declined",
    }
}

/// Whom a pause holds back; urgent requests never.
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
