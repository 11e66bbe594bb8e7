//! What the server says, and what it is told.

use super::{About, Ask, Hold, Phase, Remote, State};
use crate::backend::{Asking, Granted};
use crate::error::Error;
use crate::net::boot;
use crate::net::frame::{Draft, Fields, Object, error_of, grant_of};
use packet_mutex_arbiter::{Arbiter, Owner, RequestId, Time};
use std::task::Waker;

impl Remote {
    pub(super) fn take(&self, frame: Object) {
        let now = self.clock.now();
        self.with(|state| match (frame.text("notice"), frame.number("id")) {
            (Ok(Some(notice)), _) => state.notice(notice, &frame),
            (_, Ok(Some(id))) => state.reply(id, frame, now),
            _ => {}
        });
    }
}

impl State {
    pub(super) fn notice(&mut self, notice: &str, frame: &Object) {
        let Ok(Some(request)) = frame.number("request") else { return };
        for hold in self.holds.values_mut().filter(|hold| hold.request == request) {
            match notice {
                "lost" => hold.lost = true,
                "should_yield" => hold.should_yield = frame.flag("should_yield").unwrap_or(true),
                _ => {}
            }
        }
        // A grant that its asker has not taken yet.
        let granted = |ask: &&mut Ask| match ask.phase {
            Phase::Granted(_, number) | Phase::Claiming(_, number) => number == request,
            Phase::Done(_, number) => number == request,
            _ => false,
        };
        for ask in self.asks.values_mut().filter(granted) {
            match notice {
                "lost" => {
                    ask.phase = Phase::Done(Err(Error::Lost), 0);
                    self.to_wake.extend(ask.waker.take());
                }
                "should_yield" => ask.should_yield = frame.flag("should_yield").unwrap_or(true),
                _ => {}
            }
        }
        self.wake_sleepers();
    }

    pub(super) fn reply(&mut self, frame_id: u64, frame: Object, now: Time) {
        let is_error = frame.contains_key("error");
        if let Some(lease) = &mut self.lease
            && let Some((_, sent)) = lease.sent.take_if(|(id, _)| *id == frame_id)
            && !is_error
        {
            lease.heard = sent;
        }
        if let Some(call) = self.calls.get_mut(&frame_id) {
            call.reply = Some(if is_error { Err(error_of(&frame)) } else { Ok(frame) });
            self.to_wake.extend(call.waker.take());
            return;
        }
        let waits = frame.flag("waiting").unwrap_or(false);
        let about =
            if waits { self.frames.get(&frame_id).copied() } else { self.frames.remove(&frame_id) };
        let Some(About::Ask(id) | About::Claim(id)) = about else { return };
        let Some(ask) = self.asks.get_mut(&id) else { return };
        ask.phase = match about {
            Some(About::Claim(_)) => match ask.phase {
                Phase::Claiming(grant, number) if !is_error => Phase::Done(Ok(grant), number),
                _ => Phase::Done(Err(Error::Lost), 0),
            },
            _ if waits => {
                if let Ok(Some(left)) = frame.seconds("timeout") {
                    ask.deadline = now + left;
                }
                Phase::Waiting
            }
            _ if frame.flag("still_held").unwrap_or(false) => Phase::Refused(error_of(&frame)),
            _ if is_error => Phase::Done(Err(error_of(&frame)), 0),
            _ => granted(&mut self.names, &frame),
        };
        self.to_wake.extend(ask.waker.take());
    }

    pub(super) fn wake_sleepers(&mut self) {
        self.sleepers.move_to(&mut self.to_wake);
    }

    /// Sends a frame; its number. If that fails the connection is lost, which its reader finds out.
    pub(super) fn send(&mut self, op: &str, mut frame: Draft) -> u64 {
        let id = self.next;
        self.next += 1;
        frame.put("id", id);
        frame.put("op", op);
        if let Some(stream) = &self.stream
            && stream.write_line(&frame.end()).is_err()
        {
            stream.close();
        }
        id
    }

    pub(super) fn send_ask(&mut self, id: RequestId, now: Time) {
        let Some(ask) = self.asks.get(&id) else { return };
        let Asking { owner, timeout, urgent, within, claim } = ask.asking;
        let within = within.and_then(|hold| self.holds.get(&hold)).map(|hold| hold.request);
        let mut frame = Draft::new();
        frame.put("module", &*ask.module);
        // What is left of it; if the roster says how long, the server knows better until the first answer.
        let left = ask.deadline.since(now);
        if timeout.is_some() || ask.frame != 0 {
            frame.put("timeout", left.as_secs_f64());
        }
        put_owner(&mut frame, owner);
        if urgent {
            frame.put("urgent", true);
        }
        if claim {
            frame.put("claim", true);
        }
        if let Some(within) = within {
            frame.put("within", within);
        }
        if ask.frame != 0 {
            frame.put("requeued", true);
        }
        let frame = self.send("acquire", frame);
        self.frames.insert(frame, About::Ask(id));
        if let Some(ask) = self.asks.get_mut(&id) {
            ask.frame = frame;
        }
    }

    /// The answer of a request, if it is there; else leaves the waker. The one that was there before comes back.
    pub(super) fn poll(&mut self, id: RequestId, waker: Waker) -> Result<Granted, Option<Waker>> {
        let Some(ask) = self.asks.get_mut(&id) else { return Ok(Err(Error::Lost)) };
        if let Phase::Granted(grant, number) = ask.phase {
            if ask.asking.claim {
                ask.phase = Phase::Claiming(grant, number);
                let mut frame = Draft::new();
                frame.put("request", number);
                let frame = self.send("claim", frame);
                self.frames.insert(frame, About::Claim(id));
            } else {
                ask.phase = Phase::Done(Ok(grant), number);
            }
        }
        let Some(ask) = self.asks.get_mut(&id) else { return Ok(Err(Error::Lost)) };
        if !matches!(ask.phase, Phase::Done(..) | Phase::Refused(_)) {
            return Err(ask.waker.replace(waker));
        }
        let Some(ask) = self.asks.remove(&id) else { return Ok(Err(Error::Lost)) };
        let Phase::Done(granted, request) = ask.phase else { return Ok(Err(Error::Lost)) };
        if let Ok(grant) = &granted {
            let Asking { owner, claim, .. } = ask.asking;
            let hold = Hold {
                request,
                module: grant.module,
                owner,
                claims: claim,
                is_pass: grant.token.is_none(),
                should_yield: ask.should_yield,
                // The connection may have been lost since.
                lost: self.stream.is_none(),
            };
            if !self.is_open(&hold) {
                return Ok(Err(Error::Lost));
            }
            self.holds.insert(id, hold);
        }
        Ok(granted)
    }

    pub(super) fn is_lease_over(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.over() <= boot::now())
    }

    /// Is the hold open, as far as this client knows?
    pub(super) fn is_open(&self, hold: &Hold) -> bool {
        !hold.lost && (hold.is_pass || !self.is_lease_over())
    }
}

fn granted(names: &mut Arbiter, frame: &Object) -> Phase {
    let unread = |why: String| Phase::Done(Err(Error::Unavailable(why)), 0);
    let number = match frame.needed_number("request") {
        Ok(number) => number,
        Err(why) => return unread(why),
    };
    let module = frame.needed_text("module").map(|name| names.resolve(name));
    let Ok(Ok(module)) = module else { return unread("a grant without a module".into()) };
    match grant_of(frame, module.module) {
        Ok(grant) => Phase::Granted(grant, number),
        Err(why) => unread(why),
    }
}

pub(super) fn put_owner(frame: &mut Draft, owner: Option<Owner>) {
    if let Some(owner) = owner {
        frame.put("owner", owner.0);
    }
}
