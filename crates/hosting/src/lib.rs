//! Hosts mutexes for other processes: their tokens are stored, they are behind a socket, and they may have a page.
//!
//! This is the one recipe below `packet-mutex serve` and Python's `serve()`. Fill in a [`Hosting`] and start it.
//!
//! ```
//! use hosting::Hosting;
//! use packet_mutex::PacketMutex;
//! # let state = std::env::temp_dir().join(format!("hosting-doc-{}", std::process::id()));
//!
//! let hosted = Hosting {
//!     url: "tcp://127.0.0.1:0".into(),
//!     state: Some(state.clone()),
//!     http: Some("127.0.0.1:0".into()),
//!     secret: None,
//!     ..Hosting::default()
//! }
//! .start()?;
//!
//! // The host's own threads use the mutex beside its clients.
//! let mutex = &hosted.mutexes()[0];
//! let turn = mutex.acquire("fisher")?;
//! let client = PacketMutex::connect(&hosted.address().to_string())?;
//! assert_eq!(&*client.status().holder.unwrap().module, "fisher");
//! assert!(hosted.page_url().is_some());
//! # drop((turn, client, hosted));
//! # let _ = std::fs::remove_dir_all(state);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use packet_mutex::net::{
    Address, LEASE, Options, Running, Server, Url, default_state, default_url,
};
use packet_mutex::{PacketMutex, Roster};
use page::Page;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Which mutexes are hosted, and how. [`Default`] gives each field the default that it names.
#[derive(Clone)]
pub struct Hosting {
    /// Where to listen: `unix:/path` or `tcp://host:port`. Default: [`default_url`], a Unix socket in the user's runtime
    /// directory.
    pub url: String,
    /// The roster of every mutex. Default: [`Roster::default`].
    pub roster: Roster,
    /// The names of the mutexes. Default: `main` alone.
    pub mutexes: Vec<String>,
    /// The directory in which to store how far the tokens went (S17). Default: `None`, which means [`default_state`], a
    /// directory of the user's state.
    pub state: Option<PathBuf>,
    /// The address of the page, such as `127.0.0.1:7721`. Default: `None`, which means no page.
    pub http: Option<String>,
    /// How long a turn over TCP lasts without a heartbeat (S8), from 100 ms to an hour. Default: [`LEASE`], 10 s.
    pub lease: Duration,
    /// What clients over TCP and people who steer on the page must know. Beyond the loopback it is required. Default: the
    /// environment's `PACKET_MUTEX_SECRET`; `None` if that is not set or empty.
    pub secret: Option<String>,
}

impl Default for Hosting {
    fn default() -> Self {
        let secret = std::env::var("PACKET_MUTEX_SECRET").ok();
        Hosting {
            url: default_url(),
            roster: Roster::default(),
            mutexes: vec!["main".into()],
            state: None,
            http: None,
            lease: LEASE,
            secret: secret.filter(|secret| !secret.is_empty()),
        }
    }
}

/// Never shows the secret.
impl fmt::Debug for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hosting { url, roster, mutexes, state, http, lease, secret } = self;
        f.debug_struct("Hosting")
            .field("url", url)
            .field("roster", roster)
            .field("mutexes", mutexes)
            .field("state", state)
            .field("http", http)
            .field("lease", lease)
            .field("secret", &secret.as_ref().map(|_| "…"))
            .finish()
    }
}

/// Why nothing is hosted. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be used: the URL is not one, or there is no directory for tokens.
    #[error("{0}")]
    Setting(String),
    /// A mutex, the server or the page could not be started.
    ///
    /// [`InvalidName`](packet_mutex::Error::InvalidName) for a bad name of a mutex.
    /// [`Unavailable`](packet_mutex::Error::Unavailable) if the directory for tokens cannot be used or another process
    /// uses it, if an address cannot be listened at, if the lease is out of bounds, or if a secret is required and missing.
    #[error("{0}")]
    Mutex(#[from] packet_mutex::Error),
}

/// For callers that know one kind of error: a bad setting counts as unavailable.
impl From<Error> for packet_mutex::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Setting(why) => packet_mutex::Error::Unavailable(why),
            Error::Mutex(error) => error,
        }
    }
}

/// Hosted mutexes. Dropping this closes all connections; the mutexes stay for everybody who has a handle.
#[derive(Debug)]
#[must_use = "nothing is hosted any more when this is dropped"]
pub struct Hosted {
    // The page goes before the server, so that it shows no mutex that nobody serves.
    page: Option<Page>,
    server: Running,
    mutexes: Vec<PacketMutex>,
}

impl Hosting {
    /// Makes the mutexes and starts the server and the page, each on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`Error`] says what each means.
    pub fn start(self) -> Result<Hosted, Error> {
        let Hosting { url, roster, mutexes, state, http, lease, secret } = self;
        url.parse::<Url>().map_err(|why| Error::Setting(format!("{url}: {why}")))?;
        let no_directory = || {
            let why = "the environment names no directory for the user's state, in which to store tokens; name one";
            Error::Setting(why.into())
        };
        let state = state.or_else(default_state).ok_or_else(no_directory)?;
        let make =
            |name: &String| PacketMutex::builder(roster.clone()).name(name).build_stored(&state);
        let mutexes = mutexes.iter().map(make).collect::<Result<Vec<_>, _>>()?;
        let options = Options { secret: secret.clone(), lease };
        let server = Server::start(&url, mutexes.clone(), options)?;
        let page = http.map(|at| Page::start(&at, mutexes.clone(), secret)).transpose()?;
        Ok(Hosted { page, server, mutexes })
    }
}

impl Hosted {
    /// Returns where the server listens, with the port that the system chose if it was asked to choose one.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    /// Returns where a browser on this machine finds the page, if there is one.
    #[must_use]
    pub fn page_url(&self) -> Option<String> {
        self.page.as_ref().map(Page::url)
    }

    /// Returns the mutexes, in the order of their names in [`Hosting::mutexes`].
    #[must_use]
    pub fn mutexes(&self) -> &[PacketMutex] {
        &self.mutexes
    }
}
