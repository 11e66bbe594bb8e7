//! Asking for a turn, by threads and by tasks.

use crate::backend::{Asking, Backend, Granted};
use crate::error::Error;
use crate::module::ModuleRef;
use crate::mutex::PacketMutex;
use crate::owner::this_thread;
use crate::turn::{OfTask, OfThread, Turn, TurnOf};
use packet_mutex_arbiter::{Owner, RequestId};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// One ask, not yet made: from [`PacketMutex::request`] or [`Guarded::request`](crate::Guarded::request).
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
    terms: Terms<'a>,
}

/// What gives turns: a [`PacketMutex`] or a [`Guarded`](crate::Guarded) channel. Not to be implemented elsewhere.
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
    fn mutex(&self) -> &PacketMutex;
    #[doc(hidden)]
    fn admit(&self, turn: Turn) -> Result<Self::Turn<'_>, Error>;
    #[doc(hidden)]
    fn admit_task(&self, turn: TurnOf<OfTask>) -> Result<Self::TaskTurn<'_>, Error>;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// What an ask says beside its module.
#[derive(Default)]
pub(crate) struct Terms<'a> {
    timeout: Option<Duration>,
    urgent: bool,
    within: Option<RequestId>,
    valid_if: Option<Box<dyn FnOnce() -> bool + Send + 'a>>,
}

impl Terms<'_> {
    /// Those of a turn inside this hold.
    pub(crate) fn within(hold: RequestId) -> Self {
        Terms { within: Some(hold), ..Terms::default() }
    }

    fn asking(&self, owner: Option<Owner>, claim: bool) -> Asking {
        let Terms { timeout, urgent, within, .. } = *self;
        Asking { owner, timeout, urgent, within, claim }
    }
}

impl<'a, T: Target> Ask<'a, T> {
    pub(crate) fn new(target: &'a T, module: ModuleRef<'a>) -> Self {
        Ask { target, module, terms: Terms::default() }
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
        self.terms.valid_if = Some(Box::new(check));
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
        let mutex = self.target.mutex();
        let turn = wait_for_turn(&mutex.backend, &self.module, self.terms)?;
        self.target.admit(turn)
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
        let mutex = self.target.mutex();
        let turn = TaskAsk::new(&mutex.backend, self.module, self.terms).await?;
        self.target.admit_task(turn)
    }
}

/// Asks as the calling thread and waits for the answer.
pub(crate) fn wait_for_turn(
    backend: &Backend,
    module: &ModuleRef<'_>,
    terms: Terms<'_>,
) -> Result<Turn, Error> {
    let owner = Some(this_thread(backend));
    let (id, answer) = backend.begin(module, terms.asking(owner, false))?;
    let granted = answer.unwrap_or_else(|| backend.wait_for(id));
    let grant = granted.inspect_err(|error| backend.log_timeout(module.name(), error))?;
    check(Turn::new(backend.clone(), id, owner, grant), terms)
}

/// S9: the validity check runs inside the turn.
fn check<K>(turn: TurnOf<K>, terms: Terms<'_>) -> Result<TurnOf<K>, Error> {
    let Some(valid) = terms.valid_if else { return Ok(turn) };
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

/// An ask of a task, as a future.
pub(crate) struct TaskAsk<'a> {
    backend: &'a Backend,
    module: ModuleRef<'a>,
    /// Taken when it is done.
    terms: Option<Terms<'a>>,
    waits_as: Option<RequestId>,
}

impl<'a> TaskAsk<'a> {
    pub(crate) fn new(backend: &'a Backend, module: ModuleRef<'a>, terms: Terms<'a>) -> Self {
        TaskAsk { backend, module, terms: Some(terms), waits_as: None }
    }

    /// Waits for the answer of a request that was made already.
    pub(crate) fn made(backend: &'a Backend, module: ModuleRef<'a>, id: RequestId) -> Self {
        TaskAsk { backend, module, terms: Some(Terms::default()), waits_as: Some(id) }
    }

    /// The turn, or why there is none.
    pub(crate) fn answered(
        &mut self,
        id: RequestId,
        granted: Granted,
    ) -> Result<TurnOf<OfTask>, Error> {
        self.waits_as = None;
        let terms = self.terms.take().unwrap_or_default();
        let told = |error: &Error| self.backend.log_timeout(self.module.name(), error);
        let grant = granted.inspect_err(told)?;
        check(TurnOf::new(self.backend.clone(), id, None, grant), terms)
    }
}

impl Future for TaskAsk<'_> {
    type Output = Result<TurnOf<OfTask>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let id = match (self.waits_as, &self.terms) {
            (Some(id), _) => id,
            (None, None) => return Poll::Ready(Err(Error::Lost)),
            (None, Some(terms)) => {
                let (id, answer) = self.backend.begin(&self.module, terms.asking(None, true))?;
                if let Some(answer) = answer {
                    return Poll::Ready(self.answered(id, answer));
                }
                self.waits_as = Some(id);
                id
            }
        };
        let granted = self.backend.poll(id, context.waker());
        granted.map_or(Poll::Pending, |granted| Poll::Ready(self.answered(id, granted)))
    }
}

impl Drop for TaskAsk<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.waits_as {
            self.backend.forget(id);
        }
    }
}

impl sealed::Sealed for PacketMutex {}

impl Target for PacketMutex {
    type Turn<'a> = TurnOf<OfThread>;
    type TaskTurn<'a> = TurnOf<OfTask>;

    fn mutex(&self) -> &PacketMutex {
        self
    }

    fn admit(&self, turn: Turn) -> Result<Turn, Error> {
        Ok(turn)
    }

    fn admit_task(&self, turn: TurnOf<OfTask>) -> Result<TurnOf<OfTask>, Error> {
        Ok(turn)
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
