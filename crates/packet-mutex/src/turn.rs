//! A turn: the mutex is held as long as it lives.

use crate::asking::{Hold, TaskAsk, ask_as_thread, log_timeout, wait_as_thread};
use crate::error::Error;
use crate::module::{Module, ModuleRef};
use crate::place::{Asked, Place, Slept, Terms};
use crate::sleep::{Sleep, sleep_as_thread};
use packet_mutex_arbiter::{Grant, Leave, Owner, RequestId, Token};
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A thread's turn. It cannot leave its thread, so that nobody else releases it.
///
/// ```compile_fail,E0277
/// let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
/// let turn = mutex.acquire("fisher").unwrap();
/// std::thread::spawn(move || drop(turn)); // `*const ()` cannot be sent between threads safely
/// ```
pub type Turn = TurnOf<OfThread>;
/// A task's turn. It is `Send`.
pub type TaskTurn = TurnOf<OfTask>;

/// The mutex is held, or a pass of an observed module is open, as long as this lives. Dropping it is the release; if a
/// panic drops it, the event log says so.
///
/// `Of` says who has it: [`OfThread`] or [`OfTask`].
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped: bind it to a name"]
pub struct TurnOf<Of> {
    place: Arc<dyn Place>,
    hold: RequestId,
    owner: Option<Owner>,
    grant: Grant,
    open: bool,
    /// It was granted while a panic unwound, which so says nothing about the turn.
    panicking: bool,
    of: PhantomData<Of>,
}

/// The owner is the thread, so the turn must not leave it.
#[derive(Debug)]
pub struct OfThread(PhantomData<*const ()>);

/// Whoever has the turn is its owner.
#[derive(Debug)]
pub struct OfTask;

impl<Of> TurnOf<Of> {
    pub(crate) fn new(place: &Arc<dyn Place>, hold: Hold) -> Self {
        let Hold { id, owner, grant } = hold;
        let panicking = std::thread::panicking();
        TurnOf {
            place: place.clone(),
            hold: id,
            owner,
            grant,
            open: true,
            panicking,
            of: PhantomData,
        }
    }

    /// The turn's fencing number, larger than that of every turn before (S17); `None` for a pass of an observed module.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.grant.token
    }

    /// Is this a pass of a module that is only observed or off, which excludes nobody (S15)?
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.grant.token.is_none()
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> Module {
        let id = self.grant.module;
        Module { mutex: self.place.identity().number, id, name: self.place.module_name(id) }
    }

    /// How long the ask waited.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.grant.waited
    }

    /// How many turns of others came between the ask and the grant. If any, what was read before the ask is stale (S9).
    #[must_use]
    pub fn others_since_request(&self) -> u64 {
        self.grant.others_since_request
    }

    /// Was a turn before this one abandoned, and has nobody acknowledged it since? Things may stand half-way (S7).
    #[must_use]
    pub fn predecessor_abandoned(&self) -> bool {
        self.grant.predecessor_abandoned
    }

    /// Things were put right after an abandoned turn: later turns see no mark (S7).
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if this is a pass or the turn is over.
    pub fn acknowledge(&self) -> Result<(), Error> {
        self.place.acknowledge(self.hold)
    }

    /// Should the turn be given away soon: does somebody more important wait, does a pause ask for it, or has it lasted
    /// longer than the module's longest turn (S11)?
    #[must_use]
    pub fn should_yield(&self) -> bool {
        self.place.should_yield(self.hold)
    }

    /// Is it still held? A turn can be lost: its lease ran out, or the connection to the mutex's server is gone (S7, S8).
    /// A pass counts as held until it ends.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.open && (self.is_pass() || self.place.holds(self.hold))
    }

    /// Ends the turn. Dropping it does the same.
    pub fn release(mut self) {
        self.leave(Leave::Released);
    }

    /// Ends a turn in which nothing was sent: no delay starts and the history stays what it was (S9).
    pub fn decline(mut self) {
        self.leave(Leave::Declined);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn decline_in_place(&mut self) {
        self.leave(Leave::Declined);
    }

    fn leave(&mut self, how: Leave) {
        if std::mem::take(&mut self.open) {
            self.place.leave(self.hold, self.owner, how);
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.grant.depth
    }

    /// Ends the turn and asks again, in one step.
    fn give_away(&mut self, timeout: Option<Duration>) -> Result<Asked, Error> {
        let asked = self.place.give_away(self.hold, self.owner, timeout)?;
        self.open = false;
        Ok(asked)
    }

    /// Becomes the turn that was granted anew.
    fn become_turn(&mut self, Hold { id, owner: _, grant }: Hold) {
        (self.hold, self.grant, self.open) = (id, grant, true);
    }
}

impl TurnOf<OfThread> {
    /// A turn inside this one, for a module of the same group, at once; both may end in any order (S5).
    ///
    /// Inside a pass it is an ask like any other.
    ///
    /// # Errors
    ///
    /// [`Error::WouldDeadlock`] for another group, [`Error::NotHolder`] if the turn is over.
    pub fn nest<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<Turn, Error> {
        let terms = Terms { within: Some(self.hold), ..Terms::default() };
        Ok(TurnOf::new(&self.place, ask_as_thread(&self.place, &module.into(), terms)?))
    }

    /// Gives the turn away and asks again in one step: others come first if they should (S11). It then has a new token.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] while nested turns are open; the turn then goes on. Any other error leaves no turn.
    pub fn yield_now(&mut self) -> Result<(), Error> {
        self.yield_for(None)
    }

    /// [`yield_now`](Self::yield_now) with a timeout of its own.
    ///
    /// # Errors
    ///
    /// As [`yield_now`](Self::yield_now).
    pub fn yield_within(&mut self, timeout: Duration) -> Result<(), Error> {
        self.yield_for(Some(timeout))
    }

    fn yield_for(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let asked = self.give_away(timeout)?;
        let hold = wait_as_thread(&*self.place, self.owner, asked).inspect_err(|error| {
            log_timeout(&*self.place, &(&self.module()).into(), error);
        })?;
        self.become_turn(hold);
        Ok(())
    }

    /// Sleeps inside the turn, in the mutex's time; ends early when the turn should be given away (S11).
    pub fn sleep(&self, time: Duration) -> Slept {
        sleep_as_thread(&self.place, self.hold, self.is_pass(), time)
    }
}

impl TurnOf<OfTask> {
    /// A turn inside this one, for a module of the same group, at once; both may end in any order (S5).
    ///
    /// Inside a pass it is an ask like any other.
    ///
    /// # Errors
    ///
    /// [`Error::WouldDeadlock`] for another group, [`Error::NotHolder`] if the turn is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the ask.
    pub async fn nest<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<TaskTurn, Error> {
        let terms = Terms { within: Some(self.hold), ..Terms::default() };
        Ok(TurnOf::new(&self.place, TaskAsk::new(&*self.place, module.into(), terms).await?))
    }

    /// Gives the turn away and asks again in one step: others come first if they should (S11). It then has a new token.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] while nested turns are open; the turn then goes on. Any other error leaves no turn.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the new ask and leaves no turn.
    pub async fn yield_now(&mut self) -> Result<(), Error> {
        self.yield_for(None).await
    }

    /// [`yield_now`](Self::yield_now) with a timeout of its own.
    ///
    /// # Errors
    ///
    /// As [`yield_now`](Self::yield_now).
    ///
    /// # Cancel safety
    ///
    /// As [`yield_now`](Self::yield_now).
    pub async fn yield_within(&mut self, timeout: Duration) -> Result<(), Error> {
        self.yield_for(Some(timeout)).await
    }

    async fn yield_for(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let module = self.module();
        let asked = self.give_away(timeout)?;
        let hold = TaskAsk::made(&*self.place, (&module).into(), asked).await?;
        self.become_turn(hold);
        Ok(())
    }

    /// Sleeps inside the turn, in the mutex's time; ends early when the turn should be given away (S11).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the sleep and nothing else.
    pub async fn sleep(&self, time: Duration) -> Slept {
        let mut sleep = Sleep::new(&self.place, self.hold, self.is_pass(), time);
        std::future::poll_fn(move |context| {
            sleep.poll(context.waker()).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl<Of> Drop for TurnOf<Of> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking() && !self.panicking;
        self.leave(if panicked { Leave::Panicked } else { Leave::Released });
    }
}
