//! The mutex behind a socket, for other processes, languages and hosts (feature `net`).
//!
//! [`Server`] puts mutexes behind a Unix socket or a TCP port. `docs/PROTOCOL.md` describes the protocol: one JSON object per
//! line. No rule is decided here. What a client asks for goes to the arbiter, under owners that belong to its connection.
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
mod limits;
mod protocol;
mod remote;
mod runtime;
mod server;
mod stream;
#[cfg(unix)]
mod unix;
mod url;

#[cfg(unix)]
pub use connect::let_inherit;
pub use hosted::Options;
pub use limits::{
    CONNECTIONS_MAX, FRAME_MAX, HELLO_WITHIN, LEASE, PER_CONNECTION_MAX, READ_WITHIN, REPLY_MAX,
    VERSION,
};
pub use protocol::steer_from_json;
pub use runtime::RuntimeThread;
pub use server::{Running, Server};
pub use url::{Address, Url, UrlError};

use std::path::PathBuf;

/// Returns where a server listens unless it is told otherwise.
///
/// That is a Unix socket in the user's runtime directory. Without such a directory, it is one that belongs to the user in the
/// directory for temporary files. Where there are no Unix sockets, it is a TCP port on the loopback.
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

/// Returns where a server stores how far its tokens went (S17) unless it is told otherwise: the user's directory for state.
/// Returns `None` if the environment names no such directory.
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

/// Returns the directory that an environment variable names. A relative path counts as none: it depends on where the
/// program runs.
fn directory(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
