//! One client's connection: it says hello, and from then on is a [`Connection`], which takes frames and tells what others did.

mod hello;
mod mailbox;
mod notices;
mod requests;
mod state;
mod wire;

pub(super) use self::state::Client;

use self::hello::greet;
use self::state::Connection;
use self::wire::{LONG, Out, Read, Wire, pause};
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

/// Why the connection's task woke.
enum Happened {
    Read(Read),
    /// There is word in the mailbox.
    Word,
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
        // Bytes of this go.
        let mut busy = 0;
        loop {
            let (so_far, mut is_over) = (out.0.len(), false);
            match self.happened(wire, silence.as_mut(), heard).await? {
                Happened::Word => self.collect(&mut out),
                Happened::Read(Read::Line(line)) => {
                    if self.lease.is_some() {
                        heard = Instant::now();
                    }
                    is_over = self.receive(&line, &mut out);
                    busy += line.len() + 1 + out.0.len() - so_far;
                }
                Happened::Read(Read::TooLong) => {
                    out.refuse(None, Refused::TooLong(FRAME_MAX));
                    is_over = true;
                }
                Happened::Read(Read::End) => is_over = true,
                Happened::Silent => return Ok(()),
            }
            // A client that sends without pause lets the others in between; the replies to what it has sent already go together.
            if !is_over && busy <= LONG && wire.lines.has_line() {
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
            if busy > LONG {
                pause(busy).await;
            }
            busy = 0;
        }
    }

    /// What happens next. Dropping the future loses nothing.
    async fn happened<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<R, W>,
        mut silence: Pin<&mut Option<Sleep>>,
        heard: Instant,
    ) -> io::Result<Happened> {
        poll_fn(|context| {
            // The mailbox is looked into first, but a line that is there has precedence: it collects what there is too.
            let word = self.mailbox.poll(context);
            if let Poll::Ready(read) = wire.poll_read(context) {
                return Poll::Ready(read.map(Happened::Read));
            }
            if word.is_ready() {
                return Poll::Ready(Ok(Happened::Word));
            }
            let (Some(lease), Some(mut silence)) = (self.lease, silence.as_mut().as_pin_mut())
            else {
                return Poll::Pending;
            };
            ready!(silence.as_mut().poll(context));
            // It was set at the last line but some.
            if heard + lease <= Instant::now() {
                return Poll::Ready(Ok(Happened::Silent));
            }
            silence.as_mut().reset(heard + lease);
            silence.poll(context).map(|()| Ok(Happened::Silent))
        })
        .await
    }

    /// Deals with one line. Returns whether the connection is over: after what is not a frame, nothing more can be understood.
    fn receive(&mut self, line: &[u8], out: &mut Out) -> bool {
        if line.iter().all(u8::is_ascii_whitespace) {
            return false;
        }
        // What happened before the line came is told before it is answered.
        if self.mailbox.has_word() {
            self.collect(out);
        }
        match Frame::parse(line) {
            Ok(Frame { id, request }) => {
                if let Err(why) = self.handle(id, request, out) {
                    out.refuse(Some(id), why);
                }
                self.watch(out);
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

    /// A connection that has sent this.
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

    /// However much a connection has sent already: a frame of another one is dealt with after a few of its frames.
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

    /// What 5,000 idle connections cost is this so many times, beside what the operating system keeps.
    #[tokio::test]
    async fn a_connection_that_idles_is_small() {
        let (_, hosted) = hosted();
        let (_client, server) = duplex(1);
        let (reader, writer) = split(server);
        let size = size_of_val(&run(reader, writer, Client::Unix, &hosted));
        assert!(size <= 1536, "{size} bytes");
    }
}
