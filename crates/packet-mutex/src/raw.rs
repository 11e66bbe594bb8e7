//! What a binding to another language needs: asks with owners of its own, and answers by polling.
//!
//! No rule is decided here. Like the rest of this crate it hands inputs to the arbiter and takes its answers; only who owns
//! a turn, and how it waits, is the binding's affair. Not part of the crate's promises.

use crate::clock::Alarm;
use crate::error::Error;
use crate::events::{Entry, Events};
use crate::module::Module;
use crate::mutex::PacketMutex;
use crate::turn::Slept;
use crate::{log, owner};
use packet_mutex_arbiter::{Failure, Input, Request, Time};
use std::task::Waker;
use std::time::Duration;

pub use packet_mutex_arbiter::{Answer, Grant, Leave, Owner, RequestId};

/// What an ask says beside its module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Who asks.
    pub owner: Option<Owner>,
    /// How long it waits; `None`: as the roster says.
    pub timeout: Option<Duration>,
    /// Ahead of all that are not urgent.
    pub urgent: bool,
    /// It can be granted without noticing: a grant that no [`poll`] takes in time is declined.
    pub claim: bool,
}

/// An owner that nobody was before.
#[must_use]
pub fn new_owner() -> Owner {
    owner::new_owner()
}

/// The calling thread as an owner. When it ends, the mutex learns it (S7).
#[must_use]
pub fn this_thread(mutex: &PacketMutex) -> Owner {
    owner::this_thread(&mutex.shared)
}

/// The calling thread is the only one of a forked child: the mutexes that it asked are not its own any more, and their
/// locks may never be free again.
pub fn forget_this_thread() {
    owner::forget_this_thread();
}

/// A number that no other mutex of this process has.
#[must_use]
pub fn number(mutex: &PacketMutex) -> u64 {
    mutex.shared.number
}

/// Makes a request. Its answer, if it came at once; else [`poll`] for it.
#[must_use]
pub fn begin(mutex: &PacketMutex, module: &Module, terms: Terms) -> (RequestId, Option<Answer>) {
    let (id, answer) = mutex.shared.with(|state, now| {
        let id = state.arbiter.next_request();
        let Terms { owner, timeout, urgent, claim } = terms;
        let request =
            Request { owner, urgent, timeout, claim, ..Request::new(id, module_id(module)) };
        let answer = state.request(now, request);
        if claim && answer.is_some() {
            // An answer that comes at once is seen at once.
            let _ = state.handle(now, Input::Claim { request: id });
        }
        (id, answer)
    });
    (id, answer.inspect(|answer| log_timeout(mutex, module, answer)))
}

/// Takes the answer of a request, and claims its grant if it must be claimed; without an answer, leaves the waker.
#[must_use]
pub fn poll(mutex: &PacketMutex, module: &Module, id: RequestId, waker: &Waker) -> Option<Answer> {
    let waker = waker.clone();
    let (answer, _old_waker) = mutex.shared.with(|state, now| {
        let (answer, waker) = state.answer_or_leave(id, waker);
        let lost = matches!(answer, Some(Answer::Turn(_)))
            && state.handle(now, Input::Claim { request: id }).is_err();
        (if lost { Some(Answer::Failed(Failure::Lost)) } else { answer }, waker)
    });
    answer.inspect(|answer| log_timeout(mutex, module, answer))
}

/// The asker went away; a grant that it has not seen is declined (S12).
pub fn withdraw(mutex: &PacketMutex, id: RequestId) {
    let _asker = mutex.shared.with(|state, now| state.withdraw(now, id));
}

/// Ends a hold or pass.
///
/// # Errors
///
/// [`Error::NotHolder`] if it is not the owner's, or over (S6).
pub fn end(
    mutex: &PacketMutex,
    hold: RequestId,
    owner: Option<Owner>,
    how: Leave,
) -> Result<(), Error> {
    Ok(mutex.shared.input(Input::End { hold, owner, how })?)
}

/// Ends the owner's newest hold of a module.
///
/// # Errors
///
/// [`Error::NotHolder`] if it has none (S6).
pub fn end_module(mutex: &PacketMutex, module: &Module, owner: Owner) -> Result<(), Error> {
    Ok(mutex.shared.input(Input::EndModule { module: module_id(module), owner })?)
}

/// An owner is gone, and with it what it held and waited for (S7).
pub fn owner_lost(mutex: &PacketMutex, owner: Owner) {
    // An owner that left nothing behind changes nothing.
    let _ = mutex.shared.input(Input::OwnerLost { owner });
}

/// Ends the turn and asks again in one step (S11).
///
/// # Errors
///
/// [`Error::NotHolder`], or [`Error::Refused`] while nested turns are open; the turn then goes on.
pub fn give_away(
    mutex: &PacketMutex,
    module: &Module,
    hold: RequestId,
    owner: Option<Owner>,
    timeout: Option<Duration>,
) -> Result<(RequestId, Option<Answer>), Error> {
    let (id, answer) = mutex.shared.with(|state, now| {
        let id = state.arbiter.next_request();
        let answer = state.ask(now, id, Input::Yield { hold, owner, id, timeout })?;
        Ok::<_, Failure>((id, answer))
    })?;
    Ok((id, answer.inspect(|answer| log_timeout(mutex, module, answer))))
}

/// Is this hold of the turn open?
#[must_use]
pub fn holds(mutex: &PacketMutex, hold: RequestId) -> bool {
    mutex.shared.with(|state, _| state.arbiter.holds(hold))
}

/// Who holds the mutex: its owner if it has one, and its module's name.
#[must_use]
pub fn holder(mutex: &PacketMutex) -> Option<(Option<Owner>, std::sync::Arc<str>)> {
    mutex.shared.with(|state, _| {
        let (owner, module) = state.arbiter.holder()?;
        Some((owner, state.arbiter.module_name(module).clone()))
    })
}

/// Should this hold's turn be given away (S11)?
#[must_use]
pub fn should_yield(mutex: &PacketMutex, hold: RequestId) -> bool {
    mutex.shared.with(|state, now| {
        // Counts what fell due until now; nothing refuses a tick.
        let _ = state.handle(now, Input::Tick);
        state.arbiter.should_yield(hold, now)
    })
}

/// Things were put right after an abandoned turn (S7).
///
/// # Errors
///
/// [`Error::NotHolder`] for a pass or a turn that is over.
pub fn acknowledge(mutex: &PacketMutex, hold: RequestId) -> Result<(), Error> {
    Ok(mutex.shared.input(Input::Acknowledge { hold })?)
}

/// Ends this owner's own turn and cancels the waiters (S20).
pub fn reset(mutex: &PacketMutex, owner: Owner) {
    // Nothing refuses this.
    let _ = mutex.shared.input(Input::Reset { owner: Some(owner) });
}

/// A sleep inside a turn, in the mutex's time (S11). It wakes the waker that [`poll`](Sleep::poll) leaves.
#[derive(Debug)]
pub struct Sleep {
    mutex: PacketMutex,
    hold: RequestId,
    is_pass: bool,
    end: Time,
    key: u64,
    alarm: Option<Alarm>,
}

impl Sleep {
    /// A sleep of this length inside this hold or pass.
    #[must_use]
    pub fn new(mutex: &PacketMutex, hold: RequestId, is_pass: bool, length: Duration) -> Self {
        let (end, key) = mutex.shared.with(|state, now| (now + length, state.sleepers.new_key()));
        Sleep { mutex: mutex.clone(), hold, is_pass, end, key, alarm: None }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn poll(&mut self, waker: &Waker) -> Option<Slept> {
        let (hold, end) = (self.hold, self.end);
        let to_leave = waker.clone();
        let (slept, _old_waker) = self.mutex.shared.with(|state, now| {
            // Counts what fell due until now; nothing refuses a tick.
            let _ = state.handle(now, Input::Tick);
            let over = !self.is_pass && !state.arbiter.holds(hold);
            if over || state.arbiter.should_yield(hold, now) {
                (Some(Slept::ShouldYield), None)
            } else if end <= now {
                (Some(Slept::Whole), None)
            } else {
                (None, state.sleepers.leave(self.key, to_leave))
            }
        });
        self.cancel();
        if slept.is_none() {
            self.alarm = Some(self.mutex.shared.clock.wake_at(end, waker.clone()));
        }
        slept
    }

    fn cancel(&mut self) {
        self.alarm.take().into_iter().for_each(|alarm| self.mutex.shared.clock.cancel(alarm));
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
        let _waker = self.mutex.shared.try_with(|state, _| state.sleepers.remove(self.key));
    }
}

/// All new events; if there are none, leaves the waker.
#[must_use]
pub fn poll_events(events: &mut Events, waker: &Waker) -> Option<Vec<Entry>> {
    let shared = events.shared.clone();
    let waker = waker.clone();
    let (entries, _old_waker) = shared.with(|state, now| {
        let entries = events.read(state, now);
        let old = if entries.is_empty() { state.readers.leave(events.key, waker) } else { None };
        (entries, old)
    });
    (!entries.is_empty()).then_some(entries)
}

fn module_id(module: &Module) -> packet_mutex_arbiter::ModuleId {
    module.id
}

/// The event log cannot say why a request timed out, so whoever has the answer does.
fn log_timeout(mutex: &PacketMutex, module: &Module, answer: &Answer) {
    if let Answer::Failed(failure @ Failure::TimedOut(_)) = answer {
        log::write_timeout(&mutex.shared.name, &module.name, &failure.clone().into());
    }
}
