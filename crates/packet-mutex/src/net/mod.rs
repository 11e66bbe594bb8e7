//! The mutex behind a socket, for other processes, languages and hosts (feature `net`).
//!
//! [`Server`] puts mutexes behind a Unix socket or a TCP port; the protocol is written down in `docs/PROTOCOL.md`, one JSON
//! object a line. No rule is decided here: what comes from a client is handed to the arbiter, with owners of the
//! connection's own.
//!
//! ```
//! use packet_mutex::net::{Options, Server};
//! use packet_mutex::{PacketMutex, Roster};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), packet_mutex::Error> {
//! let mutex = PacketMutex::new(Roster::default());
//! let server = Server::bind("tcp://127.0.0.1:0", [mutex], Options::default()).await?;
//! println!("the mutex is at {}", server.address());
//! let serving = tokio::spawn(server.serve());
//! // Threads and tasks of this program use `mutex` beside the clients.
//! # serving.abort();
//! # Ok(())
//! # }
//! ```

mod connect;
mod connection;
mod events;
mod hosted;
mod protocol;
mod remote;
mod server;
mod stream;
#[cfg(unix)]
mod unix;
mod url;

use hosted::Hosted;
pub use hosted::Options;
pub use protocol::steer_from_json;
pub use server::{Running, Server};
pub use url::{Address, Url, UrlError};

use crate::error::Error;
use crate::mutex::PacketMutex;
use std::path::PathBuf;
use std::time::Duration;

/// Lets child processes that are started from now on inherit the connection to the server: the turns that were had
/// through it then last until the last of these processes has ended too, even if this one is killed.
///
/// # Errors
///
/// [`Error::Unsupported`] unless the mutex is behind a Unix socket; [`Error::Unavailable`] while it cannot be reached.
#[cfg(unix)]
pub fn let_inherit(mutex: &PacketMutex) -> Result<(), Error> {
    let place: &dyn std::any::Any = &*mutex.place;
    match place.downcast_ref::<remote::Remote>() {
        Some(remote) => remote.let_inherit(),
        None => Err(Error::Unsupported("the mutex is not behind a socket")),
    }
}

/// Where a server listens unless it is told otherwise: a Unix socket in the user's runtime directory, or one of the user's
/// own in the directory for temporary files; TCP on the loopback where there are no Unix sockets.
#[must_use]
pub fn default_url() -> String {
    #[cfg(unix)]
    {
        let place = directory("XDG_RUNTIME_DIR").map_or_else(
            || {
                let user = rustix::process::geteuid().as_raw();
                std::env::temp_dir().join(format!("packet-mutex-{user}"))
            },
            |runtime| runtime.join("packet-mutex"),
        );
        format!("unix:{}/socket", place.display())
    }
    #[cfg(not(unix))]
    "tcp://127.0.0.1:7720".to_owned()
}

/// Where a server stores how far its tokens went (S17) unless it is told otherwise: in a directory of the user's state. `None` if the
/// environment names no such place.
#[must_use]
pub fn default_state() -> Option<PathBuf> {
    #[cfg(unix)]
    let state = {
        let home = || directory("HOME").map(|home| home.join(".local/state"));
        directory("XDG_STATE_HOME").or_else(home)
    };
    #[cfg(not(unix))]
    let state = directory("LOCALAPPDATA");
    state.map(|state| state.join("packet-mutex"))
}

/// A directory that the environment names, if it is one that does not depend on where the program runs.
fn directory(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The version of the protocol.
pub const VERSION: u64 = 1;
/// The longest frame that a server takes, in bytes, its line's end included.
pub const FRAME_MAX: usize = 64 * 1024;
/// The longest frame that a client takes: a status tells of every waiter.
pub const REPLY_MAX: usize = 4 * 1024 * 1024;
/// Most requests, turns and owners of one connection.
pub const PER_CONNECTION_MAX: usize = 1024;
/// Most connections of one server.
pub const CONNECTIONS_MAX: usize = 10_000;
/// A connection that has not said hello by then is closed.
pub const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A client that has not read what it is sent by then is dropped.
pub const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long a turn over TCP lasts without a heartbeat, unless the server is told otherwise (S8).
pub const LEASE: Duration = Duration::from_secs(10);
