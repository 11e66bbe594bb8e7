//! A mutex in this process, as asks and turns use it.

use crate::backend::{Asking, Granted};
use crate::error::Error;
use crate::module::{Module, ModuleRef};
use crate::shared::{Shared, State};
use crate::turn::Slept;
use packet_mutex_arbiter::{
    Answer, Failure, Input, Leave, ModuleId, Owner, Request, RequestId, Time,
};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

impl Shared {
    /// Makes a request. Its answer, if it came at once.
    pub(crate) fn begin(
        &self,
        module: &ModuleRef<'_>,
        asking: Asking,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        let Asking { owner, timeout, urgent, within, claim } = asking;
        let (id, answer) = self.with(|state, now| {
            let module = state.resolve(self.number, module)?;
            let id = state.arbiter.next_request();
            let request =
                Request { owner, within, urgent, timeout, claim, ..Request::new(id, module) };
            let answer = state.request(now, request);
            if claim && answer.is_some() {
                // An answer that comes at once is seen at once.
                let _ = state.handle(now, Input::Claim { request: id });
            }
            Ok::<_, Error>((id, answer))
        })?;
        Ok((id, answer.map(granted)))
    }

    /// Takes the answer of a request, and claims its grant if it must be claimed; without an answer, leaves the waker.
    pub(crate) fn poll(&self, id: RequestId, waker: &Waker) -> Option<Granted> {
        let waker = waker.clone();
        let (answer, _old_waker) = self.with(|state, now| {
            let (answer, waker) = state.answer_or_leave(id, waker);
            let lost = matches!(answer, Some(Answer::Turn(_)))
                && state.handle(now, Input::Claim { request: id }).is_err();
            (if lost { Some(Answer::Failed(Failure::Lost)) } else { answer }, waker)
        });
        answer.map(granted)
    }

    /// Waits for the answer of a request, as a thread.
    pub(crate) fn wait_for(&self, id: RequestId) -> Granted {
        let mut _old = None;
        let answer = self.wait(None, |state, waker, _| {
            let (answer, replaced) = state.answer_or_leave(id, waker);
            _old = replaced;
            answer
        });
        answer.map_or(Err(Error::Lost), granted)
    }

    /// The asker went away; a grant that it has not seen is declined (S12).
    pub(crate) fn forget(&self, id: RequestId) {
        let _asker = self.try_with(|state, now| state.withdraw(now, id));
    }

    pub(crate) fn end(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        how: Leave,
    ) -> Result<(), Error> {
        Ok(self.input(Input::End { hold, owner, how })?)
    }

    /// [`end`](Self::end) for destructors. A turn that somebody else ended is over all the same; the log tells of it.
    pub(crate) fn leave(&self, hold: RequestId, owner: Option<Owner>, how: Leave) {
        let end = Input::End { hold, owner, how };
        self.try_with(|state, now| state.handle(now, end).ok());
    }

    pub(crate) fn end_module(&self, module: &ModuleRef<'_>, owner: Owner) -> Result<(), Error> {
        self.input_about(module, |module| Input::EndModule { module, owner })
    }

    pub(crate) fn owner_lost(&self, owner: Owner) {
        // An owner that left nothing behind changes nothing.
        self.try_with(|state, now| state.handle(now, Input::OwnerLost { owner }).ok());
    }

    /// Ends the turn and asks again, in one step. The answer, if it comes at once.
    pub(crate) fn give_away(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        timeout: Option<Duration>,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        let (id, answer) = self.with(|state, now| {
            let id = state.arbiter.next_request();
            let answer = state.ask(now, id, Input::Yield { hold, owner, id, timeout })?;
            if answer.is_some() {
                // An answer that comes at once is seen at once.
                let _ = state.handle(now, Input::Claim { request: id });
            }
            Ok::<_, Failure>((id, answer))
        })?;
        Ok((id, answer.map(granted)))
    }

    pub(crate) fn holds(&self, hold: RequestId) -> bool {
        self.with(|state, _| state.arbiter.holds(hold))
    }

    pub(crate) fn should_yield(&self, hold: RequestId) -> bool {
        self.with(|state, now| {
            tick(state, now);
            state.arbiter.should_yield(hold, now)
        })
    }

    pub(crate) fn acknowledge(&self, hold: RequestId) -> Result<(), Error> {
        Ok(self.input(Input::Acknowledge { hold })?)
    }

    pub(crate) fn module_name(&self, module: ModuleId) -> Arc<str> {
        self.with(|state, _| state.arbiter.module_name(module).clone())
    }

    pub(crate) fn module(&self, name: &str) -> Result<Module, Error> {
        self.with(|state, _| {
            let id = state.resolve(self.number, &ModuleRef::Name(name))?;
            let name = state.arbiter.module_name(id).clone();
            Ok(Module { mutex: self.number, id, name })
        })
    }

    // Sleeping inside a turn (S11).

    pub(crate) fn new_sleep(&self) -> u64 {
        self.with(|state, _| state.sleepers.new_key())
    }

    /// Sleeps as a thread.
    pub(crate) fn sleep(&self, hold: RequestId, is_pass: bool, end: Time) -> Slept {
        let key = self.new_sleep();
        let woken = self.wait(Some(end), |state, waker, now| {
            let woken = should_wake(state, now, hold, is_pass).then_some(Slept::ShouldYield);
            if woken.is_none() {
                // Only this thread's own wakers are replaced.
                drop(state.sleepers.leave(key, waker));
            }
            woken
        });
        self.forget_sleep(key);
        woken.unwrap_or(Slept::Whole)
    }

    /// How a sleep ended, if it has; else leaves the waker.
    pub(crate) fn poll_sleep(
        &self,
        (hold, is_pass): (RequestId, bool),
        end: Time,
        key: u64,
        waker: &Waker,
    ) -> Option<Slept> {
        let waker = waker.clone();
        let (slept, _old_waker) = self.with(|state, now| {
            if should_wake(state, now, hold, is_pass) {
                (Some(Slept::ShouldYield), None)
            } else if end <= now {
                (Some(Slept::Whole), None)
            } else {
                (None, state.sleepers.leave(key, waker))
            }
        });
        slept
    }

    pub(crate) fn forget_sleep(&self, key: u64) {
        let _waker = self.try_with(|state, _| state.sleepers.remove(key));
    }
}

/// Is there no reason to sleep on: should the turn be given away, or is it gone?
fn should_wake(state: &mut State, now: Time, hold: RequestId, is_pass: bool) -> bool {
    tick(state, now);
    let over = !is_pass && !state.arbiter.holds(hold);
    over || state.arbiter.should_yield(hold, now)
}

/// Counts what fell due until now.
pub(crate) fn tick(state: &mut State, now: Time) {
    // Nothing refuses a tick.
    let _ = state.handle(now, Input::Tick);
}

fn granted(answer: Answer) -> Granted {
    match answer {
        Answer::Turn(grant) | Answer::Pass(grant) => Ok(grant),
        Answer::Failed(failure) => Err(failure.into()),
    }
}
