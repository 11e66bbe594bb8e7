//! The server's end of one client's connection.
//!
//! It begins with a hello. From then on it is a [`Connection`], which answers the client's frames and tells it what others
//! did.

mod hello;
mod mailbox;
mod notices;
mod requests;
mod state;
mod wire;

pub(super) use self::state::Client;

use self::hello::greet;
use self::state::Connection;
use self::wire::{BYTES_PER_MS, Out, Read, Wire, pause};
use super::hosted::Hosted;
use super::limits::{FRAME_MAX, HELLO_WITHIN};
use super::protocol::{Frame, Lines, Refused, Wrong};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// Serves one connection to its end.
pub(super) async fn run(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    client: Client,
    hosted: &Hosted,
) {
    let mut wire = Wire { reader, writer, lines: Lines::new(FRAME_MAX) };
    let greeted = timeout(HELLO_WITHIN, greet(&mut wire, client, hosted)).await;
    let Ok(Some(mut connection)) = greeted else { return };
    // When it returns, for whatever reason, the connection is dropped, and with it what the client had.
    let _ = connection.serve(&mut wire).await;
}

/// Why the task of the connection woke.
enum Wakeup {
    Read(Read),
    /// There is mail in the mailbox.
    Mail,
    /// The client was silent for the length of its lease.
    Silent,
}

impl Connection {
    async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<R, W>,
    ) -> io::Result<()> {
        let mut out = Out::default();
        let mut heard = Instant::now();
        let mut silence = pin!(self.lease.map(|lease| sleep_until(heard + lease)));
        // The bytes that were read and replied since the last write.
        let mut busy = 0;
        loop {
            let (so_far, mut is_over) = (out.0.len(), false);
            match self.next_wakeup(wire, silence.as_mut(), heard).await? {
                Wakeup::Mail => self.collect(&mut out),
                Wakeup::Read(Read::Line(line)) => {
                    if self.lease.is_some() {
                        heard = Instant::now();
                    }
                    is_over = self.receive(&line, &mut out);
                    busy += line.len() + 1 + out.0.len() - so_far;
                }
                Wakeup::Read(Read::TooLong) => {
                    out.refuse(None, Refused::TooLong(FRAME_MAX));
                    is_over = true;
                }
                Wakeup::Read(Read::End) => is_over = true,
                Wakeup::Silent => return Ok(()),
            }
            // A client that sends without a pause must let others in between. The replies to what it has sent are written
            // together, because a write costs more than a frame.
            if !is_over && busy <= BYTES_PER_MS && wire.lines.has_line() {
                yield_now().await;
                continue;
            }
            if !out.0.is_empty() {
                // From here on the client may know of its grants, whatever becomes of the rest.
                self.holds.values_mut().for_each(|hold| hold.seen = true);
                wire.write(&out.0).await?;
                out.clear();
            }
            if is_over {
                return Ok(());
            }
            if busy > BYTES_PER_MS {
                pause(busy).await;
            }
            busy = 0;
        }
    }

    /// Waits for what happens next. Dropping the future loses nothing.
    async fn next_wakeup<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<R, W>,
        mut silence: Pin<&mut Option<Sleep>>,
        heard: Instant,
    ) -> io::Result<Wakeup> {
        poll_fn(|context| {
            // The mailbox is polled first, so that its waker is set. A line has precedence all the same: it is answered after
            // the mail is collected.
            let mail = self.mailbox.poll(context);
            if let Poll::Ready(read) = wire.poll_read(context) {
                return Poll::Ready(read.map(Wakeup::Read));
            }
            if mail.is_ready() {
                return Poll::Ready(Ok(Wakeup::Mail));
            }
            let (Some(lease), Some(mut silence)) = (self.lease, silence.as_mut().as_pin_mut())
            else {
                return Poll::Pending;
            };
            ready!(silence.as_mut().poll(context));
            // Lines do not move the timer, because that would cost each of them. It is moved when it fires early.
            if heard + lease <= Instant::now() {
                return Poll::Ready(Ok(Wakeup::Silent));
            }
            silence.as_mut().reset(heard + lease);
            silence.poll(context).map(|()| Ok(Wakeup::Silent))
        })
        .await
    }

    /// Answers one line. Returns whether the connection is over: after a line that is not a frame, nothing can be relied on.
    fn receive(&mut self, line: &[u8], out: &mut Out) -> bool {
        if line.iter().all(u8::is_ascii_whitespace) {
            return false;
        }
        // The client must know what happened before its line when it reads the answer.
        if self.mailbox.has_mail() {
            self.collect(out);
        }
        match Frame::parse(line) {
            Ok(Frame { id, request }) => {
                if let Err(why) = self.handle(id, request, out) {
                    out.refuse(Some(id), why);
                }
                self.check_holds(out);
                false
            }
            Err(wrong) => {
                let is_over = matches!(wrong.why, Wrong::Garbled(_));
                out.refuse(wrong.id, wrong.why);
                is_over
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutex::PacketMutex;
    use crate::net::Options;
    use packet_mutex_arbiter::Roster;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex, split};

    const HELLO: &str = "{\"id\":1,\"op\":\"hello\",\"version\":1}\n";

    fn hosted() -> (PacketMutex, Arc<Hosted>) {
        let mutex = PacketMutex::new(Roster::default());
        let mutexes = BTreeMap::from([(mutex.name().clone(), mutex.clone())]);
        (mutex, Arc::new(Hosted { mutexes, options: Options::default() }))
    }

    /// Returns the client's end of a connection on which these frames were sent.
    async fn client(hosted: &Arc<Hosted>, sent: &str) -> DuplexStream {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(sent.as_bytes()).await.unwrap();
        let hosted = hosted.clone();
        tokio::spawn(async move {
            let (reader, writer) = split(server);
            run(reader, writer, Client::Unix, &hosted).await;
        });
        client
    }

    /// However much one connection has sent, the frame of another is answered after a few of them.
    #[tokio::test]
    async fn frames_of_others_come_between_those_of_a_flood() {
        let (mutex, hosted) = hosted();
        let mut events = mutex.events();
        let mode = |mode| {
            format!("{{\"id\":2,\"op\":\"mode\",\"module\":\"eater\",\"mode\":\"{mode}\"}}\n")
        };
        let frames = HELLO.to_owned() + &(mode("observed") + &mode("enforced")).repeat(1000);
        let mut flooders = Vec::new();
        for _ in 0..3 {
            flooders.push(client(&hosted, &frames).await);
        }
        let ask = HELLO.to_owned() + "{\"id\":3,\"op\":\"acquire\",\"module\":\"fisher\"}\n";
        let mut replies = BufReader::new(client(&hosted, &ask).await).lines();
        while !replies.next_line().await.unwrap().unwrap().contains("\"request\"") {}
        let before =
            events.take().iter().filter(|entry| entry.to_string().contains("\"mode\"")).count();
        assert!((1..20).contains(&before), "{before} frames of the flood came before it");
    }

    /// 5,000 idle connections cost 5,000 times this, apart from what the operating system keeps for them.
    #[tokio::test]
    async fn a_connection_that_idles_is_small() {
        let (_, hosted) = hosted();
        let (_client, server) = duplex(1);
        let (reader, writer) = split(server);
        let size = size_of_val(&run(reader, writer, Client::Unix, &hosted));
        assert!(size <= 1536, "{size} bytes");
    }
}
