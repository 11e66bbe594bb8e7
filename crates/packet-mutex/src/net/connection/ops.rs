//! What a client asks for.

use super::hello::roster;
use super::news::Answered;
use super::wire::{Out, Refused};
use super::{Ask, Connection, Hold};
use crate::error::Error;
use crate::events::Reader;
use crate::local::tick;
use crate::module::ModuleRef;
use crate::net::frame::{Fields, Frame, Object, bad_field, below_of, mode_of, put_grant};
use crate::net::{PER_CONNECTION_MAX, VERSION};
use crate::owner::new_owner;
use crate::roster_toml::to_toml;
use packet_mutex_arbiter::{Answer, Input, Leave, ModuleId, Owner, Request, RequestId};
use serde_json::json;
use std::sync::Arc;
use std::task::{Wake, Waker};

impl Connection {
    /// Does what the frame asks for, and replies.
    pub(super) fn obey(
        &mut self,
        id: u64,
        frame: &Frame<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let op = frame.needed_text("op")?;
        let mut reply = Object::new();
        match op {
            "acquire" => return self.acquire(id, frame, out),
            "yield" => return self.give_away(id, frame, out),
            "release" => self.release(frame)?,
            "release_module" => {
                let owner = self.owner(frame)?;
                self.about(frame, |module| Input::EndModule { module, owner })?;
                self.forget_ended();
            }
            "withdraw" => self.withdraw(frame, out)?,
            "claim" => {
                let request = self.own(frame)?;
                self.input(Input::Claim { request })?;
            }
            "acknowledge" => {
                let hold = self.own(frame)?;
                self.input(Input::Acknowledge { hold })?;
            }
            "heartbeat" => self.heartbeat(frame)?,
            "should_yield" => {
                let hold = self.own(frame)?;
                let should = self.shared.with(|state, now| {
                    tick(state, now);
                    state.arbiter.should_yield(hold, now)
                });
                reply.insert("should_yield".into(), should.into());
            }
            "owner_lost" => {
                let number = frame.needed_number("owner")?;
                if let Some(owner) = self.owners.remove(&number) {
                    self.input(Input::OwnerLost { owner })?;
                    self.forget_ended();
                }
            }
            "ping" => {}
            "module" => {
                let name = frame.needed_text("module")?;
                let (name, found) = self.shared.with(|state, _| {
                    let found = state.resolve_name(name)?;
                    Ok::<_, Error>((state.arbiter.module_name(found.module).clone(), found))
                })?;
                reply.insert("module".into(), (&*name).into());
                reply.insert("first_unknown".into(), found.first_unknown.into());
                reply.insert("nearest".into(), json!(found.nearest.as_deref()));
            }
            "status" => {
                let mut text = String::new();
                // Writing to a string cannot fail.
                let _ = self.mutex.status().write_json(self.mutex.name(), &mut text);
                reply.insert("status".into(), serde_json::from_str(&text).unwrap_or_default());
            }
            "roster" => {
                reply.insert("roster".into(), to_toml(&self.mutex.roster()).into());
            }
            "events" => {
                let so_far = frame.flag("so_far")?.then_some(0);
                let after = frame.number("after")?.or(so_far);
                let events = Reader::new(self.shared.clone(), after);
                reply.insert("after".into(), events.seen.into());
                self.events = Some(events);
                self.mailbox.clone().wake();
            }
            _ => {
                self.steer(op, frame)?;
                self.forget_ended();
            }
        }
        let mut line = out.ok(id);
        for (key, value) in &reply {
            line.put(key, value);
        }
        line.end();
        Ok(())
    }

    /// S12, S15, S19, S20.
    fn steer(&mut self, op: &str, frame: &Frame<'_>) -> Result<(), Refused> {
        match op {
            "cancel" => self.about(frame, |module| Input::Cancel { module }),
            "disable" => self.about(frame, |module| Input::Disable { module }),
            "enable" => self.about(frame, |module| Input::Enable { module }),
            "mode" => Ok(self.mutex.set_mode(frame.needed_text("module")?, mode_of(frame)?)?),
            "pause" => {
                let reason = frame.needed_text("reason")?.to_owned();
                let (below, lasts) = (below_of(frame)?, frame.seconds("lasts")?);
                self.input(Input::Pause { reason, below, lasts })
            }
            "resume" => {
                self.input(Input::Resume { reason: frame.text("reason")?.map(String::from) })
            }
            "close" => self.input(Input::Close),
            "reload" => Ok(self.mutex.reload(roster(frame.needed_text("roster")?)?)?),
            "reset" => {
                let owner = Some(self.owner(frame)?);
                self.input(Input::Reset { owner })
            }
            _ => Err(Refused::Version(format!("no op of version {VERSION}"))),
        }
    }

    // Asking.

    fn acquire(&mut self, frame_id: u64, frame: &Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let within = frame.number("within")?.map(RequestId);
        let owner = match within.and_then(|hold| self.holds.get(&hold)) {
            // A nested turn is of whoever has the turn around it.
            Some(outer) => outer.ask.owner,
            None => self.owner(frame)?,
        };
        // What is not this connection's is no turn to nest in: no request has the number 0.
        let within =
            within.map(|hold| if self.holds.contains_key(&hold) { hold } else { RequestId(0) });
        let lease = frame.seconds("lease")?.or(self.lease);
        let (urgent, timeout) = (frame.flag("urgent")?, frame.seconds("timeout")?);
        let (claim, requeued) = (frame.flag("claim")?, frame.flag("requeued")?);
        let name = frame.needed_text("module")?;
        self.check_room()?;
        let shared = self.shared.clone();
        let asked = shared.with(|state, now| {
            let module = state.resolve(shared.number, &ModuleRef::Name(name))?;
            let id = state.arbiter.next_request();
            let request = Request {
                owner: Some(owner),
                within,
                urgent,
                timeout,
                lease,
                claim,
                requeued,
                ..Request::new(id, module)
            };
            let answer = state.request(now, request);
            Ok::<_, Error>((id, answer))
        });
        let (id, answer) = asked?;
        self.asked(id, answer, Ask { frame: frame_id, owner }, out)
    }

    fn give_away(
        &mut self,
        frame_id: u64,
        frame: &Frame<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let (hold, owner) = self.hold_and_owner(frame)?;
        let timeout = frame.seconds("timeout")?;
        let given = self.shared.with(|state, now| {
            let id = state.arbiter.next_request();
            let input = Input::Yield { hold, owner: Some(owner), id, timeout };
            state.ask(now, id, input).map(|answer| (id, answer))
        });
        let (id, answer) = given.map_err(|failure| Refused::StillHeld(failure.into()))?;
        self.holds.remove(&hold);
        self.asked(id, answer, Ask { frame: frame_id, owner }, out)
    }

    /// Replies to a request: its answer, or that it waits.
    fn asked(
        &mut self,
        id: RequestId,
        answer: Option<Answer>,
        ask: Ask,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let answer = answer.or_else(|| {
            let waker = Waker::from(Arc::new(Answered(self.mailbox.clone(), id)));
            self.shared.with(|state, _| state.answer_or_leave(id, waker).0)
        });
        if let Some(answer) = answer {
            return self.answer(id, answer, ask, out);
        }
        self.asks.insert(id, ask);
        let left = self
            .shared
            .with(|state, now| state.arbiter.deadline(id).map(|deadline| deadline.since(now)));
        let mut line = out.frame();
        line.put("id", ask.frame).put("waiting", true).put("request", id.0);
        line.put("timeout", left.map(|left| left.as_secs_f64()));
        line.end();
        Ok(())
    }

    pub(super) fn answer(
        &mut self,
        id: RequestId,
        answer: Answer,
        ask: Ask,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let (grant, is_pass) = match answer {
            Answer::Turn(grant) => (grant, false),
            Answer::Pass(grant) => (grant, true),
            Answer::Failed(failure) => return Err(Refused::Answer(id, failure.into())),
        };
        self.holds.insert(id, Hold { ask, is_pass, seen: false, told: false });
        let module = self.shared.with(|state, _| state.arbiter.module_name(grant.module).clone());
        let mut line = out.ok(ask.frame);
        put_grant(&mut line, id, &module, &grant);
        line.end();
        Ok(())
    }

    fn check_room(&self) -> Result<(), Refused> {
        let limit = PER_CONNECTION_MAX;
        if self.asks.len() + self.holds.len() >= limit {
            return Err(Error::QueueFull { limit }.into());
        }
        Ok(())
    }

    // What it had.

    fn release(&mut self, frame: &Frame<'_>) -> Result<(), Refused> {
        let how = match frame.text("how")? {
            None | Some("released") => Leave::Released,
            Some("panicked") => Leave::Panicked,
            Some("declined") => Leave::Declined,
            Some(_) => {
                let must = "\"released\", \"panicked\" or \"declined\"";
                return Err(bad_field("how", must).into());
            }
        };
        let (hold, owner) = self.hold_and_owner(frame)?;
        // The arbiter says whether it is the owner's (S6).
        let ended = self.input(Input::End { hold, owner: Some(owner), how });
        self.forget_ended();
        if ended.is_ok() {
            self.holds.remove(&hold);
        }
        ended
    }

    fn withdraw(&mut self, frame: &Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let request = self.named(frame)?;
        let ask = self.asks.remove(&request);
        if ask.is_some() || self.holds.remove(&request).is_some() {
            let _asker = self.shared.with(|state, now| state.withdraw(now, request));
        }
        if let Some(ask) = ask {
            // The one answer of the request (S16).
            let message = "withdrawn by the asker";
            let answer = json!({
                "id": ask.frame, "error": "withdrawn", "message": message, "request": request.0,
            });
            out.object(answer);
        }
        Ok(())
    }

    /// All leases of the connection start anew, or the one that the frame names.
    fn heartbeat(&mut self, frame: &Frame<'_>) -> Result<(), Refused> {
        if frame.number("request")?.is_some() {
            let hold = self.own(frame)?;
            return self.input(Input::Heartbeat { hold });
        }
        let holds: Vec<RequestId> =
            self.holds.iter().filter(|(_, hold)| !hold.is_pass).map(|(id, _)| *id).collect();
        for hold in holds {
            // One that is over is told of by itself.
            let _ = self.input(Input::Heartbeat { hold });
        }
        Ok(())
    }

    /// The hold that a frame speaks of, and who does: the owner that it names, else whose hold it is.
    fn hold_and_owner(&mut self, frame: &Frame<'_>) -> Result<(RequestId, Owner), Refused> {
        let hold = frame.request("request")?;
        let known = self.holds.get(&hold).map(|hold| hold.ask.owner);
        let owner = match known.filter(|_| frame.get_field("owner").is_none()) {
            Some(owner) => owner,
            None => self.owner(frame)?,
        };
        Ok((hold, owner))
    }

    /// The request that a frame names by its number, or by the frame that made it, for who has not yet read that number.
    fn named(&self, frame: &Frame<'_>) -> Result<RequestId, String> {
        let Some(ask) = frame.number("ask")? else { return frame.request("request") };
        let mut asks = self.asks.iter().map(|(id, made)| (*id, made.frame));
        let mut holds = self.holds.iter().map(|(id, hold)| (*id, hold.ask.frame));
        let found = asks.find(|(_, frame)| *frame == ask);
        let found = found.or_else(|| holds.find(|(_, frame)| *frame == ask));
        Ok(found.map_or(RequestId(0), |(id, _)| id))
    }

    /// The request that a frame speaks of, if it is this connection's; else one that nobody has, which the arbiter refuses.
    fn own(&self, frame: &Frame<'_>) -> Result<RequestId, String> {
        let request = self.named(frame)?;
        let is_own = self.holds.contains_key(&request) || self.asks.contains_key(&request);
        Ok(if is_own { request } else { RequestId(0) })
    }

    /// The owner that a frame names by the client's own number; without one, an owner that nobody else is. No frame is
    /// without an owner: the arbiter lets whoever is nobody end what belongs to nobody.
    fn owner(&mut self, frame: &Frame<'_>) -> Result<Owner, Refused> {
        let Some(number) = frame.number("owner")? else { return Ok(new_owner()) };
        if self.owners.len() >= PER_CONNECTION_MAX && !self.owners.contains_key(&number) {
            return Err(Error::QueueFull { limit: PER_CONNECTION_MAX }.into());
        }
        Ok(*self.owners.entry(number).or_insert_with(new_owner))
    }

    fn input(&self, input: Input) -> Result<(), Refused> {
        Ok(self.shared.input(input)?)
    }

    fn about(
        &self,
        frame: &Frame<'_>,
        input: impl FnOnce(ModuleId) -> Input,
    ) -> Result<(), Refused> {
        let name = frame.needed_text("module")?;
        Ok(self.shared.input_about(&ModuleRef::Name(name), input)?)
    }

    /// Forgets holds that the client itself has ended in another way than by their number.
    fn forget_ended(&mut self) {
        let holds = &mut self.holds;
        self.shared.with(|state, _| {
            holds.retain(|id, hold| {
                if hold.is_pass { state.arbiter.is_pass(*id) } else { state.arbiter.holds(*id) }
            });
        });
    }
}
