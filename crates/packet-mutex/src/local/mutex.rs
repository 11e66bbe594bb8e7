//! What the handles of one mutex share: the arbiter under its lock, and the wakers of those that wait for its answers.

use super::tokens::Tokens;
use crate::clock::Clock;
use crate::error::Error;
use crate::log;
use crate::module::ModuleRef;
use crate::place::Identity;
use crate::sync::Mutex;
use crate::wakers::Wakers;
use packet_mutex_arbiter::{
    Answer, Arbiter, End, Failure, Grant, Input, ModuleId, Output, Request, RequestId, Resolved,
    Steer, Time, Token,
};
use std::collections::{BTreeMap, VecDeque};
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
    /// The requests whose asker waits, and the answers that it has not taken yet.
    pub(crate) askers: BTreeMap<RequestId, Asker>,
    /// The wakers of holders that sleep inside their turn.
    pub(crate) sleepers: Wakers,
    /// The wakers of readers that wait for new events.
    pub(crate) readers: Wakers,
    /// The newest holds that were revoked: their holders are still there and may not know it (S6).
    pub(crate) revoked: VecDeque<RequestId>,
    /// The answer that came at once, to a request that nobody waits for yet.
    at_once: Option<(RequestId, Answer)>,
    /// When the clock is set to ring, the soonest last. An alarm that is no longer needed stays set: to cancel and set one
    /// for every turn would cost more than a spurious ring, which is harmless. They are remembered, so that none is set twice.
    alarms: Vec<Time>,
    /// Where the tokens are stored, if they are (S17).
    tokens: Option<Tokens>,
    /// The newest token that was given.
    newest_token: Token,
    /// The number of the newest event that was handed to the log.
    logged: u64,
    lines: Vec<log::Line>,
    to_wake: Vec<Waker>,
    /// Whether a panic came through under the lock. If so, an invariant does not hold, and nobody may rely on the state.
    broken: bool,
}

/// An asker that waits for the answer to its request.
#[derive(Default)]
pub(crate) struct Asker {
    waker: Option<Waker>,
    answer: Option<Answer>,
    /// Whether its grant must be claimed.
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
            revoked: VecDeque::new(),
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

    /// Works on the state under its lock. After unlocking, it sets the alarm, logs, and wakes those that are concerned. Wakers
    /// and log subscribers are other people's code, which may take long or call back into the mutex.
    ///
    /// It panics if the mutex is broken. Code that runs in destructors uses [`try_with`](Self::try_with).
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State, Time) -> R) -> R {
        self.try_with(work).unwrap_or_else(|| {
            panic!("the mutex {} broke an invariant of its own and stopped", self.identity.name)
        })
    }

    /// Like [`with`](Self::with), but does nothing if the mutex is broken. A destructor that panics while another panic unwinds
    /// aborts the process. Turns that are dropped during the panic that broke the mutex, or threads that end after it, must
    /// not do that.
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut State, Time) -> R) -> Option<R> {
        // What loom finds must be a panic with a message, and not an abort in a destructor.
        if cfg!(pm_loom) && std::thread::panicking() {
            return None;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.broken {
            return None;
        }
        // A broken invariant of the arbiter panics in here. It is caught so that the waiters can be woken before the
        // panic goes on: whoever sleeps would otherwise never learn that the mutex has stopped.
        let done = catch_unwind(AssertUnwindSafe(|| {
            // Stamped under the lock, so that stamps are in the order of the inputs. A stamp taken before could be
            // earlier than one that was handled already, and would be moved up to it (S18).
            let now = self.identity.clock.now();
            let result = work(&mut state, now);
            // Before the lock is free, so that no answer with a token above the stored mark can be taken (S17).
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
                // Those that wait would wait for ever. Each wakes, finds the mutex broken, and panics too.
                let all = state.break_down();
                drop(state);
                drop(WakeAll(all));
                // A second panic during the first would abort the process.
                if std::thread::panicking() {
                    return None;
                }
                resume_unwind(panic)
            }
        };
        let lines = std::mem::take(&mut state.lines);
        // A guard and not a loop at the end: even if a log subscriber panics, those with an answer are woken.
        let to_wake = WakeAll(std::mem::take(&mut state.to_wake));
        drop(state);
        if let (Some(at), Some(ticker)) = (alarm, self.ticker.get()) {
            self.identity.clock.wake_at(at, ticker.clone());
        }
        // Lines are written before anybody wakes. Otherwise the next holder could log its turn before the end of this one.
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
    /// Hands an input to the arbiter, and carries out its outputs as far as that is possible under the lock.
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
                // All sleepers wake, and each looks whether it is concerned. A nested turn has several holds, and any of
                // them may sleep, but the output names only one.
                Output::ShouldYield { .. } => self.sleepers.move_to(&mut self.to_wake),
                Output::Ended { hold, end } => {
                    self.sleepers.move_to(&mut self.to_wake);
                    if end == End::Revoked {
                        self.note_revoked(hold);
                    }
                }
            }
        }
        result
    }

    /// Remembers a revoked hold. The oldest are forgotten: nothing tells when a holder that lost its turn is gone, and nobody
    /// revokes that many turns of holders that do not look.
    fn note_revoked(&mut self, hold: RequestId) {
        const KEPT: usize = 256;
        if self.revoked.len() == KEPT {
            self.revoked.pop_front();
        }
        self.revoked.push_back(hold);
    }

    /// Hands in a request, or an input that makes one. Returns the answer if it came at once. Otherwise the request waits as
    /// an asker. `claims` says whether its grant must be claimed.
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
                    // An answer that comes at once is seen at once. The claim of anything but a turn is refused, which
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
        // A request is never refused as an input. If something is wrong with it, its answer says so.
        self.ask(now, request.id, claims, Input::Request(request)).unwrap_or_default()
    }

    /// Takes an asker's answer, and claims its grant if it must be claimed. Without an answer, it leaves the waker.
    pub(crate) fn answer_and_claim(
        &mut self,
        now: Time,
        id: RequestId,
        waker: Waker,
    ) -> (Option<Answer>, Option<Waker>) {
        let claims = self.askers.get(&id).is_some_and(|asker| asker.claims);
        let (answer, waker) = self.answer_or_leave(id, waker);
        // The claim can come too late, when the grant was declined just now. Then the asker must not act on it.
        let lost = claims
            && matches!(answer, Some(Answer::Turn(_)))
            && self.handle(now, Input::Claim { request: id }).is_err();
        (if lost { Some(Answer::Failed(Failure::Lost)) } else { answer }, waker)
    }

    /// Does what fell due until now.
    pub(crate) fn tick(&mut self, now: Time) {
        // A tick is never refused.
        let _ = self.handle(now, Input::Tick);
    }

    /// Takes an asker's answer, or leaves its waker. The waker that is no longer needed comes back, to be dropped outside the
    /// lock: dropping it runs other people's code.
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

    /// Returns whether this asker has an answer that it has not taken.
    #[cfg(feature = "net")]
    pub(crate) fn is_answered(&self, id: RequestId) -> bool {
        self.askers.get(&id).is_some_and(|asker| asker.answer.is_some())
    }

    /// Withdraws the request of an asker that went away.
    pub(crate) fn withdraw(&mut self, now: Time, id: RequestId) -> Option<Asker> {
        let asker = self.askers.remove(&id);
        // A withdrawal is never refused.
        let _ = self.handle(now, Input::Withdraw { request: id });
        asker
    }

    /// Returns the module that a handle or a name stands for.
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

    /// Returns what a module's name stands for.
    pub(crate) fn resolve_name(&mut self, name: &str) -> Result<Resolved, Error> {
        let resolved = self.arbiter.resolve(name)?;
        if resolved.first_unknown {
            let name = self.arbiter.module_name(resolved.module).clone();
            self.lines.push(log::Line::Unknown { name, nearest: resolved.nearest.clone() });
        }
        Ok(resolved)
    }

    /// Makes sure that no token leaves that is above the stored mark (S17). If no mark can be stored, the mutex closes while
    /// there are still tokens below the last one.
    fn store_tokens(&mut self, now: Time) {
        let Some(tokens) = &mut self.tokens else { return };
        let Err(error) = tokens.cover(self.newest_token) else { return };
        self.lines.push(log::Line::NotStored { error: error.to_string() });
        if tokens.is_near_its_end(self.newest_token) {
            // To close is never refused.
            let _ = self.handle(now, Input::Steer(Steer::Close));
        }
    }

    /// Returns the time for which an alarm must be set, unless one that is set rings by then.
    fn new_alarm(&mut self) -> Option<Time> {
        let due = self.arbiter.poll_timeout()?;
        if self.alarms.last().is_some_and(|soonest| *soonest <= due) {
            return None;
        }
        self.alarms.push(due);
        Some(due)
    }

    /// Takes new events for the log. If there are any, it takes the wakers of the readers too.
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

    /// Marks the mutex as broken, and takes the wakers of all that wait.
    fn break_down(&mut self) -> Vec<Waker> {
        self.broken = true;
        let mut all = std::mem::take(&mut self.to_wake);
        all.extend(self.askers.values_mut().filter_map(|asker| asker.waker.take()));
        self.sleepers.move_to(&mut all);
        self.readers.move_to(&mut all);
        all
    }
}

/// Wakes all when it is dropped. If a waker panics, the panic hook reports it, and the others are woken all the same: one
/// task's mistake must not cost another its answer.
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
        // Weak, since an alarm far in the future must not keep a mutex alive that nobody has any more.
        let Some(mutex) = self.0.upgrade() else { return };
        mutex.try_with(|state, now| {
            // Forgotten before the tick, so that the tick sets the next alarm.
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

    /// Whatever waited is forgotten when it is done, whether it got what it waited for or not.
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
