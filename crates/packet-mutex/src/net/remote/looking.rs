//! Looking and steering.

use super::{Call, Remote};
use crate::error::Error;
use crate::net::events::RemoteEvents;
use crate::net::frame::{Draft, Fields, Object, below, seconds};
use crate::net::status;
use crate::net::stream::Stream;
use crate::roster_toml::{from_toml, to_toml};
use packet_mutex_arbiter::{Below, Mode, Owner, Roster, Status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long the answer to a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

impl Remote {
    /// Asks the server for something and waits for its reply, as a thread.
    pub(super) fn call(&self, op: &str, frame: Draft) -> Result<Object, Error> {
        let end = self.clock.now() + CALL_WITHIN;
        let id = self.with(|state| {
            if state.stream.is_none() {
                return Err(self.gone());
            }
            let id = state.send(op, frame);
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

    fn steer(&self, op: &str, frame: Value) -> Result<(), Error> {
        let mut draft = Draft::new();
        for (key, value) in frame.as_object().into_iter().flatten() {
            draft.put(key, value);
        }
        self.call(op, draft).map(drop)
    }

    /// `cancel`, `disable` or `enable`.
    pub(crate) fn about(&self, op: &str, module: &str) -> Result<(), Error> {
        self.steer(op, json!({"module": module}))
    }

    pub(crate) fn set_mode(&self, module: &str, mode: Mode) -> Result<(), Error> {
        self.steer("mode", json!({"module": module, "mode": mode.name()}))
    }

    pub(crate) fn pause(
        &self,
        reason: &str,
        level: Below,
        lasts: Option<Duration>,
    ) -> Result<(), Error> {
        let lasts = lasts.map(seconds);
        self.steer("pause", json!({"reason": reason, "below": below(level), "lasts": lasts}))
    }

    pub(crate) fn resume(&self, reason: Option<&str>) -> Result<(), Error> {
        self.steer("resume", json!({"reason": reason}))
    }

    pub(crate) fn close(&self) {
        // A mutex that cannot be reached takes no requests either.
        let _ = self.call("close", Draft::new());
    }

    pub(crate) fn reload(&self, roster: &Roster) -> Result<(), Error> {
        self.steer("reload", json!({"roster": to_toml(roster)}))
    }

    pub(crate) fn reset(&self, owner: Option<Owner>) {
        if owner.is_some() {
            self.with(|state| state.holds.retain(|_, hold| hold.owner != owner));
        }
        // Without an owner the server takes one that nobody else is, who has nothing.
        let _ = self.steer("reset", json!({"owner": owner.map(|owner| owner.0)}));
    }

    pub(crate) fn status(&self) -> Result<Status, Error> {
        let reply = self.call("status", Draft::new())?;
        let status = reply.get("status").and_then(Value::as_object);
        let status = status.ok_or_else(|| Error::Unavailable("a reply without status".into()))?;
        Ok(status::status_of(status, self.clock.now()))
    }

    /// What there is to say about a mutex that cannot be reached.
    pub(crate) fn no_status(&self) -> Status {
        status::empty(self.clock.now())
    }

    /// The roster in force; while the server is away, the last that was known.
    pub(crate) fn roster(&self) -> Roster {
        let reply = self.call("roster", Draft::new()).ok();
        let text = reply.as_ref().and_then(|reply| reply.text("roster").ok().flatten());
        let found = text.and_then(|text| from_toml("roster", text).ok());
        self.with(|state| {
            if let Some(roster) = found {
                state.roster = roster;
            }
            state.roster.clone()
        })
    }

    /// Who holds the mutex; its owner if it is of this process.
    pub(crate) fn holder(&self) -> Option<(Option<Owner>, Arc<str>)> {
        let own = self.with(|state| {
            let mut holds = state.holds.values();
            let hold = holds.find(|hold| !hold.is_pass && state.is_open(hold))?;
            Some((hold.owner, state.names.module_name(hold.module).clone()))
        });
        own.or_else(|| Some((None, self.status().ok()?.holder?.module)))
    }

    pub(crate) fn events(&self, so_far: bool) -> RemoteEvents {
        RemoteEvents::new(self.url.clone(), self.secret.clone(), so_far)
    }

    /// Lets child processes inherit the connection, so that it stays open while one of them lives.
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
