//! What asks and turns need: see [`Backend`](crate::backend::Backend).

use super::said::put_owner;
use super::{About, Ask, Hold, Phase, Remote, Slot};
use crate::backend::{Asking, Granted};
use crate::error::Error;
use crate::module::{Module, ModuleRef};
use crate::net::frame::Draft;
use crate::sync::Parker;
use crate::turn::Slept;
use packet_mutex_arbiter::{Leave, ModuleId, Owner, RequestId, Time};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

impl Remote {
    pub(crate) fn hand_out_channel(&self) {
        self.hands_out_channel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn hands_out_channel(&self) -> bool {
        self.hands_out_channel.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(
        &self,
        module: &ModuleRef<'_>,
        asking: Asking,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        let now = self.clock.now();
        let connected = self.with(|state| {
            let found = state.names.resolve(module.name())?;
            let module = state.names.module_name(found.module).clone();
            if let Some(hold) = asking.within
                && !state.holds.get(&hold).is_some_and(|hold| state.is_open(hold))
            {
                return Err(Error::Lost);
            }
            let id = RequestId(state.next);
            state.next += 1;
            if state.stream.is_none() && asking.timeout == Some(Duration::ZERO) {
                return Ok((id, Some(Err(self.gone())), true));
            }
            let deadline = now + asking.timeout.unwrap_or(state.timeout);
            state.asks.insert(id, Ask::new(module, asking, 0, deadline));
            if state.stream.is_some() {
                state.send_ask(id, now);
            }
            Ok((id, None, state.stream.is_some()))
        });
        let (id, answer, connected) = connected?;
        if !connected {
            self.wake_thread();
        }
        Ok((id, answer))
    }

    pub(crate) fn poll(&self, id: RequestId, waker: &Waker) -> Option<Granted> {
        let waker = waker.clone();
        let (polled, is_unread) = self.with(|state| {
            let polled = state.poll(id, waker);
            (polled, matches!(state.reader, Slot::Here(_)))
        });
        if polled.is_err() && is_unread {
            self.wake_thread();
        }
        polled.ok()
    }

    pub(crate) fn wait_for(&self, id: RequestId) -> Granted {
        self.wait(|state, waker| state.poll(id, waker.clone()).ok())
    }

    pub(crate) fn forget(&self, id: RequestId) {
        self.with(|state| {
            let Some(ask) = state.asks.remove(&id) else { return };
            let is_over = matches!(ask.phase, Phase::Done(Err(_), _) | Phase::Refused(_));
            if ask.frame != 0 && !is_over && state.stream.is_some() {
                let mut frame = Draft::new();
                frame.put("ask", ask.frame);
                state.send("withdraw", frame);
            }
            state.to_wake.extend(ask.waker);
        });
    }

    pub(crate) fn end(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        how: Leave,
    ) -> Result<(), Error> {
        let request = self.open_request(hold)?;
        self.call("release", release(request, owner, how))?;
        self.with(|state| state.holds.remove(&hold));
        Ok(())
    }

    pub(crate) fn leave(&self, hold: RequestId, _owner: Option<Owner>, how: Leave) {
        self.with(|state| {
            if let Some(hold) = state.holds.remove(&hold)
                && !hold.lost
            {
                state.send("release", release(hold.request, None, how));
            }
        });
    }

    pub(crate) fn end_module(&self, module: &ModuleRef<'_>, owner: Owner) -> Result<(), Error> {
        let mut frame = Draft::new();
        let found = self.with(|state| {
            let found = state.names.resolve(module.name())?;
            let name = state.names.module_name(found.module).clone();
            frame.put("module", &*name);
            Ok::<_, Error>(found.module)
        })?;
        put_owner(&mut frame, Some(owner));
        let ended = self.call("release_module", frame);
        self.with(|state| {
            let own =
                |(_, hold): &(&RequestId, &Hold)| hold.module == found && hold.owner == Some(owner);
            let newest = state.holds.iter().rev().find(own).map(|(id, _)| *id);
            newest.and_then(|id| state.holds.remove(&id));
        });
        ended.map(drop)
    }

    pub(crate) fn owner_lost(&self, owner: Owner) {
        self.with(|state| {
            let is_own = |asking: &Asking| asking.owner == Some(owner);
            state.holds.retain(|_, hold| hold.owner != Some(owner));
            for ask in state.asks.values_mut().filter(|ask| is_own(&ask.asking)) {
                ask.phase = Phase::Done(Err(Error::Lost), 0);
                state.to_wake.extend(ask.waker.take());
            }
            let mut frame = Draft::new();
            put_owner(&mut frame, Some(owner));
            // Even one that has nothing left has a number there, of which there are not many.
            if state.stream.is_some() {
                state.send("owner_lost", frame);
            }
        });
    }

    /// Waits until the server has said whether the turn was given away at all.
    pub(crate) fn give_away(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        timeout: Option<Duration>,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        let now = self.clock.now();
        let request = self.open_request(hold)?;
        let id = self.with(|state| {
            let held = state.holds.get(&hold).ok_or(Error::Lost)?;
            let asking = Asking {
                owner: held.owner,
                timeout,
                urgent: false,
                within: None,
                claim: held.claims,
            };
            let module = state.names.module_name(held.module).clone();
            let mut frame = Draft::new();
            frame.put("request", request);
            put_owner(&mut frame, owner);
            if let Some(timeout) = timeout {
                frame.put("timeout", timeout.as_secs_f64());
            }
            let frame = state.send("yield", frame);
            let id = RequestId(state.next);
            state.next += 1;
            state.frames.insert(frame, About::Ask(id));
            let deadline = now + timeout.unwrap_or(state.timeout);
            state.asks.insert(id, Ask::new(module, asking, frame, deadline));
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

    pub(crate) fn holds(&self, hold: RequestId) -> bool {
        self.with(|state| {
            let hold = state.holds.get(&hold).filter(|hold| !hold.is_pass);
            hold.is_some_and(|hold| state.is_open(hold))
        })
    }

    /// A turn that is lost is to be given up too.
    pub(crate) fn should_yield(&self, hold: RequestId) -> bool {
        self.with(|state| {
            let hold = state.holds.get(&hold);
            hold.is_some_and(|hold| hold.should_yield || !state.is_open(hold))
        })
    }

    pub(crate) fn acknowledge(&self, hold: RequestId) -> Result<(), Error> {
        let request = self.open_request(hold)?;
        let mut frame = Draft::new();
        frame.put("request", request);
        self.call("acknowledge", frame).map(drop)
    }

    pub(crate) fn module_name(&self, module: ModuleId) -> Arc<str> {
        self.with(|state| state.names.module_name(module).clone())
    }

    pub(crate) fn module(&self, name: &str) -> Result<Module, Error> {
        let (id, is_verified) = self.with(|state| {
            let found = state.names.resolve(name)?;
            Ok::<_, Error>((found.module, state.verified.contains(&found.module)))
        })?;
        let name = self.module_name(id);
        if !is_verified {
            let mut frame = Draft::new();
            frame.put("module", &*name);
            self.call("module", frame)?;
            self.with(|state| state.verified.insert(id));
        }
        Ok(Module { mutex: self.number, id, name })
    }

    pub(crate) fn new_sleep(&self) -> u64 {
        self.with(|state| state.sleepers.new_key())
    }

    pub(crate) fn sleep(&self, hold: RequestId, is_pass: bool, end: Time) -> Slept {
        let parker = Parker::new();
        let key = self.new_sleep();
        let alarm = self.clock.wake_at(end, parker.waker());
        let slept = loop {
            if let Some(slept) = self.poll_sleep((hold, is_pass), end, key, &parker.waker()) {
                break slept;
            }
            parker.park();
        };
        self.clock.cancel(alarm);
        self.forget_sleep(key);
        slept
    }

    pub(crate) fn poll_sleep(
        &self,
        (hold, _is_pass): (RequestId, bool),
        end: Time,
        key: u64,
        waker: &Waker,
    ) -> Option<Slept> {
        let waker = waker.clone();
        let now = self.clock.now();
        let (slept, _old_waker) = self.with(|state| {
            let held = state.holds.get(&hold);
            if held.is_none_or(|hold| hold.should_yield || !state.is_open(hold)) {
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
        let _waker = self.with(|state| state.sleepers.remove(key));
    }

    /// The server's number of a hold that is open.
    fn open_request(&self, hold: RequestId) -> Result<u64, Error> {
        self.with(|state| {
            let held = state.holds.get(&hold).ok_or(Error::NotHolder { holder: None })?;
            if state.is_open(held) { Ok(held.request) } else { Err(Error::Lost) }
        })
    }
}

fn release(request: u64, owner: Option<Owner>, how: Leave) -> Draft {
    let mut frame = Draft::new();
    frame.put("request", request);
    put_owner(&mut frame, owner);
    let how = match how {
        Leave::Released => return frame,
        Leave::Panicked => "panicked",
        Leave::Declined => "declined",
    };
    frame.put("how", how);
    frame
}
