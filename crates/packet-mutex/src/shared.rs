//! What the handles of one mutex share: the arbiter under its lock, and who waits for its answers.

use crate::clock::Clock;
use crate::log;
use crate::module::ModuleRef;
use crate::sync::{Mutex, Parker};
use crate::tokens::Tokens;
use crate::{Error, owner};
use packet_mutex_arbiter::{
    Answer, Arbiter, Failure, Grant, Input, ModuleId, Output, Request, RequestId, Resolved, Time,
    Token,
};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{Wake, Waker};

/// One mutex, behind all its handles.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    /// Tells mutexes of one process apart.
    pub(crate) number: u64,
    pub(crate) clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Its turns come with the channel itself, so there are no passes (S15).
    hands_out_channel: AtomicBool,
    ticker: OnceLock<Waker>,
}

pub(crate) struct State {
    pub(crate) arbiter: Arbiter,
    /// Requests whose asker waits, and answers that it has not taken yet.
    pub(crate) askers: BTreeMap<RequestId, Asker>,
    /// Holders that sleep inside their turn.
    pub(crate) sleepers: Wakers,
    /// Readers that wait for new events.
    pub(crate) readers: Wakers,
    /// The answer of a request that nobody waits for: it came at once.
    at_once: Option<(RequestId, Answer)>,
    /// When the clock is set to ring, the soonest last. Spurious rings are harmless, so alarms that are no longer needed
    /// stay set; they are remembered, so that none is set twice.
    alarms: Vec<Time>,
    /// Where the tokens are stored, if they are (S17), and the newest that was given.
    tokens: Option<Tokens>,
    newest_token: Token,
    /// The newest event that was handed to the log.
    logged: u64,
    lines: Vec<log::Line>,
    to_wake: Vec<Waker>,
    /// A panic came through under the lock: an invariant does not hold, and nobody may rely on the state any more.
    broken: bool,
}

/// Wakers of those who wait for something that concerns them all; each has a key of its own.
#[derive(Default)]
pub(crate) struct Wakers {
    next_key: u64,
    by_key: BTreeMap<u64, Waker>,
}

impl Wakers {
    pub(crate) fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Leaves a waker. The one that was there before comes back, to be dropped outside the lock.
    #[must_use]
    pub(crate) fn leave(&mut self, key: u64, waker: Waker) -> Option<Waker> {
        self.by_key.insert(key, waker)
    }

    #[must_use]
    pub(crate) fn remove(&mut self, key: u64) -> Option<Waker> {
        self.by_key.remove(&key)
    }

    pub(crate) fn move_to(&mut self, others: &mut Vec<Waker>) {
        // Mostly there are none, and an iterator of none costs something too.
        if !self.by_key.is_empty() {
            others.extend(std::mem::take(&mut self.by_key).into_values());
        }
    }
}

#[derive(Default)]
pub(crate) struct Asker {
    waker: Option<Waker>,
    answer: Option<Answer>,
}

impl Shared {
    pub(crate) fn new(
        name: Arc<str>,
        clock: Arc<dyn Clock>,
        arbiter: Arbiter,
        tokens: Option<Tokens>,
    ) -> Arc<Self> {
        let state = State {
            arbiter,
            askers: BTreeMap::new(),
            sleepers: Wakers::default(),
            readers: Wakers::default(),
            at_once: None,
            alarms: Vec::new(),
            tokens,
            newest_token: Token(0),
            logged: 0,
            lines: Vec::new(),
            to_wake: Vec::new(),
            broken: false,
        };
        let shared = Arc::new(Shared {
            name,
            number: owner::new_owner().0,
            clock,
            state: Mutex::new(state),
            hands_out_channel: AtomicBool::new(false),
            ticker: OnceLock::new(),
        });
        let ticker = Ticker(Arc::downgrade(&shared));
        shared.ticker.get_or_init(|| Waker::from(Arc::new(ticker)));
        shared
    }

    /// Works on the state under its lock. Once it is unlocked, wakes whom that concerns, sets the alarm and logs:
    /// nobody is woken, and nothing is written, under the lock.
    ///
    /// Panics if the mutex is broken. Code that runs in destructors uses [`try_with`](Self::try_with).
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State, Time) -> R) -> R {
        self.try_with(work).unwrap_or_else(|| {
            panic!("the mutex {} broke an invariant of its own and stopped", self.name)
        })
    }

    /// [`with`](Self::with) that does nothing if the mutex is broken: turns that are dropped while the panic that broke
    /// it unwinds, or threads that end after it, must not abort the process.
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut State, Time) -> R) -> Option<R> {
        // What loom finds is to be a panic with a message, not an abort in a destructor.
        if cfg!(pm_loom) && std::thread::panicking() {
            return None;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.broken {
            return None;
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            // Stamped under the lock, so that stamps are in the order of the inputs.
            let now = self.clock.now();
            let result = work(&mut state, now);
            if state.tokens.is_some() {
                state.store_tokens(now);
            }
            let alarm = state.new_alarm();
            state.note_events();
            (result, alarm)
        }));
        let (result, alarm) = match done {
            Ok(done) => done,
            Err(panic) => {
                // Whoever waits would wait for ever: each wakes, finds the mutex broken, and panics too.
                let all = state.break_down();
                drop(state);
                drop(WakeAll(all));
                if std::thread::panicking() {
                    return None;
                }
                resume_unwind(panic)
            }
        };
        let lines = std::mem::take(&mut state.lines);
        let to_wake = WakeAll(std::mem::take(&mut state.to_wake));
        drop(state);
        if let (Some(at), Some(ticker)) = (alarm, self.ticker.get()) {
            self.clock.wake_at(at, ticker.clone());
        }
        // Before anybody wakes, so that the lines of two turns come in their order; whoever listens may panic.
        if !lines.is_empty() {
            log::write(&self.name, lines);
        }
        drop(to_wake);
        Some(result)
    }

    /// Hands in one input.
    pub(crate) fn input(&self, input: Input) -> Result<(), Failure> {
        self.with(|state, now| state.handle(now, input))
    }

    /// Hands in an input about a module.
    pub(crate) fn input_about(
        &self,
        module: &ModuleRef<'_>,
        input: impl FnOnce(ModuleId) -> Input,
    ) -> Result<(), Error> {
        self.with(|state, now| {
            let module = state.resolve(self.number, module)?;
            Ok(state.handle(now, input(module))?)
        })
    }

    /// Calls `look` under the lock until it finds something, or until the time `end`; the thread sleeps in between.
    /// `look` gets a waker to leave with whoever knows when there is something new.
    pub(crate) fn wait<R>(
        &self,
        end: Option<Time>,
        mut look: impl FnMut(&mut State, Waker, Time) -> Option<R>,
    ) -> Option<R> {
        let parker = Parker::new();
        let mut alarm = None;
        let found = loop {
            let (found, now) = self.with(|state, now| (look(state, parker.waker(), now), now));
            if found.is_some() || end.is_some_and(|end| end <= now) {
                break found;
            }
            match end {
                // The alarm is set after the first look: what is there at once costs none.
                Some(end) if alarm.is_none() => {
                    alarm = Some(self.clock.wake_at(end, parker.waker()));
                }
                _ => {}
            }
            parker.park();
        };
        alarm.into_iter().for_each(|alarm| self.clock.cancel(alarm));
        found
    }

    pub(crate) fn hand_out_channel(&self) {
        self.hands_out_channel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn hands_out_channel(&self) -> bool {
        self.hands_out_channel.load(Ordering::Relaxed)
    }
}

impl State {
    /// Hands an input to the arbiter and carries its outputs out as far as that goes under the lock.
    pub(crate) fn handle(&mut self, now: Time, input: Input) -> Result<(), Failure> {
        let result = self.arbiter.handle(now, input);
        while let Some(output) = self.arbiter.poll_output() {
            match output {
                Output::Answer { request, answer } => {
                    if let Answer::Turn(Grant { token: Some(token), .. }) = answer {
                        self.newest_token = token;
                    }
                    match self.askers.get_mut(&request) {
                        Some(asker) => {
                            asker.answer = Some(answer);
                            self.to_wake.extend(asker.waker.take());
                        }
                        None => self.at_once = Some((request, answer)),
                    }
                }
                // All look for themselves whether it concerns them: a turn has several holds when it is nested, and any of
                // them may sleep.
                Output::ShouldYield { .. } | Output::Ended { .. } => {
                    self.sleepers.move_to(&mut self.to_wake);
                }
            }
        }
        result
    }

    /// Hands in a request (or what makes one) and says what it was answered at once; else it waits as an asker.
    pub(crate) fn ask(
        &mut self,
        now: Time,
        id: RequestId,
        input: Input,
    ) -> Result<Option<Answer>, Failure> {
        self.handle(now, input)?;
        match self.at_once.take() {
            Some((request, answer)) if request == id => Ok(Some(answer)),
            _ => {
                self.askers.insert(id, Asker::default());
                Ok(None)
            }
        }
    }

    pub(crate) fn request(&mut self, now: Time, request: Request) -> Option<Answer> {
        // A request is never refused as an input; what is wrong with it is its answer.
        self.ask(now, request.id, Input::Request(request)).unwrap_or_default()
    }

    /// Takes the answer of an asker, or leaves its waker. The waker that was there before comes back, to be dropped
    /// outside the lock.
    pub(crate) fn answer_or_leave(
        &mut self,
        id: RequestId,
        waker: Waker,
    ) -> (Option<Answer>, Option<Waker>) {
        let Some(asker) = self.askers.get_mut(&id) else {
            return (Some(Answer::Failed(Failure::Lost)), Some(waker));
        };
        match asker.answer.take() {
            None => (None, asker.waker.replace(waker)),
            Some(answer) => {
                self.askers.remove(&id);
                (Some(answer), Some(waker))
            }
        }
    }

    /// Has this asker an answer that it has not taken?
    #[cfg(feature = "net")]
    pub(crate) fn is_answered(&self, id: RequestId) -> bool {
        self.askers.get(&id).is_some_and(|asker| asker.answer.is_some())
    }

    /// The asker went away.
    pub(crate) fn withdraw(&mut self, now: Time, id: RequestId) -> Option<Asker> {
        let asker = self.askers.remove(&id);
        // Nothing refuses a withdrawal.
        let _ = self.handle(now, Input::Withdraw { request: id });
        asker
    }

    /// The module that a handle or a name stands for.
    pub(crate) fn resolve(
        &mut self,
        mutex: u64,
        module: &ModuleRef<'_>,
    ) -> Result<ModuleId, Error> {
        let name = match module {
            ModuleRef::Handle(handle) if handle.mutex == mutex => return Ok(handle.id),
            ModuleRef::Handle(handle) => &handle.name,
            ModuleRef::Name(name) => *name,
        };
        Ok(self.resolve_name(name)?.module)
    }

    /// What a module's name stands for.
    pub(crate) fn resolve_name(&mut self, name: &str) -> Result<Resolved, Error> {
        let resolved = self.arbiter.resolve(name)?;
        if resolved.first_unknown {
            let name = self.arbiter.module_name(resolved.module).clone();
            self.lines.push(log::Line::Unknown { name, nearest: resolved.nearest.clone() });
        }
        Ok(resolved)
    }

    /// S17: no token leaves that is above the stored mark. If none can be stored, the mutex closes while there is room.
    fn store_tokens(&mut self, now: Time) {
        let Some(tokens) = &mut self.tokens else { return };
        let Err(error) = tokens.cover(self.newest_token) else { return };
        self.lines.push(log::Line::NotStored { error: error.to_string() });
        if tokens.is_near_its_end(self.newest_token) {
            // Nothing refuses this.
            let _ = self.handle(now, Input::Close);
        }
    }

    /// The time to set the clock's alarm to, if it is earlier than all that are set.
    fn new_alarm(&mut self) -> Option<Time> {
        let due = self.arbiter.poll_timeout()?;
        if self.alarms.last().is_some_and(|soonest| *soonest <= due) {
            return None;
        }
        self.alarms.push(due);
        Some(due)
    }

    /// Takes new events up for the log, and wakes the readers if there are any.
    fn note_events(&mut self) {
        let newest = self.arbiter.last_seq();
        let since = std::mem::replace(&mut self.logged, newest);
        if since == newest {
            return;
        }
        self.readers.move_to(&mut self.to_wake);
        if log::is_wanted() {
            let name = |module| self.arbiter.module_name(module).clone();
            let (_, events) = self.arbiter.events_since(since);
            self.lines.extend(events.filter_map(|event| log::Line::of(event, name)));
        }
    }

    /// Takes the wakers of all who wait for anything.
    fn break_down(&mut self) -> Vec<Waker> {
        self.broken = true;
        let mut all = std::mem::take(&mut self.to_wake);
        all.extend(self.askers.values_mut().filter_map(|asker| asker.waker.take()));
        self.sleepers.move_to(&mut all);
        self.readers.move_to(&mut all);
        all
    }
}

/// Wakes all when it is dropped. A waker that panics is its owner's trouble, which the panic hook has told: nobody's answer,
/// and no alarm, may be lost over it.
struct WakeAll(Vec<Waker>);

impl Drop for WakeAll {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// Rings when something falls due in a mutex.
struct Ticker(Weak<Shared>);

impl Wake for Ticker {
    fn wake(self: Arc<Self>) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.try_with(|state, now| {
            while state.alarms.pop_if(|alarm| *alarm <= now).is_some() {}
            // Nothing refuses a tick.
            let _ = state.handle(now, Input::Tick);
        });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketMutex").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(pm_loom)))]
mod tests {
    use crate::{ManualClock, PacketMutex, Roster, Slept};
    use std::thread;
    use std::time::Duration;

    /// What waited is forgotten when it is done, whether it got what it waited for or not.
    #[test]
    fn nothing_is_left_behind() {
        let clock = ManualClock::new();
        let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
        let step = Duration::from_millis(1);
        let mut events = mutex.events();
        let turn = mutex.acquire("fisher").unwrap();
        events.take();
        thread::scope(|s| {
            let threads = [
                s.spawn(|| {
                    (0..200).for_each(|_| {
                        assert!(mutex.request("eater").timeout(step).acquire().is_err());
                    });
                }),
                s.spawn(move || (0..200).for_each(|_| drop(events.wait(step)))),
            ];
            while threads.iter().any(|thread| !thread.is_finished()) {
                clock.advance(step);
                thread::yield_now();
            }
        });
        for _ in 0..100 {
            assert_eq!(turn.sleep(Duration::ZERO), Slept::Whole);
            assert_eq!(mutex.events().wait(Duration::ZERO), []);
        }
        let shared = mutex.backend.local();
        shared.with(|state, _| {
            assert!(state.askers.is_empty());
            assert!(state.sleepers.by_key.is_empty() && state.readers.by_key.is_empty());
            assert!(state.alarms.len() < 10, "{:?}", state.alarms);
        });
        drop(turn);
    }
}
