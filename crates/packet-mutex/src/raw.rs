//! What a binding to another language needs: asks with owners of its own, and answers by polling.
//!
//! No rule is decided here. Like the rest of this crate it hands inputs to the arbiter and takes its answers; only who owns
//! a turn, and how it waits, is the binding's affair. Not part of the crate's promises.

use crate::backend::{self, Asking, Backend, Granted};
use crate::error::Error;
use crate::events::{Entry, Events};
use crate::module::Module;
use crate::mutex::PacketMutex;
use crate::owner;
use crate::turn::Slept;
use packet_mutex_arbiter::Input;
use std::task::Waker;
use std::time::Duration;

pub use packet_mutex_arbiter::fold_name;

pub use packet_mutex_arbiter::{Grant, Leave, Owner, RequestId};

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A turn, or a turn nested in one's own.
    Turn(Grant),
    /// A pass of an observed or switched-off module (S15).
    Pass(Grant),
    /// It failed; the asker does not have the mutex.
    Failed(Failed),
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub struct Failed(pub Error);

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.0
    }
}

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
    owner::this_thread(&mutex.backend)
}

/// The calling thread is the only one of a forked child: the mutexes that it asked are not its own any more, and their
/// locks may never be free again.
pub fn forget_this_thread() {
    owner::forget_this_thread();
}

/// A number that no other mutex of this process has.
#[must_use]
pub fn number(mutex: &PacketMutex) -> u64 {
    mutex.backend.number()
}

/// Makes a request. Its answer, if it came at once; else [`poll`] for it.
#[must_use]
pub fn begin(mutex: &PacketMutex, module: &Module, terms: Terms) -> (RequestId, Option<Answer>) {
    let Terms { owner, timeout, urgent, claim } = terms;
    let asking = Asking { owner, timeout, urgent, claim, within: None };
    match mutex.backend.begin(&module.into(), asking) {
        Ok((id, granted)) => (id, granted.map(|granted| answer(mutex, module, granted))),
        // No request has the number 0.
        Err(error) => (RequestId(0), Some(answer(mutex, module, Err(error)))),
    }
}

/// Takes the answer of a request, and claims its grant if it must be claimed; without an answer, leaves the waker.
#[must_use]
pub fn poll(mutex: &PacketMutex, module: &Module, id: RequestId, waker: &Waker) -> Option<Answer> {
    mutex.backend.poll(id, waker).map(|granted| answer(mutex, module, granted))
}

/// The asker went away; a grant that it has not seen is declined (S12).
pub fn withdraw(mutex: &PacketMutex, id: RequestId) {
    mutex.backend.forget(id);
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
    mutex.backend.end(hold, owner, how)
}

/// Ends the owner's newest hold of a module.
///
/// # Errors
///
/// [`Error::NotHolder`] if it has none (S6).
pub fn end_module(mutex: &PacketMutex, module: &Module, owner: Owner) -> Result<(), Error> {
    mutex.backend.end_module(&module.into(), owner)
}

/// An owner is gone, and with it what it held and waited for (S7).
pub fn owner_lost(mutex: &PacketMutex, owner: Owner) {
    mutex.backend.owner_lost(owner);
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
    let (id, granted) = mutex.backend.give_away(hold, owner, timeout)?;
    Ok((id, granted.map(|granted| answer(mutex, module, granted))))
}

/// Is this hold of the turn open?
#[must_use]
pub fn holds(mutex: &PacketMutex, hold: RequestId) -> bool {
    mutex.backend.holds(hold)
}

/// Who holds the mutex: its owner if it has one in this process, and its module's name.
#[must_use]
pub fn holder(mutex: &PacketMutex) -> Option<(Option<Owner>, std::sync::Arc<str>)> {
    match &mutex.backend {
        Backend::Local(shared) => shared.with(|state, _| {
            let (owner, module) = state.arbiter.holder()?;
            Some((owner, state.arbiter.module_name(module).clone()))
        }),
        #[cfg(feature = "net")]
        Backend::Remote(remote) => remote.holder(),
    }
}

/// Should this hold's turn be given away (S11)?
#[must_use]
pub fn should_yield(mutex: &PacketMutex, hold: RequestId) -> bool {
    mutex.backend.should_yield(hold)
}

/// Things were put right after an abandoned turn (S7).
///
/// # Errors
///
/// [`Error::NotHolder`] for a pass or a turn that is over.
pub fn acknowledge(mutex: &PacketMutex, hold: RequestId) -> Result<(), Error> {
    mutex.backend.acknowledge(hold)
}

/// Ends this owner's own turn and cancels the waiters (S20).
pub fn reset(mutex: &PacketMutex, owner: Owner) {
    match &mutex.backend {
        // Nothing refuses this.
        Backend::Local(shared) => drop(shared.input(Input::Reset { owner: Some(owner) })),
        #[cfg(feature = "net")]
        Backend::Remote(remote) => remote.reset(Some(owner)),
    }
}

/// A sleep inside a turn, in the mutex's time (S11). It wakes the waker that [`poll`](Sleep::poll) leaves.
#[derive(Debug)]
pub struct Sleep(backend::Sleep);

impl Sleep {
    /// A sleep of this length inside this hold or pass.
    #[must_use]
    pub fn new(mutex: &PacketMutex, hold: RequestId, is_pass: bool, length: Duration) -> Self {
        Sleep(backend::Sleep::new(&mutex.backend, hold, is_pass, length))
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn poll(&mut self, waker: &Waker) -> Option<Slept> {
        self.0.poll(waker)
    }
}

/// All new events; if there are none, leaves the waker.
#[must_use]
pub fn poll_events(events: &mut Events, waker: &Waker) -> Option<Vec<Entry>> {
    events.poll(waker)
}

fn answer(mutex: &PacketMutex, module: &Module, granted: Granted) -> Answer {
    match granted {
        Ok(grant) if grant.token.is_some() => Answer::Turn(grant),
        Ok(grant) => Answer::Pass(grant),
        Err(error) => {
            mutex.backend.log_timeout(&module.name, &error);
            Answer::Failed(Failed(error))
        }
    }
}
