//! What a client asks for.

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
    /// Does what the request asks for, and replies.
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
                // The client has ended its own turns by a reset. It is told of a turn that it has revoked, even its own.
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

    /// S12, S15, S19, S20. The owner of a reset is this client's own.
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
            // A nested turn is of whoever has the turn around it.
            Some(outer) => outer.ask.owner,
            None => self.owner(*owner)?,
        };
        // What is not this connection's is no turn to nest in: no request has the number 0.
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
            // The client claims, not this connection.
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

    /// Replies to a request: its answer, or that it waits.
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
        self.holds.insert(id, Hold { ask, is_pass, seen: false, told: false });
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

    // What it had.

    fn release(
        &mut self,
        hold: RequestId,
        owner: Option<u64>,
        how: Leave,
    ) -> Result<Reply<'static>, Refused> {
        let owner = self.speaker(hold, owner)?;
        // The arbiter says whether it is the owner's (S6).
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
            // The one answer of the request (S16).
            out.fail(Some(ask.frame), Some(request), Refused::Withdrawn);
        }
        Reply::Done
    }

    /// All leases of the connection start anew, or that of this request.
    fn heartbeat(&mut self, request: Option<RequestId>) -> Result<Reply<'static>, Refused> {
        if let Some(request) = request {
            let hold = self.own(Which::Request(request));
            self.input(Input::Heartbeat { hold })?;
            return Ok(Reply::Done);
        }
        for (hold, _) in self.holds.iter().filter(|(_, hold)| !hold.is_pass) {
            // One that is over is told of by itself.
            let _ = self.input(Input::Heartbeat { hold: *hold });
        }
        Ok(Reply::Done)
    }

    /// Who speaks of a hold: the owner that the frame names, else whose hold it is.
    fn speaker(&mut self, hold: RequestId, owner: Option<u64>) -> Result<Owner, Refused> {
        match self.holds.get(&hold) {
            Some(hold) if owner.is_none() => Ok(hold.ask.owner),
            _ => self.owner(owner),
        }
    }

    /// The request that a frame names.
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

    /// The request that a frame names, if it is this connection's; else one that nobody has, which the arbiter refuses.
    fn own(&self, which: Which) -> RequestId {
        let request = self.named(which);
        let is_own = self.holds.contains_key(&request) || self.asks.contains_key(&request);
        if is_own { request } else { RequestId(0) }
    }

    /// The owner that a frame names by the client's own number; without one, an owner that nobody else is. No frame is
    /// without an owner: the arbiter lets whoever is nobody end what belongs to nobody.
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

    /// Forgets holds that the client itself has ended in another way than by their number.
    fn forget_ended(&mut self) {
        let holds = &mut self.holds;
        self.local.with(|state, _| {
            holds.retain(|id, hold| {
                if hold.is_pass { state.arbiter.is_pass(*id) } else { state.arbiter.holds(*id) }
            });
        });
    }
}
