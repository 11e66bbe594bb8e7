//! The scenarios with tasks: each ask is a future that is polled by hand when its waker was woken, and the log must be the
//! same as that of the bare arbiter. A task is no owner: what an owner nests, a task nests through its turn.

mod common;

use common::{
    Fault, Log, StepClock, build, caught, grant_of, look, obstacle, refusal, refused_end, run_all,
    steer,
};
use packet_mutex::{Error, PacketMutex, Slept, TaskTurn};
use packet_mutex_arbiter::{Answer, Failure, Leave};
use packet_mutex_sim::{
    Action, Ask, Entry, Front, Name, Nanos, Query, Scenario, Step, What, moment, words,
};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Remembers that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What an ask came to. A yield that is refused leaves the turn.
enum Outcome {
    Turn(TaskTurn),
    Failed(Error),
    GoesOn(TaskTurn, Error),
}

impl From<Result<TaskTurn, Error>> for Outcome {
    fn from(done: Result<TaskTurn, Error>) -> Self {
        done.map_or_else(Outcome::Failed, Outcome::Turn)
    }
}

type Work = Pin<Box<dyn Future<Output = Outcome>>>;

/// An ask that waits.
struct Task {
    work: Work,
    flag: Arc<Flag>,
}

impl Task {
    fn poll(&mut self) -> Poll<Outcome> {
        self.flag.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(self.flag.clone());
        self.work.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

struct TaskFront {
    clock: StepClock,
    mutex: PacketMutex,
    log: Log,
    tasks: BTreeMap<Name, Task>,
    /// Turns, in the order in which they came. A nested ask has its turn for a while too.
    turns: Vec<(Name, Rc<TaskTurn>)>,
    owners: BTreeMap<Name, Option<Name>>,
    answers: BTreeMap<Name, Answer>,
    /// Futures that nobody polls by themselves: the scenario says when they see their grant, or drops them.
    unpolled: BTreeSet<Name>,
    fault: Fault,
}

impl TaskFront {
    fn new(scenario: &Scenario, fault: Fault) -> Self {
        let clock = StepClock::default();
        let mutex = build(scenario, &clock);
        let mut unpolled = BTreeSet::new();
        for step in &scenario.steps {
            match &step.what {
                What::Do(Action::Ask(ask)) if ask.claim => {
                    unpolled.insert(ask.request.clone());
                }
                What::Do(Action::Yield { hold, request, .. }) if unpolled.contains(hold) => {
                    unpolled.insert(request.clone());
                }
                What::Do(Action::Withdraw(name)) => {
                    unpolled.insert(name.clone());
                }
                _ => {}
            }
        }
        TaskFront {
            clock,
            log: Log::new(&mutex),
            mutex,
            tasks: BTreeMap::new(),
            turns: Vec::new(),
            owners: BTreeMap::new(),
            answers: BTreeMap::new(),
            unpolled,
            fault,
        }
    }

    fn turn(&self, name: &Name) -> Option<&Rc<TaskTurn>> {
        self.turns.iter().find(|(of, _)| of == name).map(|(_, turn)| turn)
    }

    fn take(&mut self, name: &Name) -> Result<TaskTurn, String> {
        let at = self.turns.iter().position(|(of, _)| of == name).ok_or("has no such turn")?;
        Rc::try_unwrap(self.turns.remove(at).1).map_err(|_| "an ask nests in it".into())
    }

    fn ask_future(&self, ask: &Ask) -> Work {
        let (mutex, module) = (self.mutex.clone(), ask.module.clone());
        let own = |(of, turn): &&(Name, Rc<TaskTurn>)| {
            ask.owner.is_some() && self.owners.get(of) == Some(&ask.owner) && turn.is_held()
        };
        if let Some((_, turn)) = self.turns.iter().rev().find(own) {
            let turn = turn.clone();
            return Box::pin(async move { turn.nest(&*module).await.into() });
        }
        let urgent = ask.urgent && self.fault != Fault::NotUrgent;
        let timeout = ask.timeout.map(Duration::from_nanos);
        Box::pin(async move {
            let mut request = mutex.request(&*module);
            if urgent {
                request = request.urgent();
            }
            if let Some(timeout) = timeout {
                request = request.timeout(timeout);
            }
            request.acquire_async().await.into()
        })
    }

    /// Polls a new future for the first time, which makes the request.
    fn start(&mut self, name: &Name, owner: Option<&Name>, work: Work) -> Poll<Outcome> {
        self.owners.insert(name.clone(), owner.cloned());
        let mut task = Task { work, flag: Arc::default() };
        let polled = task.poll();
        self.log.read(Some(name));
        if polled.is_pending() {
            self.tasks.insert(name.clone(), task);
        }
        polled
    }

    fn answered(&mut self, name: &Name, outcome: Outcome) {
        let told = match outcome {
            Outcome::Turn(turn) => {
                let grant = grant_of(&turn);
                self.turns.push((name.clone(), Rc::new(turn)));
                Ok(grant)
            }
            Outcome::Failed(error) | Outcome::GoesOn(_, error) => Err(error),
        };
        let answer = self.log.answer(name, &told);
        let before = self.answers.insert(name.clone(), answer);
        assert!(before.is_none(), "{name} was answered twice");
    }

    /// Polls whom the mutex woke, as an executor does.
    fn poll_woken(&mut self) {
        let woken = |(name, task): (&Name, &Task)| {
            let is = task.flag.0.load(Ordering::Relaxed) && !self.unpolled.contains(name);
            is.then(|| name.clone())
        };
        let names: Vec<Name> = self.tasks.iter().filter_map(woken).collect();
        for name in names {
            let polled = self.tasks.get_mut(&name).map_or(Poll::Pending, Task::poll);
            if let Poll::Ready(outcome) = polled {
                self.tasks.remove(&name);
                self.answered(&name, outcome);
            }
        }
    }

    fn end(&mut self, hold: &Name, how: Leave) -> Result<(), String> {
        let turn = self.take(hold)?;
        match how {
            Leave::Declined if self.fault == Fault::Releases => turn.release(),
            Leave::Released => turn.release(),
            Leave::Declined => turn.decline(),
            Leave::Panicked => {
                // Nothing is printed of a panic that is only resumed.
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    let _turn = turn;
                    resume_unwind(Box::new("on purpose"));
                }));
                assert!(panicked.is_err());
            }
        }
        Ok(())
    }

    fn give_away(
        &mut self,
        hold: &Name,
        owner: Option<&Name>,
        name: &Name,
        timeout: Option<Nanos>,
    ) -> Result<(), String> {
        let mut turn = self.take(hold)?;
        let work = Box::pin(async move {
            let yielded = match timeout {
                Some(timeout) => turn.yield_within(Duration::from_nanos(timeout)).await,
                None => turn.yield_now().await,
            };
            match yielded {
                Ok(()) => Outcome::Turn(turn),
                Err(error) if turn.is_held() => Outcome::GoesOn(turn, error),
                Err(error) => Outcome::Failed(error),
            }
        });
        match self.start(name, owner, work) {
            Poll::Pending => {}
            Poll::Ready(Outcome::GoesOn(turn, error)) => {
                self.turns.push((hold.clone(), Rc::new(turn)));
                return Err(refusal(&error));
            }
            Poll::Ready(outcome) => self.answered(name, outcome),
        }
        Ok(())
    }

    /// An asker that looks late sees its grant, or that it is gone.
    fn claim(&mut self, name: &Name) -> Result<(), String> {
        let Some(task) = self.tasks.get_mut(name) else { return Ok(()) };
        let Poll::Ready(outcome) = task.poll() else { return Ok(()) };
        self.tasks.remove(name);
        let refused = match &outcome {
            Outcome::Failed(Error::Lost) => Err(words::failure(&Failure::Lost)),
            _ => Ok(()),
        };
        self.answered(name, outcome);
        refused
    }

    fn told(&self, name: &Name) -> String {
        // Who does not look hears nothing; what it would have heard in time is in the log.
        let unseen = || self.log.granted(name).filter(|_| self.unpolled.contains(name));
        self.answers.get(name).or_else(unseen).map_or("nothing".into(), words::told)
    }
}

impl Front for TaskFront {
    fn can(&self, ability: &str) -> bool {
        // A lease is for who may vanish; a turn within another is asked for through it, not by its request's name.
        !matches!(ability, "lease" | "requeued")
    }

    fn advance(&mut self, to: Nanos) {
        while self.clock.ring_before(to) {
            // An executor polls at once. Later, and a grant might not be claimed in time.
            self.poll_woken();
        }
    }

    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String> {
        self.clock.set(at);
        self.log.read(None);
        self.log.refused_end = false;
        let mut done = match action {
            Action::Ask(ask) => {
                let work = match &ask.within {
                    Some(hold) => match self.turn(hold).cloned() {
                        Some(turn) => {
                            let module = ask.module.clone();
                            Box::pin(async move { turn.nest(&*module).await.into() }) as Work
                        }
                        None => return Err("has no such turn".into()),
                    },
                    None => self.ask_future(ask),
                };
                match self.start(&ask.request, ask.owner.as_ref(), work) {
                    // It made no request: its name is bad, which is told by its kind alone.
                    Poll::Ready(Outcome::Failed(error))
                        if self.log.number(&ask.request).is_none() =>
                    {
                        Err(error.kind().to_owned())
                    }
                    Poll::Ready(outcome) => {
                        self.answered(&ask.request, outcome);
                        Ok(())
                    }
                    Poll::Pending => Ok(()),
                }
            }
            Action::End { hold, how, .. } => self.end(hold, *how),
            Action::Yield { hold, owner, request, timeout } => {
                self.give_away(hold, owner.as_ref(), request, *timeout)
            }
            Action::Withdraw(name) => {
                if self.tasks.remove(name).is_some() && self.log.granted(name).is_none() {
                    self.answers.insert(name.clone(), Answer::Failed(Failure::Withdrawn));
                }
                Ok(())
            }
            Action::Claim(name) => self.claim(name),
            Action::Acknowledge(name) => match self.turn(name) {
                Some(turn) => turn.acknowledge().map_err(|error| refusal(&error)),
                None => Err("has no such turn".into()),
            },
            Action::Reset(_) => {
                // The thread that does it has no turn.
                self.mutex.reset();
                Ok(())
            }
            // What has nothing loses nothing.
            Action::OwnerLost(_) => Ok(()),
            Action::EndModule { .. } | Action::Heartbeat(_) => Err("no task does that".into()),
            _ => steer(&self.mutex, action).unwrap_or_else(|| Err("nobody does that".into())),
        };
        // Counts what is due, also if nothing was done.
        drop(self.mutex.status());
        self.log.read(None);
        if done.is_ok() && self.log.refused_end {
            done = Err(refused_end(&self.mutex));
        }
        self.poll_woken();
        done
    }

    fn log(&mut self) -> Vec<Entry> {
        self.log.take()
    }

    fn ask(&mut self, at: Nanos, query: &Query) -> String {
        self.clock.set(at);
        // Counts what is due.
        drop(self.mutex.status());
        self.log.read(None);
        self.poll_woken();
        match query {
            Query::Told(request) => self.told(request),
            Query::ShouldYield(request) => {
                let Some(turn) = self.turn(request) else { return "no".into() };
                let should = turn.should_yield();
                // Who should yield does not sleep at all.
                let mut sleep = Box::pin(turn.sleep(Duration::from_secs(1)));
                let slept = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert_eq!(should, slept == Poll::Ready(Slept::ShouldYield));
                if should { "yes".into() } else { "no".into() }
            }
            _ => look(&self.mutex, &self.log, query),
        }
    }
}

/// What tasks cannot express.
fn why_not(scenario: &Scenario) -> Option<&'static str> {
    let claimed = |request: &Name| {
        scenario.steps.iter().any(|step| {
            let claims = matches!(&step.what, What::Do(Action::Claim(name)) if name == request);
            claims && step.expected.is_empty()
        })
    };
    let claim_within = scenario.roster.spec().claim_within;
    let mut before = 0;
    obstacle(scenario, |shadow, step| {
        let since = Duration::from_nanos(step.at.saturating_sub(before));
        before = step.at;
        if step.late && since > claim_within {
            return Some("a task that is woken too late has lost its grant");
        }
        let Step { what: What::Do(action), at, expected, .. } = step else { return None };
        match action {
            Action::Ask(ask) => {
                let now = format!("| {} granted {} ", moment(*at), ask.request);
                if ask.claim
                    && expected.iter().any(|line| line.starts_with(&now))
                    && !claimed(&ask.request)
                {
                    return Some("a future that is granted at its first poll has seen it");
                }
                if ask.within.as_ref().is_some_and(|hold| !shadow.has(hold)) {
                    return Some("nobody can nest in a turn that is over");
                }
                let owner = ask.owner.as_ref()?;
                // A pass is asked for like any other, so nobody knows whose it is.
                let pass =
                    shadow.holds(owner) && expected.iter().any(|line| line.ends_with(" pass"));
                let is_owner = pass || shadow.waits(owner) || shadow.passes(owner);
                is_owner.then_some("a task is no owner")
            }
            Action::End { hold, owner, .. } if !shadow.has_own(hold, owner.as_ref()) => {
                Some("who has no turn object cannot end or yield it")
            }
            Action::Yield { hold, owner, .. } if !shadow.has_own(hold, owner.as_ref()) => {
                Some("who has no turn object cannot end or yield it")
            }
            Action::Withdraw(name) if shadow.has(name) && shadow.was_at_once(name) => {
                Some("a future that is granted at its first poll cannot be dropped any more")
            }
            Action::Acknowledge(name) if !shadow.has(name) => {
                Some("who has no turn object cannot acknowledge")
            }
            Action::EndModule { .. } => Some("only threads end a turn by its module"),
            Action::OwnerLost(owner) | Action::Reset(Some(owner))
                if shadow.holds(owner) || shadow.waits(owner) =>
            {
                Some("a task is no owner")
            }
            _ => None,
        }
    })
}

#[test]
fn scenarios_hold_with_tasks() {
    run_all("tasks", 138, why_not, |scenario| TaskFront::new(scenario, Fault::None));
}

/// The scenarios notice a front that is wrong.
#[test]
fn a_wrong_front_is_caught() {
    for (fault, rule) in [(Fault::Releases, "S9"), (Fault::NotUrgent, "S10")] {
        let found = caught(rule, why_not, |scenario| TaskFront::new(scenario, fault));
        assert!(found > 0, "no scenario of {rule} notices {fault:?}");
    }
}
