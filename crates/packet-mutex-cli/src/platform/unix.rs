//! Unix: tested on Linux.

use super::Signal;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The signals that ask the program to end.
pub(crate) struct Shutdown(Signals);

impl Shutdown {
    /// Catches the signals from now on, so that each is an orderly end.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map(Shutdown)
    }

    /// Waits for a signal.
    pub(crate) fn wait(mut self) {
        let _ = self.0.forever().next();
    }
}

/// Calls `handle` with each signal, until it returns false.
pub(crate) fn on_signal(handle: impl Fn(Signal) -> bool + Send + 'static) {
    // Without them the program works too, but a signal ends it before it can restore the terminal.
    let signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT]);
    let Ok(mut signals) = signals else { return };
    std::thread::spawn(move || {
        let signals = signals.forever().map(|signal| match signal {
            SIGTSTP => Signal::Suspend,
            SIGCONT => Signal::Continue,
            signal => Signal::End(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        });
        let _ = signals.map(handle).find(|wants_more| !wants_more);
    });
}

/// Stops this process until it is continued.
pub(crate) fn suspend() {
    let _ = emulate_default_handler(SIGTSTP);
}

/// Raises the limit of open files. Each connection is one, and the usual limit is far below the allowed one.
pub(crate) fn allow_many_connections() {
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit { current: files.maximum, ..files };
    // With fewer connections it works too.
    let _ = setrlimit(Resource::Nofile, most);
}
