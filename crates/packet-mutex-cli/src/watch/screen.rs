//! The terminal while the view has it, and how it is restored.

use crate::terminal::RawMode;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A screen of the view's own. What the terminal showed before comes back when this is dropped or when any thread
/// panics, before the panic message is printed.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Present while the view has the terminal.
    raw: Mutex<Option<RawMode>>,
    /// A thread has panicked.
    broken: AtomicBool,
}

impl State {
    fn enter(&self) -> io::Result<()> {
        let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        *raw = Some(RawMode::new()?);
        execute!(stdout(), EnterAlternateScreen)
    }

    /// Restores the terminal, but only once: a second time would move the cursor.
    fn leave(&self) {
        let raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner).take();
        if raw.is_some() {
            let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        }
    }
}

impl Screen {
    pub(super) fn new() -> io::Result<Self> {
        let state = Arc::new(State::default());
        let (of_hook, before) = (state.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            of_hook.broken.store(true, Ordering::SeqCst);
            of_hook.leave();
            before(info);
        }));
        // From here on it is dropped, whatever fails.
        let screen = Screen { terminal: Terminal::new(CrosstermBackend::new(stdout()))?, state };
        screen.state.enter()?;
        Ok(screen)
    }

    /// Returns the terminal, or an error if a thread has panicked.
    pub(super) fn terminal(&mut self) -> io::Result<&mut Terminal<CrosstermBackend<Stdout>>> {
        if self.is_broken() {
            return Err(io::Error::other("a thread of the view has panicked"));
        }
        Ok(&mut self.terminal)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state.broken.load(Ordering::SeqCst)
    }

    /// Restores the terminal while `work` runs, and takes it over again. The next frame is drawn in full.
    pub(super) fn without(&mut self, work: impl FnOnce()) -> io::Result<()> {
        self.state.leave();
        work();
        self.state.enter()?;
        // `Terminal::clear` would ask where the cursor is, and the answer would come among the keys.
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.state.leave();
    }
}
