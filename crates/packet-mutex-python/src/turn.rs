//! One module's way into a mutex, and the turns that were had through it.

use crate::courier::EventLoop;
use crate::mutex::{ModuleOf, Mutex, MutexRef};
use crate::seconds::{duration, optional};
use crate::{errors, log, owners, process, wait};
use packet_mutex::raw::{self, Answer, Grant, Leave, Owner, RequestId, Terms};
use packet_mutex::{Error, PacketMutex, Slept};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// An ask for turns of one module; while the caller holds one, that turn.
///
/// It may be shared by threads and tasks: what it says and does is about the caller's own turn.
#[pyclass(frozen, subclass, module = "packet_mutex._packet_mutex")]
pub(crate) struct Turn {
    mutex: MutexRef,
    module: ModuleOf,
    timeout: Option<Duration>,
    urgent: bool,
    valid_if: Option<Py<PyAny>>,
    held: std::sync::Mutex<Holds>,
}

/// The turns that were had and not yet ended, newest last. Usually one.
#[derive(Default)]
struct Holds {
    newest: Option<Held>,
    older: Vec<Held>,
}

#[derive(Clone, Copy)]
struct Held {
    owner: Owner,
    hold: RequestId,
    grant: Grant,
}

impl Holds {
    fn push(&mut self, held: Held) {
        self.older.extend(self.newest.replace(held));
    }

    fn of(&self, owner: Owner) -> Option<Held> {
        let mut newest_first = self.newest.iter().chain(self.older.iter().rev());
        newest_first.find(|held| held.owner == owner).copied()
    }

    fn take(&mut self, owner: Owner) -> Option<Held> {
        if self.newest.is_some_and(|held| held.owner == owner) {
            return std::mem::replace(&mut self.newest, self.older.pop());
        }
        let at = self.older.iter().rposition(|held| held.owner == owner)?;
        Some(self.older.remove(at))
    }
}

/// An answer that came in time, or why there is none.
type Asked = Result<(RequestId, Grant), Error>;

/// Asks and waits in this thread.
///
/// # Errors
///
/// What a signal handler raised, and that the ask would freeze the event loop: then the ask is withdrawn.
pub(crate) fn ask(
    py: Python<'_>,
    mutex: &PacketMutex,
    module: &packet_mutex::Module,
    terms: Terms,
) -> PyResult<Asked> {
    let (id, answer) = raw::begin(mutex, module, terms);
    await_answer(py, mutex, module, id, answer)
}

fn await_answer(
    py: Python<'_>,
    mutex: &PacketMutex,
    module: &packet_mutex::Module,
    id: RequestId,
    answer: Option<Answer>,
) -> PyResult<Asked> {
    let answer = match answer {
        Some(answer) => Some(answer),
        None => {
            let waited = match owners::would_freeze(py, mutex, module.name())? {
                Some(error) => Err(errors::raise(py, error)),
                None => wait::wait(py, None, |waker| raw::poll(mutex, module, id, waker)),
            };
            waited.inspect_err(|_| raw::withdraw(mutex, id))?
        }
    };
    Ok(match answer {
        Some(Answer::Turn(grant) | Answer::Pass(grant)) => Ok((id, grant)),
        Some(Answer::Failed(failure)) => Err(failure.into()),
        None => Err(Error::Lost),
    })
}

impl Turn {
    fn held(&self) -> MutexGuard<'_, Holds> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terms(&self, owner: Owner) -> Terms {
        Terms { owner: Some(owner), timeout: self.timeout, urgent: self.urgent, claim: false }
    }

    /// Keeps a turn that was granted, if it is still valid to the asker (S9), and writes the log.
    fn keep(&self, py: Python<'_>, owner: Owner, asked: Asked) -> PyResult<Result<(), Error>> {
        let (hold, grant) = match asked {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(error)),
        };
        self.held().push(Held { owner, hold, grant });
        let valid = match &self.valid_if {
            None => Ok(true),
            Some(check) => check.call0(py).and_then(|valid| valid.is_truthy(py)),
        };
        // Handlers of log lines are other people's code too.
        let valid = valid.and_then(|valid| log::flush(py).map(|()| valid));
        match valid {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                self.leave(owner, Leave::Declined);
                Ok(Err(Error::NoLongerValid))
            }
            Err(raised) => {
                self.leave(owner, Leave::Declined);
                Err(raised)
            }
        }
    }

    /// Asks and waits; the turn is then kept.
    fn take(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Result<(), Error>> {
        process::check(py)?;
        log::begin(py)?;
        let mutex = self.mutex.get();
        let owner = owners::current(py, mutex)?;
        let mut terms = self.terms(owner);
        terms.timeout = timeout.or(terms.timeout);
        let asked = ask(py, mutex, self.module.get(), terms);
        let kept = asked.and_then(|asked| self.keep(py, owner, asked));
        written(py, kept)
    }

    fn leave(&self, owner: Owner, how: Leave) -> Option<Result<(), Error>> {
        let held = self.held().take(owner)?;
        Some(raw::end(self.mutex.get(), held.hold, Some(owner), how))
    }

    /// Who ends somebody else's turn is refused, and that is written down (S6).
    fn refuse(&self, owner: Owner) {
        let mutex = self.mutex.get();
        let other = self.held().newest;
        if let Some(other) = other.filter(|other| raw::holds(mutex, other.hold)) {
            let _ = raw::end(mutex, other.hold, Some(owner), Leave::Released);
        }
    }

    /// The caller's open turn, which it is about to end.
    fn to_end(&self, py: Python<'_>, owner: Option<Owner>) -> PyResult<Held> {
        process::check(py)?;
        let owner = match owner {
            Some(owner) => owner,
            None => owners::current(py, self.mutex.get())?,
        };
        log::begin(py)?;
        let held = self.must_be_of(py, owner).inspect_err(|_| self.refuse(owner));
        written(py, held)
    }

    /// The caller's open turn.
    fn mine(&self, py: Python<'_>) -> PyResult<Option<Held>> {
        if process::is_forked() {
            return Ok(None);
        }
        Ok(self.turn_of(owners::current(py, self.mutex.get())?))
    }

    fn turn_of(&self, owner: Owner) -> Option<Held> {
        let mutex = self.mutex.get();
        let held = self.held().of(owner);
        held.filter(|held| held.grant.token.is_none() || raw::holds(mutex, held.hold))
    }

    fn must_be_mine(&self, py: Python<'_>) -> PyResult<Held> {
        process::check(py)?;
        self.must_be_of(py, owners::current(py, self.mutex.get())?)
    }

    fn must_be_of(&self, py: Python<'_>, owner: Owner) -> PyResult<Held> {
        let not_mine = || {
            let holder = raw::holder(self.mutex.get()).map(|(_, module)| module);
            errors::raise(py, Error::NotHolder { holder })
        };
        self.turn_of(owner).ok_or_else(not_mine)
    }
}

/// Writes what a call caused, whatever came of it.
pub(crate) fn written<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<T> {
    let flushed = log::flush(py);
    result.and_then(|value| flushed.map(|()| value))
}

#[pymethods]
impl Turn {
    #[new]
    #[pyo3(signature = (module, timeout=None, *, urgent=false, valid_if=None, mutex=None))]
    fn new(
        py: Python<'_>,
        module: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        urgent: bool,
        valid_if: Option<Py<PyAny>>,
        mutex: Option<&Bound<'_, Mutex>>,
    ) -> PyResult<Self> {
        let timeout = optional(timeout)?;
        let (mutex, module) = MutexRef::with_module(py, mutex, module)?;
        Ok(Turn { mutex, module, timeout, urgent, valid_if, held: std::sync::Mutex::default() })
    }

    /// Waits for the turn.
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let py = slf.py();
        slf.get().take(py, None)?.map_err(|error| errors::raise(py, error))?;
        Ok(slf)
    }

    /// Ends the turn; the event log says if an exception came through.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        if process::is_forked() {
            return Ok(false);
        }
        let how = if kind.is_none() { Leave::Released } else { Leave::Panicked };
        let mutex = self.mutex.get();
        log::begin(py)?;
        let owner = owners::current(py, mutex)?;
        if self.leave(owner, how).is_none() {
            self.refuse(owner);
        }
        log::flush(py)?;
        Ok(false)
    }

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.mine(py)?.is_some())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.module.get().name();
        let state = match self.mine(py)? {
            None => "not held".into(),
            Some(Held { grant: Grant { token: Some(token), .. }, .. }) => format!("token {token}"),
            Some(_) => "a pass".into(),
        };
        Ok(format!("<turn of {name} on {}: {state}>", self.mutex.get().name()))
    }

    /// Waits for the turn; whether it was granted.
    #[pyo3(signature = (blocking=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, blocking: bool, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = if blocking { optional(timeout)? } else { Some(Duration::ZERO) };
        let taken = self.take(py, timeout)?;
        let (mutex, module) = (self.mutex.get(), self.module.get());
        was_granted(py, mutex, module, taken, timeout.or(self.timeout))
    }

    /// Ends the caller's newest turn of the module; whether there was one.
    fn release(&self, py: Python<'_>) -> PyResult<bool> {
        process::check(py)?;
        log::begin(py)?;
        let mutex = self.mutex.get();
        let owner = owners::current(py, mutex)?;
        let left = self.leave(owner, Leave::Released).unwrap_or_else(|| {
            // It may have been had through another object.
            raw::end_module(mutex, self.module.get(), owner)
        });
        log::flush(py)?;
        Ok(left.is_ok())
    }

    /// Ends a turn in which nothing was sent: no delay starts.
    fn decline(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.to_end(py, None)?;
        log::begin(py)?;
        let left = self.leave(held.owner, Leave::Declined);
        log::flush(py)?;
        left.unwrap_or(Ok(())).map_err(|error| errors::raise(py, error))
    }

    /// Things were put right after an abandoned turn.
    fn acknowledge(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.must_be_mine(py)?;
        log::begin(py)?;
        let done = raw::acknowledge(self.mutex.get(), held.hold);
        log::flush(py)?;
        done.map_err(|error| errors::raise(py, error))
    }

    /// Gives the turn away and waits for the next one.
    #[pyo3(signature = (timeout=None))]
    fn yield_now(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = optional(timeout)?;
        let held = self.to_end(py, None)?;
        log::begin(py)?;
        let (mutex, module, owner) = (self.mutex.get(), self.module.get(), held.owner);
        let (id, answer) = raw::give_away(mutex, module, held.hold, Some(owner), timeout)
            .map_err(|error| errors::raise(py, error))?;
        self.held().take(owner);
        let kept = await_answer(py, mutex, module, id, answer)
            .and_then(|asked| self.keep(py, owner, asked));
        written(py, kept)?.map_err(|error| errors::raise(py, error))
    }

    /// Sleeps inside the turn; `False` if it ended early because the turn should be given away.
    fn sleep(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let held = self.must_be_mine(py)?;
        let pass = held.grant.token.is_none();
        let mut sleep = raw::Sleep::new(self.mutex.get(), held.hold, pass, duration(seconds)?);
        let slept = wait::wait(py, None, |waker| sleep.poll(waker));
        let slept = written(py, slept)?;
        Ok(slept == Some(Slept::Whole))
    }

    /// The name of the module.
    #[getter]
    fn module(&self) -> &str {
        self.module.get().name()
    }

    /// Should the turn be given away?
    #[getter]
    fn should_yield(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(held) = self.mine(py)? else { return Ok(false) };
        log::begin(py)?;
        let should = raw::should_yield(self.mutex.get(), held.hold);
        log::flush(py)?;
        Ok(should)
    }

    /// The turn's number, larger than that of every turn before; `None` without a turn and for a pass.
    #[getter]
    fn token(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.mine(py)?.and_then(|held| held.grant.token).map(|token| token.0))
    }

    /// Is this a pass of a module that is only observed or off?
    #[getter]
    fn is_pass(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.mine(py)?.is_some_and(|held| held.grant.token.is_none()))
    }

    /// How many turns of the caller are open around this one.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.mine(py)?.map_or(0, |held| held.grant.depth))
    }

    /// How long the ask waited, in seconds.
    #[getter]
    fn waited(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.mine(py)?.map_or(0.0, |held| held.grant.waited.as_secs_f64()))
    }

    /// How many turns of others came between the ask and the grant.
    #[getter]
    fn others_since_request(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.mine(py)?.map_or(0, |held| held.grant.others_since_request))
    }

    /// Was a turn before this one abandoned, and has nobody acknowledged it since?
    #[getter]
    fn predecessor_abandoned(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.mine(py)?.is_some_and(|held| held.grant.predecessor_abandoned))
    }

    // For the awaitable forms.

    /// The owner that an ask of this moment has.
    fn _owner(&self, py: Python<'_>) -> PyResult<u64> {
        process::check(py)?;
        Ok(owners::current(py, self.mutex.get())?.0)
    }

    /// Asks for that owner.
    #[pyo3(signature = (owner, timeout=None))]
    fn _begin(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        owner: u64,
        timeout: Option<f64>,
    ) -> PyResult<Request> {
        let timeout = optional(timeout)?;
        let turn = slf.get();
        process::check(py)?;
        log::begin(py)?;
        let owner = Owner(owner);
        let mut terms = Terms { claim: true, ..turn.terms(owner) };
        terms.timeout = timeout.or(terms.timeout);
        let (id, answer) = raw::begin(turn.mutex.get(), turn.module.get(), terms);
        let request = Request::new(slf, owner, id, answer);
        written(py, Ok(request))
    }

    /// Gives that owner's turn away and asks again.
    #[pyo3(signature = (owner, timeout=None))]
    fn _begin_again(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        owner: u64,
        timeout: Option<f64>,
    ) -> PyResult<Request> {
        let timeout = optional(timeout)?;
        let turn = slf.get();
        let held = turn.to_end(py, Some(Owner(owner)))?;
        log::begin(py)?;
        let (mutex, module, owner) = (turn.mutex.get(), turn.module.get(), held.owner);
        let (id, answer) = raw::give_away(mutex, module, held.hold, Some(owner), timeout)
            .map_err(|error| errors::raise(py, error))?;
        turn.held().take(owner);
        written(py, Ok(Request::new(slf, owner, id, answer)))
    }

    /// Begins a sleep inside that owner's turn.
    fn _begin_sleep(&self, py: Python<'_>, owner: u64, seconds: f64) -> PyResult<Sleep> {
        process::check(py)?;
        let held = self.must_be_of(py, Owner(owner))?;
        let pass = held.grant.token.is_none();
        let sleep = raw::Sleep::new(self.mutex.get(), held.hold, pass, duration(seconds)?);
        Ok(Sleep { state: std::sync::Mutex::new((sleep, None)) })
    }
}

/// The answer of the boolean forms. An owner that holds a turn of another group waits its time out first, as it always did,
/// unless that would stop an event loop.
pub(crate) fn was_granted(
    py: Python<'_>,
    mutex: &PacketMutex,
    module: &packet_mutex::Module,
    taken: Result<(), Error>,
    timeout: Option<Duration>,
) -> PyResult<bool> {
    match taken {
        Ok(()) => Ok(true),
        Err(error @ Error::WouldDeadlock { .. }) => {
            if owners::in_event_loop(py)? {
                return Err(errors::raise(py, error));
            }
            let roster = mutex.roster();
            let own = roster.module(module.name()).and_then(|module| module.timeout);
            let timeout = timeout.or(own).unwrap_or(roster.spec().timeout);
            wait::wait(py, Some(timeout), |_| None::<()>)?;
            Ok(false)
        }
        Err(_) => Ok(false),
    }
}

/// A request of a task that waits.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Request {
    turn: Py<Turn>,
    owner: Owner,
    id: RequestId,
    state: std::sync::Mutex<RequestState>,
}

enum RequestState {
    Waits,
    Answered(Answer),
    Over,
}

impl Request {
    fn new(turn: &Bound<'_, Turn>, owner: Owner, id: RequestId, answer: Option<Answer>) -> Self {
        let state = answer.map_or(RequestState::Waits, RequestState::Answered);
        Request { turn: turn.clone().unbind(), owner, id, state: std::sync::Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, RequestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Request {
    /// A future to wait for before the next call, or `None` if the answer is there.
    fn poll<'py>(
        &self,
        py: Python<'py>,
        event_loop: &Bound<'py, EventLoop>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !matches!(*self.state(), RequestState::Waits) {
            return Ok(None);
        }
        let turn = self.turn.get();
        let (future, waker) = event_loop.get().future(py)?;
        log::begin(py)?;
        let answer = raw::poll(turn.mutex.get(), turn.module.get(), self.id, &waker);
        let waits = answer.is_none();
        if let Some(answer) = answer {
            *self.state() = RequestState::Answered(answer);
        }
        log::flush(py)?;
        Ok(waits.then_some(future))
    }

    /// Takes the turn, or raises why there is none.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let state = std::mem::replace(&mut *self.state(), RequestState::Over);
        let asked = match state {
            RequestState::Answered(Answer::Turn(grant) | Answer::Pass(grant)) => {
                Ok((self.id, grant))
            }
            RequestState::Answered(Answer::Failed(failure)) => Err(failure.into()),
            RequestState::Waits | RequestState::Over => {
                return Err(PyRuntimeError::new_err("the request has no answer to take"));
            }
        };
        log::begin(py)?;
        let kept = self.turn.get().keep(py, self.owner, asked);
        written(py, kept)?.map_err(|error| errors::raise(py, error))
    }

    /// The asker goes away; a grant that it has not taken is declined.
    fn withdraw(&self, py: Python<'_>) -> PyResult<()> {
        let state = std::mem::replace(&mut *self.state(), RequestState::Over);
        if matches!(state, RequestState::Over) || process::is_forked() {
            return Ok(());
        }
        log::begin(py)?;
        raw::withdraw(self.turn.get().mutex.get(), self.id);
        log::flush(py)
    }
}

/// A sleep of a task inside its turn.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Sleep {
    state: std::sync::Mutex<(raw::Sleep, Option<Slept>)>,
}

#[pymethods]
impl Sleep {
    /// A future to wait for before the next call, or `None` if the sleep is over.
    fn poll<'py>(
        &self,
        py: Python<'py>,
        event_loop: &Bound<'py, EventLoop>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (future, waker) = event_loop.get().future(py)?;
        log::begin(py)?;
        let over = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.1 = state.0.poll(&waker);
            state.1.is_some()
        };
        log::flush(py)?;
        Ok((!over).then_some(future))
    }

    /// Was it the whole time?
    #[getter]
    fn whole(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 == Some(Slept::Whole)
    }
}
