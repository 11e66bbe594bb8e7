//! One client's connection: it says hello, and from then on is a [`Connection`], which takes frames and tells what others did.

mod hello;
mod notices;
mod requests;
mod wire;

use self::hello::greet;
use self::notices::Mailbox;
use self::wire::{Out, Read, Wire};
use super::protocol::{Frame, Lines, Refused, Wrong};
use super::{FRAME_MAX, HELLO_WITHIN, Hosted};
use crate::local::{LocalMutex, Reader};
use crate::mutex::PacketMutex;
use packet_mutex_arbiter::{Input, Owner, RequestId};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// A connection on which more bytes than this were read and replied in one go has kept the server busy, and pauses: it gets
/// so many bytes a millisecond. So whoever floods the server has a small share of its time.
const LONG: usize = 4096;

async fn pause(busy: usize) {
    sleep(Duration::from_millis((busy / LONG) as u64)).await;
}

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A process of this user on this machine: its closed connection is the end of its turns (S7).
    Unix,
    /// Anybody who knows the secret: turns have leases (S8).
    Tcp,
}

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

/// A connection that has said hello.
struct Connection {
    mutex: PacketMutex,
    local: Arc<LocalMutex>,
    /// Turns get a lease of this length, and a client that is silent for longer is gone.
    lease: Option<Duration>,
    /// The client's own numbers for its threads and tasks.
    owners: BTreeMap<u64, Owner>,
    /// Requests that wait, with the number of the frame that made them.
    asks: BTreeMap<RequestId, Ask>,
    holds: BTreeMap<RequestId, Hold>,
    mailbox: Arc<Mailbox>,
    /// Under which it waits for what concerns its holds, and for events while one of them should yield.
    keys: Option<(u64, u64)>,
    events: Option<Reader>,
}

#[derive(Clone, Copy)]
struct Ask {
    frame: u64,
    owner: Owner,
}

struct Hold {
    ask: Ask,
    is_pass: bool,
    /// The client may have been told of the grant.
    seen: bool,
    /// The client was told that it should yield.
    told: bool,
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
    fn new(mutex: PacketMutex, local: Arc<LocalMutex>, lease: Option<Duration>) -> Self {
        Connection {
            local,
            mutex,
            lease,
            owners: BTreeMap::new(),
            asks: BTreeMap::new(),
            holds: BTreeMap::new(),
            mailbox: Arc::default(),
            keys: None,
            events: None,
        }
    }

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
        if self.mailbox.signalled.load(Ordering::SeqCst) {
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

/// S7, S8: what the client had when its connection ends.
impl Drop for Connection {
    fn drop(&mut self) {
        let (asks, holds) = (take(&mut self.asks), take(&mut self.holds));
        let mut owners: Vec<Owner> = take(&mut self.owners).into_values().collect();
        owners.extend(asks.values().map(|ask| ask.owner));
        owners.extend(holds.values().map(|hold| hold.ask.owner));
        owners.sort_unstable();
        owners.dedup();
        let (keys, events_key) = (self.keys.take(), self.events.take().map(|events| events.key));
        let leased = self.lease.is_some();
        let lingering = self.local.try_with(|state, now| {
            let mut wakers = Vec::new();
            if let Some((key, reader)) = keys {
                wakers.extend([state.sleepers.remove(key), state.readers.remove(reader)]);
            }
            wakers.extend(events_key.map(|key| state.readers.remove(key)));
            // A grant that never left is declined (S12).
            let unseen = holds.iter().filter(|(_, hold)| !hold.seen).map(|(id, _)| *id);
            let decided = asks.keys().copied().filter(|id| state.is_answered(*id));
            for id in unseen.chain(decided).collect::<Vec<_>>() {
                drop(state.withdraw(now, id));
            }
            let mut lingering = Vec::new();
            for owner in owners {
                let own = |(id, hold): &(&RequestId, &Hold)| {
                    hold.ask.owner == owner && !hold.is_pass && state.arbiter.holds(**id)
                };
                let turns: Vec<RequestId> = holds.iter().filter(own).map(|(id, _)| *id).collect();
                if leased && !turns.is_empty() {
                    // Perhaps only the wire is cut and the holder acts on: nobody else is let in before its lease is over.
                    lingering.push((owner, turns, state.sleepers.new_key()));
                } else {
                    // An owner that left nothing behind changes nothing.
                    let _ = state.handle(now, Input::OwnerLost { owner });
                }
            }
            for id in asks.keys() {
                drop(state.askers.remove(id));
            }
            (lingering, wakers)
        });
        for (owner, turns, key) in lingering.into_iter().flat_map(|(lingering, _)| lingering) {
            let mutex = Arc::downgrade(&self.local);
            Arc::new(Lingering { mutex, owner, turns, key }).wake();
        }
    }
}

/// An owner whose connection is gone and whose lease runs.
struct Lingering {
    mutex: Weak<LocalMutex>,
    owner: Owner,
    turns: Vec<RequestId>,
    key: u64,
}

impl Wake for Lingering {
    /// Waits on, or lets the owner go once its turn is over.
    fn wake(self: Arc<Self>) {
        let Some(mutex) = self.mutex.upgrade() else { return };
        let _old_waker = mutex.try_with(|state, now| {
            state.tick(now);
            if self.turns.iter().any(|id| state.arbiter.holds(*id)) {
                return state.sleepers.leave(self.key, Waker::from(self.clone()));
            }
            // An owner that left nothing behind changes nothing.
            let _ = state.handle(now, Input::OwnerLost { owner: self.owner });
            None
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Options;
    use packet_mutex_arbiter::Roster;
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
