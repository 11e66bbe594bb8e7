//! A turn: the mutex is held as long as the turn lives.

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

/// A thread's turn. It cannot leave its thread, so no other thread can release it.
///
/// ```compile_fail,E0277
/// let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
/// let turn = mutex.acquire("fisher").unwrap();
/// std::thread::spawn(move || drop(turn)); // `*const ()` cannot be sent between threads safely
/// ```
pub type Turn = TurnOf<OfThread>;
/// A task's turn. It is `Send`.
pub type TaskTurn = TurnOf<OfTask>;

/// While this lives, the mutex is held, or a pass of an observed module is open. Dropping it is the release. If a panic
/// drops it, the event log says so.
///
/// `Of` says whose turn it is: [`OfThread`] or [`OfTask`].
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped: bind it to a name"]
pub struct TurnOf<Of> {
    place: Arc<dyn Place>,
    hold: RequestId,
    owner: Option<Owner>,
    grant: Grant,
    open: bool,
    /// Whether it was granted while a panic was unwinding. That panic says nothing about the turn.
    panicking: bool,
    of: PhantomData<Of>,
}

/// Marks a turn whose owner is the thread. Such a turn must not leave it.
#[derive(Debug)]
pub struct OfThread(PhantomData<*const ()>);

/// Marks a turn whose owner is whoever has it.
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

    /// Returns the turn's fencing number, which is larger than that of every turn before (S17). A pass of an observed module
    /// has none.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.grant.token
    }

    /// Returns whether this is a pass of a module that is only observed or off. A pass excludes nobody (S15).
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.grant.token.is_none()
    }

    /// Returns the module.
    #[must_use]
    pub fn module(&self) -> Module {
        let id = self.grant.module;
        Module { mutex: self.place.identity().number, id, name: self.place.module_name(id) }
    }

    /// Returns how long the ask waited.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.grant.waited
    }

    /// Returns how many other turns ended between the ask and the grant. If it is not zero, what was read before the ask is
    /// stale (S9).
    #[must_use]
    pub fn others_since_request(&self) -> u64 {
        self.grant.others_since_request
    }

    /// Returns whether an earlier turn was abandoned or revoked and nobody has acknowledged it since. What it did may be
    /// half done (S7).
    ///
    /// ```
    /// # let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
    /// let turn = mutex.acquire("fisher")?;
    /// if turn.predecessor_abandoned() {
    ///     // put things right, then:
    ///     turn.acknowledge()?;
    /// }
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    #[must_use]
    pub fn predecessor_abandoned(&self) -> bool {
        self.grant.predecessor_abandoned
    }

    /// Tells the mutex that things were put right after an abandoned turn. Later turns then see no mark (S7).
    ///
    /// # Errors
    ///
    /// [`Error::NotHolder`] if this is a pass or the turn is over.
    pub fn acknowledge(&self) -> Result<(), Error> {
        self.place.acknowledge(self.hold)
    }

    /// Returns whether the turn should be given away soon (S11). It is `true` if somebody more important waits, if a pause
    /// asks for it, if the turn has lasted longer than the module's longest turn, or if it was lost (S6).
    ///
    /// ```
    /// # use packet_mutex::{PacketMutex, Roster, all_but_urgent};
    /// # let mutex = PacketMutex::new(Roster::default());
    /// let turn = mutex.acquire("fisher")?;
    /// assert!(!turn.should_yield());
    /// mutex.pause(all_but_urgent(), "alarm")?;
    /// assert!(turn.should_yield());
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    #[must_use]
    pub fn should_yield(&self) -> bool {
        self.place.should_yield(self.hold)
    }

    /// Returns whether it is still held. A turn is lost if its lease ran out, if an operator revoked it, or if the connection
    /// to the mutex's server is gone (S7, S8, S12). A pass counts as held until it ends.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.open && (self.is_pass() || self.place.holds(self.hold))
    }

    /// Ends the turn. Dropping it does the same.
    pub fn release(mut self) {
        self.leave(Leave::Released);
    }

    /// Ends a turn in which nothing was sent. No delay starts, and the history stays what it was (S9).
    ///
    /// ```
    /// # let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
    /// mutex.acquire("fisher")?.decline(); // no fish in sight
    /// // There is no handover to wait for.
    /// assert!(mutex.try_acquire("eater").is_ok());
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
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
        // `release`, `decline` and then the destructor come through here. Only the first ends the turn.
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

    /// Becomes the turn that was granted to the new ask.
    fn become_turn(&mut self, Hold { id, owner: _, grant }: Hold) {
        (self.hold, self.grant, self.open) = (id, grant, true);
    }
}

impl TurnOf<OfThread> {
    /// Gets a turn inside this one at once, for a module of the same group. The two may end in any order (S5).
    ///
    /// Inside a pass it is an ask like any other.
    ///
    /// # Errors
    ///
    /// [`Error::WouldDeadlock`] for another group, [`Error::NotHolder`] if the turn is over.
    ///
    /// ```
    /// # let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
    /// let fisher = mutex.acquire("fisher")?;
    /// let stacker = fisher.nest("stacker")?; // of the same group
    /// assert_eq!(stacker.token(), fisher.token());
    /// drop(fisher); // the mutex is still held
    /// assert!(stacker.is_held());
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn nest<'m>(&self, module: impl Into<ModuleRef<'m>>) -> Result<Turn, Error> {
        let terms = Terms { within: Some(self.hold), ..Terms::default() };
        Ok(TurnOf::new(&self.place, ask_as_thread(&self.place, &module.into(), terms)?))
    }

    /// Gives the turn away and asks again in one step. Others come first if they should (S11). The new turn has a new token.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] while nested turns are open. The turn then goes on. Any other error leaves no turn.
    ///
    /// ```
    /// # let mutex = packet_mutex::PacketMutex::new(packet_mutex::Roster::default());
    /// let mut turn = mutex.acquire("fisher")?;
    /// while turn.should_yield() {
    ///     turn.yield_now()?;
    /// }
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn yield_now(&mut self) -> Result<(), Error> {
        self.yield_for(None)
    }

    /// Like [`yield_now`](Self::yield_now), with a timeout of its own.
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

    /// Sleeps inside the turn, in the mutex's time. The sleep ends early when the turn should be given away (S11).
    ///
    /// ```
    /// use packet_mutex::{PacketMutex, Roster, Slept};
    /// use std::time::Duration;
    ///
    /// let mutex = PacketMutex::new(Roster::default());
    /// let turn = mutex.acquire("fisher")?;
    /// match turn.sleep(Duration::from_millis(10)) {
    ///     Slept::Whole => {} // send the next packet
    ///     Slept::ShouldYield => drop(turn),
    /// }
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn sleep(&self, time: Duration) -> Slept {
        sleep_as_thread(&self.place, self.hold, self.is_pass(), time)
    }
}

impl TurnOf<OfTask> {
    /// Gets a turn inside this one at once, for a module of the same group. The two may end in any order (S5).
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

    /// Gives the turn away and asks again in one step. Others come first if they should (S11). The new turn has a new token.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] while nested turns are open. The turn then goes on. Any other error leaves no turn.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the new ask and leaves no turn.
    pub async fn yield_now(&mut self) -> Result<(), Error> {
        self.yield_for(None).await
    }

    /// Like [`yield_now`](Self::yield_now), with a timeout of its own.
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

    /// Sleeps inside the turn, in the mutex's time. The sleep ends early when the turn should be given away (S11).
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
        // A destructor that asks while a panic unwinds gets a turn too, and may well finish it in order.
        let panicked = std::thread::panicking() && !self.panicking;
        self.leave(if panicked { Leave::Panicked } else { Leave::Released });
    }
}
