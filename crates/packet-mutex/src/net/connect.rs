//! Reaching a mutex by its URL.

use super::remote::Remote;
use super::url::{Address, Url};
use crate::error::Error;
use crate::mutex::{Builder, PacketMutex};
use packet_mutex_arbiter::Roster;
#[cfg(unix)]
use std::any::Any;

impl PacketMutex {
    /// Opens the mutex at a URL.
    ///
    /// `local:` is the mutex that all of this process shares. `unix:/path` and `tcp://host:port` are mutexes behind a
    /// [server](crate::net). `#name` follows if the mutex is not named `main`. The secret for TCP is taken from the
    /// environment variable `PACKET_MUTEX_SECRET`.
    ///
    /// Everything works as with a mutex in this process. If the connection is lost, the turn is lost with it: its
    /// `should_yield` turns true, and what needs the turn fails with [`Error::Lost`]. An ask that is waiting is made again,
    /// with the time that it has left, as soon as the server can be reached. If that is too late, it fails with
    /// [`Error::Unavailable`].
    ///
    /// Calls that look or steer wait for the server's reply, and so does giving a turn away. In async code they block for that
    /// short time.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the text is not a URL or the server cannot be reached; [`Error::Unauthorized`].
    ///
    /// ```
    /// use packet_mutex::PacketMutex;
    ///
    /// let mutex = PacketMutex::connect("local:#doc")?;
    /// assert_eq!(&**mutex.name(), "doc");
    /// # Ok::<(), packet_mutex::Error>(())
    /// ```
    pub fn connect(url: &str) -> Result<Self, Error> {
        open(url, None)
    }

    /// The async twin of [`connect`](Self::connect), for any executor. A thread waits in its place.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves no connection behind.
    pub async fn connect_async(url: &str) -> Result<Self, Error> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let url = url.to_owned();
        let thread = std::thread::Builder::new().name("packet-mutex-connect".into());
        let thread = thread.spawn(move || tell.send(Self::connect(&url)).map_err(drop));
        thread.map_err(|error| Error::Unavailable(error.to_string()))?;
        told.await
            .unwrap_or_else(|_| Err(Error::Unavailable("the thread that connects died".into())))
    }
}

impl Builder {
    /// Connects to a mutex [at a URL](PacketMutex::connect) that must have this roster (S19). The name is the URL's.
    ///
    /// # Errors
    ///
    /// As [`PacketMutex::connect`]; [`Error::RosterDiffers`].
    pub fn connect(self, url: &str) -> Result<PacketMutex, Error> {
        open(url, Some(self.roster))
    }
}

/// Opens the place that the URL names. Each kind of place has its line here.
fn open(text: &str, roster: Option<Roster>) -> Result<PacketMutex, Error> {
    let url: Url = text.parse().map_err(|why| Error::Unavailable(format!("{text}: {why}")))?;
    match &url.address {
        Address::Local => match roster {
            None => PacketMutex::named(&url.mutex),
            Some(roster) => PacketMutex::builder(roster).name(&url.mutex).build_named(),
        },
        Address::Unix(_) | Address::Tcp(_) => {
            Ok(PacketMutex { place: Remote::connect(url, roster)? })
        }
    }
}

/// Lets child processes that are started from now on inherit the connection to the server. The turns of the connection then
/// last until the last of these processes has ended, even if this one is killed.
///
/// # Errors
///
/// [`Error::Unsupported`] unless the mutex is behind a Unix socket; [`Error::Unavailable`] while it cannot be reached.
#[cfg(unix)]
pub fn let_inherit(mutex: &PacketMutex) -> Result<(), Error> {
    let place: &dyn Any = &*mutex.place;
    match place.downcast_ref::<Remote>() {
        Some(remote) => remote.let_inherit(),
        None => Err(Error::Unsupported("the mutex is not behind a socket")),
    }
}
