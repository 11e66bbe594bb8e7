//! The requests of a client, and their replies.

use super::mailbox::Answered;
use super::state::{Ask, Connection, Hold};
use super::wire::Out;
use crate::error::Error;
use crate::local::Reader;
use crate::module::ModuleRef;
use crate::net::limits::PER_CONNECTION_MAX;
use crate::net::protocol::{Acquire, Failed, Refused, Reply, Request, Text, Which};
use crate::owner::new_owner;
use crate::place::Place;
use crate::roster_toml::to_toml;
use packet_mutex_arbiter::{Answer, Failure, Input, Leave, Owner, RequestId, Steer};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

impl Connection {
    /// Carries out a request and replies to it.
    pub(super) fn handle(
        &mut self,
        id: u64,
        request: Request<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let reply = match request {
            Request::Hello(_) => {
                return Err(Refused::BadFrame("a connection says hello once".into()));
            }
            Request::Acquire(acquire) => return self.acquire(id, &acquire, out),
            Request::Yield { request, owner, timeout } => {
                return self.give_away(id, (request, owner), timeout, out);
            }
            Request::Release { request, owner, how } => self.release(request, owner, how)?,
            Request::ReleaseModule { module, owner } => {
                let owner = self.owner(owner)?;
                let ended = self.local.end_module(&ModuleRef::Name(&module), owner);
                self.forget_ended();
                ended?;
                Reply::Done
            }
            Request::Withdraw(which) => self.withdraw(which, out),
            Request::Claim(which) => {
                self.input(Input::Claim { request: self.own(which) })?;
                Reply::Done
            }
            Request::Acknowledge(which) => {
                self.input(Input::Acknowledge { hold: self.own(which) })?;
                Reply::Done
            }
            Request::Heartbeat(request) => self.heartbeat(request)?,
            Request::ShouldYield(which) => {
                Reply::ShouldYield(self.local.should_yield(self.own(which)))
            }
            Request::OwnerLost { owner } => {
                if let Some(owner) = self.owners.remove(&owner) {
                    self.input(Input::OwnerLost { owner })?;
                    self.forget_ended();
                }
                Reply::Done
            }
            Request::Ping => Reply::Done,
            Request::Module(name) => self.module(&name)?,
            Request::Status => {
                let name = Text::from(self.mutex.name().to_string());
                Reply::Status(name, Box::new(self.mutex.try_status()?))
            }
            Request::Roster => Reply::Roster(to_toml(&self.mutex.roster()).into()),
            Request::Events { so_far, after } => {
                let events = Reader::new(self.local.clone(), after.or(so_far.then_some(0)));
                let reply = Reply::Events { after: events.seen };
                self.events = Some(events);
                self.mailbox.clone().wake();
                reply
            }
            Request::Steer(steer) => {
                let is_reset = matches!(steer, Steer::Reset { .. });
                let steered = self.steer(steer);
                // After a reset the client knows that its own turns are over. It is told of a turn that was revoked, even if it
                // revoked the turn itself.
                if is_reset {
                    self.forget_ended();
                }
                steered?;
                Reply::Done
            }
        };
        out.reply(id, reply);
        Ok(())
    }

    /// Steers the mutex (S12, S15, S19, S20). A reset concerns an owner of this client only.
    fn steer(&mut self, steer: Steer<Text<'_>>) -> Result<(), Refused> {
        let steer = match steer {
            Steer::Reset { owner } => {
                Steer::Reset { owner: Some(self.owner(owner.map(|Owner(number)| number))?) }
            }
            steer => steer,
        };
        Ok(self.mutex.steer(steer.as_str())?)
    }

    fn module(&self, name: &str) -> Result<Reply<'static>, Refused> {
        let (name, found) = self.local.with(|state, _| {
            let found = state.resolve_name(name)?;
            Ok::<_, Error>((state.arbiter.module_name(found.module).clone(), found))
        })?;
        let nearest = found.nearest.map(|nearest| nearest.to_string().into());
        let module = name.to_string().into();
        Ok(Reply::Module { module, first_unknown: found.first_unknown, nearest })
    }

    // Asking.

    fn acquire(&mut self, frame: u64, acquire: &Acquire<'_>, out: &mut Out) -> Result<(), Refused> {
        let Acquire { module, owner, within, timeout, urgent, claim, lease, requeued } = acquire;
        let owner = match within.and_then(|hold| self.holds.get(&hold)) {
            // A nested turn has the owner of the turn around it.
            Some(outer) => outer.ask.owner,
            None => self.owner(*owner)?,
        };
        // A client can nest only in its own turns. No request has the number 0, so the arbiter refuses it.
        let within =
            within.map(|hold| if self.holds.contains_key(&hold) { hold } else { RequestId(0) });
        self.check_room()?;
        let (id, answer) = self.local.with(|state, now| {
            let module = state.resolve_name(module)?.module;
            let id = state.arbiter.next_request();
            let request = packet_mutex_arbiter::Request {
                owner: Some(owner),
                within,
                urgent: *urgent,
                timeout: *timeout,
                lease: lease.or(self.lease),
                claim: *claim,
                requeued: *requeued,
                ..packet_mutex_arbiter::Request::new(id, module)
            };
            // It is the client that claims, so this connection must not do so for it.
            Ok::<_, Error>((id, state.request(now, request, false)))
        })?;
        self.asked(id, answer, Ask { frame, owner }, out);
        Ok(())
    }

    fn give_away(
        &mut self,
        frame: u64,
        (hold, owner): (RequestId, Option<u64>),
        timeout: Option<Duration>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let owner = self.speaker(hold, owner)?;
        let given = self.local.with(|state, now| {
            let id = state.arbiter.next_request();
            let input = Input::Yield { hold, owner: Some(owner), id, timeout };
            Ok::<_, Failure>((id, state.ask(now, id, false, input)?))
        });
        match given {
            Ok((id, answer)) => {
                self.holds.remove(&hold);
                self.asked(id, answer, Ask { frame, owner }, out);
            }
            Err(failure) => {
                let why = Refused::Error(failure.into());
                out.reply(frame, Reply::Failed(Failed { request: None, still_held: true, why }));
            }
        }
        Ok(())
    }

    /// Replies to a request with its answer, or that it waits.
    fn asked(&mut self, id: RequestId, answer: Option<Answer>, ask: Ask, out: &mut Out) {
        let answer = answer.or_else(|| {
            let waker = Waker::from(Arc::new(Answered(self.mailbox.clone(), id)));
            self.local.with(|state, _| state.answer_or_leave(id, waker).0)
        });
        if let Some(answer) = answer {
            return self.answer(id, answer, ask, out);
        }
        self.asks.insert(id, ask);
        let timeout = self
            .local
            .with(|state, now| state.arbiter.deadline(id).map(|deadline| deadline.since(now)));
        out.reply(ask.frame, Reply::Waiting { request: id, timeout });
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Answer, ask: Ask, out: &mut Out) {
        let (grant, is_pass) = match answer {
            Answer::Turn(grant) => (grant, false),
            Answer::Pass(grant) => (grant, true),
            Answer::Failed(failure) => {
                return out.fail(Some(ask.frame), Some(id), Error::from(failure));
            }
        };
        self.holds.insert(id, Hold { ask, is_pass, seen: false, told_to_yield: false });
        let module = self.local.module_name(grant.module);
        out.reply(ask.frame, Reply::Granted { request: id, module: (&*module).into(), grant });
    }

    fn check_room(&self) -> Result<(), Refused> {
        let limit = PER_CONNECTION_MAX;
        if self.asks.len() + self.holds.len() >= limit {
            return Err(Error::QueueFull { limit }.into());
        }
        Ok(())
    }

    // Turns.

    fn release(
        &mut self,
        hold: RequestId,
        owner: Option<u64>,
        how: Leave,
    ) -> Result<Reply<'static>, Refused> {
        let owner = self.speaker(hold, owner)?;
        // The arbiter decides whether the hold is the owner's (S6).
        let ended = self.input(Input::End { hold, owner: Some(owner), how });
        self.forget_ended();
        ended?;
        self.holds.remove(&hold);
        Ok(Reply::Done)
    }

    fn withdraw(&mut self, which: Which, out: &mut Out) -> Reply<'static> {
        let request = self.named(which);
        let ask = self.asks.remove(&request);
        if ask.is_some() || self.holds.remove(&request).is_some() {
            let _asker = self.local.with(|state, now| state.withdraw(now, request));
        }
        if let Some(ask) = ask {
            // Each request has one answer (S16), and this is that of the request that was withdrawn.
            out.fail(Some(ask.frame), Some(request), Refused::Withdrawn);
        }
        Reply::Done
    }

    /// Renews the lease of this request, or all leases of the connection.
    fn heartbeat(&mut self, request: Option<RequestId>) -> Result<Reply<'static>, Refused> {
        if let Some(request) = request {
            let hold = self.own(Which::Request(request));
            self.input(Input::Heartbeat { hold })?;
            return Ok(Reply::Done);
        }
        for (hold, _) in self.holds.iter().filter(|(_, hold)| !hold.is_pass) {
            // The client is told of a turn that is over by a notice of its own.
            let _ = self.input(Input::Heartbeat { hold: *hold });
        }
        Ok(Reply::Done)
    }

    /// Returns who speaks in a frame about a hold: the owner that the frame names, or else the owner of the hold.
    fn speaker(&mut self, hold: RequestId, owner: Option<u64>) -> Result<Owner, Refused> {
        match self.holds.get(&hold) {
            Some(hold) if owner.is_none() => Ok(hold.ask.owner),
            _ => self.owner(owner),
        }
    }

    /// Returns the request that a frame names.
    fn named(&self, which: Which) -> RequestId {
        let ask = match which {
            Which::Request(request) => return request,
            Which::Ask(ask) => ask,
        };
        let mut asks = self.asks.iter().map(|(id, made)| (*id, made.frame));
        let mut holds = self.holds.iter().map(|(id, hold)| (*id, hold.ask.frame));
        let found = asks.find(|(_, frame)| *frame == ask);
        let found = found.or_else(|| holds.find(|(_, frame)| *frame == ask));
        found.map_or(RequestId(0), |(id, _)| id)
    }

    /// Returns the request that a frame names if it belongs to this connection. Otherwise returns 0, which is nobody's, so that
    /// the arbiter refuses it.
    fn own(&self, which: Which) -> RequestId {
        let request = self.named(which);
        let is_own = self.holds.contains_key(&request) || self.asks.contains_key(&request);
        if is_own { request } else { RequestId(0) }
    }

    /// Returns the owner behind the client's own number, or a new owner if the frame names none.
    ///
    /// Every frame has an owner: the arbiter lets a caller without one end what belongs to nobody.
    fn owner(&mut self, number: Option<u64>) -> Result<Owner, Refused> {
        let Some(number) = number else { return Ok(new_owner()) };
        if self.owners.len() >= PER_CONNECTION_MAX && !self.owners.contains_key(&number) {
            return Err(Error::QueueFull { limit: PER_CONNECTION_MAX }.into());
        }
        Ok(*self.owners.entry(number).or_insert_with(new_owner))
    }

    fn input(&self, input: Input) -> Result<(), Error> {
        Ok(self.local.input(input)?)
    }

    /// Forgets the holds that the client itself has ended by other means than their number. It needs no notice of those.
    fn forget_ended(&mut self) {
        let holds = &mut self.holds;
        self.local.with(|state, _| {
            holds.retain(|id, hold| {
                if hold.is_pass { state.arbiter.is_pass(*id) } else { state.arbiter.holds(*id) }
            });
        });
    }
}
