//! The scenarios with threads: each owner is a real thread that blocks while it waits, and the log must be the same as that
//! of the bare arbiter. Nothing sleeps: the clock stands still until every thread has said what came of its ask, or waits.

mod common;

use common::{
    Fault, Log, StepClock, Told, build, caught, grant_of, look, obstacle, refusal, refused_end,
    run_all, steer,
};
use packet_mutex::{PacketMutex, Slept, Turn};
use packet_mutex_arbiter::{Answer, Leave};
use packet_mutex_sim::{
    Action, Ask, Entry, Front, Name, Nanos, Query, Scenario, Step, What, words,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A thread that does nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a thread has in hand: its turns, the newest last.
struct Hands {
    mutex: PacketMutex,
    turns: Vec<(Name, Turn)>,
}

impl Hands {
    fn take(&mut self, name: &Name) -> Option<Turn> {
        let at = self.turns.iter().position(|(of, _)| of == name)?;
        Some(self.turns.remove(at).1)
    }

    fn ask(&mut self, ask: &Ask, urgent: bool) -> Reply {
        let mut request = self.mutex.request(&*ask.module);
        if urgent {
            request = request.urgent();
        }
        if let Some(timeout) = ask.timeout {
            request = request.timeout(Duration::from_nanos(timeout));
        }
        let told = request.acquire().map(|turn| {
            let grant = grant_of(&turn);
            self.turns.push((ask.request.clone(), turn));
            grant
        });
        Reply::Asked(told)
    }

    fn end(&mut self, hold: &Name, how: Leave) -> Reply {
        let Some(turn) = self.take(hold) else {
            return Reply::Done(Err("has no such turn".into()));
        };
        match how {
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
        Reply::Done(Ok(()))
    }

    /// A turn that is ended by its module's name has been leaked before.
    fn end_module(&mut self, module: &Name) -> Reply {
        let done = self.mutex.release(&**module);
        let newest = self.turns.iter().rposition(|(_, turn)| turn.module().name() == module);
        if let (Ok(()), Some(at)) = (&done, newest) {
            std::mem::forget(self.turns.remove(at).1);
        }
        Reply::Done(done.map_err(|error| refusal(&error)))
    }

    fn give_away(&mut self, hold: &Name, request: Name, timeout: Option<Nanos>) -> Reply {
        let Some(mut turn) = self.take(hold) else {
            return Reply::Done(Err("has no such turn".into()));
        };
        let done = match timeout {
            Some(timeout) => turn.yield_within(Duration::from_nanos(timeout)),
            None => turn.yield_now(),
        };
        match done {
            Ok(()) => {
                let grant = grant_of(&turn);
                self.turns.push((request, turn));
                Reply::Asked(Ok(grant))
            }
            // The turn goes on.
            Err(error) if turn.is_held() => {
                self.turns.push((hold.clone(), turn));
                Reply::Done(Err(refusal(&error)))
            }
            Err(error) => Reply::Asked(Err(error)),
        }
    }

    fn acknowledge(&self, name: &Name) -> Reply {
        let turn = self.turns.iter().find(|(of, _)| of == name);
        let done = turn.map_or(Err("has no such turn".into()), |(_, turn)| {
            turn.acknowledge().map_err(|error| refusal(&error))
        });
        Reply::Done(done)
    }

    fn should_yield(&self, name: &Name) -> Reply {
        let turn = self.turns.iter().find(|(of, _)| of == name);
        let should = turn.is_some_and(|(_, turn)| {
            let should = turn.should_yield();
            // Who should yield does not sleep at all.
            let slept = turn.sleep(Duration::ZERO);
            assert!(!should || slept == Slept::ShouldYield);
            should
        });
        Reply::Should(should)
    }
}

enum Reply {
    /// What came of an ask, once it was answered.
    Asked(Told),
    Done(Result<(), String>),
    Should(bool),
}

type Order = Box<dyn FnOnce(&mut Hands) -> Reply + Send>;

/// An owner.
struct Worker {
    orders: Sender<Order>,
    replies: Receiver<Reply>,
    thread: JoinHandle<()>,
    /// The request that blocks it.
    waits_for: Option<Name>,
}

impl Worker {
    fn start(mutex: &PacketMutex) -> Self {
        let (orders, to_do) = channel::<Order>();
        let (answers, replies) = channel();
        let mutex = mutex.clone();
        let thread = std::thread::spawn(move || {
            let mut hands = Hands { mutex, turns: Vec::new() };
            for order in to_do {
                let reply = order(&mut hands);
                if answers.send(reply).is_err() {
                    break;
                }
            }
            // The thread dies with its turns leaked: that is how it is lost, and the mutex has to learn it.
            hands.turns.drain(..).for_each(|(_, turn)| std::mem::forget(turn));
        });
        Worker { orders, replies, thread, waits_for: None }
    }

    fn reply(&self) -> Reply {
        self.replies.recv_timeout(PATIENCE).expect("the thread goes on")
    }

    fn finish(self) {
        drop(self.orders);
        self.thread.join().expect("the thread ends without a panic");
    }
}

/// Lets the other threads go on until it is so.
fn wait_until(request: &Name, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "the thread that made {request} hangs");
        std::thread::yield_now();
    }
}

struct ThreadFront {
    clock: StepClock,
    mutex: PacketMutex,
    log: Log,
    workers: BTreeMap<Name, Worker>,
    /// Who made each request.
    owners: BTreeMap<Name, Name>,
    answers: BTreeMap<Name, Answer>,
    fault: Fault,
}

impl ThreadFront {
    fn new(scenario: &Scenario, fault: Fault) -> Self {
        let clock = StepClock::default();
        let mutex = build(scenario, &clock);
        ThreadFront {
            clock,
            log: Log::new(&mutex),
            mutex,
            workers: BTreeMap::new(),
            owners: BTreeMap::new(),
            answers: BTreeMap::new(),
            fault,
        }
    }

    fn worker(&mut self, owner: &Name) -> &mut Worker {
        let mutex = &self.mutex;
        self.workers.entry(owner.clone()).or_insert_with(|| Worker::start(mutex))
    }

    /// Has the owner do something that does not wait.
    fn order(
        &mut self,
        owner: Option<&Name>,
        order: impl FnOnce(&mut Hands) -> Reply + Send + 'static,
    ) -> Result<Reply, String> {
        let owner = owner.ok_or("a thread is always an owner")?;
        let worker = self.worker(owner);
        if worker.waits_for.is_some() {
            return Err("the thread is busy waiting".into());
        }
        worker.orders.send(Box::new(order)).expect("the thread goes on");
        Ok(worker.reply())
    }

    fn done(
        &mut self,
        owner: Option<&Name>,
        order: impl FnOnce(&mut Hands) -> Reply + Send + 'static,
    ) -> Result<(), String> {
        match self.order(owner, order)? {
            Reply::Done(done) => done,
            Reply::Asked(_) | Reply::Should(_) => Ok(()),
        }
    }

    /// Has the owner make a request, and goes on once it is answered or waits.
    fn ask_by(
        &mut self,
        owner: Option<&Name>,
        name: &Name,
        order: impl FnOnce(&mut Hands) -> Reply + Send + 'static,
    ) -> Result<(), String> {
        let owner = owner.ok_or("a thread is always an owner")?;
        let worker = self.worker(owner);
        if worker.waits_for.is_some() {
            return Err("the thread is busy waiting".into());
        }
        let thread = worker.thread.thread().id();
        let looked = self.clock.looks_of(thread);
        self.workers[owner].orders.send(Box::new(order)).expect("the thread goes on");
        let reply = self.answered_or_waits(owner, name);
        if reply.is_none() {
            // The alarm is set after the request was made, outside the lock. Only then does the thread look for its answer,
            // and at the clock a second time.
            wait_until(name, || self.clock.looks_of(thread) >= looked + 2);
        }
        self.owners.insert(name.clone(), owner.clone());
        match reply {
            None => self.worker(owner).waits_for = Some(name.clone()),
            Some(Reply::Asked(told)) => {
                self.log.read(Some(name));
                if let Err(error) = &told
                    && self.log.number(name).is_none()
                {
                    // It made no request: its name is bad, which is told by its kind alone.
                    return Err(error.kind().to_owned());
                }
                self.answered(name, &told);
            }
            Some(Reply::Done(done)) => return done,
            Some(Reply::Should(_)) => {}
        }
        Ok(())
    }

    /// The reply, or none if the request waits. Only the log is watched at first: a look at the status would count what is
    /// due before the request is made.
    fn answered_or_waits(&mut self, owner: &Name, name: &Name) -> Option<Reply> {
        let mut reply = None;
        wait_until(name, || {
            reply = self.workers[owner].replies.try_recv().ok();
            reply.is_some() || self.log.read(Some(name))
        });
        // Nobody but this thread does anything, so anything new means that the request has been made, under one lock.
        if reply.is_some() || self.is_waiting(name) {
            reply
        } else {
            Some(self.workers[owner].reply())
        }
    }

    fn is_waiting(&self, name: &Name) -> bool {
        let number = self.log.number(name);
        self.mutex.status().waiters.iter().any(|waiter| Some(waiter.request) == number)
    }

    fn answered(&mut self, name: &Name, told: &Told) {
        let answer = self.log.answer(name, told);
        let before = self.answers.insert(name.clone(), answer);
        assert!(before.is_none(), "{name} was answered twice");
    }

    /// Waits until every thread whose request no longer waits has said what it was answered.
    fn settle(&mut self) {
        let waiters = self.mutex.status().waiters;
        self.log.read(None);
        let mut told = Vec::new();
        for worker in self.workers.values_mut() {
            let Some(name) = worker.waits_for.clone() else { continue };
            let number = self.log.number(&name);
            if waiters.iter().any(|waiter| Some(waiter.request) == number) {
                continue;
            }
            worker.waits_for = None;
            told.push((name, worker.reply()));
        }
        for (name, reply) in told {
            let Reply::Asked(told) = reply else { panic!("{name} was not answered") };
            self.answered(&name, &told);
        }
    }
}

impl Front for ThreadFront {
    fn can(&self, ability: &str) -> bool {
        // A thread is always an owner, sees its grants, needs no lease and loses no connection; it nests by being the owner.
        !matches!(ability, "lease" | "claim" | "within" | "no owner" | "requeued")
    }

    fn advance(&mut self, to: Nanos) {
        while self.clock.ring_before(to) {}
        self.settle();
    }

    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String> {
        self.clock.set(at);
        self.log.read(None);
        self.log.refused_end = false;
        let mut done = match action {
            Action::Ask(ask) => {
                let urgent = ask.urgent && self.fault != Fault::NotUrgent;
                let asked = ask.clone();
                let order = move |hands: &mut Hands| hands.ask(&asked, urgent);
                self.ask_by(ask.owner.as_ref(), &ask.request, order)
            }
            Action::End { hold, owner, how } => {
                let how = match how {
                    Leave::Declined if self.fault == Fault::Releases => Leave::Released,
                    how => *how,
                };
                let hold = hold.clone();
                self.done(owner.as_ref(), move |hands| hands.end(&hold, how))
            }
            Action::EndModule { module, owner } => {
                let module = module.clone();
                self.done(Some(owner), move |hands| hands.end_module(&module))
            }
            Action::Yield { hold, owner, request, timeout } => {
                let (hold, again, timeout) = (hold.clone(), request.clone(), *timeout);
                let order = move |hands: &mut Hands| hands.give_away(&hold, again, timeout);
                self.ask_by(owner.as_ref(), request, order)
            }
            Action::Acknowledge(name) => {
                let (owner, name) = (self.owners.get(name).cloned(), name.clone());
                self.done(owner.as_ref(), move |hands| hands.acknowledge(&name))
            }
            Action::OwnerLost(owner) => {
                if let Some(worker) = self.workers.remove(owner) {
                    worker.finish();
                }
                Ok(())
            }
            Action::Reset(Some(owner)) => self.done(Some(owner), |hands| {
                hands.mutex.reset();
                Reply::Done(Ok(()))
            }),
            Action::Reset(None) => {
                // This thread owns nothing.
                self.mutex.reset();
                Ok(())
            }
            Action::Withdraw(_) | Action::Claim(_) | Action::Heartbeat(_) => {
                Err("no thread does that".into())
            }
            _ => steer(&self.mutex, action).unwrap_or_else(|| Err("nobody does that".into())),
        };
        self.log.read(None);
        if done.is_ok() && self.log.refused_end {
            done = Err(refused_end(&self.mutex));
        }
        self.settle();
        done
    }

    fn log(&mut self) -> Vec<Entry> {
        self.log.take()
    }

    fn ask(&mut self, at: Nanos, query: &Query) -> String {
        self.clock.set(at);
        // Counts what is due.
        self.settle();
        match query {
            Query::Told(request) => self.answers.get(request).map_or("nothing".into(), words::told),
            Query::ShouldYield(request) => {
                let (owner, request) = (self.owners.get(request).cloned(), request.clone());
                match self.order(owner.as_ref(), move |hands| hands.should_yield(&request)) {
                    Ok(Reply::Should(true)) => "yes".into(),
                    Ok(_) => "no".into(),
                    Err(why) => why,
                }
            }
            _ => look(&self.mutex, &self.log, query),
        }
    }
}

impl Drop for ThreadFront {
    fn drop(&mut self) {
        // Whoever still waits goes home.
        self.mutex.close();
        let workers = std::mem::take(&mut self.workers);
        if std::thread::panicking() {
            // One of them may hang, and the panic says which.
            return;
        }
        workers.into_values().for_each(Worker::finish);
    }
}

/// What threads cannot express.
fn why_not(scenario: &Scenario) -> Option<&'static str> {
    obstacle(scenario, |shadow, Step { what, .. }| {
        let busy = |owner: &Option<Name>| owner.as_ref().is_some_and(|owner| shadow.waits(owner));
        const BUSY: Option<&str> = Some("a thread that waits does nothing else");
        match what {
            What::Do(Action::Ask(ask)) if busy(&ask.owner) => BUSY,
            What::Do(Action::End { hold, owner, .. } | Action::Yield { hold, owner, .. }) => {
                if shadow.has_own(hold, owner.as_ref()) {
                    return if busy(owner) { BUSY } else { None };
                }
                Some("who has no turn object cannot end or yield it")
            }
            What::Do(Action::EndModule { owner, .. }) if shadow.waits(owner) => BUSY,
            What::Do(Action::Reset(owner)) if busy(owner) => BUSY,
            What::Do(Action::OwnerLost(owner)) if shadow.waits(owner) => {
                Some("a thread that waits cannot end")
            }
            What::Do(Action::Withdraw(_)) => Some("a thread that waits cannot withdraw"),
            What::Do(Action::Acknowledge(name)) if !shadow.has(name) => {
                Some("who has no turn object cannot acknowledge")
            }
            _ => None,
        }
    })
}

#[test]
fn scenarios_hold_with_threads() {
    run_all("threads", 140, why_not, |scenario| ThreadFront::new(scenario, Fault::None));
}

/// The scenarios notice a front that is wrong.
#[test]
fn a_wrong_front_is_caught() {
    for (fault, rule) in [(Fault::Releases, "S9"), (Fault::NotUrgent, "S10")] {
        let found = caught(rule, why_not, |scenario| ThreadFront::new(scenario, fault));
        assert!(found > 0, "no scenario of {rule} notices {fault:?}");
    }
}
