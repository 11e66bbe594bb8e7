//! Bytes to frames and back.

use crate::net::limits::READ_WITHIN;
use crate::net::protocol::{Failed, FromServer, Lines, Notice, Refused, Reply, TooLong};
use packet_mutex_arbiter::RequestId;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{sleep, timeout};

/// A connection on which more bytes than this were read and replied in one go has kept the server busy, and pauses: it gets
/// so many bytes a millisecond. So whoever floods the server has a small share of its time.
pub(super) const LONG: usize = 4096;

pub(super) async fn pause(busy: usize) {
    sleep(Duration::from_millis((busy / LONG) as u64)).await;
}

/// The two directions of a connection.
pub(super) struct Wire<R, W> {
    pub(super) reader: R,
    pub(super) writer: W,
    pub(super) lines: Lines,
}

/// What was read.
pub(super) enum Read {
    Line(Vec<u8>),
    TooLong,
    /// The client closed its side; what it wrote of a last line does not count.
    End,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Wire<R, W> {
    /// The next line, when it has come.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Read>> {
        loop {
            match self.lines.next() {
                Ok(Some(line)) => return Poll::Ready(Ok(Read::Line(line))),
                Ok(None) => {}
                Err(TooLong) => return Poll::Ready(Ok(Read::TooLong)),
            }
            // On the stack only while it reads: a connection that idles keeps no room for what may come.
            let mut chunk = [const { MaybeUninit::uninit() }; 8192];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut chunk))?;
            match chunk.filled() {
                [] => return Poll::Ready(Ok(Read::End)),
                bytes => self.lines.push(bytes),
            }
        }
    }

    /// Writes it all, or gives the client up if it does not read (S14).
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        // Mostly all of it can be written at once.
        while !left.is_empty() {
            let mut context = Context::from_waker(Waker::noop());
            match Pin::new(&mut self.writer).poll_write(&mut context, left) {
                Poll::Ready(Ok(written)) if written > 0 => left = &left[written..],
                Poll::Ready(Err(error)) => return Err(error),
                _ => break,
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let written = timeout(READ_WITHIN, self.writer.write_all(left)).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Frames to write.
#[derive(Default)]
pub(super) struct Out(pub(super) Vec<u8>);

impl Out {
    pub(super) fn reply(&mut self, id: u64, reply: Reply<'_>) {
        FromServer::Reply(Some(id), reply).write(&mut self.0);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        FromServer::Notice(notice).write(&mut self.0);
    }

    /// Says no to a frame; `id` is `None` if its number could not be read.
    pub(super) fn refuse(&mut self, id: Option<u64>, why: impl Into<Refused>) {
        self.fail(id, None, why);
    }

    /// Says no to the ask with this number.
    pub(super) fn fail(
        &mut self,
        id: Option<u64>,
        request: Option<RequestId>,
        why: impl Into<Refused>,
    ) {
        let failed = Failed { request, still_held: false, why: why.into() };
        FromServer::Reply(id, Reply::Failed(failed)).write(&mut self.0);
    }

    /// All was written.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        // After many events, an idle connection must not keep their room.
        self.0.shrink_to(LONG);
    }
}
