//! Calls: requests for whose reply a thread waits.

use super::{Answer, Call, Remote, State};
use crate::error::Error;
use crate::net::protocol::Request;
use crate::net::stream::Stream;
use crate::place::Place;
use crate::sync::park_until;
use std::task::Waker;
use std::time::Duration;

/// How long the answer to a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

impl Remote {
    /// Sends a request and waits for its reply.
    pub(super) fn call(&self, request: Request<'_>) -> Result<Answer, Error> {
        let end = self.identity.clock.now() + CALL_WITHIN;
        let id = self.with(|state| {
            if state.stream.is_none() {
                return Err(self.gone());
            }
            let id = state.send(request);
            state.calls.insert(id, Call { reply: None, end, waker: None });
            Ok(id)
        })?;
        self.wait(|state, waker| {
            let Some(call) = state.calls.get_mut(&id) else { return Some(Err(self.gone())) };
            if call.reply.is_none() {
                call.waker = Some(waker.clone());
                return None;
            }
            state.calls.remove(&id).and_then(|call| call.reply)
        })
    }

    /// Waits until `look` finds something in the state. It needs no time limit: the reading thread ends what takes too long.
    pub(super) fn wait<R>(
        &self,
        mut look: impl FnMut(&mut State, &Waker) -> Option<Result<R, Error>>,
    ) -> Result<R, Error> {
        let clock = &*self.identity.clock;
        let found = park_until(
            clock,
            None,
            |parker| self.park(parker),
            |waker| self.with(|state| look(state, waker)),
        );
        // Without a time limit, it waits until something is found.
        found.unwrap_or_else(|| Err(self.gone()))
    }

    /// Lets child processes inherit the connection. It then stays open until the last of them has ended.
    #[cfg(unix)]
    pub(in crate::net) fn let_inherit(&self) -> Result<(), Error> {
        self.with(|state| match &state.stream {
            Some(Stream::Unix(stream)) => {
                let none = rustix::io::FdFlags::empty();
                let done = rustix::io::fcntl_setfd(stream, none);
                done.map_err(|error| Error::Unavailable(error.to_string()))
            }
            Some(Stream::Tcp(_)) => Err(Error::Unsupported("only Unix sockets are inherited")),
            None => Err(self.gone()),
        })
    }
}
