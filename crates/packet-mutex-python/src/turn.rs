//! One module's way into a mutex, and the turns that it was granted.

use crate::asking::{self, Outcome, ask, wait_for_answer, was_granted};
use crate::courier::EventLoop;
use crate::modules::{self, OrStatic};
use crate::mutex::Mutex;
use crate::seconds::{duration, optional};
use crate::{default_mutex, errors, log, owners, process, wait};
use packet_mutex::raw::{self, Asked, Grant, Granted, Leave, Owner, Place, Terms};
use packet_mutex::{Error, Module, PacketMutex, RequestId, Slept};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// An ask for turns of one module; while the caller holds one, that turn.
///
/// Threads and tasks may share it: what it says and does is about the caller's own turn.
#[pyclass(frozen, subclass, module = "packet_mutex._packet_mutex")]
pub(crate) struct Turn {
    mutex: OrStatic<PacketMutex>,
    module: OrStatic<Module>,
    timeout: Option<Duration>,
    urgent: bool,
    valid_if: Option<Py<PyAny>>,
    held: std::sync::Mutex<Holds>,
}

/// The turns that were granted and not yet ended. Usually there is one, so the newest needs no allocation.
#[derive(Default)]
struct Holds {
    newest: Option<Held>,
    /// The others, oldest first.
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

    /// Returns the owner's newest.
    fn of(&self, owner: Owner) -> Option<Held> {
        let mut newest_first = self.newest.iter().chain(self.older.iter().rev());
        newest_first.find(|held| held.owner == owner).copied()
    }

    /// Removes the owner's newest.
    fn remove(&mut self, owner: Owner) -> Option<Held> {
        if self.newest.is_some_and(|held| held.owner == owner) {
            return std::mem::replace(&mut self.newest, self.older.pop());
        }
        let at = self.older.iter().rposition(|held| held.owner == owner)?;
        Some(self.older.remove(at))
    }
}

impl Held {
    fn is_pass(&self) -> bool {
        self.grant.token.is_none()
    }
}

impl Turn {
    fn place(&self) -> &Arc<dyn Place> {
        raw::place(&self.mutex)
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn caller(&self, py: Python<'_>) -> PyResult<Owner> {
        owners::current(py, self.place())
    }

    fn terms(&self, owner: Owner, timeout: Option<Duration>) -> Terms {
        let timeout = timeout.or(self.timeout);
        Terms { owner: Some(owner), timeout, urgent: self.urgent, ..Terms::default() }
    }

    /// Asks, waits, and keeps the turn.
    fn wait_for_turn(
        &self,
        py: Python<'_>,
        timeout: Option<Duration>,
    ) -> PyResult<Result<(), Error>> {
        process::check(py)?;
        log::writing(py, || {
            let owner = self.caller(py)?;
            let outcome = ask(py, &self.mutex, &self.module, self.terms(owner, timeout))?;
            self.keep(py, owner, outcome)
        })
    }

    /// Keeps a turn that was granted if it is still valid to the asker (S9); else declines it.
    fn keep(&self, py: Python<'_>, owner: Owner, outcome: Outcome) -> PyResult<Result<(), Error>> {
        let (hold, grant) = match outcome {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(error)),
        };
        // Kept before the check is called, for the check may ask the turn about itself.
        self.holds().push(Held { owner, hold, grant });
        let valid = match &self.valid_if {
            None => Ok(true),
            Some(check) => check.call0(py).and_then(|valid| valid.is_truthy(py)),
        };
        // Log handlers are other people's code, and what they raise ends the block before it begins. So they run while the
        // turn can still be declined.
        let valid = valid.and_then(|valid| log::flush(py).map(|()| valid));
        if !matches!(valid, Ok(true)) {
            self.end(owner, Leave::Declined);
        }
        valid.map(|valid| if valid { Ok(()) } else { Err(Error::NoLongerValid) })
    }

    /// Ends the owner's newest turn, if it has one.
    fn end(&self, owner: Owner, how: Leave) -> Option<Result<(), Error>> {
        let held = self.holds().remove(owner)?;
        Some(self.place().end(held.hold, Some(owner), how))
    }

    /// Logs that an owner spoke of a turn that is another's (S6).
    fn log_not_holder(&self, owner: Owner) {
        let newest = self.holds().newest;
        if let Some(other) = newest.filter(|other| self.place().holds(other.hold)) {
            // The mutex refuses this and logs it.
            self.place().leave(other.hold, Some(owner), Leave::Released);
        }
    }

    /// Gives a turn away and asks again in one step.
    fn give_away(&self, py: Python<'_>, held: Held, timeout: Option<Duration>) -> PyResult<Asked> {
        let asked = self.place().give_away(held.hold, Some(held.owner), timeout);
        let asked = asked.map_err(|error| errors::raise(py, error))?;
        // Only now is it over: a turn that could not be given away goes on.
        self.holds().remove(held.owner);
        Ok(asked)
    }

    /// Returns the owner's newest turn, if it is open.
    fn turn_of(&self, owner: Owner) -> Option<Held> {
        let held = self.holds().of(owner)?;
        (held.is_pass() || self.place().holds(held.hold)).then_some(held)
    }

    /// Returns the caller's turn. A forked child has none.
    fn callers_turn(&self, py: Python<'_>) -> PyResult<Option<Held>> {
        if process::is_forked() {
            return Ok(None);
        }
        Ok(self.turn_of(self.caller(py)?))
    }

    /// Returns something about the caller's turn; without a turn, the default.
    fn about<T: Default>(&self, py: Python<'_>, what: impl FnOnce(&Held) -> T) -> PyResult<T> {
        Ok(self.callers_turn(py)?.as_ref().map(what).unwrap_or_default())
    }

    /// Returns the owner's turn.
    ///
    /// # Errors
    ///
    /// `NotHolder`.
    fn require_turn(&self, py: Python<'_>, owner: Owner) -> PyResult<Held> {
        process::check(py)?;
        self.turn_of(owner).ok_or_else(|| {
            let holder = self.place().holder().map(|(_, module)| module);
            errors::raise(py, Error::NotHolder { holder })
        })
    }

    /// Returns the owner's turn, which is about to end.
    ///
    /// # Errors
    ///
    /// `NotHolder`, which is also logged.
    fn require_turn_to_end(&self, py: Python<'_>, owner: Owner) -> PyResult<Held> {
        self.require_turn(py, owner).inspect_err(|_| {
            if !process::is_forked() {
                self.log_not_holder(owner);
            }
        })
    }

    fn begin_sleep(&self, py: Python<'_>, owner: Owner, seconds: f64) -> PyResult<raw::Sleep> {
        let held = self.require_turn(py, owner)?;
        Ok(raw::Sleep::new(self.place(), held.hold, held.is_pass(), duration(seconds)?))
    }
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
        process::check(py)?;
        let (mutex, module) = match mutex {
            None => (OrStatic::Static(default_mutex::get(py)?), modules::of_default(py, module)?),
            Some(mutex) => {
                let mutex = mutex.get().mutex.clone();
                let module = modules::resolve(py, &mutex, module)?;
                (OrStatic::Own(mutex), OrStatic::Own(module))
            }
        };
        Ok(Turn { mutex, module, timeout, urgent, valid_if, held: std::sync::Mutex::default() })
    }

    /// Waits for the turn.
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let py = slf.py();
        slf.get().wait_for_turn(py, None)?.map_err(|error| errors::raise(py, error))?;
        Ok(slf)
    }

    /// Ends the turn. The event log says if an exception came through.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        // The block of a forked child ends like any other; the turn is its parent's.
        if process::is_forked() {
            return Ok(false);
        }
        let how = if kind.is_none() { Leave::Released } else { Leave::Panicked };
        log::writing(py, || {
            let owner = self.caller(py)?;
            if self.end(owner, how).is_none() {
                self.log_not_holder(owner);
            }
            Ok(false)
        })
    }

    /// Returns whether the caller holds it.
    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.callers_turn(py)?.is_some())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let state = match self.callers_turn(py)?.map(|held| held.grant.token) {
            None => "not held".into(),
            Some(Some(token)) => format!("token {token}"),
            Some(None) => "a pass".into(),
        };
        Ok(format!("<turn of {} on {}: {state}>", self.module(), self.mutex.name()))
    }

    /// Waits for the turn. Returns whether it was granted.
    #[pyo3(signature = (blocking=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, blocking: bool, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = if blocking { optional(timeout)? } else { Some(Duration::ZERO) };
        let outcome = self.wait_for_turn(py, timeout)?;
        was_granted(py, &self.mutex, &self.module, outcome, timeout.or(self.timeout))
    }

    /// Ends the caller's newest turn of the module. Returns whether there was one.
    fn release(&self, py: Python<'_>) -> PyResult<bool> {
        process::check(py)?;
        log::writing(py, || {
            let owner = self.caller(py)?;
            let ended = self.end(owner, Leave::Released).unwrap_or_else(|| {
                // The turn may have been granted through another object.
                self.place().end_module(&(&*self.module).into(), owner)
            });
            Ok(ended.is_ok())
        })
    }

    /// Ends a turn in which nothing was sent: no delay starts.
    fn decline(&self, py: Python<'_>) -> PyResult<()> {
        process::check(py)?;
        log::writing(py, || {
            let held = self.require_turn_to_end(py, self.caller(py)?)?;
            let ended = self.end(held.owner, Leave::Declined);
            ended.unwrap_or(Ok(())).map_err(|error| errors::raise(py, error))
        })
    }

    /// Says that things were put right after an abandoned turn.
    fn acknowledge(&self, py: Python<'_>) -> PyResult<()> {
        process::check(py)?;
        log::writing(py, || {
            let held = self.require_turn(py, self.caller(py)?)?;
            self.place().acknowledge(held.hold).map_err(|error| errors::raise(py, error))
        })
    }

    /// Gives the turn away and waits for the next one.
    #[pyo3(signature = (timeout=None))]
    fn yield_now(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = optional(timeout)?;
        process::check(py)?;
        log::writing(py, || {
            let held = self.require_turn_to_end(py, self.caller(py)?)?;
            let asked = self.give_away(py, held, timeout)?;
            let outcome = wait_for_answer(py, &self.mutex, &self.module, asked)?;
            self.keep(py, held.owner, outcome)?.map_err(|error| errors::raise(py, error))
        })
    }

    /// Sleeps inside the turn. Returns `False` if it ended early because the turn should be given away.
    fn sleep(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        process::check(py)?;
        log::writing(py, || {
            let mut sleep = self.begin_sleep(py, self.caller(py)?, seconds)?;
            let slept = wait::wait(py, None, |waker| sleep.poll(waker))?;
            Ok(slept == Some(Slept::Whole))
        })
    }

    /// The name of the module.
    #[getter]
    fn module(&self) -> &str {
        self.module.name()
    }

    /// Whether the turn should be given away.
    #[getter]
    fn should_yield(&self, py: Python<'_>) -> PyResult<bool> {
        if process::is_forked() {
            return Ok(false);
        }
        // The mutex is asked even about a turn that is gone: if the connection took it, whoever holds it must learn so here.
        let Some(held) = self.holds().of(self.caller(py)?) else { return Ok(false) };
        log::writing(py, || Ok(self.place().should_yield(held.hold)))
    }

    /// The turn's number, larger than that of every turn before; `None` without a turn and for a pass.
    #[getter]
    fn token(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.about(py, |held| held.grant.token.map(|token| token.0))
    }

    /// Whether this is a pass, of a module that is only observed or off.
    #[getter]
    fn is_pass(&self, py: Python<'_>) -> PyResult<bool> {
        self.about(py, Held::is_pass)
    }

    /// How many turns of the caller are open around this one.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<usize> {
        self.about(py, |held| held.grant.depth)
    }

    /// How long the ask waited, in seconds.
    #[getter]
    fn waited(&self, py: Python<'_>) -> PyResult<f64> {
        self.about(py, |held| held.grant.waited.as_secs_f64())
    }

    /// How many turns of others came between the ask and the grant.
    #[getter]
    fn others_since_request(&self, py: Python<'_>) -> PyResult<u64> {
        self.about(py, |held| held.grant.others_since_request)
    }

    /// Whether a turn before this one was abandoned and nobody has acknowledged it since.
    #[getter]
    fn predecessor_abandoned(&self, py: Python<'_>) -> PyResult<bool> {
        self.about(py, |held| held.grant.predecessor_abandoned)
    }

    // For the awaitable forms. Their owner is an argument, for they may run in another task than the one that called them.

    /// Returns the owner that an ask would have now.
    fn _owner(&self, py: Python<'_>) -> PyResult<u64> {
        process::check(py)?;
        Ok(self.caller(py)?.0)
    }

    /// Asks for this owner.
    #[pyo3(signature = (owner, timeout=None))]
    fn _begin(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        owner: u64,
        timeout: Option<f64>,
    ) -> PyResult<Request> {
        let (turn, owner, timeout) = (slf.get(), Owner(owner), optional(timeout)?);
        process::check(py)?;
        log::writing(py, || {
            // A coroutine that is never awaited again must not hold the others up, so its grants are to be claimed.
            let terms = Terms { claim: true, ..turn.terms(owner, timeout) };
            let asked = turn.place().begin(&(&*turn.module).into(), terms);
            Ok(Request::new(slf, owner, asked.map_err(|error| errors::raise(py, error))?))
        })
    }

    /// Gives this owner's turn away and asks again.
    #[pyo3(signature = (owner, timeout=None))]
    fn _begin_again(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        owner: u64,
        timeout: Option<f64>,
    ) -> PyResult<Request> {
        let (turn, owner, timeout) = (slf.get(), Owner(owner), optional(timeout)?);
        process::check(py)?;
        log::writing(py, || {
            let held = turn.require_turn_to_end(py, owner)?;
            Ok(Request::new(slf, owner, turn.give_away(py, held, timeout)?))
        })
    }

    /// Begins a sleep inside this owner's turn.
    fn _begin_sleep(&self, py: Python<'_>, owner: u64, seconds: f64) -> PyResult<Sleep> {
        let sleep = self.begin_sleep(py, Owner(owner), seconds)?;
        Ok(Sleep { state: std::sync::Mutex::new((sleep, None)) })
    }
}

/// The request of a task that waits.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Request {
    turn: Py<Turn>,
    owner: Owner,
    id: RequestId,
    state: std::sync::Mutex<RequestState>,
}

enum RequestState {
    Waits,
    Answered(Granted),
    Over,
}

impl Request {
    fn new(turn: &Bound<'_, Turn>, owner: Owner, (id, answer): Asked) -> Self {
        let state = answer.map_or(RequestState::Waits, RequestState::Answered);
        Request { turn: turn.clone().unbind(), owner, id, state: std::sync::Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, RequestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> RequestState {
        std::mem::replace(&mut *self.state(), RequestState::Over)
    }
}

#[pymethods]
impl Request {
    /// Returns a future to wait for before the next call, or `None` if the answer is there.
    fn poll<'py>(
        &self,
        py: Python<'py>,
        event_loop: &Bound<'py, EventLoop>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !matches!(*self.state(), RequestState::Waits) {
            return Ok(None);
        }
        let (future, waker) = event_loop.get().future(py)?;
        log::writing(py, || {
            let Some(granted) = self.turn.get().place().poll(self.id, &waker) else {
                return Ok(Some(future));
            };
            *self.state() = RequestState::Answered(granted);
            Ok(None)
        })
    }

    /// Takes the turn, or raises why there is none.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let RequestState::Answered(granted) = self.end() else {
            return Err(PyRuntimeError::new_err("the request has no answer to take"));
        };
        let turn = self.turn.get();
        log::writing(py, || {
            let outcome = asking::outcome(&turn.mutex, &turn.module, self.id, granted);
            turn.keep(py, self.owner, outcome)?.map_err(|error| errors::raise(py, error))
        })
    }

    /// Takes the request back. A grant that was not taken yet is declined.
    fn withdraw(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(self.end(), RequestState::Over) || process::is_forked() {
            return Ok(());
        }
        log::writing(py, || {
            self.turn.get().place().withdraw(self.id);
            Ok(())
        })
    }
}

/// A task's sleep inside its turn.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Sleep {
    state: std::sync::Mutex<(raw::Sleep, Option<Slept>)>,
}

#[pymethods]
impl Sleep {
    /// Returns a future to wait for before the next call, or `None` if the sleep is over.
    fn poll<'py>(
        &self,
        py: Python<'py>,
        event_loop: &Bound<'py, EventLoop>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (future, waker) = event_loop.get().future(py)?;
        log::writing(py, || {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.1 = state.0.poll(&waker);
            Ok(state.1.is_none().then_some(future))
        })
    }

    /// Whether it slept the whole time.
    #[getter]
    fn whole(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 == Some(Slept::Whole)
    }
}
