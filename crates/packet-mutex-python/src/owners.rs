//! Who asks: the running asyncio task, or else the thread (S5).

use crate::courier::weak;
use crate::process;
use packet_mutex::raw::{self, Owner};
use packet_mutex::{Error, PacketMutex};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

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
    asked: Vec<PacketMutex>,
}

/// By the address of the task. No Python code runs under this lock.
fn tasks() -> MutexGuard<'static, HashMap<usize, Task>> {
    static TASKS: OnceLock<Mutex<HashMap<usize, Task>>> = OnceLock::new();
    TASKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asyncio, once the program has imported it. Before that nothing can be a task, and asking costs next to nothing.
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
        // It is being imported.
        return Ok(None);
    };
    let (running_loop, current_task) = (running_loop.unbind(), current_task.unbind());
    ASYNCIO.get_or_init(py, || Asyncio { running_loop, current_task });
    Ok(ASYNCIO.get(py))
}

/// The event loop that runs in this thread.
fn running_loop(py: Python<'_>) -> PyResult<Option<(&'static Asyncio, Bound<'_, PyAny>)>> {
    let Some(asyncio) = asyncio(py)? else { return Ok(None) };
    let running = asyncio.running_loop.bind(py).call0()?;
    Ok((!running.is_none()).then_some((asyncio, running)))
}

/// The owner that an ask of this moment has.
#[inline]
pub(crate) fn current(py: Python<'_>, mutex: &PacketMutex) -> PyResult<Owner> {
    match running_loop(py)? {
        None => Ok(raw::this_thread(mutex)),
        Some((asyncio, running)) => in_loop(py, mutex, asyncio, &running),
    }
}

fn in_loop(
    py: Python<'_>,
    mutex: &PacketMutex,
    asyncio: &Asyncio,
    running: &Bound<'_, PyAny>,
) -> PyResult<Owner> {
    let task = asyncio.current_task.bind(py).call1((running,))?;
    if task.is_none() {
        // A callback of the loop: it is nobody's but the thread's.
        return Ok(raw::this_thread(mutex));
    }
    let address = task.as_ptr() as usize;
    let known = tasks().get(&address).map(|known| (known.owner, known.weak.clone_ref(py)));
    if let Some((owner, weak)) = known
        && weak.call0(py)?.is(&task)
    {
        if let Some(known) = tasks().get_mut(&address) {
            known.learn(mutex);
        }
        return Ok(owner);
    }
    let owner = raw::new_owner();
    let end = Bound::new(py, TaskEnd { address, owner })?;
    task.call_method1(pyo3::intern!(py, "add_done_callback"), (&end,))?;
    let thread = raw::this_thread(mutex);
    let mut new = Task { owner, thread, weak: weak(&task)?, asked: Vec::new() };
    new.learn(mutex);
    let old = tasks().insert(address, new);
    lose(old);
    Ok(owner)
}

impl Task {
    fn learn(&mut self, mutex: &PacketMutex) {
        if !self.asked.iter().any(|known| raw::number(known) == raw::number(mutex)) {
            self.asked.push(mutex.clone());
        }
    }
}

/// What a task leaves behind is recovered (S7).
fn lose(task: Option<Task>) {
    if let Some(task) = task
        && !process::is_forked()
    {
        task.asked.iter().for_each(|mutex| raw::owner_lost(mutex, task.owner));
    }
}

/// Called when a task ends. A task that is dropped unfinished drops this with it.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
struct TaskEnd {
    address: usize,
    owner: Owner,
}

#[pymethods]
impl TaskEnd {
    fn __call__(&self, _task: &Bound<'_, PyAny>) {
        self.over();
    }
}

impl TaskEnd {
    fn over(&self) {
        let task = {
            let mut tasks = tasks();
            let ours = tasks.get(&self.address).is_some_and(|task| task.owner == self.owner);
            if ours { tasks.remove(&self.address) } else { None }
        };
        lose(task);
    }
}

impl Drop for TaskEnd {
    fn drop(&mut self) {
        self.over();
    }
}

/// An ask that would stop the event loop until somebody ends a turn whom only this loop's thread can let go on: the
/// error that it gets instead.
pub(crate) fn would_freeze(
    py: Python<'_>,
    mutex: &PacketMutex,
    asked: &str,
) -> PyResult<Option<Error>> {
    if running_loop(py)?.is_none() {
        return Ok(None);
    }
    let Some((Some(owner), holds)) = raw::holder(mutex) else { return Ok(None) };
    let thread = raw::this_thread(mutex);
    let is_here = tasks().values().any(|task| task.owner == owner && task.thread == thread);
    let error = Error::WouldDeadlock { holds, asked: asked.into() };
    Ok((is_here || owner == thread).then_some(error))
}

/// Is a task running, so that to wait in this thread would stop its loop?
pub(crate) fn in_event_loop(py: Python<'_>) -> PyResult<bool> {
    Ok(running_loop(py)?.is_some())
}
