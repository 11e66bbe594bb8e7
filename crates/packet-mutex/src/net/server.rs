//! The server: where it listens, and which connections it accepts.

use super::connection::{self, Client};
use super::hosted::{Hosted, Options};
use super::limits::CONNECTIONS_MAX;
use super::runtime::RuntimeThread;
use super::url::{Address, Url};
use crate::error::Error;
use crate::mutex::PacketMutex;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[cfg(unix)]
use super::unix;

/// Mutexes behind a socket.
///
/// Threads and tasks of the same program can use the mutexes as well. Dropping the server closes all connections. The turns
/// of clients over Unix sockets then end as abandoned, and those over TCP end when their leases run out.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    address: Address,
    hosted: Arc<Hosted>,
}

#[derive(Debug)]
enum Listener {
    #[cfg(unix)]
    Unix(unix::Listener),
    Tcp(TcpListener),
}

impl Server {
    /// Listens at the URL. A `#name` in it means nothing here: clients choose among the mutexes by name.
    ///
    /// The directory of a Unix socket is made if it is missing, and must be closed to all other users.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the text is not a URL, if the server cannot listen there or another one does, if the address
    /// is beyond the loopback and there is no secret, or if two mutexes have the same name.
    pub async fn bind(
        url: &str,
        mutexes: impl IntoIterator<Item = PacketMutex>,
        options: Options,
    ) -> Result<Server, Error> {
        let Url { address, .. } =
            url.parse().map_err(|why| Error::Unavailable(format!("{url}: {why}")))?;
        let unavailable = |why: String| Error::Unavailable(format!("{address}: {why}"));
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&options.lease) {
            return Err(unavailable("the lease must be from 100 ms to an hour".into()));
        }
        let mut hosted = Hosted { mutexes: BTreeMap::new(), options };
        for mutex in mutexes {
            let name = mutex.name().clone();
            if mutex.local().is_none() {
                return Err(unavailable(format!("`{name}` is behind a socket already")));
            }
            if hosted.mutexes.insert(name.clone(), mutex).is_some() {
                return Err(unavailable(format!("two mutexes are named `{name}`")));
            }
        }
        let told = |error: io::Error| unavailable(error.to_string());
        let (listener, address) = match &address {
            Address::Tcp(host) => {
                let listener = TcpListener::bind(host).await.map_err(told)?;
                let at = listener.local_addr().map_err(told)?;
                check_secret(at, &hosted.options).map_err(unavailable)?;
                (Listener::Tcp(listener), Address::Tcp(at.to_string()))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                (Listener::Unix(unix::Listener::bind(path).map_err(unavailable)?), address.clone())
            }
            // Not a socket, or not one of this operating system.
            _ => return Err(unavailable("a server cannot listen there".into())),
        };
        Ok(Server { listener, address, hosted: Arc::new(hosted) })
    }

    /// Starts a server on a thread of its own, for programs without tokio. Dropping what comes back stops it.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn start(
        url: &str,
        mutexes: impl IntoIterator<Item = PacketMutex>,
        options: Options,
    ) -> Result<Running, Error> {
        let bind = async {
            let server = Server::bind(url, mutexes, options).await?;
            Ok((server.address().clone(), server.serve()))
        };
        let (address, thread) = RuntimeThread::start("packet-mutex-server", bind)?;
        Ok(Running { address, _thread: thread })
    }

    /// Returns where the server listens. A port 0 in the URL is replaced with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until the future is dropped. That closes all connections.
    pub async fn serve(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            // A client that comes when there are as many as can be waits in the listener's queue.
            let Ok(place) = room.clone().acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            let hosted = self.hosted.clone();
            // Clients that arrive in great numbers must not keep the server from those that it has.
            tokio::task::yield_now().await;
            match self.listener.accept().await {
                Ok(Some(Accepted::Tcp(stream))) => {
                    connections.spawn(async move {
                        let (reader, writer) = stream.into_split();
                        connection::run(reader, writer, Client::Tcp, &hosted).await;
                        drop(place);
                    });
                }
                #[cfg(unix)]
                Ok(Some(Accepted::Unix(stream))) => {
                    connections.spawn(async move {
                        let (reader, writer) = stream.into_split();
                        connection::run(reader, writer, Client::Unix, &hosted).await;
                        drop(place);
                    });
                }
                Ok(None) => {}
                // Most likely there are no more file descriptors: a connection has to end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

enum Accepted {
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Listener {
    /// Returns the next connection, or `None` for one that is turned away.
    async fn accept(&self) -> io::Result<Option<Accepted>> {
        match self {
            #[cfg(unix)]
            Listener::Unix(listener) => Ok(listener.accept().await?.map(Accepted::Unix)),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Some(Accepted::Tcp(stream)))
            }
        }
    }
}

fn check_secret(at: SocketAddr, options: &Options) -> Result<(), String> {
    if options.secret.as_ref().is_some_and(String::is_empty) {
        return Err("the secret is empty".into());
    }
    if options.secret.is_none() && !at.ip().is_loopback() {
        return Err("beyond the loopback a secret is required (PACKET_MUTEX_SECRET)".into());
    }
    Ok(())
}

/// A server on a thread of its own, from [`Server::start`]. Dropping it stops the server.
#[derive(Debug)]
#[must_use = "the server stops when this is dropped"]
pub struct Running {
    address: Address,
    _thread: RuntimeThread,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}
