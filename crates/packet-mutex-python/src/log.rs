//! The mutex's log lines, handed to Python's `logging`.
//!
//! Lines come from any thread, some of which must not wait for the interpreter. So they are queued, and written by
//! whoever has the interpreter next: the call that caused them before it returns, else the courier.

use crate::{courier, process};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::cell::Cell;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_core::Interest;

const TARGET: &str = "packet_mutex";
/// Most lines that wait to be written.
const LINES_MAX: usize = 10_000;

/// The levels of `logging`, the most talkative last.
const LEVELS: [(LevelFilter, u8); 3] =
    [(LevelFilter::WARN, 30), (LevelFilter::INFO, 20), (LevelFilter::DEBUG, 10)];

/// How many of `LEVELS` are wanted.
static WANTED: AtomicUsize = AtomicUsize::new(0);
static ANY: AtomicBool = AtomicBool::new(false);
static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

thread_local! {
    /// This thread is in a call that writes what it caused before it returns.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

struct Line {
    level: u8,
    text: String,
}

struct Logger {
    logger: Py<PyAny>,
    /// Emptied by `logging` whenever a level may have changed.
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

/// Takes up which lines are wanted, and begins a call that writes what it causes with [`flush`].
///
/// To ask the logger costs more than a turn. It keeps its answers in a dictionary and empties that whenever any level
/// changes, so a mark in there tells that nothing did.
#[inline]
pub(crate) fn begin(py: Python<'_>) -> PyResult<()> {
    WRITES.set(true);
    let logger = logger(py)?;
    let mark = pyo3::intern!(py, "packet_mutex");
    if let Some(cache) = &logger.cache
        && cache.bind(py).contains(mark)?
    {
        return Ok(());
    }
    take_up_levels(py, logger)
}

#[cold]
fn take_up_levels(py: Python<'_>, logger: &Logger) -> PyResult<()> {
    let mut wanted = 0;
    for (_, level) in LEVELS {
        if !logger.logger.call_method1(py, "isEnabledFor", (level,))?.is_truthy(py)? {
            break;
        }
        wanted += 1;
    }
    if let Some(cache) = &logger.cache {
        cache.bind(py).set_item(pyo3::intern!(py, "packet_mutex"), true)?;
    }
    if WANTED.swap(wanted, Ordering::Relaxed) != wanted {
        tracing_core::callsite::rebuild_interest_cache();
    }
    Ok(())
}

/// Writes the lines that wait, and ends the call.
#[inline]
pub(crate) fn flush(py: Python<'_>) -> PyResult<()> {
    WRITES.set(false);
    if ANY.load(Ordering::Relaxed) { write(py) } else { Ok(()) }
}

#[cold]
fn write(py: Python<'_>) -> PyResult<()> {
    // Taken out first: a handler may be anybody's code, and may use a mutex itself.
    let lines = {
        let mut lines = lines();
        ANY.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lines)
    };
    let logger = &logger(py)?.logger;
    for line in lines {
        logger.call_method1(py, "log", (line.level, "%s", line.text))?;
    }
    Ok(())
}

fn lines() -> std::sync::MutexGuard<'static, Vec<Line>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends the lines of this process to `logging`.
pub(crate) fn install() {
    // A program that reloads the package has installed it already.
    let _ = tracing::subscriber::set_global_default(ToLogging);
}

struct ToLogging;

fn wanted() -> LevelFilter {
    let wanted = WANTED.load(Ordering::Relaxed).checked_sub(1);
    wanted.and_then(|last| LEVELS.get(last)).map_or(LevelFilter::OFF, |(filter, _)| *filter)
}

impl Subscriber for ToLogging {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= wanted()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(wanted())
    }

    fn event(&self, event: &Event<'_>) {
        if process::is_forked() || process::is_ending() {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR | Level::WARN => 30,
            Level::INFO => 20,
            _ => 10,
        };
        let mut lines = lines();
        if lines.len() < LINES_MAX {
            lines.push(Line { level, text: text.line() });
        }
        ANY.store(true, Ordering::Relaxed);
        drop(lines);
        if !WRITES.try_with(Cell::get).unwrap_or(false) {
            courier::call();
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A line's text, with the name of its mutex unless that is the process's own.
#[derive(Default)]
struct Text {
    mutex: String,
    message: String,
}

impl Text {
    fn line(self) -> String {
        if self.mutex.is_empty() || self.mutex == "main" {
            return self.message;
        }
        format!("{}: {}", self.mutex, self.message)
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "mutex" {
            value.clone_into(&mut self.mutex);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string cannot fail.
            let _ = write!(self.message, "{value:?}");
        }
    }
}
