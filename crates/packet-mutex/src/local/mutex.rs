//! What the handles of one mutex share: the arbiter under its lock, and who waits for its answers.

use super::tokens::Tokens;
use crate::clock::Clock;
use crate::error::Error;
use crate::log;
use crate::module::ModuleRef;
use crate::place::Identity;
use crate::sync::Mutex;
use crate::wakers::Wakers;
use packet_mutex_arbiter::{
    Answer, Arbiter, Failure, Grant, Input, ModuleId, Output, Request, RequestId, Resolved, Steer,
    Time, Token,
};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{Wake, Waker};

/// A mutex of this process, behind all its handles.
pub(crate) struct LocalMutex {
    pub(crate) identity: Identity,
    state: Mutex<State>,
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

/// Who waits for the answer of a request.
#[derive(Default)]
pub(crate) struct Asker {
    waker: Option<Waker>,
    answer: Option<Answer>,
    /// Its grant must be claimed.
    claims: bool,
}

impl LocalMutex {
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
        let mutex = Arc::new(LocalMutex {
            identity: Identity::new(name, clock),
            state: Mutex::new(state),
            ticker: OnceLock::new(),
        });
        let ticker = Ticker(Arc::downgrade(&mutex));
        mutex.ticker.get_or_init(|| Waker::from(Arc::new(ticker)));
        mutex
    }

    /// Works on the state under its lock. Once it is unlocked, wakes whom that concerns, sets the alarm and logs:
    /// nobody is woken, and nothing is written, under the lock.
    ///
    /// Panics if the mutex is broken. Code that runs in destructors uses [`try_with`](Self::try_with).
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State, Time) -> R) -> R {
        self.try_with(work).unwrap_or_else(|| {
            panic!("the mutex {} broke an invariant of its own and stopped", self.identity.name)
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
            let now = self.identity.clock.now();
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
            self.identity.clock.wake_at(at, ticker.clone());
        }
        // Before anybody wakes, so that the lines of two turns come in their order; whoever listens may panic.
        if !lines.is_empty() {
            log::write(&self.identity.name, lines);
        }
        drop(to_wake);
        Some(result)
    }

    /// Hands in one input.
    pub(crate) fn input(&self, input: Input) -> Result<(), Failure> {
        self.with(|state, now| state.handle(now, input))
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

    /// Hands in a request (or what makes one) and says what it was answered at once; else it waits as an asker. `claims`:
    /// its grant must be claimed.
    pub(crate) fn ask(
        &mut self,
        now: Time,
        id: RequestId,
        claims: bool,
        input: Input,
    ) -> Result<Option<Answer>, Failure> {
        self.handle(now, input)?;
        match self.at_once.take() {
            Some((request, answer)) if request == id => {
                if claims {
                    // An answer that comes at once is seen at once. A claim of what is not a turn is refused, and that
                    // changes nothing.
                    let _ = self.handle(now, Input::Claim { request: id });
                }
                Ok(Some(answer))
            }
            _ => {
                self.askers.insert(id, Asker { claims, ..Asker::default() });
                Ok(None)
            }
        }
    }

    pub(crate) fn request(&mut self, now: Time, request: Request, claims: bool) -> Option<Answer> {
        // A request is never refused as an input; what is wrong with it is its answer.
        self.ask(now, request.id, claims, Input::Request(request)).unwrap_or_default()
    }

    /// Takes the answer of an asker and claims its grant if it must be claimed, or leaves its waker.
    pub(crate) fn answer_and_claim(
        &mut self,
        now: Time,
        id: RequestId,
        waker: Waker,
    ) -> (Option<Answer>, Option<Waker>) {
        let claims = self.askers.get(&id).is_some_and(|asker| asker.claims);
        let (answer, waker) = self.answer_or_leave(id, waker);
        let lost = claims
            && matches!(answer, Some(Answer::Turn(_)))
            && self.handle(now, Input::Claim { request: id }).is_err();
        (if lost { Some(Answer::Failed(Failure::Lost)) } else { answer }, waker)
    }

    /// Counts what fell due until now.
    pub(crate) fn tick(&mut self, now: Time) {
        // Nothing refuses a tick.
        let _ = self.handle(now, Input::Tick);
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

    /// Whether this asker has an answer that it has not taken.
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
            let _ = self.handle(now, Input::Steer(Steer::Close));
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
struct Ticker(Weak<LocalMutex>);

impl Wake for Ticker {
    fn wake(self: Arc<Self>) {
        let Some(mutex) = self.0.upgrade() else { return };
        mutex.try_with(|state, now| {
            while state.alarms.pop_if(|alarm| *alarm <= now).is_some() {}
            state.tick(now);
        });
    }
}

impl fmt::Debug for LocalMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketMutex").field("name", &self.identity.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(pm_loom)))]
mod tests {
    use crate::{ManualClock, PacketMutex, Roster, Slept};
    use std::task::Waker;
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
            let mut waits = mutex.events();
            assert_eq!(waits.poll(Waker::noop()), None);
        }
        let local = mutex.local().unwrap();
        local.with(|state, _| {
            assert!(state.askers.is_empty());
            assert!(state.sleepers.is_empty() && state.readers.is_empty());
            assert!(state.alarms.len() < 10, "{:?}", state.alarms);
        });
        drop(turn);
    }
}
