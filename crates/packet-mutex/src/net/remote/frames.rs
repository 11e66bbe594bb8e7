//! Frames of the server and what they change, and the frames that are sent.

use super::{Answer, Ask, Hold, Phase, Purpose, Remote, State, boot};
use crate::error::Error;
use crate::net::protocol::{Acquire, Failed, FromServer, Notice, Reply, Request, Which};
use crate::place::{Granted, Terms};
use packet_mutex_arbiter::{Arbiter, Grant, RequestId, Time};
use std::task::Waker;

impl Remote {
    /// Notes what a frame of the server says.
    pub(super) fn receive(&self, frame: FromServer<'_>) {
        let now = self.identity.clock.now();
        self.with(|state| match frame {
            FromServer::Notice(Notice::Lost(request)) => state.lost(request.0),
            FromServer::Notice(Notice::ShouldYield(request, should)) => {
                state.should_yield(request.0, should);
            }
            FromServer::Reply(Some(id), reply) => state.reply(id, reply, now),
            // Events come on a connection of their own. A reply without a number is one to a frame that the server could not
            // read, and it closes the connection after it.
            FromServer::Notice(Notice::Event(_)) | FromServer::Reply(None, _) => {}
        });
    }
}

impl State {
    /// Notes that the server ended the turn with this number.
    fn lost(&mut self, request: u64) {
        self.holds.values_mut().filter(|it| it.request == request).for_each(|it| it.lost = true);
        if let Some(ask) = self.granted_ask(request) {
            ask.phase = Phase::Done(Err(Error::Lost), 0);
            let waker = ask.waker.take();
            self.to_wake.extend(waker);
        }
        self.wake_sleepers();
    }

    /// Notes whether the turn with this number should be given away.
    fn should_yield(&mut self, request: u64, should: bool) {
        let holds = self.holds.values_mut().filter(|hold| hold.request == request);
        holds.for_each(|hold| hold.should_yield = should);
        if let Some(ask) = self.granted_ask(request) {
            ask.should_yield = should;
        }
        self.wake_sleepers();
    }

    /// Returns the ask that was granted under this number if its asker has not taken the grant yet.
    fn granted_ask(&mut self, request: u64) -> Option<&mut Ask> {
        self.asks.values_mut().find(|ask| match ask.phase {
            Phase::Granted(_, number) | Phase::Claiming(_, number) | Phase::Done(_, number) => {
                number == request
            }
            Phase::Unheard | Phase::Waiting | Phase::Refused(_) => false,
        })
    }

    /// Notes the reply to a frame.
    fn reply(&mut self, frame: u64, reply: Reply<'_>, now: Time) {
        let failed = matches!(reply, Reply::Failed(_));
        if let Some(lease) = &mut self.lease
            && let Some((_, sent)) = lease.sent.take_if(|(id, _)| *id == frame)
            && !failed
        {
            lease.heard = sent;
        }
        if let Some(call) = self.calls.get_mut(&frame) {
            call.reply = Some(match reply {
                Reply::Failed(Failed { why, .. }) => Err(why.into()),
                Reply::Status(_, status) => Ok(Answer::Status(status)),
                Reply::Roster(text) => Ok(Answer::Roster(text.to_string())),
                _ => Ok(Answer::Done),
            });
            self.to_wake.extend(call.waker.take());
            return;
        }
        let waits = matches!(reply, Reply::Waiting { .. });
        let purpose = if waits {
            self.unanswered.get(&frame).copied()
        } else {
            self.unanswered.remove(&frame)
        };
        let Some(Purpose::Ask(id) | Purpose::Claim(id)) = purpose else { return };
        let Some(ask) = self.asks.get_mut(&id) else { return };
        ask.phase = match (purpose, reply) {
            (Some(Purpose::Claim(_)), _) => match ask.phase {
                Phase::Claiming(grant, number) if !failed => Phase::Done(Ok(grant), number),
                _ => Phase::Done(Err(Error::Lost), 0),
            },
            (_, Reply::Waiting { timeout, .. }) => {
                if let Some(left) = timeout {
                    ask.deadline = now + left;
                }
                Phase::Waiting
            }
            (_, Reply::Failed(Failed { still_held: true, why, .. })) => Phase::Refused(why.into()),
            (_, Reply::Failed(Failed { why, .. })) => Phase::Done(Err(why.into()), 0),
            (_, Reply::Granted { request, module, grant }) => {
                granted(&mut self.names, request, &module, grant)
            }
            _ => Phase::Done(Err(Error::Unavailable("the server's answer is not one".into())), 0),
        };
        self.to_wake.extend(ask.waker.take());
    }

    /// Wakes everybody who sleeps inside a turn, to look whether the change concerns that turn.
    pub(super) fn wake_sleepers(&mut self) {
        self.sleepers.move_to(&mut self.to_wake);
    }

    /// Sends a request. Returns its number. If sending fails, the connection is lost, and its reader notices.
    pub(super) fn send(&mut self, request: Request<'_>) -> u64 {
        let id = self.next_number;
        self.next_number += 1;
        if let Some(stream) = &self.stream
            && stream.write(id, request).is_err()
        {
            stream.close();
        }
        id
    }

    /// Makes an ask at the server, for the first time or again.
    pub(super) fn send_ask(&mut self, id: RequestId, now: Time) {
        let Some(ask) = self.asks.get(&id) else { return };
        let terms = ask.terms;
        let within = terms.within.and_then(|hold| self.holds.get(&hold));
        let requeued = ask.frame != 0;
        // A timeout of the roster is left to the server, which knows the roster in force. Its answer tells the deadline, so
        // an ask that is made again has only the rest of that time.
        let left = ask.deadline.since(now);
        let timeout = (terms.timeout.is_some() || requeued).then_some(left);
        let module = ask.module.clone();
        let acquire = Acquire {
            module: (&*module).into(),
            owner: terms.owner.map(|owner| owner.0),
            within: within.map(|hold| RequestId(hold.request)),
            timeout,
            urgent: terms.urgent,
            claim: terms.claim,
            lease: None,
            requeued,
        };
        let frame = self.send(Request::Acquire(acquire));
        self.unanswered.insert(frame, Purpose::Ask(id));
        if let Some(ask) = self.asks.get_mut(&id) {
            ask.frame = frame;
        }
    }

    /// Takes the answer of a request. If it is not there yet, leaves the waker and returns the one that was there before.
    pub(super) fn poll(&mut self, id: RequestId, waker: Waker) -> Result<Granted, Option<Waker>> {
        let Some(ask) = self.asks.get_mut(&id) else { return Ok(Err(Error::Lost)) };
        if let Phase::Granted(grant, number) = ask.phase {
            if ask.terms.claim {
                ask.phase = Phase::Claiming(grant, number);
                let frame = self.send(Request::Claim(Which::Request(RequestId(number))));
                self.unanswered.insert(frame, Purpose::Claim(id));
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
            let Terms { owner, claim, .. } = ask.terms;
            let hold = Hold {
                request,
                module: grant.module,
                owner,
                claims: claim,
                is_pass: grant.token.is_none(),
                should_yield: ask.should_yield,
                // The connection may have been lost since the grant came.
                lost: self.stream.is_none(),
            };
            if !self.is_open(&hold) {
                return Ok(Err(Error::Lost));
            }
            self.holds.insert(id, hold);
        }
        Ok(granted)
    }

    /// Returns whether the lease is over. From then on the server may let somebody else in.
    pub(super) fn is_lease_over(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.over() <= boot::now())
    }

    /// Returns whether the hold is open, as far as this client knows.
    pub(super) fn is_open(&self, hold: &Hold) -> bool {
        !hold.lost && (hold.is_pass || !self.is_lease_over())
    }
}

/// Returns the grant with the number that its module has in this process.
fn granted(names: &mut Arbiter, request: RequestId, module: &str, grant: Grant) -> Phase {
    match names.resolve(module) {
        Ok(found) => Phase::Granted(Grant { module: found.module, ..grant }, request.0),
        Err(why) => Phase::Done(Err(why.into()), 0),
    }
}
