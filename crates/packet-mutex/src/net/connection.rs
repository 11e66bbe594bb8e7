//! One client's connection.

use super::frame::{
    Fields, Frame, Lines, Object, TooLong, Writing, bad_field, below_of, mode_of, put_error,
    put_grant, seconds,
};
use super::server::House;
use super::{FRAME_MAX, HELLO_WITHIN, PER_CONNECTION_MAX, READ_WITHIN, VERSION};
use crate::backend::Backend;
use crate::error::Error;
use crate::events::{Entry, Reader};
use crate::local::tick;
use crate::module::ModuleRef;
use crate::mutex::PacketMutex;
use crate::owner::new_owner;
use crate::roster_toml::{from_toml, to_toml};
use crate::shared::Shared;
use packet_mutex_arbiter::{Answer, Input, Leave, ModuleId, Owner, Request, RequestId, Roster};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::mem::{MaybeUninit, take};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
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
pub(super) enum Peer {
    /// A process of this user on this machine: its closed connection is the end of its turns (S7).
    Unix,
    /// Anybody who knows the secret: turns have leases (S8).
    Tcp,
}

/// Serves one connection to its end.
pub(super) async fn run(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    peer: Peer,
    house: &House,
) {
    let mut wire = Wire { reader, writer, lines: Lines::new(FRAME_MAX) };
    let greeted = timeout(HELLO_WITHIN, greet(&mut wire, peer, house)).await;
    let Ok(Some(mut connection)) = greeted else { return };
    // When it returns, for whatever reason, the connection is dropped, and with it what the client had.
    let _ = connection.serve(&mut wire).await;
}

/// Bytes to frames and back.
struct Wire<R, W> {
    reader: R,
    writer: W,
    lines: Lines,
}

/// What was read.
enum Read {
    Line(Vec<u8>),
    TooLong,
    /// The client closed its side; what it wrote of a last line does not count.
    End,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Wire<R, W> {
    /// The next line, when it has come.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Read>> {
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
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
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

/// Takes the hello. Whoever says anything else is told why it is turned away, once.
async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    wire: &mut Wire<R, W>,
    peer: Peer,
    house: &House,
) -> Option<Connection> {
    let mut id = None;
    let read = poll_fn(|context| wire.poll_read(context)).await.ok()?;
    let greeted = match read {
        Read::End => return None,
        Read::TooLong => Err(Refused::TooLong),
        Read::Line(line) => {
            if line.len() > LONG {
                pause(line.len()).await;
            }
            Frame::parse(&line).map_err(Refused::Bad).and_then(|frame| {
                id = frame.number("id").ok().flatten();
                hello(&frame, peer, house)
            })
        }
    };
    let mut out = Out::default();
    let connection = match greeted {
        Ok((connection, reply)) => {
            out.object(reply);
            Some(connection)
        }
        Err(why) => {
            out.refuse(id, why);
            None
        }
    };
    wire.write(&out.0).await.ok()?;
    connection
}

/// Why a frame is refused.
enum Refused {
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

fn hello(frame: &Frame<'_>, peer: Peer, house: &House) -> Result<(Connection, Value), Refused> {
    let id = frame.number("id")?;
    if frame.needed_text("op")? != "hello" {
        return Err(Refused::Bad("the first frame is a hello".into()));
    }
    // Nothing is told to who does not know the secret.
    if let (Peer::Tcp, Some(secret)) = (peer, &house.options.secret) {
        let told = frame.text("secret")?.unwrap_or_default();
        if !bool::from(told.as_bytes().ct_eq(secret.as_bytes())) {
            return Err(Error::Unauthorized.into());
        }
    }
    let version = frame.needed_number("version")?;
    if version != VERSION {
        return Err(Refused::Version(format!(
            "version {version} of the protocol; this server speaks version {VERSION}"
        )));
    }
    let name = frame.text("mutex")?.unwrap_or("main");
    let folded = packet_mutex_arbiter::fold_name(name).map_err(Error::InvalidName)?;
    let Some(mutex) = house.mutexes.get(folded.as_str()) else {
        return Err(Error::Unavailable(format!("no mutex `{folded}` behind this socket")).into());
    };
    let theirs = mutex.roster();
    if let Some(text) = frame.text("roster")? {
        let fields = theirs.differences(&roster(text)?);
        if !fields.is_empty() {
            return Err(Error::RosterDiffers { fields }.into());
        }
    }
    let Backend::Local(shared) = &mutex.backend else {
        return Err(Error::Unsupported("the mutex is behind another socket").into());
    };
    let lease = (peer == Peer::Tcp).then_some(house.options.lease);
    let reply = json!({
        "id": id,
        "ok": true,
        "version": VERSION,
        "server": concat!("packet-mutex ", env!("CARGO_PKG_VERSION")),
        "mutex": folded,
        "life": life(shared.number),
        "timeout": seconds(theirs.spec().timeout),
        "lease": lease.map(seconds),
    });
    Ok((Connection::new(mutex.clone(), shared.clone(), lease), reply))
}

/// A text that no other mutex of any other process has: the numbers of requests and events begin anew with each.
fn life(number: u64) -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    format!("{:016x}-{number}", *PROCESS)
}

fn roster(text: &str) -> Result<Roster, Refused> {
    from_toml("roster", text).map_err(|errors| Refused::Bad(errors.to_string()))
}

/// A connection that has said hello.
struct Connection {
    mutex: PacketMutex,
    shared: Arc<Shared>,
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

/// Where other threads leave word for the connection's task.
#[derive(Default)]
struct Mailbox {
    answered: Mutex<Vec<RequestId>>,
    /// There is word: an answer, or something may have become of a hold, or there are events.
    signalled: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Mailbox {
    /// Is there word? If not, the task is woken when there is.
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        drop(task);
        if self.signalled.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Wakes the connection because a request was answered.
struct Answered(Arc<Mailbox>, RequestId);

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        let mut answered = self.0.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.push(self.1);
        drop(answered);
        self.0.wake_by_ref();
    }
}

impl Wake for Mailbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signalled.store(true, Ordering::SeqCst);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.into_iter().for_each(Waker::wake);
    }
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
    fn new(mutex: PacketMutex, shared: Arc<Shared>, lease: Option<Duration>) -> Self {
        Connection {
            shared,
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
                    is_over = self.take(&line, &mut out);
                    busy += line.len() + 1 + out.0.len() - so_far;
                }
                Happened::Read(Read::TooLong) => {
                    out.refuse(None, Refused::TooLong);
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

    /// Takes one line. Whether the connection is over: after what is no frame, nothing more can be understood.
    fn take(&mut self, line: &[u8], out: &mut Out) -> bool {
        if line.iter().all(u8::is_ascii_whitespace) {
            return false;
        }
        // What happened before the line came is told before it is answered.
        if self.mailbox.signalled.load(Ordering::SeqCst) {
            self.collect(out);
        }
        let frame = match Frame::parse(line) {
            Ok(frame) => frame,
            Err(why) => {
                out.refuse(None, Refused::Bad(why));
                return true;
            }
        };
        let id = match frame.needed_number("id") {
            Ok(id) => id,
            Err(why) => {
                out.refuse(None, Refused::Bad(why));
                return false;
            }
        };
        if let Err(why) = self.obey(id, &frame, out) {
            out.refuse(Some(id), why);
        }
        self.watch(out);
        false
    }

    /// Does what the frame asks for, and replies.
    fn obey(&mut self, id: u64, frame: &Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let op = frame.needed_text("op")?;
        let mut reply = Object::new();
        match op {
            "acquire" => return self.acquire(id, frame, out),
            "yield" => return self.give_away(id, frame, out),
            "release" => self.release(frame)?,
            "release_module" => {
                let owner = self.owner(frame)?;
                self.about(frame, |module| Input::EndModule { module, owner })?;
                self.forget_ended();
            }
            "withdraw" => self.withdraw(frame, out)?,
            "claim" => {
                let request = self.own(frame)?;
                self.input(Input::Claim { request })?;
            }
            "acknowledge" => {
                let hold = self.own(frame)?;
                self.input(Input::Acknowledge { hold })?;
            }
            "heartbeat" => self.heartbeat(frame)?,
            "should_yield" => {
                let hold = self.own(frame)?;
                let should = self.shared.with(|state, now| {
                    tick(state, now);
                    state.arbiter.should_yield(hold, now)
                });
                reply.insert("should_yield".into(), should.into());
            }
            "owner_lost" => {
                let number = frame.needed_number("owner")?;
                if let Some(owner) = self.owners.remove(&number) {
                    self.input(Input::OwnerLost { owner })?;
                    self.forget_ended();
                }
            }
            "ping" => {}
            "module" => {
                let name = frame.needed_text("module")?;
                let (name, found) = self.shared.with(|state, _| {
                    let found = state.resolve_name(name)?;
                    Ok::<_, Error>((state.arbiter.module_name(found.module).clone(), found))
                })?;
                reply.insert("module".into(), (&*name).into());
                reply.insert("first_unknown".into(), found.first_unknown.into());
                reply.insert("nearest".into(), json!(found.nearest.as_deref()));
            }
            "status" => {
                let mut text = String::new();
                // Writing to a string cannot fail.
                let _ = self.mutex.status().write_json(self.mutex.name(), &mut text);
                reply.insert("status".into(), serde_json::from_str(&text).unwrap_or_default());
            }
            "roster" => {
                reply.insert("roster".into(), to_toml(&self.mutex.roster()).into());
            }
            "events" => {
                let so_far = frame.flag("so_far")?.then_some(0);
                let after = frame.number("after")?.or(so_far);
                let events = Reader::new(self.shared.clone(), after);
                reply.insert("after".into(), events.seen.into());
                self.events = Some(events);
                self.mailbox.clone().wake();
            }
            _ => {
                self.steer(op, frame)?;
                self.forget_ended();
            }
        }
        let mut line = out.ok(id);
        for (key, value) in &reply {
            line.put(key, value);
        }
        line.end();
        Ok(())
    }

    /// S12, S15, S19, S20.
    fn steer(&mut self, op: &str, frame: &Frame<'_>) -> Result<(), Refused> {
        match op {
            "cancel" => self.about(frame, |module| Input::Cancel { module }),
            "disable" => self.about(frame, |module| Input::Disable { module }),
            "enable" => self.about(frame, |module| Input::Enable { module }),
            "mode" => Ok(self.mutex.set_mode(frame.needed_text("module")?, mode_of(frame)?)?),
            "pause" => {
                let reason = frame.needed_text("reason")?.to_owned();
                let (below, lasts) = (below_of(frame)?, frame.seconds("lasts")?);
                self.input(Input::Pause { reason, below, lasts })
            }
            "resume" => {
                self.input(Input::Resume { reason: frame.text("reason")?.map(String::from) })
            }
            "close" => self.input(Input::Close),
            "reload" => Ok(self.mutex.reload(roster(frame.needed_text("roster")?)?)?),
            "reset" => {
                let owner = Some(self.owner(frame)?);
                self.input(Input::Reset { owner })
            }
            _ => Err(Refused::Version(format!("no op of version {VERSION}"))),
        }
    }

    // Asking.

    fn acquire(&mut self, frame_id: u64, frame: &Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let within = frame.number("within")?.map(RequestId);
        let owner = match within.and_then(|hold| self.holds.get(&hold)) {
            // A nested turn is of whoever has the turn around it.
            Some(outer) => outer.ask.owner,
            None => self.owner(frame)?,
        };
        // What is not this connection's is no turn to nest in: no request has the number 0.
        let within =
            within.map(|hold| if self.holds.contains_key(&hold) { hold } else { RequestId(0) });
        let lease = frame.seconds("lease")?.or(self.lease);
        let (urgent, timeout) = (frame.flag("urgent")?, frame.seconds("timeout")?);
        let (claim, requeued) = (frame.flag("claim")?, frame.flag("requeued")?);
        let name = frame.needed_text("module")?;
        self.check_room()?;
        let shared = self.shared.clone();
        let asked = shared.with(|state, now| {
            let module = state.resolve(shared.number, &ModuleRef::Name(name))?;
            let id = state.arbiter.next_request();
            let request = Request {
                owner: Some(owner),
                within,
                urgent,
                timeout,
                lease,
                claim,
                requeued,
                ..Request::new(id, module)
            };
            let answer = state.request(now, request);
            Ok::<_, Error>((id, answer))
        });
        let (id, answer) = asked?;
        self.asked(id, answer, Ask { frame: frame_id, owner }, out)
    }

    fn give_away(
        &mut self,
        frame_id: u64,
        frame: &Frame<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let (hold, owner) = self.hold_and_owner(frame)?;
        let timeout = frame.seconds("timeout")?;
        let given = self.shared.with(|state, now| {
            let id = state.arbiter.next_request();
            let input = Input::Yield { hold, owner: Some(owner), id, timeout };
            state.ask(now, id, input).map(|answer| (id, answer))
        });
        let (id, answer) = given.map_err(|failure| Refused::StillHeld(failure.into()))?;
        self.holds.remove(&hold);
        self.asked(id, answer, Ask { frame: frame_id, owner }, out)
    }

    /// Replies to a request: its answer, or that it waits.
    fn asked(
        &mut self,
        id: RequestId,
        answer: Option<Answer>,
        ask: Ask,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let answer = answer.or_else(|| {
            let waker = Waker::from(Arc::new(Answered(self.mailbox.clone(), id)));
            self.shared.with(|state, _| state.answer_or_leave(id, waker).0)
        });
        if let Some(answer) = answer {
            return self.answer(id, answer, ask, out);
        }
        self.asks.insert(id, ask);
        let left = self
            .shared
            .with(|state, now| state.arbiter.deadline(id).map(|deadline| deadline.since(now)));
        let mut line = out.frame();
        line.put("id", ask.frame).put("waiting", true).put("request", id.0);
        line.put("timeout", left.map(|left| left.as_secs_f64()));
        line.end();
        Ok(())
    }

    fn answer(
        &mut self,
        id: RequestId,
        answer: Answer,
        ask: Ask,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let (grant, is_pass) = match answer {
            Answer::Turn(grant) => (grant, false),
            Answer::Pass(grant) => (grant, true),
            Answer::Failed(failure) => return Err(Refused::Answer(id, failure.into())),
        };
        self.holds.insert(id, Hold { ask, is_pass, seen: false, told: false });
        let module = self.shared.with(|state, _| state.arbiter.module_name(grant.module).clone());
        let mut line = out.ok(ask.frame);
        put_grant(&mut line, id, &module, &grant);
        line.end();
        Ok(())
    }

    fn check_room(&self) -> Result<(), Refused> {
        let limit = PER_CONNECTION_MAX;
        if self.asks.len() + self.holds.len() >= limit {
            return Err(Error::QueueFull { limit }.into());
        }
        Ok(())
    }

    // What it had.

    fn release(&mut self, frame: &Frame<'_>) -> Result<(), Refused> {
        let how = match frame.text("how")? {
            None | Some("released") => Leave::Released,
            Some("panicked") => Leave::Panicked,
            Some("declined") => Leave::Declined,
            Some(_) => {
                let must = "\"released\", \"panicked\" or \"declined\"";
                return Err(bad_field("how", must).into());
            }
        };
        let (hold, owner) = self.hold_and_owner(frame)?;
        // The arbiter says whether it is the owner's (S6).
        let ended = self.input(Input::End { hold, owner: Some(owner), how });
        self.forget_ended();
        if ended.is_ok() {
            self.holds.remove(&hold);
        }
        ended
    }

    fn withdraw(&mut self, frame: &Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let request = match frame.number("ask")? {
            // By the frame that made it, for who has not yet read its number.
            Some(ask) => {
                let mut asks = self.asks.iter().map(|(id, made)| (*id, made.frame));
                let mut holds = self.holds.iter().map(|(id, hold)| (*id, hold.ask.frame));
                let found = asks.find(|(_, frame)| *frame == ask);
                let found = found.or_else(|| holds.find(|(_, frame)| *frame == ask));
                found.map_or(RequestId(0), |(id, _)| id)
            }
            None => frame.request("request")?,
        };
        let ask = self.asks.remove(&request);
        if ask.is_some() || self.holds.remove(&request).is_some() {
            let _asker = self.shared.with(|state, now| state.withdraw(now, request));
        }
        if let Some(ask) = ask {
            // The one answer of the request (S16).
            let message = "withdrawn by the asker";
            let answer = json!({
                "id": ask.frame, "error": "withdrawn", "message": message, "request": request.0,
            });
            out.object(answer);
        }
        Ok(())
    }

    /// All leases of the connection start anew, or the one that the frame names.
    fn heartbeat(&mut self, frame: &Frame<'_>) -> Result<(), Refused> {
        if frame.number("request")?.is_some() {
            let hold = self.own(frame)?;
            return self.input(Input::Heartbeat { hold });
        }
        let holds: Vec<RequestId> =
            self.holds.iter().filter(|(_, hold)| !hold.is_pass).map(|(id, _)| *id).collect();
        for hold in holds {
            // One that is over is told of by itself.
            let _ = self.input(Input::Heartbeat { hold });
        }
        Ok(())
    }

    /// The hold that a frame speaks of, and who does: the owner that it names, else whose hold it is.
    fn hold_and_owner(&mut self, frame: &Frame<'_>) -> Result<(RequestId, Owner), Refused> {
        let hold = frame.request("request")?;
        let known = self.holds.get(&hold).map(|hold| hold.ask.owner);
        let owner = match known.filter(|_| frame.get_field("owner").is_none()) {
            Some(owner) => owner,
            None => self.owner(frame)?,
        };
        Ok((hold, owner))
    }

    /// The request that a frame speaks of, if it is this connection's; else one that nobody has, which the arbiter refuses.
    fn own(&self, frame: &Frame<'_>) -> Result<RequestId, String> {
        let request = match frame.number("ask")? {
            // By the frame that made it, for who has not yet read its number.
            Some(ask) => {
                let mut asks = self.asks.iter().map(|(id, made)| (*id, made.frame));
                let mut holds = self.holds.iter().map(|(id, hold)| (*id, hold.ask.frame));
                let found = asks.find(|(_, frame)| *frame == ask);
                let found = found.or_else(|| holds.find(|(_, frame)| *frame == ask));
                found.map_or(RequestId(0), |(id, _)| id)
            }
            None => frame.request("request")?,
        };
        let is_own = self.holds.contains_key(&request) || self.asks.contains_key(&request);
        Ok(if is_own { request } else { RequestId(0) })
    }

    /// The owner that a frame names by the client's own number; without one, an owner that nobody else is. No frame is
    /// without an owner: the arbiter lets whoever is nobody end what belongs to nobody.
    fn owner(&mut self, frame: &Frame<'_>) -> Result<Owner, Refused> {
        let Some(number) = frame.number("owner")? else { return Ok(new_owner()) };
        if self.owners.len() >= PER_CONNECTION_MAX && !self.owners.contains_key(&number) {
            return Err(Error::QueueFull { limit: PER_CONNECTION_MAX }.into());
        }
        Ok(*self.owners.entry(number).or_insert_with(new_owner))
    }

    fn input(&self, input: Input) -> Result<(), Refused> {
        Ok(self.shared.input(input)?)
    }

    fn about(
        &self,
        frame: &Frame<'_>,
        input: impl FnOnce(ModuleId) -> Input,
    ) -> Result<(), Refused> {
        let name = frame.needed_text("module")?;
        Ok(self.shared.input_about(&ModuleRef::Name(name), input)?)
    }

    /// Forgets holds that the client itself has ended in another way than by their number.
    fn forget_ended(&mut self) {
        let holds = &mut self.holds;
        self.shared.with(|state, _| {
            holds.retain(|id, hold| {
                if hold.is_pass { state.arbiter.is_pass(*id) } else { state.arbiter.holds(*id) }
            });
        });
    }

    // What others did.

    /// Collects what has become of requests and holds, and new events.
    fn collect(&mut self, out: &mut Out) {
        self.mailbox.signalled.store(false, Ordering::SeqCst);
        let answered = {
            let mut answered = self.mailbox.answered.lock().unwrap_or_else(PoisonError::into_inner);
            take(&mut *answered)
        };
        for id in answered {
            let Some(ask) = self.asks.remove(&id) else { continue };
            let waker = Waker::noop().clone();
            let (answer, _) = self.shared.with(|state, _| state.answer_or_leave(id, waker));
            let Some(answer) = answer else {
                self.asks.insert(id, ask);
                continue;
            };
            if let Err(why) = self.answer(id, answer, ask, out) {
                out.refuse(Some(ask.frame), why);
            }
        }
        self.watch(out);
        if let Some(events) = &mut self.events {
            let waker = Waker::from(self.mailbox.clone());
            let key = events.key;
            let (entries, _old_waker) = self.shared.with(|state, now| {
                let entries = events.read(state, now);
                (entries, state.readers.leave(key, waker))
            });
            entries.iter().for_each(|entry| out.event(entry));
        }
    }

    /// Tells of holds that should be given away, or no longer, or that are gone; and has itself woken when that changes.
    fn watch(&mut self, out: &mut Out) {
        if self.holds.values().all(|hold| hold.is_pass) {
            return;
        }
        let (shared, holds, keys) = (&self.shared, &mut self.holds, &mut self.keys);
        let waker = Waker::from(self.mailbox.clone());
        let _old_wakers = shared.with(|state, now| {
            tick(state, now);
            holds.retain(|id, hold| {
                if hold.is_pass {
                    return true;
                }
                if !state.arbiter.holds(*id) {
                    out.object(json!({"notice": "lost", "request": id.0}));
                    return false;
                }
                let should = state.arbiter.should_yield(*id, now);
                if std::mem::replace(&mut hold.told, should) != should {
                    let notice =
                        json!({"notice": "should_yield", "request": id.0, "should_yield": should});
                    out.object(notice);
                }
                true
            });
            let (key, events_key) =
                *keys.get_or_insert_with(|| (state.sleepers.new_key(), state.readers.new_key()));
            let old = state.sleepers.leave(key, waker.clone());
            // That it need not yield any more is told by no output, but an event always goes with it.
            let told = holds.values().any(|hold| hold.told);
            let old_reader = told.then(|| state.readers.leave(events_key, waker)).flatten();
            (old, old_reader)
        });
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
        let lingering = self.shared.try_with(|state, now| {
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
            let shared = Arc::downgrade(&self.shared);
            Arc::new(Lingering { shared, owner, turns, key }).wake();
        }
    }
}

/// An owner whose connection is gone and whose lease runs.
struct Lingering {
    shared: Weak<Shared>,
    owner: Owner,
    turns: Vec<RequestId>,
    key: u64,
}

impl Wake for Lingering {
    /// Waits on, or lets the owner go once its turn is over.
    fn wake(self: Arc<Self>) {
        let Some(shared) = self.shared.upgrade() else { return };
        let _old_waker = shared.try_with(|state, now| {
            tick(state, now);
            if self.turns.iter().any(|id| state.arbiter.holds(*id)) {
                return state.sleepers.leave(self.key, Waker::from(self.clone()));
            }
            // An owner that left nothing behind changes nothing.
            let _ = state.handle(now, Input::OwnerLost { owner: self.owner });
            None
        });
    }
}

/// Frames to write.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn frame(&mut self) -> Writing<'_> {
        Writing::new(&mut self.0)
    }

    /// A frame that says that all went well.
    fn ok(&mut self, id: u64) -> Writing<'_> {
        let mut frame = self.frame();
        frame.put("id", id).put("ok", true);
        frame
    }

    fn object(&mut self, object: impl fmt::Display) {
        // A vector takes everything.
        let _ = writeln!(self.0, "{object}");
    }

    fn event(&mut self, entry: &Entry) {
        let _ = writeln!(self.0, r#"{{"notice":"event","event":{entry}}}"#);
    }

    /// All was written.
    fn clear(&mut self) {
        self.0.clear();
        // After many events, an idle connection shall not keep their room.
        self.0.shrink_to(LONG);
    }

    fn refuse(&mut self, id: Option<u64>, why: Refused) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Options;
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex, split};

    const HELLO: &str = "{\"id\":1,\"op\":\"hello\",\"version\":1}\n";

    fn house() -> (PacketMutex, Arc<House>) {
        let mutex = PacketMutex::new(Roster::default());
        let mutexes = BTreeMap::from([(mutex.name().clone(), mutex.clone())]);
        (mutex, Arc::new(House { mutexes, options: Options::default() }))
    }

    /// A connection that has sent this.
    async fn client(house: &Arc<House>, sent: &str) -> DuplexStream {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(sent.as_bytes()).await.unwrap();
        let house = house.clone();
        tokio::spawn(async move {
            let (reader, writer) = split(server);
            run(reader, writer, Peer::Unix, &house).await;
        });
        client
    }

    /// However much a connection has sent already: a frame of another one is dealt with after a few of its frames.
    #[tokio::test]
    async fn frames_of_others_come_between_those_of_a_flood() {
        let (mutex, house) = house();
        let mut events = mutex.events();
        let mode = |mode| {
            format!("{{\"id\":2,\"op\":\"mode\",\"module\":\"eater\",\"mode\":\"{mode}\"}}\n")
        };
        let frames = HELLO.to_owned() + &(mode("observed") + &mode("enforced")).repeat(1000);
        let mut flooders = Vec::new();
        for _ in 0..3 {
            flooders.push(client(&house, &frames).await);
        }
        let ask = HELLO.to_owned() + "{\"id\":3,\"op\":\"acquire\",\"module\":\"fisher\"}\n";
        let mut replies = BufReader::new(client(&house, &ask).await).lines();
        while !replies.next_line().await.unwrap().unwrap().contains("\"request\"") {}
        let before =
            events.take().iter().filter(|entry| entry.to_string().contains("\"mode\"")).count();
        assert!((1..20).contains(&before), "{before} frames of the flood came before it");
    }

    /// What 5,000 idle connections cost is this so many times, beside what the operating system keeps.
    #[tokio::test]
    async fn a_connection_that_idles_is_small() {
        let (_, house) = house();
        let (_client, server) = duplex(1);
        let (reader, writer) = split(server);
        let size = size_of_val(&run(reader, writer, Peer::Unix, &house));
        assert!(size <= 1536, "{size} bytes");
    }
}
