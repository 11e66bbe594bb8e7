//! Who asks: the running asyncio task, or else the thread (S5).

use crate::courier::weak;
use crate::{errors, process};
use packet_mutex::Error;
use packet_mutex::raw::{self, Owner, Place};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The functions of asyncio that tell which task runs.
struct Asyncio {
    running_loop: Py<PyAny>,
    current_task: Py<PyAny>,
}

/// A task that has asked.
struct Task {
    owner: Owner,
    /// The thread that it runs in, as an owner.
    thread: Owner,
    /// Tells it from a later task at the same address.
    weak: Py<PyAny>,
    /// The mutexes that it asked. They learn when it ends.
    asked: Vec<Arc<dyn Place>>,
}

/// The tasks by their addresses. A task cannot be a key itself: its `__hash__` and `__eq__` are Python code, which must not
/// run under this lock.
fn tasks() -> MutexGuard<'static, HashMap<usize, Task>> {
    static TASKS: OnceLock<Mutex<HashMap<usize, Task>>> = OnceLock::new();
    TASKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns asyncio once the program has imported it. Before that nothing can be a task, and a program of threads alone
/// does not pay for the import.
fn asyncio(py: Python<'_>) -> PyResult<Option<&'static Asyncio>> {
    static ASYNCIO: PyOnceLock<Asyncio> = PyOnceLock::new();
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    if let Some(asyncio) = ASYNCIO.get(py) {
        return Ok(Some(asyncio));
    }
    let modules = MODULES.get_or_try_init(py, || {
        let modules = py.import("sys")?.getattr("modules")?;
        Ok::<_, PyErr>(modules.cast_into::<PyDict>()?.unbind())
    })?;
    if !modules.bind(py).contains(pyo3::intern!(py, "asyncio"))? {
        return Ok(None);
    }
    let asyncio = py.import("asyncio")?;
    let (Ok(running_loop), Ok(current_task)) =
        (asyncio.getattr("_get_running_loop"), asyncio.getattr("current_task"))
    else {
        // Another thread is importing it at this moment.
        return Ok(None);
    };
    let (running_loop, current_task) = (running_loop.unbind(), current_task.unbind());
    ASYNCIO.get_or_init(py, || Asyncio { running_loop, current_task });
    Ok(ASYNCIO.get(py))
}

/// Returns the event loop that runs in this thread.
fn running_loop(py: Python<'_>) -> PyResult<Option<(&'static Asyncio, Bound<'_, PyAny>)>> {
    let Some(asyncio) = asyncio(py)? else { return Ok(None) };
    let running = asyncio.running_loop.bind(py).call0()?;
    Ok((!running.is_none()).then_some((asyncio, running)))
}

/// Returns whether an event loop runs in this thread. To wait here would stop it.
pub(crate) fn in_event_loop(py: Python<'_>) -> PyResult<bool> {
    Ok(running_loop(py)?.is_some())
}

/// Returns the owner that an ask would have now.
#[inline]
pub(crate) fn current(py: Python<'_>, place: &Arc<dyn Place>) -> PyResult<Owner> {
    match running_loop(py)? {
        None => Ok(raw::this_thread(place)),
        Some((asyncio, running)) => in_loop(py, place, asyncio, &running),
    }
}

fn in_loop(
    py: Python<'_>,
    place: &Arc<dyn Place>,
    asyncio: &Asyncio,
    running: &Bound<'_, PyAny>,
) -> PyResult<Owner> {
    let task = asyncio.current_task.bind(py).call1((running,))?;
    if task.is_none() {
        // A callback of the loop runs outside all tasks.
        return Ok(raw::this_thread(place));
    }
    let address = task.as_ptr() as usize;
    let known = tasks().get(&address).map(|known| (known.owner, known.weak.clone_ref(py)));
    if let Some((owner, weak)) = known
        && weak.call0(py)?.is(&task)
    {
        if let Some(known) = tasks().get_mut(&address) {
            known.has_asked(place);
        }
        return Ok(owner);
    }
    let owner = raw::new_owner();
    let end = Bound::new(py, TaskEnd { address, owner })?;
    task.call_method1(pyo3::intern!(py, "add_done_callback"), (&end,))?;
    let thread = raw::this_thread(place);
    let mut new = Task { owner, thread, weak: weak(&task)?, asked: Vec::new() };
    new.has_asked(place);
    let old = tasks().insert(address, new);
    // Outside the lock: a mutex that is told wakes whoever waits.
    tell_of_end(old);
    Ok(owner)
}

impl Task {
    fn has_asked(&mut self, place: &Arc<dyn Place>) {
        let number = place.identity().number;
        if !self.asked.iter().any(|known| known.identity().number == number) {
            self.asked.push(place.clone());
        }
    }
}

/// Tells the mutexes that a task asked that it is gone. They recover what it held (S7).
fn tell_of_end(task: Option<Task>) {
    // The locks of a forked child's mutexes may never be free again.
    if let Some(task) = task
        && !process::is_forked()
    {
        task.asked.iter().for_each(|place| place.owner_lost(task.owner));
    }
}

/// Called when a task ends. The task owns it, so a task that is dropped unfinished drops this too.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
struct TaskEnd {
    address: usize,
    owner: Owner,
}

#[pymethods]
impl TaskEnd {
    fn __call__(&self, _task: &Bound<'_, PyAny>) {
        self.ended();
    }
}

impl TaskEnd {
    fn ended(&self) {
        let task = {
            let mut tasks = tasks();
            // A later task may have the address by now.
            let is_same = tasks.get(&self.address).is_some_and(|task| task.owner == self.owner);
            if is_same { tasks.remove(&self.address) } else { None }
        };
        tell_of_end(task);
    }
}

impl Drop for TaskEnd {
    fn drop(&mut self) {
        self.ended();
    }
}

/// Refuses to wait for a turn that can only end if this thread goes on: that of a task of the event loop that the wait
/// would stop, or of a callback of the loop.
///
/// # Errors
///
/// `WouldDeadlock`.
pub(crate) fn refuse_to_freeze(
    py: Python<'_>,
    place: &Arc<dyn Place>,
    asked: &str,
) -> PyResult<()> {
    if running_loop(py)?.is_none() {
        return Ok(());
    }
    let Some((Some(owner), holds)) = place.holder() else { return Ok(()) };
    let thread = raw::this_thread(place);
    let is_task_here = tasks().values().any(|task| task.owner == owner && task.thread == thread);
    if is_task_here || owner == thread {
        return Err(errors::raise(py, Error::WouldDeadlock { holds, asked: asked.into() }));
    }
    Ok(())
}
