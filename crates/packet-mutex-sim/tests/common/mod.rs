//! What the fronts of threads and of tasks share: a clock that is set by hand, the log with the scenario's names, steering,
//! and a shadow of the run that tells beforehand what a front could not express.

#![allow(dead_code, reason = "each test file is a program of its own and uses its part")]

use packet_mutex::{
    Alarm, Clock, English, Error, Event, EventKind, Events, PacketMutex, Time, TurnOf,
};
use packet_mutex_arbiter::{
    Answer, Arbiter, Failure, Grant, ModuleId, NameError, Refusal, RequestId,
};
use packet_mutex_sim::{
    Action, ArbiterFront, Entry, Front, Name, Nanos, Query, Scenario, Step, What, read_all, run,
    words,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread::ThreadId;

/// A clock that goes where it is set, and rings only when it is told to: what is done at an instant comes before what
/// falls due at it, and timers can be held up. The library's `ManualClock` rings all that is due as soon as it is moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepClock(Arc<Mutex<Steps>>);

#[derive(Debug, Default)]
struct Steps {
    now: Time,
    next: u64,
    alarms: BTreeMap<Alarm, Waker>,
    /// How often each thread looked.
    looks: HashMap<ThreadId, u64>,
}

impl StepClock {
    /// How often a thread has looked at the clock: the one sign of how far a blocked call has come.
    pub(crate) fn looks_of(&self, thread: ThreadId) -> u64 {
        self.0.lock().unwrap().looks.get(&thread).copied().unwrap_or(0)
    }

    pub(crate) fn set(&self, at: Nanos) {
        self.0.lock().unwrap().now = Time::from_nanos(at);
    }

    /// Rings the first alarm before `to`, at its time. Was there one?
    pub(crate) fn ring_before(&self, to: Nanos) -> bool {
        let mut steps = self.0.lock().unwrap();
        let Some(first) = steps.alarms.first_entry() else { return false };
        if first.key().at.as_nanos() >= to {
            return false;
        }
        let (alarm, waker) = first.remove_entry();
        steps.now = steps.now.max(alarm.at);
        drop(steps);
        waker.wake();
        true
    }
}

impl Clock for StepClock {
    fn now(&self) -> Time {
        let mut steps = self.0.lock().unwrap();
        *steps.looks.entry(std::thread::current().id()).or_default() += 1;
        steps.now
    }

    fn wake_at(&self, at: Time, waker: Waker) -> Alarm {
        let mut steps = self.0.lock().unwrap();
        steps.next += 1;
        let alarm = Alarm { at, number: steps.next };
        steps.alarms.insert(alarm, waker);
        alarm
    }

    fn cancel(&self, alarm: Alarm) {
        let waker = self.0.lock().unwrap().alarms.remove(&alarm);
        drop(waker);
    }
}

/// A rule that a front breaks on purpose, to see that the scenarios notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It ends turns as released that should be declined.
    Releases,
    /// It drops the urgent flag.
    NotUrgent,
}

/// The mutex that a scenario describes.
pub(crate) fn build(scenario: &Scenario, clock: &StepClock) -> PacketMutex {
    let mut builder = PacketMutex::builder(scenario.roster.clone()).clock(clock.clone());
    if scenario.restarted {
        builder = builder.after_restart(scenario.first_token);
    }
    builder.build()
}

/// The event log, with the names of requests: only the log tells a caller which number its request has.
pub(crate) struct Log {
    events: Events,
    numbers: BTreeMap<Name, RequestId>,
    names: BTreeMap<RequestId, Name>,
    entries: Vec<Entry>,
    depths: BTreeMap<Name, usize>,
    granted: BTreeMap<Name, Answer>,
    /// An end was refused since this was last cleared. The destructor of a turn tells nobody; the log does.
    pub(crate) refused_end: bool,
}

impl Log {
    pub(crate) fn new(mutex: &PacketMutex) -> Self {
        Log {
            events: mutex.events_so_far(),
            numbers: BTreeMap::new(),
            names: BTreeMap::new(),
            entries: Vec::new(),
            depths: BTreeMap::new(),
            granted: BTreeMap::new(),
            refused_end: false,
        }
    }

    /// Reads on; a request that was not seen before is the one that is being made. Returns whether there was anything new.
    pub(crate) fn read(&mut self, made: Option<&Name>) -> bool {
        let read = self.events.take();
        let is_new = !read.is_empty();
        for event in read {
            // What was dropped leaves a gap in the numbers, which the runner shows.
            if matches!(event.kind, EventKind::Dropped { .. }) {
                continue;
            }
            if let (Some(id), Some(name)) = (event.request, made)
                && !self.names.contains_key(&id)
                && !self.numbers.contains_key(name)
            {
                self.names.insert(id, name.clone());
                self.numbers.insert(name.clone(), id);
            }
            self.note(&event);
            self.entries.push(words::read_entry(event, |id| self.name(id)));
        }
        is_new
    }

    fn note(&mut self, event: &Event) {
        self.refused_end |= event.kind == EventKind::NotHolder;
        let Some(name) = event.request.and_then(|id| self.names.get(&id)).cloned() else { return };
        match event.kind {
            EventKind::Nested { depth } => {
                self.depths.insert(name, depth);
            }
            EventKind::Granted { waited, others, abandoned, .. } => {
                let answer = Answer::Turn(Grant {
                    module: some_module(),
                    token: event.token,
                    waited,
                    others_since_request: others,
                    predecessor_abandoned: abandoned,
                    depth: 0,
                });
                self.granted.insert(name, answer);
            }
            _ => {}
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Entry> {
        self.read(None);
        std::mem::take(&mut self.entries)
    }

    pub(crate) fn name(&self, id: RequestId) -> Name {
        self.names.get(&id).cloned().unwrap_or_else(|| format!("#{}", id.0).into())
    }

    pub(crate) fn number(&self, name: &Name) -> Option<RequestId> {
        self.numbers.get(name).copied()
    }

    /// What the log says of a request's grant.
    pub(crate) fn granted(&self, name: &Name) -> Option<&Answer> {
        self.granted.get(name)
    }

    /// What a turn tells its holder.
    pub(crate) fn answer(&self, name: &Name, told: &Told) -> Answer {
        let grant = match told {
            Ok(grant) => Grant { depth: self.depths.get(name).copied().unwrap_or(0), ..*grant },
            Err(error) => return Answer::Failed(failure(error).unwrap_or(Failure::Lost)),
        };
        if grant.token.is_some() { Answer::Turn(grant) } else { Answer::Pass(grant) }
    }
}

/// What an ask came to, without the turn itself, which may not leave its thread.
pub(crate) type Told = Result<Grant, Error>;

pub(crate) fn grant_of<Of>(turn: &TurnOf<Of>) -> Grant {
    Grant {
        module: some_module(),
        token: turn.token(),
        waited: turn.waited(),
        others_since_request: turn.others_since_request(),
        predecessor_abandoned: turn.predecessor_abandoned(),
        // How deep it is only the log tells.
        depth: 0,
    }
}

/// Any module: which it is does not matter for what is told.
fn some_module() -> ModuleId {
    Arbiter::new(Default::default(), Default::default()).resolve("fisher").unwrap().module
}

fn failure(error: &Error) -> Option<Failure> {
    Some(match error.clone() {
        Error::Timeout(why) => Failure::TimedOut(why),
        Error::WouldDeadlock { holds, asked } => Failure::WouldDeadlock { holds, asked },
        Error::Refused(why) => Failure::Refused(why),
        Error::Cancelled => Failure::Cancelled,
        Error::Disabled { module } => Failure::Disabled { module },
        Error::Closed => Failure::Closed,
        Error::NotHolder { holder } => Failure::NotHolder { holder },
        Error::QueueFull { limit } => Failure::QueueFull { limit },
        Error::Lost => Failure::Lost,
        _ => return None,
    })
}

/// A refusal in the words of scenarios.
pub(crate) fn refusal(error: &Error) -> String {
    failure(error).map_or_else(|| error.kind().to_owned(), |why| words::failure(&why))
}

/// The refusal of an end: who holds instead is what the status says, for a refused end changes nothing.
pub(crate) fn refused_end(mutex: &PacketMutex) -> String {
    let holder = mutex.status().holder.map(|holder| holder.module);
    words::failure(&Failure::NotHolder { holder })
}

/// Carries out what no owner does. `None` for anything else.
pub(crate) fn steer(mutex: &PacketMutex, action: &Action) -> Option<Result<(), String>> {
    let done = match action {
        // Whatever looks counts what is due.
        Action::Tick => {
            drop(mutex.status());
            Ok(())
        }
        Action::Steer(steer) => mutex.steer(steer.as_str()),
        _ => return None,
    };
    Some(done.map_err(|error| refusal(&error)))
}

/// Answers what is asked of the mutex and not of an asker.
pub(crate) fn look(mutex: &PacketMutex, log: &Log, query: &Query) -> String {
    match query {
        Query::Missed => {
            let read = mutex.events_so_far().take();
            let dropped = read.iter().find_map(|event| match event.kind {
                EventKind::Dropped { count } => Some(count),
                _ => None,
            });
            dropped.unwrap_or(0).to_string()
        }
        Query::Name(name) => match mutex.module(name) {
            Ok(module) => module.name().to_string(),
            Err(Error::Refused(Refusal::TooManyModules { limit })) => {
                // The table of names says it in more words than an error.
                format!("refused: {}", English(&NameError::TooManyModules { limit }))
            }
            Err(error) => format!("{}: {error}", error.kind()),
        },
        _ => words::status(&mutex.status(), query, |id| log.name(id)),
    }
}

/// A run on the bare arbiter beside the real one: who holds and waits before each step.
pub(crate) struct Shadow {
    front: ArbiterFront,
    /// Requests in order, with their owners and modules.
    asked: Vec<(Name, Option<Name>, Name)>,
    /// Requests whose asker has nothing of them any more.
    over: BTreeSet<Name>,
    /// Requests that were answered as they were made.
    at_once: BTreeSet<Name>,
}

impl Shadow {
    fn answer(&self, name: &Name) -> Option<&Answer> {
        self.front.answer(name)
    }

    fn of(&self, owner: Option<&Name>) -> impl DoubleEndedIterator<Item = &Name> {
        let own = move |(name, of, _): &&(Name, Option<Name>, Name)| {
            of.as_ref() == owner && !self.over.contains(name)
        };
        self.asked.iter().filter(own).map(|(name, ..)| name)
    }

    /// Does this owner wait?
    pub(crate) fn waits(&self, owner: &Name) -> bool {
        self.of(Some(owner)).any(|name| self.answer(name).is_none())
    }

    /// Has this owner a turn or pass?
    pub(crate) fn holds(&self, owner: &Name) -> bool {
        self.of(Some(owner)).any(|name| self.has(name))
    }

    /// Has this owner a pass?
    pub(crate) fn passes(&self, owner: &Name) -> bool {
        let pass = |name| matches!(self.answer(name), Some(Answer::Pass(_)));
        self.of(Some(owner)).any(pass)
    }

    /// Has the asker of this request got a turn or pass, and not ended it?
    pub(crate) fn has(&self, name: &Name) -> bool {
        let got = matches!(self.answer(name), Some(Answer::Turn(_) | Answer::Pass(_)));
        got && !self.over.contains(name)
    }

    /// Has the owner this turn or pass?
    pub(crate) fn has_own(&self, name: &Name, owner: Option<&Name>) -> bool {
        self.has(name) && self.of(owner).any(|own| own == name)
    }

    pub(crate) fn was_at_once(&self, name: &Name) -> bool {
        self.at_once.contains(name)
    }

    fn done(&mut self, action: &Action, obeyed: bool) {
        match action {
            Action::Ask(ask) if obeyed => {
                self.asked.push((ask.request.clone(), ask.owner.clone(), ask.module.clone()));
                self.note_at_once(&ask.request);
            }
            Action::Yield { hold, owner, request, .. } if obeyed => {
                let asked = self.asked.iter().find(|(name, ..)| name == hold);
                let module = asked.map_or_else(|| "".into(), |(.., module)| module.clone());
                self.over.insert(hold.clone());
                self.asked.push((request.clone(), owner.clone(), module));
                self.note_at_once(request);
            }
            // A turn whose end is refused is dropped all the same.
            Action::End { hold, .. } => {
                self.over.insert(hold.clone());
            }
            Action::Withdraw(name) => {
                self.over.insert(name.clone());
            }
            Action::EndModule { module, owner } if obeyed => {
                let of = |name: &&Name| {
                    self.asked.iter().any(|(asked, _, of)| asked == *name && of == module)
                };
                let newest = self.of(Some(owner)).rev().find(of).cloned();
                self.over.extend(newest);
            }
            Action::OwnerLost(owner) => {
                let gone: Vec<Name> = self.of(Some(owner)).cloned().collect();
                self.over.extend(gone);
            }
            _ => {}
        }
    }

    fn note_at_once(&mut self, name: &Name) {
        if self.answer(name).is_some() {
            self.at_once.insert(name.clone());
        }
    }
}

/// The first reason for which a front cannot run the scenario.
pub(crate) fn obstacle(
    scenario: &Scenario,
    mut why_not: impl FnMut(&Shadow, &Step) -> Option<&'static str>,
) -> Option<&'static str> {
    if scenario.first_token != 1 && !scenario.restarted {
        return Some("only a restart lets tokens begin elsewhere");
    }
    let mut shadow = Shadow {
        front: ArbiterFront::new(scenario),
        asked: Vec::new(),
        over: BTreeSet::new(),
        at_once: BTreeSet::new(),
    };
    for step in &scenario.steps {
        if !step.late {
            shadow.front.advance(step.at);
        }
        if let What::Ask(Query::Name(_)) = &step.what
            && step.expected.iter().any(|line| line.contains(" unknown"))
        {
            return Some("that a module is unknown goes to the log and not to the caller");
        }
        // At the step's instant what is due comes after what is done, so this looks before it.
        if let Some(why) = why_not(&shadow, step) {
            return Some(why);
        }
        match &step.what {
            What::Do(action) => {
                let obeyed = shadow.front.act(step.at, action).is_ok();
                shadow.done(action, obeyed);
            }
            What::Ask(query) => drop(shadow.front.ask(step.at, query)),
        }
    }
    None
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    read_all(&folder).unwrap_or_else(|why| panic!("{why}"))
}

/// Runs all scenarios that the front can run; says how many and why not the others.
pub(crate) fn run_all<F: Front>(
    what: &str,
    at_least: usize,
    why_not: impl Fn(&Scenario) -> Option<&'static str>,
    make: impl Fn(&Scenario) -> F,
) {
    let (mut ran, mut wrong) = (0, Vec::new());
    let mut skipped: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for scenario in scenarios() {
        let mut front = make(&scenario);
        let lacking = scenario.needs.iter().find(|ability| !front.can(ability));
        let why = lacking.map(|ability| format!("needs `{ability}`"));
        if let Some(why) = why.or_else(|| why_not(&scenario).map(String::from)) {
            let folder = scenario.file.parent().and_then(Path::file_name).unwrap_or_default();
            let name = scenario.file.file_stem().unwrap_or_default();
            let name = format!("{}/{}", folder.to_string_lossy(), name.to_string_lossy());
            skipped.entry(why).or_default().push(name);
            continue;
        }
        assert!(front.can_run(&scenario));
        ran += 1;
        if let Err(mismatch) = run(&scenario, &mut front) {
            wrong.push(mismatch.to_string());
        }
    }
    let left_out: usize = skipped.values().map(Vec::len).sum();
    let mut report = format!("{what}: {ran} scenarios ran, {left_out} left out\n");
    for (why, names) in &skipped {
        report.push_str(&format!("  {} {why}: {}\n", names.len(), names.join(" ")));
    }
    say(&report);
    assert!(wrong.is_empty(), "{} of {ran} scenarios differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(ran >= at_least, "only {ran} scenarios ran\n{report}");
}

/// How many scenarios of a rule notice the front's fault.
pub(crate) fn caught<F: Front>(
    rule: &str,
    why_not: impl Fn(&Scenario) -> Option<&'static str>,
    make: impl Fn(&Scenario) -> F,
) -> usize {
    let notices = |scenario: &Scenario| {
        let mut front = make(scenario);
        let runs = front.can_run(scenario) && why_not(scenario).is_none();
        runs && run(scenario, &mut front).is_err()
    };
    let of_rule = scenarios().into_iter().filter(|scenario| scenario.rules[0] == rule);
    of_rule.filter(notices).count()
}

#[expect(clippy::print_stdout, reason = "a test's output is how many scenarios it left out")]
fn say(report: &str) {
    print!("{report}");
}
