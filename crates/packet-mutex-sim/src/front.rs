//! Fronts: what a scenario needs of the implementation that it runs on, and the bare arbiter as the first front.

use crate::action::{Action, Query};
use crate::log::{Entry, Name};
use crate::scenario::Scenario;
use crate::seconds::Nanos;
use crate::words;
use packet_mutex::English;
use packet_mutex_arbiter::{
    Answer, Arbiter, Event, Failure, Input, ModuleId, NameError, Output, Owner, Request, RequestId,
    Start, Steer, Time, Token,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// An implementation that scenarios run on: the bare arbiter, threads, tasks, another language, a socket. Time is virtual.
pub trait Front {
    /// Returns whether it has an ability that scenarios need, such as `lease`. `scenarios/README.md` has the list.
    fn can(&self, ability: &str) -> bool;

    /// Returns whether it has all abilities that a scenario needs.
    fn can_run(&self, scenario: &Scenario) -> bool {
        scenario.needs.iter().all(|ability| self.can(ability))
    }

    /// Lets time pass and does all that falls due before `to`, but not what falls due at `to` itself: an action at that
    /// moment comes first (S18).
    fn advance(&mut self, to: Nanos);

    /// Carries out an action at a moment, and then what falls due at that moment.
    ///
    /// # Errors
    ///
    /// The kind of the error, if the action was refused and changed nothing. The failure of an ask is the request's answer
    /// and not an error here, except for a bad module name.
    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String>;

    /// Returns the events since the last call.
    fn log(&mut self) -> Vec<Entry>;

    /// Answers a question at a moment.
    fn ask(&mut self, at: Nanos, query: &Query) -> String;
}

/// The arbiter with nothing around it but names.
#[derive(Clone, Debug)]
pub struct ArbiterFront {
    arbiter: Arbiter,
    requests: BTreeMap<Name, RequestId>,
    request_names: BTreeMap<RequestId, Name>,
    owners: BTreeMap<Name, Owner>,
    module_names: Vec<Name>,
    answers: BTreeMap<RequestId, Answer>,
    /// The turns that were told to yield, by token.
    told_to_yield: BTreeSet<Token>,
    seen: u64,
}

impl ArbiterFront {
    /// Returns an arbiter as the scenario's header describes it.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let start = Start {
            first_token: scenario.first_token,
            after_restart: scenario.restarted,
            ..Start::default()
        };
        ArbiterFront {
            arbiter: Arbiter::new(scenario.roster.clone(), start),
            requests: BTreeMap::new(),
            request_names: BTreeMap::new(),
            owners: BTreeMap::new(),
            module_names: Vec::new(),
            answers: BTreeMap::new(),
            told_to_yield: BTreeSet::new(),
            seen: 0,
        }
    }

    /// Returns the arbiter.
    #[must_use]
    pub fn arbiter(&self) -> &Arbiter {
        &self.arbiter
    }

    /// Returns when something falls due by itself.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.arbiter.poll_timeout().map(Time::as_nanos)
    }

    fn input(&mut self, action: &Action) -> Result<Input, NameError> {
        Ok(match action {
            Action::Tick => Input::Tick,
            Action::Ask(ask) => {
                // The request gets its number even if the module's name is bad, so that later steps can refer to it.
                let id = self.new_request(&ask.request);
                let module = self.module(&ask.module)?;
                Input::Request(Request {
                    owner: self.owner(ask.owner.as_ref()),
                    within: ask.within.as_ref().map(|hold| self.request(hold)),
                    urgent: ask.urgent,
                    timeout: ask.timeout.map(Duration::from_nanos),
                    lease: ask.lease.map(Duration::from_nanos),
                    claim: ask.claim,
                    requeued: ask.requeued,
                    ..Request::new(id, module)
                })
            }
            Action::End { hold, owner, how } => Input::End {
                hold: self.request(hold),
                owner: self.owner(owner.as_ref()),
                how: *how,
            },
            Action::EndModule { module, owner } => {
                let module = self.module(module)?;
                Input::EndModule { module, owner: self.known_owner(owner) }
            }
            Action::Yield { hold, owner, request, timeout } => {
                let hold = self.request(hold);
                Input::Yield {
                    hold,
                    owner: self.owner(owner.as_ref()),
                    id: self.new_request(request),
                    timeout: timeout.map(Duration::from_nanos),
                }
            }
            Action::Withdraw(name) => Input::Withdraw { request: self.request(name) },
            Action::Claim(name) => Input::Claim { request: self.request(name) },
            Action::Acknowledge(name) => Input::Acknowledge { hold: self.request(name) },
            Action::Heartbeat(name) => Input::Heartbeat { hold: self.request(name) },
            Action::OwnerLost(owner) => Input::OwnerLost { owner: self.known_owner(owner) },
            Action::Steer(steer) => {
                Input::Steer(steer.clone().try_map_module(|module| self.module(&module))?)
            }
            Action::Reset(owner) => {
                Input::Steer(Steer::Reset { owner: self.owner(owner.as_ref()) })
            }
        })
    }

    fn module(&mut self, name: &str) -> Result<ModuleId, NameError> {
        self.arbiter.resolve(name).map(|resolved| resolved.module)
    }

    fn new_request(&mut self, name: &Name) -> RequestId {
        let id = self.arbiter.next_request();
        self.requests.insert(name.clone(), id);
        self.request_names.insert(id, name.clone());
        id
    }

    /// Returns a request's number; zero, which no request has, if it was never made.
    fn request(&self, name: &Name) -> RequestId {
        self.requests.get(name).copied().unwrap_or(RequestId(0))
    }

    fn owner(&mut self, name: Option<&Name>) -> Option<Owner> {
        name.map(|name| self.known_owner(name))
    }

    fn known_owner(&mut self, name: &Name) -> Owner {
        let next = Owner(self.owners.len() as u64 + 1);
        *self.owners.entry(name.clone()).or_insert(next)
    }

    /// # Panics
    ///
    /// If a request is answered twice: that is a bug of the arbiter (S16).
    fn drain(&mut self) {
        while let Some(output) = self.arbiter.poll_output() {
            match output {
                Output::Answer { request, answer } => {
                    let before = self.answers.insert(request, answer);
                    let name = self.request_names[&request].clone();
                    assert!(before.is_none(), "{name} was answered twice");
                }
                Output::ShouldYield { hold } => {
                    self.told_to_yield.extend(self.token(hold));
                }
                Output::Ended { .. } => {}
            }
        }
    }

    /// Returns the answer of a request, if it has one.
    #[must_use]
    pub fn answer(&self, request: &str) -> Option<&Answer> {
        self.answers.get(self.requests.get(request)?)
    }

    /// Returns whether the turn with this hold should give way, and whether its holder was told.
    #[must_use]
    pub fn should_yield(&self, request: &str, now: Nanos) -> (bool, bool) {
        let Some(id) = self.requests.get(request) else { return (false, false) };
        let should = self.arbiter.should_yield(*id, Time::from_nanos(now));
        (should, self.token(*id).is_some_and(|token| self.told_to_yield.contains(&token)))
    }

    /// Returns the token of the turn that a request was granted.
    fn token(&self, request: RequestId) -> Option<Token> {
        match self.answers.get(&request)? {
            Answer::Turn(grant) => grant.token,
            Answer::Pass(_) | Answer::Failed(_) => None,
        }
    }

    fn entry(&mut self, event: &Event) -> Entry {
        let (names, arbiter) = (&mut self.module_names, &self.arbiter);
        let named = event.clone().map_modules(|module| module_name(names, arbiter, module));
        words::entry(named, |request| request_name(&self.request_names, request))
    }

    fn handle(&mut self, at: Nanos, input: Input) -> Result<(), Failure> {
        let done = self.arbiter.handle(Time::from_nanos(at), input);
        self.drain();
        done
    }
}

impl Front for ArbiterFront {
    fn can(&self, _ability: &str) -> bool {
        true
    }

    fn advance(&mut self, to: Nanos) {
        while let Some(due) = self.due().filter(|due| *due < to) {
            // A tick is never refused.
            let _ = self.handle(due, Input::Tick);
        }
    }

    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String> {
        let (input, refused) = match self.input(action) {
            Ok(input) => (input, None),
            // Time passes all the same, so what is due still happens.
            Err(why) => (Input::Tick, Some(why.kind().to_string())),
        };
        let done = self.handle(at, input).map_err(|why| words::failure(&why));
        refused.map_or(done, Err)
    }

    fn log(&mut self) -> Vec<Entry> {
        let (_, events) = self.arbiter.events_since(self.seen);
        let events: Vec<Event> = events.cloned().collect();
        if let Some(last) = events.last() {
            self.seen = last.seq;
        }
        events.iter().map(|event| self.entry(event)).collect()
    }

    fn ask(&mut self, at: Nanos, query: &Query) -> String {
        // A tick is never refused.
        let _ = self.handle(at, Input::Tick);
        match query {
            Query::Told(request) => self.answer(request).map_or("nothing".into(), words::told),
            Query::ShouldYield(request) => match self.should_yield(request, at) {
                (true, true) => "yes".into(),
                (false, _) => "no".into(),
                // S11: without the notice, a holder that sleeps would not wake.
                (true, false) => "yes, but the holder was not told".into(),
            },
            Query::Missed => self.arbiter.events_since(0).0.to_string(),
            Query::Name(name) => match self.arbiter.resolve(name) {
                Ok(found) => {
                    let mut text = self.arbiter.module_name(found.module).to_string();
                    if found.first_unknown {
                        text.push_str(" unknown");
                    }
                    if let Some(nearest) = &found.nearest {
                        let _ = write!(text, " nearest {nearest}");
                    }
                    text
                }
                Err(why) => format!("{}: {}", why.kind(), English(&why)),
            },
            Query::Holder
            | Query::Waiters
            | Query::Why
            | Query::Next
            | Query::Last
            | Query::Paused
            | Query::Module(_) => {
                let status = self.arbiter.status(Time::from_nanos(at));
                words::status(&status, query, |id| request_name(&self.request_names, id))
            }
        }
    }
}

fn request_name(names: &BTreeMap<RequestId, Name>, request: RequestId) -> Name {
    let known = names.get(&request).cloned();
    known.unwrap_or_else(|| format!("#{}", request.0).into())
}

/// Returns a module's name, which all entries that hold it share.
fn module_name(names: &mut Vec<Name>, arbiter: &Arbiter, module: ModuleId) -> Name {
    if names.len() <= module.index() {
        // Modules are numbered in order, so those before it exist as well.
        names.resize(module.index() + 1, "".into());
    }
    let name = &mut names[module.index()];
    if name.is_empty() {
        *name = arbiter.module_name(module).clone();
    }
    name.clone()
}
