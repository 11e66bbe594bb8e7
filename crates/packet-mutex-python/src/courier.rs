//! Brings news to Python from threads that must not wait for the interpreter: event loops are woken, log lines written.
//!
//! A mutex wakes its waiters from whatever thread changed it: one that ends, the one that rings alarms, one in the middle
//! of a call. None of them should run Python code, or hold up the others while it waits for the interpreter. They leave
//! a note; one thread for the whole process, started with the first note, goes round.

use crate::log;
use crate::process;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::task::{Wake, Waker};

static NOTES: Mutex<Notes> = Mutex::new(Notes { rooms: Vec::new(), called: false });
static NEWS: Condvar = Condvar::new();

struct Notes {
    rooms: Vec<Arc<Room>>,
    /// There is something to do even without a room: log lines.
    called: bool,
}

fn notes() -> MutexGuard<'static, Notes> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the courier write log lines.
pub(crate) fn call() {
    leave_note(|notes| notes.called = true);
}

fn leave_note(note: impl FnOnce(&mut Notes)) {
    static STARTED: Once = Once::new();
    if process::is_forked() || process::is_ending() {
        return;
    }
    note(&mut notes());
    STARTED.call_once(|| {
        let thread = std::thread::Builder::new().name("packet-mutex-courier".into());
        thread.spawn(go_round).expect("the system has room for one thread");
    });
    NEWS.notify_one();
}

fn go_round() {
    loop {
        let mut notes = notes();
        while notes.rooms.is_empty() && !notes.called {
            notes = NEWS.wait(notes).unwrap_or_else(PoisonError::into_inner);
        }
        notes.called = false;
        let rooms = std::mem::take(&mut notes.rooms);
        drop(notes);
        let attached = Python::try_attach(|py| {
            for room in rooms {
                room.call_in(py);
            }
            // What a logging handler raises concerns nobody here.
            let _ = log::flush(py);
        });
        if attached.is_none() {
            return;
        }
    }
}

/// Where the waiting tasks of one event loop are: all that become ready together are woken with one call into the loop.
pub(crate) struct Room {
    /// A weak reference, for the loop owns what waits in it.
    event_loop: Py<PyAny>,
    ready: Mutex<Vec<Arc<Sleeper>>>,
    called: AtomicBool,
}

impl Room {
    fn ready(&self) -> MutexGuard<'_, Vec<Arc<Sleeper>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call_in(self: Arc<Self>, py: Python<'_>) {
        let called = self.event_loop.call0(py).and_then(|event_loop| {
            let room = Bound::new(py, EventLoop { room: self.clone() })?;
            let wake = room.getattr(pyo3::intern!(py, "wake"))?;
            event_loop.call_method1(py, pyo3::intern!(py, "call_soon_threadsafe"), (wake,))
        });
        if called.is_err() {
            // The loop is closed or gone, and with it who waited.
            drop(std::mem::take(&mut *self.ready()));
        }
    }
}

/// The waiting room of an event loop.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct EventLoop {
    room: Arc<Room>,
}

#[pymethods]
impl EventLoop {
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let event_loop = weak(event_loop)?;
        let room = Room { event_loop, ready: Mutex::default(), called: AtomicBool::new(false) };
        Ok(EventLoop { room: Arc::new(room) })
    }

    /// Wakes the tasks that are ready. Runs in the loop.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.room.called.store(false, Ordering::SeqCst);
        let ready = std::mem::take(&mut *self.room.ready());
        for sleeper in ready {
            let future = sleeper.future.bind(py);
            if !future.call_method0(pyo3::intern!(py, "done"))?.is_truthy()? {
                future.call_method1(pyo3::intern!(py, "set_result"), (py.None(),))?;
            }
        }
        Ok(())
    }
}

impl EventLoop {
    /// A new future of the loop, and what makes it ready from any thread.
    pub(crate) fn future<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Waker)> {
        let event_loop = self.room.event_loop.bind(py).call0()?;
        let future = event_loop.call_method0(pyo3::intern!(py, "create_future"))?;
        let sleeper = Sleeper { room: self.room.clone(), future: future.clone().unbind() };
        Ok((future, Waker::from(Arc::new(sleeper))))
    }
}

/// A task that waits.
struct Sleeper {
    room: Arc<Room>,
    future: Py<PyAny>,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        let room = self.room.clone();
        room.ready().push(self);
        if !room.called.swap(true, Ordering::SeqCst) {
            leave_note(|notes| notes.rooms.push(room));
        }
    }
}

/// A weak reference to an object.
pub(crate) fn weak(object: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    static REF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let class =
        REF.get_or_try_init(py, || Ok::<_, PyErr>(py.import("weakref")?.getattr("ref")?.unbind()))?;
    Ok(class.bind(py).call1((object,))?.unbind())
}
