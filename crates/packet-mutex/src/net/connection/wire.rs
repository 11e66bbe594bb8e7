//! How a connection reads lines and writes frames.

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

/// How fast a connection that floods the server is served. When more bytes than this were read and replied in one go, the
/// connection pauses for a millisecond for each such amount. A flood thus has only a small share of the server's time, and a
/// client that sends a frame now and then never pauses.
pub(super) const BYTES_PER_MS: usize = 4096;

/// Pauses after so many bytes.
pub(super) async fn pause(busy: usize) {
    sleep(Duration::from_millis((busy / BYTES_PER_MS) as u64)).await;
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
    /// The client closed its side. A last line without an end does not count.
    End,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Wire<R, W> {
    /// Ready with the next line when all of it is there.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Read>> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => return Poll::Ready(Ok(Read::Line(line))),
                Ok(None) => {}
                Err(TooLong) => return Poll::Ready(Ok(Read::TooLong)),
            }
            // The buffer is on the stack, so a connection that idles keeps no memory for what may come.
            let mut chunk = [const { MaybeUninit::uninit() }; 8192];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut chunk))?;
            match chunk.filled() {
                [] => return Poll::Ready(Ok(Read::End)),
                bytes => self.lines.push(bytes),
            }
        }
    }

    /// Writes all bytes. Gives the client up if it does not read them in time (S14).
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        // Mostly all of it can be written at once, and then there is no need for a timer.
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

    /// Refuses a frame. `id` is `None` if its number could not be read.
    pub(super) fn refuse(&mut self, id: Option<u64>, why: impl Into<Refused>) {
        self.fail(id, None, why);
    }

    /// Refuses a frame, or tells that the ask with this number failed.
    pub(super) fn fail(
        &mut self,
        id: Option<u64>,
        request: Option<RequestId>,
        why: impl Into<Refused>,
    ) {
        let failed = Failed { request, still_held: false, why: why.into() };
        FromServer::Reply(id, Reply::Failed(failed)).write(&mut self.0);
    }

    /// Forgets the frames, which were written.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        // An idle connection must not keep the memory that many events once took.
        self.0.shrink_to(BYTES_PER_MS);
    }
}
