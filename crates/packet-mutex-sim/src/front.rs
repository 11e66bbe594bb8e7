//! Ways in: what a scenario needs of the thing that it runs on, and the bare arbiter as the first such thing.

use crate::action::{Action, How, Level, Query};
use crate::log::{Entry, Name, Value};
use crate::scenario::Scenario;
use crate::seconds::{Nanos, nanos, seconds};
use packet_mutex_arbiter::{
    Answer, Arbiter, Below, Event, EventKind, Failure, Grant, Input, Leave, ModuleId, NameError,
    Output, Owner, Request, RequestId, Start, Status, Time, Token,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// Something that scenarios run on: the bare arbiter, threads, tasks, another language, a socket. Time is virtual.
pub trait Front {
    /// Has it the ability that a scenario needs, such as `lease`? See `scenarios/README.md` for the list.
    fn can(&self, ability: &str) -> bool;

    /// Lets time pass and does all that falls due before `to`, but not what falls due at `to` itself.
    fn advance(&mut self, to: Nanos);

    /// Carries out an action at a moment, and what falls due at that moment.
    ///
    /// # Errors
    ///
    /// The kind of the error, if the action was refused and changed nothing. An ask's failure is no error here but the
    /// request's answer, except for a bad module name.
    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String>;

    /// The events since the last call.
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
    /// Requests in the order they got their answers, for who drives the mutex by them.
    answered: Vec<Name>,
}

impl ArbiterFront {
    /// An arbiter as the scenario's header describes it.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let start = Start {
            first_token: scenario.first_token,
            after_restart: scenario.restarted,
            ..Start::default()
        };
        Self::over(Arbiter::new(scenario.roster.clone(), start))
    }

    /// A front over this arbiter.
    #[must_use]
    pub fn over(arbiter: Arbiter) -> Self {
        ArbiterFront {
            arbiter,
            requests: BTreeMap::new(),
            request_names: BTreeMap::new(),
            owners: BTreeMap::new(),
            module_names: Vec::new(),
            answers: BTreeMap::new(),
            told_to_yield: BTreeSet::new(),
            seen: 0,
            answered: Vec::new(),
        }
    }

    /// The arbiter.
    #[must_use]
    pub fn arbiter(&self) -> &Arbiter {
        &self.arbiter
    }

    /// When something falls due by itself.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.arbiter.poll_timeout().map(Time::as_nanos)
    }

    fn input(&mut self, action: &Action) -> Result<Input, NameError> {
        Ok(match action {
            Action::Tick => Input::Tick,
            Action::Ask(ask) => {
                // The request has its number even if its module has no name, so that it can be spoken of.
                let id = self.new_request(&ask.request);
                let module = self.module(&ask.module)?;
                Input::Request(Request {
                    owner: self.owner(ask.owner.as_ref()),
                    within: ask.within.as_ref().map(|hold| self.request(hold)),
                    urgent: ask.urgent,
                    timeout: ask.timeout.map(Duration::from_nanos),
                    lease: ask.lease.map(Duration::from_nanos),
                    claim: ask.claim,
                    ..Request::new(id, module)
                })
            }
            Action::End { hold, owner, how } => Input::End {
                hold: self.request(hold),
                owner: self.owner(owner.as_ref()),
                how: match how {
                    How::Released => Leave::Released,
                    How::Panicked => Leave::Panicked,
                    How::Declined => Leave::Declined,
                },
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
            Action::Cancel(module) => Input::Cancel { module: self.module(module)? },
            Action::Disable(module) => Input::Disable { module: self.module(module)? },
            Action::Enable(module) => Input::Enable { module: self.module(module)? },
            Action::SetMode(module, mode) => {
                Input::SetMode { module: self.module(module)?, mode: *mode }
            }
            Action::Pause { reason, below, lasts } => Input::Pause {
                reason: reason.clone(),
                below: match below {
                    Level::Priority(level) => Below::Priority(*level),
                    Level::Urgent => Below::Urgent,
                },
                lasts: lasts.map(Duration::from_nanos),
            },
            Action::Resume(reason) => Input::Resume { reason: reason.clone() },
            Action::Close => Input::Close,
            Action::Reload(roster) => Input::Reload(roster.clone()),
            Action::Reset(owner) => Input::Reset { owner: self.owner(owner.as_ref()) },
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

    /// A request's number; zero, which is none, if it was never made.
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
                    self.answered.push(name);
                }
                Output::ShouldYield { hold } => {
                    self.told_to_yield.extend(self.token(hold));
                }
                Output::Ended { .. } => {}
            }
        }
    }

    /// The requests that were answered since the last call.
    pub fn answered(&mut self) -> Vec<Name> {
        std::mem::take(&mut self.answered)
    }

    /// The answer of a request, if it has one.
    #[must_use]
    pub fn answer(&self, request: &str) -> Option<&Answer> {
        self.answers.get(self.requests.get(request)?)
    }

    /// Forgets a request that is over, so that long runs need no more memory than short ones.
    pub fn forget(&mut self, request: &str) {
        if let Some(id) = self.requests.remove(request) {
            self.request_names.remove(&id);
            if let Some(token) = self.token(id) {
                self.told_to_yield.remove(&token);
            }
            self.answers.remove(&id);
        }
    }

    /// Should the turn with this hold give way, and was its holder told so?
    #[must_use]
    pub fn should_yield(&self, request: &str, now: Nanos) -> (bool, bool) {
        let Some(id) = self.requests.get(request) else { return (false, false) };
        let should = self.arbiter.should_yield(*id, Time::from_nanos(now));
        (should, self.token(*id).is_some_and(|token| self.told_to_yield.contains(&token)))
    }

    /// The token of the turn that a request was granted.
    fn token(&self, request: RequestId) -> Option<Token> {
        match self.answers.get(&request)? {
            Answer::Turn(grant) => grant.token,
            Answer::Pass(_) | Answer::Failed(_) => None,
        }
    }

    fn module_name(&mut self, module: ModuleId) -> Name {
        while self.module_names.len() <= module.index() {
            // Numbers are given in order, so each is that of the next.
            self.module_names.push("".into());
        }
        let name = &mut self.module_names[module.index()];
        if name.is_empty() {
            *name = self.arbiter.module_name(module).clone();
        }
        name.clone()
    }

    fn request_name(&self, request: RequestId) -> Name {
        let known = self.request_names.get(&request).cloned();
        known.unwrap_or_else(|| format!("#{}", request.0).into())
    }

    fn entry(&mut self, event: &Event) -> Entry {
        Entry {
            seq: event.seq,
            at: event.at.as_nanos(),
            event: event.kind.name(),
            request: event.request.map(|request| self.request_name(request)),
            module: event.module.map(|module| self.module_name(module)),
            token: event.token.map(|token| token.0),
            details: self.details(&event.kind),
        }
    }

    fn details(&mut self, kind: &EventKind) -> Vec<(&'static str, Value)> {
        let length = |t: &Duration| Value::For(nanos(*t));
        let flags = |flags: &[(&'static str, bool)]| {
            let set = flags.iter().filter(|(_, is)| *is);
            set.map(|(key, _)| (*key, Value::Yes)).collect::<Vec<_>>()
        };
        match kind {
            EventKind::Requested { urgent, timeout } => {
                let mut details = vec![("timeout", length(timeout))];
                details.extend(flags(&[("urgent", *urgent)]));
                details
            }
            EventKind::Granted { waited, pass, others, abandoned, urgent } => {
                let mut details = vec![("waited", length(waited))];
                if *others > 0 {
                    details.push(("others", Value::Count(*others)));
                }
                details.extend(flags(&[
                    ("pass", *pass),
                    ("urgent", *urgent),
                    ("predecessor_abandoned", *abandoned),
                ]));
                details
            }
            EventKind::Refused { error } => vec![("error", Value::Fixed(error))],
            EventKind::Unserved { why: _, waited } => vec![("waited", length(waited))],
            EventKind::Nested { depth } => vec![("depth", Value::Count(*depth as u64))],
            EventKind::Ended { end: _, held, depth, pass } => {
                let mut details = vec![("held", length(held))];
                if *depth > 0 {
                    details.push(("depth", Value::Count(*depth as u64)));
                }
                details.extend(flags(&[("pass", *pass)]));
                details
            }
            EventKind::Overrun { held } => vec![("held", length(held))],
            EventKind::Starving { waited, by } => {
                let mut details = vec![("waited", length(waited))];
                details.extend(by.map(|by| ("by", Value::Word(self.module_name(by)))));
                details
            }
            EventKind::Conflict { with, with_request } => vec![
                ("with", Value::Word(self.module_name(*with))),
                ("with_request", Value::Word(self.request_name(*with_request))),
            ],
            EventKind::ShortGap { after, missing } => {
                vec![("after", Value::Word(self.module_name(*after))), ("missing", length(missing))]
            }
            EventKind::Paused { reason, below, until } => {
                let below = match below {
                    Below::Priority(level) => Value::Count(u64::from(*level)),
                    Below::Urgent => Value::Fixed("urgent"),
                };
                let mut details = vec![("reason", Value::Text(reason.clone())), ("below", below)];
                details.extend(until.map(|until| ("until", Value::At(until.as_nanos()))));
                details
            }
            EventKind::Resumed { reason } => vec![("reason", Value::Text(reason.clone()))],
            EventKind::Mode { mode } => vec![("mode", Value::Fixed(mode.name()))],
            EventKind::NotHolder
            | EventKind::Disabled
            | EventKind::Enabled
            | EventKind::Acknowledged
            | EventKind::Closing
            | EventKind::Reloaded
            | EventKind::Reset => Vec::new(),
        }
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
            // Time passes all the same.
            Err(why) => (Input::Tick, Some(why.kind().to_string())),
        };
        let done = self.handle(at, input).map_err(|why| told_failure(&why));
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
            Query::Told(request) => self.answer(request).map_or("nothing".into(), told),
            Query::ShouldYield(request) => match self.should_yield(request, at) {
                (true, true) => "yes".into(),
                (false, _) => "no".into(),
                // A holder that sleeps would not be woken (S11).
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
                Err(why) => format!("{}: {why}", why.kind()),
            },
            Query::Holder
            | Query::Waiters
            | Query::Next
            | Query::Last
            | Query::Paused
            | Query::Module(_) => self.status(&self.arbiter.status(Time::from_nanos(at)), query),
        }
    }
}

impl ArbiterFront {
    /// The part of a status that is asked for, in short.
    fn status(&self, status: &Status, query: &Query) -> String {
        let short = |t: Duration| seconds(nanos(t));
        let none = || "none".to_string();
        match query {
            Query::Holder => status.holder.as_ref().map_or_else(none, |holder| {
                let (module, token, held) = (&holder.module, holder.token, short(holder.held));
                format!("{module} token {token} held {held} depth {}", holder.depth)
            }),
            Query::Waiters => list(status.waiters.iter().map(|waiter| {
                let mut text = format!(
                    "{} {} priority {} effective {} waited {} deadline {}",
                    self.request_name(waiter.request),
                    waiter.module,
                    waiter.priority,
                    waiter.effective,
                    short(waiter.waited),
                    short(waiter.deadline),
                );
                if waiter.urgent {
                    text.push_str(" urgent");
                }
                if let Some(reason) = &waiter.paused {
                    // Writing to a string cannot fail.
                    let _ = write!(text, " paused {reason:?}");
                }
                text
            })),
            Query::Next => {
                let next = status.next.as_ref();
                next.map_or_else(none, |(module, within)| format!("{module} in {}", short(*within)))
            }
            Query::Last => {
                let last = status.last.as_ref();
                last.map_or_else(none, |(module, ago)| {
                    format!("{module} ended {} ago", short(*ago))
                })
            }
            Query::Paused => list(status.paused.iter().map(|pause| {
                let below = match pause.below {
                    Below::Priority(level) => level.to_string(),
                    Below::Urgent => "urgent".to_string(),
                };
                let left =
                    pause.left.map_or(String::new(), |left| format!(" left {}", short(left)));
                format!("{:?} below {below}{left}", pause.reason)
            })),
            Query::Module(name) => {
                let found = status.modules.iter().find(|module| *module.module == **name);
                found.map_or_else(none, |module| {
                    format!(
                        "{}{} turns {} passes {} timeouts {} wait max {} hold max {}",
                        module.mode.name(),
                        if module.disabled { " disabled" } else { "" },
                        module.turns,
                        module.passes,
                        module.timeouts,
                        short(module.wait.max),
                        short(module.hold.max),
                    )
                })
            }
            _ => none(),
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_string() } else { items.join("; ") }
}

/// A request's answer in short.
fn told(answer: &Answer) -> String {
    let grant = |what: &str, grant: &Grant| {
        let mut text = what.to_string();
        // Writing to a string cannot fail.
        if let Some(token) = grant.token {
            let _ = write!(text, " token {token}");
        }
        let _ = write!(text, " waited {}", seconds(nanos(grant.waited)));
        let _ = write!(text, " others {}", grant.others_since_request);
        if grant.predecessor_abandoned {
            text.push_str(" predecessor_abandoned");
        }
        if grant.depth > 0 {
            let _ = write!(text, " depth {}", grant.depth);
        }
        text
    };
    match answer {
        Answer::Turn(turn) => grant("turn", turn),
        Answer::Pass(pass) => grant("pass", pass),
        Answer::Failed(failure) => told_failure(failure),
    }
}

/// A failure in short: its kind and what it tells.
fn told_failure(failure: &Failure) -> String {
    let mut text = failure.kind().to_string();
    // Writing to a string cannot fail.
    let _ = match failure {
        Failure::TimedOut(why) => {
            let _ = write!(text, " waited {}", seconds(nanos(why.waited)));
            if let Some((module, held)) = &why.holder {
                let _ = write!(text, " holder {module} held {}", seconds(nanos(*held)));
            }
            let _ = write!(text, " ahead {}", why.ahead);
            let _ = write!(text, " delay_left {}", seconds(nanos(why.delay_left)));
            why.paused.as_ref().map_or(Ok(()), |reason| write!(text, " paused {reason:?}"))
        }
        Failure::WouldDeadlock { holds, asked } => write!(text, " holds {holds} asked {asked}"),
        Failure::Refused(why) => write!(text, ": {why}"),
        Failure::Disabled { module } => write!(text, " {module}"),
        Failure::NotHolder { holder: Some(holder) } => write!(text, " holder {holder}"),
        Failure::QueueFull { limit } => write!(text, " limit {limit}"),
        _ => Ok(()),
    };
    text
}
