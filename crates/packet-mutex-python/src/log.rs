//! Log lines on their way to Python's `logging`.
//!
//! A line can come from any thread, and some threads must not wait for the interpreter. So lines are queued. Whoever has the
//! interpreter next writes them: the call that caused them, before it returns, or else the courier thread.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tracing::level_filters::LevelFilter;

/// The name of the logger, and the target of the lines.
pub(crate) const TARGET: &str = "packet_mutex";
/// The most lines that wait to be written. Later ones are dropped.
const LINES_MAX: usize = 10_000;

/// The levels of `logging`, the least verbose first.
const LEVELS: [(LevelFilter, u8); 3] =
    [(LevelFilter::WARN, 30), (LevelFilter::INFO, 20), (LevelFilter::DEBUG, 10)];

/// How many of `LEVELS` are enabled.
static ENABLED: AtomicUsize = AtomicUsize::new(0);
static QUEUE: Mutex<Vec<Line>> = Mutex::new(Vec::new());
/// Whether `QUEUE` has lines. Reading this costs every call less than the lock.
static QUEUED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is in a call that flushes before it returns.
    static WILL_FLUSH: Cell<bool> = const { Cell::new(false) };
}

/// A line that waits to be written.
pub(crate) struct Line {
    /// Its level, as a number of `logging`.
    pub(crate) level: u8,
    /// What it says.
    pub(crate) text: String,
}

struct Logger {
    logger: Py<PyAny>,
    /// The logger's own cache of enabled levels. `logging` empties it whenever a level may have changed.
    cache: Option<Py<PyDict>>,
}

fn logger(py: Python<'_>) -> PyResult<&Logger> {
    static LOGGER: PyOnceLock<Logger> = PyOnceLock::new();
    LOGGER.get_or_try_init(py, || {
        let logger = py.import("logging")?.call_method1("getLogger", (TARGET,))?;
        let cache = logger.getattr("_cache").ok().and_then(|cache| cache.cast_into().ok());
        Ok(Logger { logger: logger.unbind(), cache: cache.map(Bound::unbind) })
    })
}

/// Runs a call into the mutex and then writes the lines that it caused, even if it failed.
///
/// # Errors
///
/// That of the call; without one, what a log handler raised.
#[inline]
pub(crate) fn writing<T>(py: Python<'_>, call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    read_levels(py)?;
    WILL_FLUSH.set(true);
    let result = call();
    let flushed = flush(py);
    result.and_then(|value| flushed.map(|()| value))
}

/// Takes notice of levels that the program has changed.
#[inline]
fn read_levels(py: Python<'_>) -> PyResult<()> {
    let logger = logger(py)?;
    let mark = pyo3::intern!(py, "packet_mutex");
    // To ask the logger for its level costs more than a whole turn. As long as our mark is in its cache, no level has changed.
    if let Some(cache) = &logger.cache
        && cache.bind(py).contains(mark)?
    {
        return Ok(());
    }
    ask_logger(py, logger)
}

#[cold]
fn ask_logger(py: Python<'_>, logger: &Logger) -> PyResult<()> {
    let mut enabled = 0;
    for (_, level) in LEVELS {
        if !logger.logger.call_method1(py, "isEnabledFor", (level,))?.is_truthy(py)? {
            break;
        }
        enabled += 1;
    }
    if let Some(cache) = &logger.cache {
        cache.bind(py).set_item(pyo3::intern!(py, "packet_mutex"), true)?;
    }
    if ENABLED.swap(enabled, Ordering::Relaxed) != enabled {
        tracing_core::callsite::rebuild_interest_cache();
    }
    Ok(())
}

/// The most verbose level that is enabled.
pub(crate) fn enabled() -> LevelFilter {
    let last = ENABLED.load(Ordering::Relaxed).checked_sub(1);
    last.and_then(|last| LEVELS.get(last)).map_or(LevelFilter::OFF, |(filter, _)| *filter)
}

/// Queues a line. Returns whether the calling thread will flush it.
pub(crate) fn queue(line: Line) -> bool {
    let mut queue = lock_queue();
    if queue.len() < LINES_MAX {
        queue.push(line);
    }
    QUEUED.store(true, Ordering::Relaxed);
    drop(queue);
    // A thread that is already ending is in no call.
    WILL_FLUSH.try_with(Cell::get).unwrap_or(false)
}

/// Writes the lines that wait.
///
/// # Errors
///
/// What a log handler raised.
#[inline]
pub(crate) fn flush(py: Python<'_>) -> PyResult<()> {
    WILL_FLUSH.set(false);
    if QUEUED.load(Ordering::Relaxed) { write(py) } else { Ok(()) }
}

#[cold]
fn write(py: Python<'_>) -> PyResult<()> {
    // The lock is free while handlers run: they are other people's code, and may use a mutex themselves.
    let lines = {
        let mut queue = lock_queue();
        QUEUED.store(false, Ordering::Relaxed);
        std::mem::take(&mut *queue)
    };
    let logger = &logger(py)?.logger;
    for Line { level, text } in lines {
        logger.call_method1(py, "log", (level, "%s", text))?;
    }
    Ok(())
}

fn lock_queue() -> std::sync::MutexGuard<'static, Vec<Line>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}
