//! A mutex behind a socket as a [`Place`].

use super::{Answer, Ask, Hold, Phase, Purpose, Remote, Slot};
use crate::error::Error;
use crate::events::EventSource;
use crate::module::{Module, ModuleRef};
use crate::net::events::RemoteEvents;
use crate::net::protocol::{Request, Which};
use crate::place::{Asked, Granted, Identity, Nap, Place, Slept, Terms};
use crate::roster_toml::from_toml;
use crate::sync::Parker;
use packet_mutex_arbiter::{Leave, ModuleId, Owner, RequestId, Roster, Status, Steer};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

impl Place for Remote {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn begin(&self, module: &ModuleRef<'_>, terms: Terms) -> Result<Asked, Error> {
        let now = self.identity.clock.now();
        let (asked, connected) = self.with(|state| {
            let found = state.names.resolve(module.name())?;
            let module = state.names.module_name(found.module).clone();
            if let Some(hold) = terms.within
                && !state.holds.get(&hold).is_some_and(|hold| state.is_open(hold))
            {
                return Err(Error::Lost);
            }
            let id = RequestId(state.next_number);
            state.next_number += 1;
            if state.stream.is_none() && terms.timeout == Some(Duration::ZERO) {
                return Ok(((id, Some(Err(self.gone()))), true));
            }
            let deadline = now + terms.timeout.unwrap_or(state.timeout);
            state.asks.insert(id, Ask::new(module, terms, 0, deadline));
            if state.stream.is_some() {
                state.send_ask(id, now);
            }
            Ok(((id, None), state.stream.is_some()))
        })?;
        if !connected {
            // It tries to connect at once, and does not wait for the end of its pause.
            self.wake_thread();
        }
        Ok(asked)
    }

    fn poll(&self, request: RequestId, waker: &Waker) -> Option<Granted> {
        let waker = waker.clone();
        let (polled, is_unread) = self.with(|state| {
            let polled = state.poll(request, waker);
            (polled, matches!(state.reader, Slot::Here(_)))
        });
        // A task cannot read, so the reading thread must.
        if polled.is_err() && is_unread {
            self.wake_thread();
        }
        polled.ok()
    }

    /// Does not wake the reading thread: this one reads for itself while it is parked.
    fn poll_as_thread(&self, request: RequestId, waker: &Waker) -> Option<Granted> {
        let waker = waker.clone();
        self.with(|state| state.poll(request, waker)).ok()
    }

    fn withdraw(&self, request: RequestId) {
        self.with(|state| {
            let Some(ask) = state.asks.remove(&request) else { return };
            let is_over = matches!(ask.phase, Phase::Done(Err(_), _) | Phase::Refused(_));
            if ask.frame != 0 && !is_over && state.stream.is_some() {
                state.send(Request::Withdraw(Which::Ask(ask.frame)));
            }
            state.to_wake.extend(ask.waker);
        });
    }

    fn park(&self, parker: &Parker) {
        self.read_or_park(parker);
    }

    fn end(&self, hold: RequestId, owner: Option<Owner>, how: Leave) -> Result<(), Error> {
        let request = self.open_request(hold)?;
        let owner = owner.map(|owner| owner.0);
        self.call(Request::Release { request, owner, how })?;
        self.with(|state| state.holds.remove(&hold));
        Ok(())
    }

    /// Does not wait for the reply.
    fn leave(&self, hold: RequestId, _owner: Option<Owner>, how: Leave) {
        self.with(|state| {
            if let Some(hold) = state.holds.remove(&hold)
                && !hold.lost
            {
                let request = RequestId(hold.request);
                state.send(Request::Release { request, owner: None, how });
            }
        });
    }

    fn end_module(&self, module: &ModuleRef<'_>, owner: Owner) -> Result<(), Error> {
        let (found, name) = self.with(|state| {
            let found = state.names.resolve(module.name())?.module;
            Ok::<_, Error>((found, state.names.module_name(found).clone()))
        })?;
        let module = (&*name).into();
        let ended = self.call(Request::ReleaseModule { module, owner: Some(owner.0) });
        self.with(|state| {
            let is_own =
                |(_, hold): &(&RequestId, &Hold)| hold.module == found && hold.owner == Some(owner);
            let newest = state.holds.iter().rev().find(is_own).map(|(id, _)| *id);
            newest.and_then(|id| state.holds.remove(&id));
        });
        ended.map(drop)
    }

    fn owner_lost(&self, owner: Owner) {
        self.with(|state| {
            state.holds.retain(|_, hold| hold.owner != Some(owner));
            for ask in state.asks.values_mut().filter(|ask| ask.terms.owner == Some(owner)) {
                ask.phase = Phase::Done(Err(Error::Lost), 0);
                state.to_wake.extend(ask.waker.take());
            }
            // The server must forget an owner even if nothing of it is left: a connection can have only so many.
            if state.stream.is_some() {
                state.send(Request::OwnerLost { owner: owner.0 });
            }
        });
    }

    /// Waits until the server has said whether the turn was given away.
    fn give_away(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        timeout: Option<Duration>,
    ) -> Result<Asked, Error> {
        let now = self.identity.clock.now();
        let request = self.open_request(hold)?;
        let id = self.with(|state| {
            let held = state.holds.get(&hold).ok_or(Error::Lost)?;
            let terms =
                Terms { owner: held.owner, timeout, claim: held.claims, ..Terms::default() };
            let module = state.names.module_name(held.module).clone();
            let owner = owner.map(|owner| owner.0);
            let frame = state.send(Request::Yield { request, owner, timeout });
            let id = RequestId(state.next_number);
            state.next_number += 1;
            state.unanswered.insert(frame, Purpose::Ask(id));
            let deadline = now + timeout.unwrap_or(state.timeout);
            state.asks.insert(id, Ask::new(module, terms, frame, deadline));
            Ok::<_, Error>(id)
        })?;
        self.wait(|state, waker| {
            let Some(ask) = state.asks.get_mut(&id) else { return Some(Err(Error::Lost)) };
            match &ask.phase {
                Phase::Unheard if state.stream.is_some() => {
                    ask.waker = Some(waker.clone());
                    None
                }
                Phase::Refused(why) => {
                    let why = why.clone();
                    state.asks.remove(&id);
                    Some(Err(why))
                }
                _ => {
                    state.holds.remove(&hold);
                    Some(Ok((id, None)))
                }
            }
        })
    }

    fn holds(&self, hold: RequestId) -> bool {
        self.with(|state| {
            let hold = state.holds.get(&hold).filter(|hold| !hold.is_pass);
            hold.is_some_and(|hold| state.is_open(hold))
        })
    }

    /// A lost turn should be given up too.
    fn should_yield(&self, hold: RequestId) -> bool {
        self.with(|state| {
            let hold = state.holds.get(&hold);
            hold.is_some_and(|hold| hold.should_yield || !state.is_open(hold))
        })
    }

    fn acknowledge(&self, hold: RequestId) -> Result<(), Error> {
        let request = self.open_request(hold)?;
        self.call(Request::Acknowledge(Which::Request(request))).map(drop)
    }

    fn new_key(&self) -> u64 {
        self.with(|state| state.sleepers.new_key())
    }

    fn poll_nap(&self, nap: &Nap, waker: &Waker) -> Option<Slept> {
        let waker = waker.clone();
        let now = self.identity.clock.now();
        let (slept, _old_waker) = self.with(|state| {
            let held = state.holds.get(&nap.hold);
            if held.is_none_or(|hold| hold.should_yield || !state.is_open(hold)) {
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
        let _waker = self.with(|state| state.sleepers.remove(key));
    }

    fn module(&self, name: &str) -> Result<Module, Error> {
        let (id, name, is_verified) = self.with(|state| {
            let id = state.names.resolve(name)?.module;
            let name = state.names.module_name(id).clone();
            Ok::<_, Error>((id, name, state.verified.contains(&id)))
        })?;
        if !is_verified {
            self.call(Request::Module((&*name).into()))?;
            self.with(|state| state.verified.insert(id));
        }
        Ok(Module { mutex: self.identity.number, id, name })
    }

    fn module_name(&self, module: ModuleId) -> Arc<str> {
        self.with(|state| state.names.module_name(module).clone())
    }

    fn holder(&self) -> Option<(Option<Owner>, Arc<str>)> {
        let own = self.with(|state| {
            let mut holds = state.holds.values();
            let hold = holds.find(|hold| !hold.is_pass && state.is_open(hold))?;
            Some((hold.owner, state.names.module_name(hold.module).clone()))
        });
        own.or_else(|| Some((None, self.status().ok()?.holder?.module)))
    }

    fn status(&self) -> Result<Status, Error> {
        match self.call(Request::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(Error::Unavailable("the server's reply has no status".into())),
        }
    }

    /// Returns the last roster that was read while the server is away.
    fn roster(&self) -> Roster {
        let found = match self.call(Request::Roster) {
            Ok(Answer::Roster(text)) => from_toml("roster", &text).ok(),
            _ => None,
        };
        self.with(|state| {
            if let Some(roster) = found {
                state.roster = roster;
            }
            state.roster.clone()
        })
    }

    fn events(self: Arc<Self>, so_far: bool) -> Box<dyn EventSource> {
        Box::new(RemoteEvents::new(self.url.clone(), self.secret.clone(), so_far))
    }

    fn steer(&self, steer: Steer<&str>) -> Result<(), Error> {
        if let Steer::Reset { owner: Some(owner) } = steer {
            self.with(|state| state.holds.retain(|_, hold| hold.owner != Some(owner)));
        }
        let steer = steer.try_map_module(|module| Ok::<_, Error>(module.into()))?;
        self.call(Request::Steer(steer)).map(drop)
    }
}

impl Remote {
    /// Returns the server's number of an open hold.
    fn open_request(&self, hold: RequestId) -> Result<RequestId, Error> {
        self.with(|state| {
            let held = state.holds.get(&hold).ok_or(Error::NotHolder { holder: None })?;
            if state.is_open(held) { Ok(RequestId(held.request)) } else { Err(Error::Lost) }
        })
    }
}
