//! How threads and tasks ask and wait for the answer.

use crate::error::Error;
use crate::log;
use crate::module::ModuleRef;
use crate::owner::this_thread;
use crate::place::{Asked, Granted, Place, Terms};
use crate::sync::park_until;
use packet_mutex_arbiter::{Grant, Owner, RequestId};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A request that was granted.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) id: RequestId,
    pub(crate) owner: Option<Owner>,
    pub(crate) grant: Grant,
}

/// Asks as the calling thread and waits for the answer.
// Every turn comes through here. What these two functions return is large, and inlined it is not copied.
#[inline]
pub(crate) fn ask_as_thread(
    place: &Arc<dyn Place>,
    module: &ModuleRef<'_>,
    terms: Terms,
) -> Result<Hold, Error> {
    let owner = this_thread(place);
    let asked = place.begin(module, Terms { owner: Some(owner), ..terms })?;
    let hold = wait_as_thread(&**place, Some(owner), asked);
    hold.inspect_err(|error| log_timeout(&**place, module, error))
}

/// Waits as a thread for the answer to a request that was made.
#[inline]
pub(crate) fn wait_as_thread(
    place: &dyn Place,
    owner: Option<Owner>,
    (id, answer): Asked,
) -> Result<Hold, Error> {
    let grant = answer.unwrap_or_else(|| park_for(place, id))?;
    Ok(Hold { id, owner, grant })
}

fn park_for(place: &dyn Place, id: RequestId) -> Granted {
    let clock = &*place.identity().clock;
    let look = |waker: &Waker| place.poll_as_thread(id, waker);
    let granted = park_until(clock, None, |parker| place.park(parker), look);
    // It waits without an end, so there is always an answer.
    granted.unwrap_or(Err(Error::Lost))
}

/// Logs why a request timed out. The event does not say why, so whoever has the answer logs it.
pub(crate) fn log_timeout(place: &dyn Place, module: &ModuleRef<'_>, error: &Error) {
    log::write_timeout(&place.identity().name, module.name(), error);
}

/// A task's ask, as a future. Dropping it withdraws the ask.
pub(crate) struct TaskAsk<'a> {
    place: &'a dyn Place,
    module: ModuleRef<'a>,
    state: State,
}

enum State {
    /// The ask is made when the future is first polled.
    NotAsked(Terms),
    Waits(RequestId),
    /// The answer came at once, and the future has not been polled since.
    Answered(RequestId, Granted),
    Over,
}

impl<'a> TaskAsk<'a> {
    pub(crate) fn new(place: &'a dyn Place, module: ModuleRef<'a>, terms: Terms) -> Self {
        // A future that is never polled again must not hold the others up, so its grants are to be claimed.
        let terms = Terms { claim: true, ..terms };
        TaskAsk { place, module, state: State::NotAsked(terms) }
    }

    /// Waits for the answer to a request that was already made.
    pub(crate) fn made(place: &'a dyn Place, module: ModuleRef<'a>, (id, answer): Asked) -> Self {
        let state = answer.map_or(State::Waits(id), |answer| State::Answered(id, answer));
        TaskAsk { place, module, state }
    }
}

impl Future for TaskAsk<'_> {
    type Output = Result<Hold, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (id, answer) = match std::mem::replace(&mut self.state, State::Over) {
            State::NotAsked(terms) => self.place.begin(&self.module, terms)?,
            State::Waits(id) => (id, None),
            State::Answered(id, granted) => (id, Some(granted)),
            State::Over => return Poll::Ready(Err(Error::Lost)),
        };
        let Some(granted) = answer.or_else(|| self.place.poll(id, context.waker())) else {
            self.state = State::Waits(id);
            return Poll::Pending;
        };
        let told = |error: &Error| log_timeout(self.place, &self.module, error);
        Poll::Ready(granted.inspect_err(told).map(|grant| Hold { id, owner: None, grant }))
    }
}

impl Drop for TaskAsk<'_> {
    fn drop(&mut self) {
        match self.state {
            // A grant that came at once and was never handed out must be declined too, or nobody would ever end it.
            State::Waits(id) | State::Answered(id, Ok(_)) => self.place.withdraw(id),
            State::NotAsked(_) | State::Answered(_, Err(_)) | State::Over => {}
        }
    }
}
