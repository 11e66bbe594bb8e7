//! Bytes to frames and back.

use super::LONG;
use crate::error::Error;
use crate::events::Entry;
use crate::net::frame::{Lines, Object, TooLong, Writing, put_error};
use crate::net::{FRAME_MAX, READ_WITHIN};
use packet_mutex_arbiter::RequestId;
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

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

/// Why a frame is refused.
pub(super) enum Refused {
    /// It is not what a frame must be.
    Bad(String),
    /// It is longer than the limit.
    TooLong,
    /// It speaks of what this server does not know.
    Version(String),
    /// The mutex says no.
    Error(Error),
    /// The answer of a request is no.
    Answer(RequestId, Error),
    /// The mutex says no, and the turn that was to be given away goes on.
    StillHeld(Error),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Refused::Bad(why)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Error(error)
    }
}

impl From<packet_mutex_arbiter::Failure> for Refused {
    fn from(failure: packet_mutex_arbiter::Failure) -> Self {
        Refused::Error(failure.into())
    }
}

/// Frames to write.
#[derive(Default)]
pub(super) struct Out(pub(super) Vec<u8>);

impl Out {
    pub(super) fn frame(&mut self) -> Writing<'_> {
        Writing::new(&mut self.0)
    }

    /// A frame that says that all went well.
    pub(super) fn ok(&mut self, id: u64) -> Writing<'_> {
        let mut frame = self.frame();
        frame.put("id", id).put("ok", true);
        frame
    }

    pub(super) fn object(&mut self, object: impl fmt::Display) {
        // A vector takes everything.
        let _ = writeln!(self.0, "{object}");
    }

    pub(super) fn event(&mut self, entry: &Entry) {
        let _ = writeln!(self.0, r#"{{"notice":"event","event":{entry}}}"#);
    }

    /// All was written.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        // After many events, an idle connection shall not keep their room.
        self.0.shrink_to(LONG);
    }

    pub(super) fn refuse(&mut self, id: Option<u64>, why: Refused) {
        let mut reply = Object::new();
        reply.insert("id".into(), json!(id));
        match why {
            Refused::Error(error) => put_error(&mut reply, &error),
            Refused::Answer(request, error) => {
                reply.insert("request".into(), request.0.into());
                put_error(&mut reply, &error);
            }
            Refused::StillHeld(error) => {
                reply.insert("still_held".into(), true.into());
                put_error(&mut reply, &error);
            }
            Refused::Bad(why) => put_other(&mut reply, "bad_frame", why),
            Refused::TooLong => {
                let limit = format!("a frame has at most {FRAME_MAX} bytes");
                put_other(&mut reply, "frame_too_long", limit);
            }
            Refused::Version(why) => put_other(&mut reply, "unsupported", why),
        }
        self.object(Value::Object(reply));
    }
}

/// An error that only the protocol knows.
fn put_other(reply: &mut Object, kind: &str, message: String) {
    reply.insert("error".into(), kind.into());
    reply.insert("message".into(), message.into());
}
