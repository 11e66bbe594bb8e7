//! What `serve` needs of the operating system, behind one small interface.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod here;

pub(crate) use here::{End, allow_many_connections, state_directory};

use std::path::PathBuf;

/// A directory that the environment names, if it is one that does not depend on where the program runs.
fn directory(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
