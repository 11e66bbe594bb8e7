//! Receives the lines that the library writes through `tracing` and queues them for `logging`.

use crate::log::{self, Line, TARGET};
use crate::{courier, process};
use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_core::Interest;

/// Sends the lines of this process to `logging`.
pub(crate) fn install() {
    // It fails when a program reloads the package, which has installed it already.
    let _ = tracing::subscriber::set_global_default(ToLogging);
}

struct ToLogging;

impl Subscriber for ToLogging {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= log::enabled()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(log::enabled())
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
        let will_be_flushed = log::queue(Line { level, text: text.into_line() });
        if !will_be_flushed {
            courier::flush_log();
        }
    }

    // The library opens no spans.

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The fields of a line that `logging` gets.
#[derive(Default)]
struct Text {
    mutex: String,
    message: String,
}

impl Text {
    /// The message, after the name of its mutex unless that is the process's own.
    fn into_line(self) -> String {
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
