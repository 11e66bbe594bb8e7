//! Shows a running mutex: a live page, its status as JSON, and its metrics for Prometheus.
//!
//! [`Page`] serves them over HTTP from a thread of its own. It reads events from the mutex's bounded buffer and takes
//! snapshots, so it delays no grant. With a secret, the page can steer the mutex too.
//!
//! ```
//! use packet_mutex::{PacketMutex, Roster};
//! use page::Page;
//!
//! let mutex = PacketMutex::new(Roster::default());
//! let page = Page::start("127.0.0.1:0", [mutex.clone()], None)?;
//! println!("look at {}", page.url());
//! // Threads and tasks of this program use `mutex`; the page ends when `page` is dropped.
//! # Ok::<(), packet_mutex::Error>(())
//! ```
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/events` | what the page receives: server-sent events, from the oldest event that is still kept |
//! | `/status.json` | a snapshot |
//! | `/metrics` | the metrics in the OpenMetrics text format |
//! | `/steer` | takes what the page's buttons send |
//!
//! All paths but `/metrics` take `?mutex=NAME`. Without it, they are about the first mutex.

mod changes;
mod front_page;
mod http;
mod limits;
mod metrics;
mod refusal;
mod routes;
mod state;
mod steer;
mod stream;

use crate::state::AppState;
use packet_mutex::net::RuntimeThread;
use packet_mutex::{Error, PacketMutex};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

pub use limits::{BODY_MAX, CONNECTIONS_MAX, READ_WITHIN, REQUEST_WITHIN, STREAMS_MAX};

/// The page of some mutexes, served until this is dropped.
#[must_use = "the page is gone when this is dropped"]
pub struct Page {
    address: SocketAddr,
    _thread: RuntimeThread,
}

impl Page {
    /// Serves a page of these mutexes of this process at an address such as `127.0.0.1:7721`; port 0 lets the system
    /// choose.
    ///
    /// Everybody who can connect can read. Steering needs the secret; without one nobody can steer.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if there is no mutex or two have one name, if it cannot listen at the address, if the secret is
    /// empty, or if the address is beyond the loopback and there is no secret.
    pub fn start(
        address: &str,
        mutexes: impl IntoIterator<Item = PacketMutex>,
        secret: Option<String>,
    ) -> Result<Page, Error> {
        let unavailable = |why: String| Error::Unavailable(format!("http://{address}: {why}"));
        let failed = |error: io::Error| unavailable(error.to_string());
        let bind = async {
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let at = listener.local_addr().map_err(failed)?;
            let state = AppState::new(mutexes, secret, at.ip().is_loopback());
            Ok((at, http::serve(listener, Arc::new(state.map_err(unavailable)?))))
        };
        let (address, thread) = RuntimeThread::start("packet-mutex-page", bind)?;
        Ok(Page { address, _thread: thread })
    }

    /// Returns where it listens, with the port that the system chose if it was asked to choose one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where a browser on this machine finds the page.
    #[must_use]
    pub fn url(&self) -> String {
        let mut at = self.address;
        if at.ip().is_unspecified() {
            at.set_ip(match at {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{at}/")
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("address", &self.address).finish_non_exhaustive()
    }
}
