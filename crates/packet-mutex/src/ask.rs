//! An ask with terms, and the turn that results from it.

use crate::asking::{TaskAsk, ask_as_thread};
use crate::error::Error;
use crate::module::ModuleRef;
use crate::place::{Place, Terms};
use crate::turn::{OfTask, Turn, TurnOf};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An ask that has not been made yet. [`PacketMutex::request`](crate::PacketMutex::request) and
/// [`Guarded::request`](crate::Guarded::request) return it.
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

/// What gives turns: a [`PacketMutex`](crate::PacketMutex) or a [`Guarded`](crate::Guarded) channel.
///
/// The trait is sealed: other crates cannot implement it.
pub trait Target: sealed::Sealed {
    /// The turn that a thread gets.
    type Turn<'a>
    where
        Self: 'a;
    /// The turn that a task gets.
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

    /// Sets how long it waits at most. Without it, the roster's timeout counts. With zero, it is granted only if that is
    /// possible this instant (S4).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.terms.timeout = Some(timeout);
        self
    }

    /// Lets it go ahead of every ask that is not urgent and skip the handover delay (S10). This is for an alarm, a logout or
    /// a heal.
    pub fn urgent(mut self) -> Self {
        self.terms.urgent = true;
        self
    }

    /// Sets a check that runs once, inside the turn. If it returns `false` or panics, the turn is declined (S9).
    ///
    /// ```
    /// use packet_mutex::{Error, PacketMutex, Roster};
    ///
    /// let mutex = PacketMutex::new(Roster::default());
    /// let turn = mutex.request("eater").valid_if(|| false).acquire(); // no longer hungry
    /// assert_eq!(turn.unwrap_err(), Error::NoLongerValid);
    /// ```
    pub fn valid_if(mut self, check: impl FnOnce() -> bool + Send + 'a) -> Self {
        self.valid_if = Some(Box::new(check));
        self
    }

    /// Waits for the turn. The calling thread is its owner. If it already holds a turn of the same group, this turn is
    /// nested at once (S5).
    ///
    /// # Errors
    ///
    /// Any [`Error`] of asking. The most usual are [`Error::Timeout`], [`Error::WouldDeadlock`], [`Error::Disabled`],
    /// [`Error::Closed`], [`Error::InvalidName`] and [`Error::NoLongerValid`].
    ///
    /// # Panics
    ///
    /// If the check of [`valid_if`](Self::valid_if) panics. The turn is declined first.
    pub fn acquire(self) -> Result<T::Turn<'a>, Error> {
        let Ask { target, module, terms, valid_if } = self;
        target.admit(acquire(target.place(), &module, terms, valid_if)?)
    }

    /// The async twin of [`acquire`](Self::acquire). It uses the same queue and works on any executor.
    ///
    /// A task is not an owner, so a second ask of the same task simply waits. Nest through the turn instead (S5). The ask
    /// is made when the future is first polled.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire). Also [`Error::Lost`], if the grant came but the future was not polled again within the
    /// roster's `claim_within`. The grant is then declined, so that a future that nobody polls cannot hold the others up.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point withdraws the ask. If its grant was already decided, the grant counts as declined
    /// and the next waiter is chosen (S12).
    pub async fn acquire_async(self) -> Result<T::TaskTurn<'a>, Error> {
        let place = self.target.place();
        let hold = TaskAsk::new(&**place, self.module, self.terms).await?;
        self.target.admit_task(check(TurnOf::new(place, hold), self.valid_if)?)
    }
}

/// Like [`Ask::acquire`], for every target. So it is compiled once, here, where all that it calls can be inlined.
fn acquire(
    place: &Arc<dyn Place>,
    module: &ModuleRef<'_>,
    terms: Terms,
    valid_if: Option<ValidIf<'_>>,
) -> Result<Turn, Error> {
    let hold = ask_as_thread(place, module, terms)?;
    check(Turn::new(place, hold), valid_if)
}

/// Runs the validity check inside the turn (S9).
#[inline]
fn check<K>(turn: TurnOf<K>, valid_if: Option<ValidIf<'_>>) -> Result<TurnOf<K>, Error> {
    let Some(valid) = valid_if else { return Ok(turn) };
    // Without the catch, the unwinding turn would end as panicked and start its delay, although nothing was sent.
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
