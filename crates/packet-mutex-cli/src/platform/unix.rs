//! Unix: tested on Linux.

use super::directory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::PathBuf;

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

/// Each connection is an open file, of which few are usually allowed and many may be.
pub(crate) fn allow_many_connections() {
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit { current: files.maximum, ..files };
    // With fewer it works too.
    let _ = setrlimit(Resource::Nofile, most);
}

/// Where programs of this user keep what must not get lost.
pub(crate) fn state_directory() -> Result<PathBuf, String> {
    let home = || directory("HOME").map(|home| home.join(".local/state"));
    let state = directory("XDG_STATE_HOME").or_else(home);
    let state = state.ok_or("there is no HOME to store tokens in; say where with --state")?;
    Ok(state.join("packet-mutex"))
}
