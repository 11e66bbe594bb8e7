//! The one owner of the command's output.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::fmt::Display;
use std::io::{Stderr, Stdout, Write, stderr, stdout};

/// The style of headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// The style of what is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// The style of what is not as it should be.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Writes data to stdout and everything else to stderr.
///
/// Texts may hold ANSI styles, which are stripped where no colours are wanted. If the reader is gone, as `head` is after its
/// last line, the text is dropped without an error.
pub(crate) struct Printer {
    out: AutoStream<Stdout>,
    err: AutoStream<Stderr>,
}

impl Printer {
    pub(crate) fn new(colours: ColorChoice) -> Self {
        Printer { out: AutoStream::new(stdout(), colours), err: AutoStream::new(stderr(), colours) }
    }

    /// Prints what was asked for.
    pub(crate) fn data(&mut self, text: impl Display) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    /// Prints what the user should know beside it.
    pub(crate) fn note(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Prints what was probably not meant.
    pub(crate) fn warning(&mut self, text: impl Display) {
        self.note(format_args!("{WARNING}warning{WARNING:#}: {text}"));
    }

    /// Prints what is wrong.
    pub(crate) fn error(&mut self, text: impl Display) {
        self.note(format_args!("{ERROR}error{ERROR:#}: {text}"));
    }

    /// Returns whether stdout gets colours.
    pub(crate) fn colours_stdout(&self) -> bool {
        self.out.current_choice() != ColorChoice::Never
    }

    /// Returns whether stderr gets colours.
    pub(crate) fn colours_stderr(&self) -> bool {
        self.err.current_choice() != ColorChoice::Never
    }
}
