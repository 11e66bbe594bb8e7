//! A mutex in this process, as asks and turns use it.

use super::events::Reader;
use super::mutex::{LocalMutex, State};
use crate::error::Error;
use crate::events::EventSource;
use crate::module::{Module, ModuleRef};
use crate::place::{Asked, Granted, Identity, Nap, Place, Slept, Terms};
use packet_mutex_arbiter::{
    Answer, Failure, Input, Leave, ModuleId, Owner, Request, RequestId, Roster, Status, Steer, Time,
};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

impl Place for LocalMutex {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn begin(&self, module: &ModuleRef<'_>, terms: Terms) -> Result<Asked, Error> {
        let Terms { owner, timeout, urgent, within, claim } = terms;
        let (id, answer) = self.with(|state, now| {
            let module = state.resolve(self.identity.number, module)?;
            let id = state.arbiter.next_request();
            let request =
                Request { owner, within, urgent, timeout, claim, ..Request::new(id, module) };
            Ok::<_, Error>((id, state.request(now, request, claim)))
        })?;
        Ok((id, answer.map(granted)))
    }

    fn poll(&self, request: RequestId, waker: &Waker) -> Option<Granted> {
        let waker = waker.clone();
        // The old waker is dropped at the end of this function, outside the lock.
        let (answer, _old_waker) =
            self.with(|state, now| state.answer_and_claim(now, request, waker));
        answer.map(granted)
    }

    fn withdraw(&self, request: RequestId) {
        // Destructors of futures come here, so a broken mutex must not panic again.
        let _asker = self.try_with(|state, now| state.withdraw(now, request));
    }

    fn end(&self, hold: RequestId, owner: Option<Owner>, how: Leave) -> Result<(), Error> {
        Ok(self.input(Input::End { hold, owner, how })?)
    }

    fn leave(&self, hold: RequestId, owner: Option<Owner>, how: Leave) {
        let end = Input::End { hold, owner, how };
        // The turn's destructor comes here. In a broken mutex there is no turn to end any more.
        self.try_with(|state, now| state.handle(now, end).ok());
    }

    fn end_module(&self, module: &ModuleRef<'_>, owner: Owner) -> Result<(), Error> {
        self.with(|state, now| {
            let module = state.resolve(self.identity.number, module)?;
            Ok(state.handle(now, Input::EndModule { module, owner })?)
        })
    }

    fn owner_lost(&self, owner: Owner) {
        // An owner that left nothing behind changes nothing.
        self.try_with(|state, now| state.handle(now, Input::OwnerLost { owner }).ok());
    }

    fn give_away(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        timeout: Option<Duration>,
    ) -> Result<Asked, Error> {
        let (id, answer) = self.with(|state, now| {
            let id = state.arbiter.next_request();
            let input = Input::Yield { hold, owner, id, timeout };
            // The arbiter knows whether the old grant had to be claimed, and asks the same of the new one. To claim one that
            // need not be claimed changes nothing.
            Ok::<_, Failure>((id, state.ask(now, id, true, input)?))
        })?;
        Ok((id, answer.map(granted)))
    }

    fn holds(&self, hold: RequestId) -> bool {
        self.with(|state, _| state.arbiter.holds(hold))
    }

    fn should_yield(&self, hold: RequestId) -> bool {
        self.with(|state, now| {
            // What fell due by now counts, even if the alarm has not rung yet.
            state.tick(now);
            state.revoked.contains(&hold) || state.arbiter.should_yield(hold, now)
        })
    }

    fn acknowledge(&self, hold: RequestId) -> Result<(), Error> {
        Ok(self.input(Input::Acknowledge { hold })?)
    }

    fn new_key(&self) -> u64 {
        self.with(|state, _| state.sleepers.new_key())
    }

    fn poll_nap(&self, nap: &Nap, waker: &Waker) -> Option<Slept> {
        let waker = waker.clone();
        let (slept, _old_waker) = self.with(|state, now| {
            if should_wake(state, now, nap) {
                (Some(Slept::ShouldYield), None)
            } else if nap.end <= now {
                (Some(Slept::Whole), None)
            } else {
                (None, state.sleepers.leave(nap.key, waker))
            }
        });
        slept
    }

    fn forget_key(&self, key: u64) {
        let _waker = self.try_with(|state, _| state.sleepers.remove(key));
    }

    fn module(&self, name: &str) -> Result<Module, Error> {
        self.with(|state, _| {
            let id = state.resolve_name(name)?.module;
            let name = state.arbiter.module_name(id).clone();
            Ok(Module { mutex: self.identity.number, id, name })
        })
    }

    fn module_name(&self, module: ModuleId) -> Arc<str> {
        self.with(|state, _| state.arbiter.module_name(module).clone())
    }

    fn holder(&self) -> Option<(Option<Owner>, Arc<str>)> {
        self.with(|state, _| {
            let (owner, module) = state.arbiter.holder()?;
            Some((owner, state.arbiter.module_name(module).clone()))
        })
    }

    fn status(&self) -> Result<Status, Error> {
        Ok(self.with(|state, now| {
            state.tick(now);
            state.arbiter.status(now)
        }))
    }

    fn roster(&self) -> Roster {
        self.with(|state, _| state.arbiter.roster().clone())
    }

    fn events(self: Arc<Self>, so_far: bool) -> Box<dyn EventSource> {
        Box::new(Reader::new(self, so_far.then_some(0)))
    }

    fn steer(&self, steer: Steer<&str>) -> Result<(), Error> {
        self.with(|state, now| {
            let steer =
                steer.try_map_module(|name| Ok::<_, Error>(state.resolve_name(name)?.module))?;
            Ok(state.handle(now, Input::Steer(steer))?)
        })
    }
}

/// Returns whether the sleep should end early: the turn should be given away, or it is over.
fn should_wake(state: &mut State, now: Time, nap: &Nap) -> bool {
    state.tick(now);
    let is_over = !nap.is_pass && !state.arbiter.holds(nap.hold);
    is_over || state.arbiter.should_yield(nap.hold, now)
}

fn granted(answer: Answer) -> Granted {
    match answer {
        Answer::Turn(grant) | Answer::Pass(grant) => Ok(grant),
        Answer::Failed(failure) => Err(failure.into()),
    }
}
