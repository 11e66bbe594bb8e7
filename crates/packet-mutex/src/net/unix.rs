//! Unix sockets that only their own user can reach.

use crate::local::make_private;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// A listener at a path that no other server uses.
#[derive(Debug)]
pub(super) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// The server with this lock owns the path, whatever an earlier server left there.
    _lock: File,
}

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, String> {
        let directory = path.parent().ok_or("a socket needs a directory")?;
        let told = |error: io::Error| error.to_string();
        make_private(directory).map_err(told)?;
        check_private(directory)?;
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(told)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => "another server listens here".to_string(),
            TryLockError::Error(error) => error.to_string(),
        })?;
        // A server that died left its socket behind: the lock says that no living server uses it. Anything but a socket
        // was not made by a server, so it stays.
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(told)?,
            Ok(_) => return Err("a file is there that is not a socket".into()),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(told)?;
        Ok(Listener { listener, path: path.to_owned(), _lock: lock })
    }

    /// Returns the next connection, or `None` if another user made it.
    pub(super) async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?.uid();
        Ok((peer == rustix::process::geteuid().as_raw()).then_some(stream))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn check_private(directory: &Path) -> Result<(), String> {
    let found = fs::metadata(directory).map_err(|error| error.to_string())?;
    let shown = directory.display();
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("the directory {shown} is another user's"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!("the directory {shown} is open to others; `chmod 700` it"));
    }
    Ok(())
}
