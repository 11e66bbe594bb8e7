//! The courier: a thread that calls into Python for threads that must not wait for the interpreter.
//!
//! A mutex wakes its waiters from whatever thread changed it: a thread that ends, the thread that rings alarms, a thread in
//! the middle of a call. None of these may run Python code, or hold up the others while it waits for the interpreter. Each
//! leaves an order; the courier, one thread for the whole process that starts with the first order, carries it out: it
//! wakes event loops and has log lines written.

use crate::log;
use crate::process;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::task::{Wake, Waker};

static ORDERS: Mutex<Orders> = Mutex::new(Orders { wake: Vec::new(), flush_log: false });
static ORDERED: Condvar = Condvar::new();

/// What the courier has to do.
struct Orders {
    /// Event loops with tasks to wake.
    wake: Vec<Arc<LoopTasks>>,
    /// Whether log lines are to be written.
    flush_log: bool,
}

fn orders() -> MutexGuard<'static, Orders> {
    ORDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the queued log lines written.
pub(crate) fn flush_log() {
    order(|orders| orders.flush_log = true);
}

fn order(add: impl FnOnce(&mut Orders)) {
    static STARTED: Once = Once::new();
    // A forked child has no courier, and at the end of the process the interpreter cannot be had any more.
    if process::is_forked() || process::is_ending() {
        return;
    }
    add(&mut orders());
    STARTED.call_once(|| {
        let thread = std::thread::Builder::new().name("packet-mutex-courier".into());
        thread.spawn(carry_out_orders).expect("the system has room for one thread");
    });
    ORDERED.notify_one();
}

fn carry_out_orders() {
    loop {
        let mut orders = orders();
        while orders.wake.is_empty() && !orders.flush_log {
            orders = ORDERED.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
        orders.flush_log = false;
        let wake = std::mem::take(&mut orders.wake);
        // Free before the interpreter is waited for, so that nobody who orders waits for it.
        drop(orders);
        let attached = Python::try_attach(|py| {
            for tasks in wake {
                tasks.wake_from_courier(py);
            }
            // What a log handler raises has no caller to go to.
            let _ = log::flush(py);
        });
        // The interpreter has ended.
        if attached.is_none() {
            return;
        }
    }
}

/// The waiting tasks of one event loop. All that become ready together are woken with one call into the loop.
struct LoopTasks {
    /// A weak reference, for the loop owns what waits in it.
    event_loop: Py<PyAny>,
    ready: Mutex<Vec<Arc<WaitingTask>>>,
    /// Whether the loop is going to be called already.
    is_ordered: AtomicBool,
}

impl LoopTasks {
    fn ready(&self) -> MutexGuard<'_, Vec<Arc<WaitingTask>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the loop run [`EventLoop::wake`] in its own thread.
    fn wake_from_courier(self: Arc<Self>, py: Python<'_>) {
        let called = self.event_loop.call0(py).and_then(|event_loop| {
            let tasks = Bound::new(py, EventLoop { tasks: self.clone() })?;
            let wake = tasks.getattr(pyo3::intern!(py, "wake"))?;
            event_loop.call_method1(py, pyo3::intern!(py, "call_soon_threadsafe"), (wake,))
        });
        if called.is_err() {
            // The loop is closed or gone, and its tasks with it.
            drop(std::mem::take(&mut *self.ready()));
        }
    }
}

/// Wakes the waiting tasks of one event loop.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct EventLoop {
    tasks: Arc<LoopTasks>,
}

#[pymethods]
impl EventLoop {
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let event_loop = weak(event_loop)?;
        let (ready, is_ordered) = (Mutex::default(), AtomicBool::new(false));
        Ok(EventLoop { tasks: Arc::new(LoopTasks { event_loop, ready, is_ordered }) })
    }

    /// Wakes the tasks that are ready. Runs in the loop.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        // Cleared before the tasks are taken: one that becomes ready in between orders another call and is not forgotten.
        self.tasks.is_ordered.store(false, Ordering::SeqCst);
        let ready = std::mem::take(&mut *self.tasks.ready());
        for task in ready {
            let future = task.future.bind(py);
            if !future.call_method0(pyo3::intern!(py, "done"))?.is_truthy()? {
                future.call_method1(pyo3::intern!(py, "set_result"), (py.None(),))?;
            }
        }
        Ok(())
    }
}

impl EventLoop {
    /// Returns a new future of the loop, and a waker that any thread can use to complete it.
    pub(crate) fn future<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Waker)> {
        let event_loop = self.tasks.event_loop.bind(py).call0()?;
        let future = event_loop.call_method0(pyo3::intern!(py, "create_future"))?;
        let task = WaitingTask { tasks: self.tasks.clone(), future: future.clone().unbind() };
        Ok((future, Waker::from(Arc::new(task))))
    }
}

/// A task that waits for its future.
struct WaitingTask {
    tasks: Arc<LoopTasks>,
    future: Py<PyAny>,
}

impl Wake for WaitingTask {
    fn wake(self: Arc<Self>) {
        let tasks = self.tasks.clone();
        tasks.ready().push(self);
        if !tasks.is_ordered.swap(true, Ordering::SeqCst) {
            order(|orders| orders.wake.push(tasks));
        }
    }
}

/// Returns a weak reference to an object.
pub(crate) fn weak(object: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    static REF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let class =
        REF.get_or_try_init(py, || Ok::<_, PyErr>(py.import("weakref")?.getattr("ref")?.unbind()))?;
    Ok(class.bind(py).call1((object,))?.unbind())
}
