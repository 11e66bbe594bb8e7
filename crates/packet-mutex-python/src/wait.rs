//! How a thread waits: without the interpreter, and so that Ctrl-C is served.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How often the main thread looks for signals while it waits. A signal does not wake it, and no other thread may run
/// signal handlers.
const SLICE: Duration = Duration::from_millis(20);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until `poll` finds something, for at most `longest` of real time. `poll` leaves its waker with whoever knows when
/// there is something new.
///
/// # Errors
///
/// What a signal handler raised. The caller must then take back what it waits for.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    longest: Option<Duration>,
    mut poll: impl FnMut(&Waker) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let end = longest.and_then(|longest| Instant::now().checked_add(longest));
    let slice = is_main_thread(py)?.then_some(SLICE);
    loop {
        // Detached, so that other threads run meanwhile: one of them has to end its turn.
        let found = py.detach(|| {
            loop {
                if let Some(found) = poll(&waker) {
                    return Some(found);
                }
                let left = end.map(|end| end.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    return None;
                }
                match (slice, left) {
                    (None, None) => std::thread::park(),
                    (None, Some(left)) => std::thread::park_timeout(left),
                    (Some(slice), left) => {
                        std::thread::park_timeout(left.map_or(slice, |left| left.min(slice)));
                        return poll(&waker);
                    }
                }
            }
        });
        // What was found goes first: if a signal came at the same moment, its handler runs in the caller's own code, where
        // the turn has an owner.
        if found.is_some() || end.is_some_and(|end| end <= Instant::now()) {
            return Ok(found);
        }
        py.check_signals()?;
    }
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        static MAIN: Cell<Option<bool>> = const { Cell::new(None) };
    }
    static THREADING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    if let Some(main) = MAIN.get() {
        return Ok(main);
    }
    let threading =
        THREADING.get_or_try_init(py, || py.import("threading").map(Bound::unbind))?.bind(py);
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    let main = main.eq(threading.call_method0("get_ident")?)?;
    MAIN.set(Some(main));
    Ok(main)
}
