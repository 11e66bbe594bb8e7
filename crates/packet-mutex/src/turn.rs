//! A turn: the mutex is held as long as it lives.

use crate::ask::{Granted, TaskAsk, Terms, log_timeout, wait_for_turn};
use crate::error::Error;
use crate::module::{Module, ModuleRef};
use crate::shared::{Shared, State};
use packet_mutex_arbiter::{Answer, Failure, Grant, Input, Leave, Owner, RequestId, Time, Token};
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
    shared: Arc<Shared>,
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

/// How a sleep inside a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// The time is over.
    Whole,
    /// The turn should be given away: somebody more important waits (S11).
    ShouldYield,
}

impl<Of> TurnOf<Of> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        hold: RequestId,
        owner: Option<Owner>,
        grant: Grant,
    ) -> Self {
        let panicking = std::thread::panicking();
        TurnOf { shared, hold, owner, grant, open: true, panicking, of: PhantomData }
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
        let name = self.shared.with(|state, _| state.arbiter.module_name(id).clone());
        Module { mutex: self.shared.number, id, name }
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
        Ok(self.shared.input(Input::Acknowledge { hold: self.hold })?)
    }

    /// Should the turn be given away soon: does somebody more important wait, does a pause ask for it, or has it lasted
    /// longer than the module's longest turn (S11)?
    #[must_use]
    pub fn should_yield(&self) -> bool {
        self.shared.with(|state, now| {
            // Counts what fell due until now; nothing refuses a tick.
            let _ = state.handle(now, Input::Tick);
            state.arbiter.should_yield(self.hold, now)
        })
    }

    /// Ends the turn. Dropping it does the same.
    pub fn release(mut self) {
        self.leave(Leave::Released);
    }

    /// Ends a turn in which nothing was sent: no delay starts and the history stays what it was (S9).
    pub fn decline(mut self) {
        self.leave(Leave::Declined);
    }

    /// Is there no reason to sleep on: should the turn be given away, or is it gone?
    fn should_wake(&self, state: &mut State, now: Time) -> bool {
        // Counts what fell due until now; nothing refuses a tick.
        let _ = state.handle(now, Input::Tick);
        let over = !self.is_pass() && !state.arbiter.holds(self.hold);
        over || state.arbiter.should_yield(self.hold, now)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn decline_in_place(&mut self) {
        self.leave(Leave::Declined);
    }

    fn leave(&mut self, how: Leave) {
        if std::mem::take(&mut self.open) {
            let (hold, owner) = (self.hold, self.owner);
            // A turn that somebody else ended is over all the same; the log tells of it.
            let end = Input::End { hold, owner, how };
            self.shared.try_with(|state, now| state.handle(now, end).ok());
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.grant.depth
    }

    /// Ends the turn and asks again, in one step. The answer, if it comes at once.
    fn give_away(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<(RequestId, Option<Answer>), Failure> {
        let (hold, owner) = (self.hold, self.owner);
        let (id, answer) = self.shared.with(|state, now| {
            let id = state.arbiter.next_request();
            let answer = state.ask(now, id, Input::Yield { hold, owner, id, timeout })?;
            if answer.is_some() {
                // An answer that comes at once is seen at once.
                let _ = state.handle(now, Input::Claim { request: id });
            }
            Ok((id, answer))
        })?;
        self.open = false;
        Ok((id, answer))
    }

    /// Becomes the turn that was granted anew.
    fn become_turn(&mut self, mut again: TurnOf<Of>) {
        (self.hold, self.grant, self.open) = (again.hold, again.grant, true);
        again.open = false;
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
        wait_for_turn(&self.shared, &module.into(), Terms::within(self.hold))
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
        let (id, answer) = self.give_away(timeout)?;
        let shared = self.shared.clone();
        let again = Granted { shared: &shared, id, owner: self.owner }.wait(answer);
        let again = again.inspect_err(|e| log_timeout(&shared, &(&self.module()).into(), e))?;
        self.become_turn(again);
        Ok(())
    }

    /// Sleeps inside the turn, in the mutex's time; ends early when the turn should be given away (S11).
    pub fn sleep(&self, time: Duration) -> Slept {
        let end = self.shared.clock.now() + time;
        let key = self.shared.with(|state, _| state.sleepers.new_key());
        let woken = self.shared.wait(Some(end), |state, waker, now| {
            let woken = self.should_wake(state, now).then_some(Slept::ShouldYield);
            if woken.is_none() {
                // Only this thread's own wakers are replaced.
                drop(state.sleepers.leave(key, waker));
            }
            woken
        });
        drop(self.shared.with(|state, _| state.sleepers.remove(key)));
        woken.unwrap_or(Slept::Whole)
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
        TaskAsk::new(&self.shared, module.into(), Terms::within(self.hold)).await
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
        let module = self.module();
        let (id, answer) = self.give_away(None)?;
        let shared = self.shared.clone();
        let again = match answer {
            Some(answer) => TaskAsk::made(&shared, (&module).into(), id).answered(id, answer)?,
            None => TaskAsk::made(&shared, (&module).into(), id).await?,
        };
        self.become_turn(again);
        Ok(())
    }

    /// Sleeps inside the turn, in the mutex's time; ends early when the turn should be given away (S11).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the sleep and nothing else.
    pub async fn sleep(&self, time: Duration) -> Slept {
        let end = self.shared.clock.now() + time;
        let mut sleep = TaskSleep { turn: self, key: None, alarm: None };
        std::future::poll_fn(move |context| sleep.poll(end, context.waker())).await
    }
}

/// A task's sleep inside its turn; takes its alarm back when it is dropped.
struct TaskSleep<'a> {
    turn: &'a TurnOf<OfTask>,
    key: Option<u64>,
    alarm: Option<crate::clock::Alarm>,
}

impl TaskSleep<'_> {
    fn poll(&mut self, end: Time, waker: &std::task::Waker) -> Poll<Slept> {
        let (turn, left) = (self.turn, waker.clone());
        let (slept, _old_waker) = turn.shared.with(|state, now| {
            if turn.should_wake(state, now) {
                (Some(Slept::ShouldYield), None)
            } else if end <= now {
                (Some(Slept::Whole), None)
            } else {
                let key = *self.key.get_or_insert_with(|| state.sleepers.new_key());
                (None, state.sleepers.leave(key, left))
            }
        });
        if slept.is_none() {
            self.cancel();
            self.alarm = Some(turn.shared.clock.wake_at(end, waker.clone()));
        }
        slept.map_or(Poll::Pending, Poll::Ready)
    }

    fn cancel(&mut self) {
        self.alarm.take().into_iter().for_each(|alarm| self.turn.shared.clock.cancel(alarm));
    }
}

impl Drop for TaskSleep<'_> {
    fn drop(&mut self) {
        self.cancel();
        if let Some(key) = self.key {
            let _waker = self.turn.shared.try_with(|state, _| state.sleepers.remove(key));
        }
    }
}

impl<Of> Drop for TurnOf<Of> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking() && !self.panicking;
        self.leave(if panicked { Leave::Panicked } else { Leave::Released });
    }
}
