//! An ask with terms, and the turn that comes of it.

use crate::asking::{TaskAsk, ask_as_thread};
use crate::error::Error;
use crate::module::ModuleRef;
use crate::place::{Place, Terms};
use crate::turn::{OfTask, Turn, TurnOf};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One ask, not yet made: from [`PacketMutex::request`](crate::PacketMutex::request) or [`Guarded::request`](crate::Guarded::request).
///
/// ```
/// use packet_mutex::{Error, PacketMutex, Roster};
/// use std::time::Duration;
///
/// let mutex = PacketMutex::new(Roster::default());
/// let mana = 100;
/// let turn = mutex
///     .request("runemaker")
///     .timeout(Duration::from_secs(5))
///     .urgent()
///     .valid_if(|| mana >= 80)
///     .acquire()?;
/// # drop(turn);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "an ask does nothing until `acquire` or `acquire_async` is called"]
pub struct Ask<'a, T: Target> {
    target: &'a T,
    module: ModuleRef<'a>,
    terms: Terms,
    valid_if: Option<ValidIf<'a>>,
}

type ValidIf<'a> = Box<dyn FnOnce() -> bool + Send + 'a>;

/// What gives turns: a [`PacketMutex`](crate::PacketMutex) or a [`Guarded`](crate::Guarded) channel. Not to be implemented elsewhere.
pub trait Target: sealed::Sealed {
    /// What a thread is given.
    type Turn<'a>
    where
        Self: 'a;
    /// What a task is given.
    type TaskTurn<'a>
    where
        Self: 'a;
    #[doc(hidden)]
    fn place(&self) -> &Arc<dyn Place>;
    #[doc(hidden)]
    fn admit(&self, turn: Turn) -> Result<Self::Turn<'_>, Error>;
    #[doc(hidden)]
    fn admit_task(&self, turn: TurnOf<OfTask>) -> Result<Self::TaskTurn<'_>, Error>;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

impl<'a, T: Target> Ask<'a, T> {
    pub(crate) fn new(target: &'a T, module: ModuleRef<'a>) -> Self {
        Ask { target, module, terms: Terms::default(), valid_if: None }
    }

    /// How long it waits at most; without it, as the roster says. Zero: only if it can be granted this instant (S4).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.terms.timeout = Some(timeout);
        self
    }

    /// Goes ahead of every ask that is not urgent and skips the handover delay (S10): an alarm, a logout, a heal.
    pub fn urgent(mut self) -> Self {
        self.terms.urgent = true;
        self
    }

    /// A check that runs once, inside the turn; if it says no or panics, the turn is declined (S9).
    pub fn valid_if(mut self, check: impl FnOnce() -> bool + Send + 'a) -> Self {
        self.valid_if = Some(Box::new(check));
        self
    }

    /// Waits for the turn. The calling thread is its owner: if it holds a turn of the same group already, this one is
    /// nested at once (S5).
    ///
    /// # Errors
    ///
    /// Any [`Error`] of asking; the most usual are [`Error::Timeout`], [`Error::WouldDeadlock`], [`Error::Disabled`],
    /// [`Error::Closed`], [`Error::InvalidName`] and [`Error::NoLongerValid`].
    ///
    /// # Panics
    ///
    /// If the check of [`valid_if`](Self::valid_if) panics; the turn is declined first.
    pub fn acquire(self) -> Result<T::Turn<'a>, Error> {
        let Ask { target, module, terms, valid_if } = self;
        target.admit(acquire(target.place(), &module, terms, valid_if)?)
    }

    /// The async twin of [`acquire`](Self::acquire), on the same queue, for any executor.
    ///
    /// A task is no owner: a second ask of one task simply waits; nest through the turn instead (S5). The ask is made
    /// when the future is first polled.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); and [`Error::Lost`] if the grant came but the future was not polled again within the
    /// roster's `claim_within`: the grant is then declined, so that a future that nobody polls cannot hold the others up.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point withdraws the ask. If its grant was already decided, that counts as declined and
    /// the next is chosen (S12).
    pub async fn acquire_async(self) -> Result<T::TaskTurn<'a>, Error> {
        let place = self.target.place();
        let hold = TaskAsk::new(&**place, self.module, self.terms).await?;
        self.target.admit_task(check(TurnOf::new(place, hold), self.valid_if)?)
    }
}

/// [`Ask::acquire`] for every target, so that it is compiled once, here, where all that it calls can be inlined.
fn acquire(
    place: &Arc<dyn Place>,
    module: &ModuleRef<'_>,
    terms: Terms,
    valid_if: Option<ValidIf<'_>>,
) -> Result<Turn, Error> {
    let hold = ask_as_thread(place, module, terms)?;
    check(Turn::new(place, hold), valid_if)
}

/// S9: the validity check runs inside the turn.
#[inline]
fn check<K>(turn: TurnOf<K>, valid_if: Option<ValidIf<'_>>) -> Result<TurnOf<K>, Error> {
    let Some(valid) = valid_if else { return Ok(turn) };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(valid)) {
        Ok(true) => Ok(turn),
        Ok(false) => {
            turn.decline();
            Err(Error::NoLongerValid)
        }
        Err(panic) => {
            turn.decline();
            std::panic::resume_unwind(panic)
        }
    }
}

impl<T: Target> fmt::Debug for Ask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("module", &self.module)
            .field("timeout", &self.terms.timeout)
            .field("urgent", &self.terms.urgent)
            .finish_non_exhaustive()
    }
}
