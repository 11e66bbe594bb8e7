//! Unix: tested on Linux.

use super::Told;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Being told to end.
pub(crate) struct End(Signals);

impl End {
    /// From here on a signal is an orderly end.
    pub(crate) fn prepare() -> std::io::Result<End> {
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map(End)
    }

    /// Waits for it.
    pub(crate) fn wait(mut self) {
        let _ = self.0.forever().next();
    }
}

/// Tells of signals until nobody wants to know any more.
pub(crate) fn tell_signals(tell: impl Fn(Told) -> bool + Send + 'static) {
    // Without them the program ends without giving the terminal back, and works all the same until then.
    let signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT]);
    let Ok(mut signals) = signals else { return };
    std::thread::spawn(move || {
        let told = signals.forever().map(|signal| match signal {
            SIGTSTP => Told::Suspend,
            SIGCONT => Told::GoOn,
            signal => Told::End(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        });
        let _ = told.map(tell).find(|is_wanted| !is_wanted);
    });
}

/// Stops this process until it is told to go on.
pub(crate) fn suspend() {
    let _ = emulate_default_handler(SIGTSTP);
}

/// Each connection is an open file, of which few are usually allowed and many may be.
pub(crate) fn allow_many_connections() {
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit { current: files.maximum, ..files };
    // With fewer it works too.
    let _ = setrlimit(Resource::Nofile, most);
}
