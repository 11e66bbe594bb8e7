//! The client's end of a connection: blocking writes and reads, and the hello.

use super::limits::{REPLY_MAX, VERSION};
use super::protocol::{Frame, FromServer, Hello, Lines, Reply, Request};
use super::url::{Address, Url};
use crate::error::Error;
use crate::roster_toml::to_toml;
use packet_mutex_arbiter::Roster;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long connecting may take, and then the answer to the hello.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a write may take. A server that does not read for so long counts as gone.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) enum Stream {
    #[cfg(unix)]
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Stream> {
        let stream = match address {
            #[cfg(unix)]
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Address::Tcp(host) => Stream::Tcp(connect_tcp(host)?),
            // Not a socket, or not one of this operating system.
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        match &stream {
            #[cfg(unix)]
            Stream::Unix(stream) => stream.set_write_timeout(Some(WRITE_WITHIN))?,
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(WRITE_WITHIN))?;
            }
        }
        Ok(stream)
    }

    pub(super) fn try_clone(&self) -> io::Result<Stream> {
        match self {
            #[cfg(unix)]
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
        }
    }

    /// Sets how long a read waits at most. With `None` it waits as long as it takes.
    pub(super) fn read_within(&self, time: Option<Duration>) -> io::Result<()> {
        // Zero would mean no limit.
        let time = time.map(|time| time.max(Duration::from_millis(1)));
        match self {
            #[cfg(unix)]
            Stream::Unix(stream) => stream.set_read_timeout(time),
            Stream::Tcp(stream) => stream.set_read_timeout(time),
        }
    }

    /// Closes the connection, also for those that have cloned the stream.
    pub(super) fn close(&self) {
        // It may be closed already.
        let _ = match self {
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Sends a request with this number.
    pub(super) fn write(&self, id: u64, request: Request<'_>) -> io::Result<()> {
        let mut line = Vec::with_capacity(128);
        Frame { id, request }.write(&mut line);
        match self {
            #[cfg(unix)]
            Stream::Unix(stream) => (&*stream).write_all(&line),
            Stream::Tcp(stream) => (&*stream).write_all(&line),
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Stream::Unix(stream) => (&*stream).read(buffer),
            Stream::Tcp(stream) => (&*stream).read(buffer),
        }
    }
}

fn connect_tcp(host: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The reading side of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) stream: Stream,
    lines: Lines,
    chunk: Box<[u8]>,
    /// The number of the connection among those of its client.
    pub(super) connection: u64,
    /// How long a read waits at most, as it was last set.
    within: Duration,
}

impl Reader {
    /// Sets how long a read waits at most. It costs a system call only if the time changes.
    pub(super) fn read_within(&mut self, time: Duration) -> io::Result<()> {
        if std::mem::replace(&mut self.within, time) != time {
            self.stream.read_within(Some(time))?;
        }
        Ok(())
    }

    /// Waits for the next frame and hands it to `receive`. Returns `None` if none came in time.
    pub(super) fn next_frame<R>(
        &mut self,
        receive: impl FnOnce(FromServer<'_>) -> R,
    ) -> io::Result<Option<R>> {
        let broken = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        loop {
            let line = self.lines.next_line();
            if let Some(line) = line.map_err(|_| broken("the server's frame is too long".into()))? {
                match FromServer::parse(&line).map_err(broken)? {
                    Some(frame) => return Ok(Some(receive(frame))),
                    None => continue,
                }
            }
            match self.stream.read(&mut self.chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.lines.push(&self.chunk[..n]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

/// A connection that the server has accepted, and its reply to the hello.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) reader: Reader,
    pub(super) life: String,
    pub(super) timeout: Duration,
    pub(super) lease: Option<Duration>,
}

/// Connects, and says hello.
pub(super) fn greet(
    url: &Url,
    secret: Option<&str>,
    roster: Option<&Roster>,
) -> Result<Welcome, Error> {
    let unavailable = |error: io::Error| Error::Unavailable(format!("{url}: {error}"));
    let stream = Stream::connect(&url.address).map_err(unavailable)?;
    stream.read_within(Some(CONNECT_WITHIN)).map_err(unavailable)?;
    let hello = Hello {
        version: VERSION,
        mutex: Some(url.mutex.as_str().into()),
        secret: secret.map(Into::into),
        roster: roster.map(|roster| to_toml(roster).into()),
    };
    stream.write(0, Request::Hello(hello)).map_err(unavailable)?;
    let (lines, chunk) = (Lines::new(REPLY_MAX), vec![0; 8192].into_boxed_slice());
    let mut reader = Reader { stream, lines, chunk, connection: 0, within: CONNECT_WITHIN };
    let answer = reader.next_frame(|frame| match frame {
        FromServer::Reply(_, Reply::Welcome { life, timeout, lease, .. }) => {
            Ok((life.to_string(), timeout, lease))
        }
        FromServer::Reply(_, Reply::Failed(failed)) => Err(Error::from(failed.why)),
        _ => Err(Error::Unavailable(format!("{url}: this is not a server of a mutex"))),
    });
    let answer = answer.map_err(unavailable)?;
    let (life, timeout, lease) =
        answer.ok_or_else(|| unavailable(io::ErrorKind::TimedOut.into()))??;
    Ok(Welcome { reader, life, timeout, lease })
}

/// Returns the secret of the environment variable `PACKET_MUTEX_SECRET`.
pub(super) fn secret() -> Option<String> {
    std::env::var("PACKET_MUTEX_SECRET").ok().filter(|secret| !secret.is_empty())
}
