//! What the live views share: a terminal that gives each key at once, and the keys that end them.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use std::io;

/// Raw mode, until this is dropped: the terminal passes each key on at once and does not echo it.
pub(crate) struct RawMode;

impl RawMode {
    pub(crate) fn new() -> io::Result<Self> {
        enable_raw_mode().map(|()| RawMode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

/// Returns whether the key ends a view. In raw mode Ctrl-C is a key like any other.
pub(crate) fn leaves(key: KeyEvent) -> bool {
    control(key, 'c') || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// Returns whether the key is this letter with Ctrl.
pub(crate) fn control(key: KeyEvent, letter: char) -> bool {
    key.code == KeyCode::Char(letter) && key.modifiers == KeyModifiers::CONTROL
}
