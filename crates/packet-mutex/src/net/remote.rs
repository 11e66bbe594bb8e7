//! A mutex behind a socket, as asks and turns use it.
//!
//! One thread reads what the server says, keeps the lease alive, and connects anew when the connection is lost. What it
//! finds out is left in the state, where threads and tasks wait for it as they do for a mutex in the process.
//!
//! A thread that waits reads itself if nobody does, for to be woken by another one takes longer than the server's answer.
//! So the reading thread leaves the reader to those that ask often: it takes it up when nobody asked for a while, or when
//! somebody waits who does not read.

use super::events::RemoteEvents;
use super::frame::{Draft, Fields, Object, below, error_of, grant_of, seconds};
use super::stream::{Reader, Stream, Welcome, greet, secret};
use super::url::{Address, Url};
use super::{boot, status};
use crate::backend::{Asking, Backend, Granted};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::log;
use crate::module::{Module, ModuleRef};
use crate::mutex::PacketMutex;
use crate::owner::new_owner;
use crate::roster_toml::{from_toml, to_toml};
use crate::shared::Wakers;
use crate::sync::Parker;
use crate::turn::Slept;
use packet_mutex_arbiter::{
    Arbiter, Below, Grant, Leave, Limits, Mode, ModuleId, Owner, RequestId, Roster, RosterSpec,
    Start, Status, Time,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long the answer to a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How much longer than its timeout an ask waits for the server to say that it timed out.
const GRACE: Duration = Duration::from_secs(2);
/// Until the first attempt to connect anew, and the longest between two.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often the reading thread looks at the clock.
const LOOK: Duration = Duration::from_secs(1);
/// How long the reading thread leaves the reader to threads that ask. Notices come so much later at most.
const NAP: Duration = Duration::from_millis(1);

/// A mutex behind a socket.
pub(crate) struct Remote {
    pub(crate) number: u64,
    pub(crate) name: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
    url: Url,
    secret: Option<String>,
    /// The roster that this client brought (S19).
    brought: Option<Roster>,
    state: Mutex<State>,
    thread: OnceLock<Thread>,
    /// Turns of this client come with a channel of its own; the server knows nothing of it.
    hands_out_channel: AtomicBool,
}

struct State {
    /// `None` while the server cannot be reached.
    stream: Option<Stream>,
    reader: Slot,
    /// How many connections there were.
    connection: u64,
    /// How often threads began or ceased to wait for the server.
    waits: u64,
    lease: Option<Lease>,
    next: u64,
    asks: BTreeMap<RequestId, Ask>,
    holds: BTreeMap<RequestId, Hold>,
    /// What the frames are about whose replies are still to come.
    frames: BTreeMap<u64, About>,
    /// Replies that a thread waits for.
    calls: BTreeMap<u64, Call>,
    sleepers: Wakers,
    /// Gives names their numbers, and folds and checks them as every mutex does; it decides nothing.
    names: Arbiter,
    /// Names of which the server has said that they are modules.
    verified: BTreeSet<ModuleId>,
    roster: Roster,
    /// How long an ask waits of which nobody says so.
    timeout: Duration,
    to_wake: Vec<Waker>,
}

/// S8: how long turns last without a heartbeat. Times are since the machine's start.
#[derive(Debug)]
struct Lease {
    length: Duration,
    /// When the last heartbeat was sent that has been answered.
    heard: Duration,
    /// The heartbeat that is under way: its frame, and when it was sent.
    sent: Option<(u64, Duration)>,
}

impl Lease {
    /// From here on this client's turns are over.
    fn over(&self) -> Duration {
        self.heard + self.length.mul_f64(0.95)
    }
}

/// Where the connection's reader is.
enum Slot {
    /// Nobody reads.
    Here(Reader),
    /// Somebody does; whether the reading thread is to be woken when it is back.
    Away { thread_waits: bool },
    /// There is no connection, or it is over and the reading thread has to see to that.
    Gone,
}

#[derive(Clone, Copy)]
enum About {
    /// The frame made this request.
    Ask(RequestId),
    /// It claims this grant.
    Claim(RequestId),
}

struct Ask {
    module: Arc<str>,
    asking: Asking,
    /// The frame that made it.
    frame: u64,
    deadline: Time,
    phase: Phase,
    /// It was granted, and told to yield before it was taken.
    should_yield: bool,
    waker: Option<Waker>,
}

impl Ask {
    fn new(module: Arc<str>, asking: Asking, frame: u64, deadline: Time) -> Self {
        let (phase, should_yield, waker) = (Phase::Unheard, false, None);
        Ask { module, asking, frame, deadline, phase, should_yield, waker }
    }
}

enum Phase {
    /// The server has not answered; it may not even have been told.
    Unheard,
    /// The server said that it waits.
    Waiting,
    /// It was granted under the server's number, and must perhaps be claimed.
    Granted(Grant, u64),
    Claiming(Grant, u64),
    /// It may be taken.
    Done(Granted, u64),
    /// It was no request at all: the turn that was to be given away goes on.
    Refused(Error),
}

struct Hold {
    /// The server's number.
    request: u64,
    module: ModuleId,
    owner: Option<Owner>,
    claims: bool,
    is_pass: bool,
    should_yield: bool,
    lost: bool,
}

struct Call {
    reply: Option<Result<Object, Error>>,
    end: Time,
    waker: Option<Waker>,
}

// Connecting.

impl Remote {
    /// Connects to the mutex and keeps the connection.
    pub(crate) fn connect(url: Url, brought: Option<Roster>) -> Result<Arc<Remote>, Error> {
        let secret = secret();
        let heard = boot::now();
        let welcome = greet(&url, secret.as_deref(), brought.as_ref())?;
        let state = State {
            stream: None,
            reader: Slot::Gone,
            connection: 0,
            waits: 0,
            lease: None,
            next: 1,
            asks: BTreeMap::new(),
            holds: BTreeMap::new(),
            frames: BTreeMap::new(),
            calls: BTreeMap::new(),
            sleepers: Wakers::default(),
            names: Arbiter::new(any_names(), Start::default()),
            verified: BTreeSet::new(),
            roster: brought.clone().unwrap_or_default(),
            timeout: Duration::ZERO,
            to_wake: Vec::new(),
        };
        let remote = Arc::new(Remote {
            number: new_owner().0,
            name: url.mutex.as_str().into(),
            clock: Arc::new(SystemClock),
            url,
            secret,
            brought,
            state: Mutex::new(state),
            thread: OnceLock::new(),
            hands_out_channel: AtomicBool::new(false),
        });
        remote.connected(welcome, heard)?;
        let weak = Arc::downgrade(&remote);
        let thread = std::thread::Builder::new().name("packet-mutex-client".into());
        let thread = thread.spawn(move || keep_connected(&weak));
        let thread = thread.map_err(|error| Error::Unavailable(error.to_string()))?;
        let _ = remote.thread.set(thread.thread().clone());
        // Known from here on, even while the server is away.
        let _ = remote.roster();
        Ok(remote)
    }

    /// Takes up a new connection: asks for all that waits once more (S4: with the time that is left to it).
    fn connected(&self, welcome: Welcome, heard: Duration) -> Result<(), Error> {
        let Welcome { mut reader, reply } = welcome;
        let bad = |why: String| Error::Unavailable(format!("{}: {why}", self.url));
        let length = reply.seconds("lease").map_err(bad)?;
        let timeout = reply.seconds("timeout").map_err(bad)?;
        let stream = reader.stream.again().map_err(|error| bad(error.to_string()))?;
        let now = self.clock.now();
        self.with(|state| {
            state.stream = Some(stream);
            state.connection += 1;
            reader.connection = state.connection;
            state.reader = Slot::Here(reader);
            state.lease = length.map(|length| Lease { length, heard, sent: None });
            state.timeout = timeout.unwrap_or(Duration::from_secs(30));
            let ids: Vec<RequestId> = state.asks.keys().copied().collect();
            for id in ids {
                let Some(ask) = state.asks.get(&id) else { continue };
                if !matches!(ask.phase, Phase::Unheard) {
                    continue;
                }
                if ask.frame != 0 {
                    log::write_requeued(&self.name, &ask.module);
                }
                state.send_ask(id, now);
            }
        });
        Ok(())
    }

    /// The connection is lost, and with it every turn that was had through it; what waits is asked for again.
    fn disconnected(&self) {
        let now = self.clock.now();
        self.with(|state| {
            if let Some(stream) = state.stream.take() {
                stream.close();
            }
            state.reader = Slot::Gone;
            state.lease = None;
            state.frames.clear();
            state.holds.values_mut().for_each(|hold| hold.lost = true);
            state.wake_sleepers();
            let gone = self.gone();
            for call in state.calls.values_mut().filter(|call| call.reply.is_none()) {
                call.reply = Some(Err(gone.clone()));
                state.to_wake.extend(call.waker.take());
            }
            for ask in state.asks.values_mut() {
                let again = match ask.phase {
                    Phase::Done(Err(_), _) | Phase::Refused(_) => continue,
                    // The turn to nest in is lost.
                    _ if ask.asking.within.is_some() => Phase::Done(Err(Error::Lost), 0),
                    _ if ask.deadline <= now => Phase::Done(Err(gone.clone()), 0),
                    _ => Phase::Unheard,
                };
                ask.phase = again;
                state.to_wake.extend(ask.waker.take());
            }
        });
    }

    fn gone(&self) -> Error {
        Error::Unavailable(format!("{} cannot be reached", self.url))
    }

    /// Looks at the clock: sends the heartbeat that is due, and ends what is overdue. How long until the next look;
    /// `None`: the lease is over, and with it the connection.
    fn look(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.with(|state| {
            let gone = self.gone();
            for ask in state.asks.values_mut() {
                // Away from the server nobody else tells it that its time is up.
                let grace = if state.stream.is_some() { GRACE } else { Duration::ZERO };
                let open = !matches!(ask.phase, Phase::Done(..) | Phase::Refused(_));
                if open && ask.deadline + grace <= now {
                    ask.phase = Phase::Done(Err(gone.clone()), 0);
                    state.to_wake.extend(ask.waker.take());
                }
            }
            for call in state.calls.values_mut() {
                if call.reply.is_none() && call.end <= now {
                    call.reply = Some(Err(gone.clone()));
                    state.to_wake.extend(call.waker.take());
                }
            }
            let Some(lease) = &state.lease else { return Some(LOOK) };
            let at = boot::now();
            let (over, due) = (lease.over(), lease.heard + lease.length / 4);
            if over <= at {
                return None;
            }
            if due <= at && lease.sent.is_none() {
                let frame = state.send("heartbeat", Draft::new());
                if let Some(lease) = &mut state.lease {
                    lease.sent = Some((frame, at));
                }
            }
            let next = if due > at { due } else { over };
            Some(LOOK.min(next - at))
        })
    }
}

/// Reads from the connection and connects anew, until the mutex has no more handles.
fn keep_connected(remote: &Weak<Remote>) {
    let mut pause = BACK_OFF.0;
    loop {
        read_from(remote);
        let Some(strong) = remote.upgrade() else { return };
        strong.disconnected();
        loop {
            let Some(strong) = remote.upgrade() else { return };
            let heard = boot::now();
            let welcome = greet(&strong.url, strong.secret.as_deref(), strong.brought.as_ref());
            if welcome.and_then(|welcome| strong.connected(welcome, heard)).is_ok() {
                pause = BACK_OFF.0;
                break;
            }
            let _ = strong.look();
            drop(strong);
            // Woken early when the mutex is dropped or somebody asks.
            std::thread::park_timeout(pause);
            pause = BACK_OFF.1.min(pause * 2);
        }
    }
}

/// What the reading thread does next.
enum Next {
    Read(Reader),
    Park(Duration),
}

/// Reads while nobody else does, until the connection is over.
fn read_from(remote: &Weak<Remote>) {
    let (mut next_look, mut pause) = (Instant::now(), LOOK);
    let mut waits = 0;
    loop {
        let now = Instant::now();
        let Some(strong) = remote.upgrade() else { return };
        if next_look <= now {
            let Some(longest) = strong.look() else { return };
            (next_look, pause) = (now + longest, longest);
        }
        let next = strong.with(|state| state.next(&mut waits, next_look - now));
        // Not kept while it waits: the mutex's last handle may be dropped meanwhile.
        drop(strong);
        match next {
            None => return,
            Some(Next::Park(time)) => std::thread::park_timeout(time),
            Some(Next::Read(mut reader)) => {
                let read = reader.read_within(pause).and_then(|()| reader.next());
                let Some(remote) = remote.upgrade() else { return };
                match read {
                    Ok(Some(frame)) => remote.take(frame),
                    Ok(None) => {}
                    Err(_) => return,
                }
                let _ = remote.with(|state| state.give_back(reader));
            }
        }
    }
}

impl State {
    /// What the reading thread does; `waits` is what it last was when this was asked. `None`: the connection is over.
    fn next(&mut self, waits: &mut u64, longest: Duration) -> Option<Next> {
        let is_busy = std::mem::replace(waits, self.waits) != self.waits;
        let somebody_waits = self.somebody_waits();
        match &mut self.reader {
            Slot::Gone => None,
            Slot::Here(_) if somebody_waits || !is_busy => self.take_reader().map(Next::Read),
            // Threads come and go, and read themselves. To be woken by each that goes would cost more than a nap.
            Slot::Here(_) => Some(Next::Park(longest.min(NAP))),
            Slot::Away { .. } if is_busy => Some(Next::Park(longest.min(NAP))),
            Slot::Away { thread_waits } => {
                *thread_waits = true;
                Some(Next::Park(longest))
            }
        }
    }

    fn take_reader(&mut self) -> Option<Reader> {
        if !matches!(self.reader, Slot::Here(_)) {
            return None;
        }
        match std::mem::replace(&mut self.reader, Slot::Away { thread_waits: false }) {
            Slot::Here(reader) => Some(reader),
            Slot::Away { .. } | Slot::Gone => None,
        }
    }

    /// Whether the reading thread is to be woken.
    fn give_back(&mut self, reader: Reader) -> bool {
        // It may be that of a connection that was lost meanwhile.
        if reader.connection != self.connection {
            return false;
        }
        let Slot::Away { thread_waits } = self.reader else { return false };
        self.reader = Slot::Here(reader);
        thread_waits || self.somebody_waits()
    }

    /// Has anybody left a waker who waits for the server to say something?
    fn somebody_waits(&self) -> bool {
        let asks = self.asks.values().any(|ask| ask.waker.is_some());
        asks || self.calls.values().any(|call| call.waker.is_some())
    }
}

impl Remote {
    /// Waits as a thread, until `look`, which gets a waker to leave, finds what it waits for.
    fn wait<R>(&self, mut look: impl FnMut(&mut State, &Waker) -> Option<R>) -> R {
        let parker = Parker::new();
        let waker = parker.waker();
        let mut reader: Option<Reader> = None;
        loop {
            let mut wake_thread = false;
            let found = self.with(|state| {
                let found = look(state, &waker);
                if found.is_some() {
                    state.waits += 1;
                    wake_thread = reader.take().is_some_and(|reader| state.give_back(reader));
                } else if reader.is_none() {
                    state.waits += 1;
                    reader = state.take_reader();
                }
                found
            });
            if wake_thread {
                self.wake_thread();
            }
            if let Some(found) = found {
                return found;
            }
            let Some(reading) = &mut reader else {
                parker.park();
                continue;
            };
            // It looks now and then, as the reading thread may have found that its time is up.
            match reading.read_within(LOOK).and_then(|()| reading.next()) {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => {}
                Err(_) => {
                    self.with(|state| {
                        if reader.take().is_some_and(|reader| reader.connection == state.connection)
                        {
                            state.reader = Slot::Gone;
                        }
                    });
                    self.wake_thread();
                }
            }
        }
    }

    fn wake_thread(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

// What the server says.

impl Remote {
    fn take(&self, frame: Object) {
        let now = self.clock.now();
        self.with(|state| match (frame.text("notice"), frame.number("id")) {
            (Ok(Some(notice)), _) => state.notice(notice, &frame),
            (_, Ok(Some(id))) => state.reply(id, frame, now),
            _ => {}
        });
    }

    /// Works on the state under its lock, and wakes whom that concerns once it is unlocked.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let to_wake = take(&mut state.to_wake);
        drop(state);
        to_wake.into_iter().for_each(Waker::wake);
        result
    }
}

impl State {
    fn notice(&mut self, notice: &str, frame: &Object) {
        let Ok(Some(request)) = frame.number("request") else { return };
        for hold in self.holds.values_mut().filter(|hold| hold.request == request) {
            match notice {
                "lost" => hold.lost = true,
                "should_yield" => hold.should_yield = frame.flag("should_yield").unwrap_or(true),
                _ => {}
            }
        }
        // A grant that its asker has not taken yet.
        let granted = |ask: &&mut Ask| match ask.phase {
            Phase::Granted(_, number) | Phase::Claiming(_, number) => number == request,
            Phase::Done(_, number) => number == request,
            _ => false,
        };
        for ask in self.asks.values_mut().filter(granted) {
            match notice {
                "lost" => {
                    ask.phase = Phase::Done(Err(Error::Lost), 0);
                    self.to_wake.extend(ask.waker.take());
                }
                "should_yield" => ask.should_yield = frame.flag("should_yield").unwrap_or(true),
                _ => {}
            }
        }
        self.wake_sleepers();
    }

    fn reply(&mut self, frame_id: u64, frame: Object, now: Time) {
        let is_error = frame.contains_key("error");
        if let Some(lease) = &mut self.lease
            && let Some((_, sent)) = lease.sent.take_if(|(id, _)| *id == frame_id)
            && !is_error
        {
            lease.heard = sent;
        }
        if let Some(call) = self.calls.get_mut(&frame_id) {
            call.reply = Some(if is_error { Err(error_of(&frame)) } else { Ok(frame) });
            self.to_wake.extend(call.waker.take());
            return;
        }
        let waits = frame.flag("waiting").unwrap_or(false);
        let about =
            if waits { self.frames.get(&frame_id).copied() } else { self.frames.remove(&frame_id) };
        let Some(About::Ask(id) | About::Claim(id)) = about else { return };
        let Some(ask) = self.asks.get_mut(&id) else { return };
        ask.phase = match about {
            Some(About::Claim(_)) => match ask.phase {
                Phase::Claiming(grant, number) if !is_error => Phase::Done(Ok(grant), number),
                _ => Phase::Done(Err(Error::Lost), 0),
            },
            _ if waits => {
                if let Ok(Some(left)) = frame.seconds("timeout") {
                    ask.deadline = now + left;
                }
                Phase::Waiting
            }
            _ if frame.flag("still_held").unwrap_or(false) => Phase::Refused(error_of(&frame)),
            _ if is_error => Phase::Done(Err(error_of(&frame)), 0),
            _ => granted(&mut self.names, &frame),
        };
        self.to_wake.extend(ask.waker.take());
    }

    fn wake_sleepers(&mut self) {
        self.sleepers.move_to(&mut self.to_wake);
    }

    /// Sends a frame; its number. If that fails the connection is lost, which its reader finds out.
    fn send(&mut self, op: &str, mut frame: Draft) -> u64 {
        let id = self.next;
        self.next += 1;
        frame.put("id", id);
        frame.put("op", op);
        if let Some(stream) = &self.stream
            && stream.write_line(&frame.end()).is_err()
        {
            stream.close();
        }
        id
    }

    fn send_ask(&mut self, id: RequestId, now: Time) {
        let Some(ask) = self.asks.get(&id) else { return };
        let Asking { owner, timeout, urgent, within, claim } = ask.asking;
        let within = within.and_then(|hold| self.holds.get(&hold)).map(|hold| hold.request);
        let mut frame = Draft::new();
        frame.put("module", &*ask.module);
        // What is left of it; if the roster says how long, the server knows better until the first answer.
        let left = ask.deadline.since(now);
        if timeout.is_some() || ask.frame != 0 {
            frame.put("timeout", left.as_secs_f64());
        }
        put_owner(&mut frame, owner);
        if urgent {
            frame.put("urgent", true);
        }
        if claim {
            frame.put("claim", true);
        }
        if let Some(within) = within {
            frame.put("within", within);
        }
        if ask.frame != 0 {
            frame.put("requeued", true);
        }
        let frame = self.send("acquire", frame);
        self.frames.insert(frame, About::Ask(id));
        if let Some(ask) = self.asks.get_mut(&id) {
            ask.frame = frame;
        }
    }

    /// The answer of a request, if it is there; else leaves the waker. The one that was there before comes back.
    fn poll(&mut self, id: RequestId, waker: Waker) -> Result<Granted, Option<Waker>> {
        let Some(ask) = self.asks.get_mut(&id) else { return Ok(Err(Error::Lost)) };
        if let Phase::Granted(grant, number) = ask.phase {
            if ask.asking.claim {
                ask.phase = Phase::Claiming(grant, number);
                let mut frame = Draft::new();
                frame.put("request", number);
                let frame = self.send("claim", frame);
                self.frames.insert(frame, About::Claim(id));
            } else {
                ask.phase = Phase::Done(Ok(grant), number);
            }
        }
        let Some(ask) = self.asks.get_mut(&id) else { return Ok(Err(Error::Lost)) };
        if !matches!(ask.phase, Phase::Done(..) | Phase::Refused(_)) {
            return Err(ask.waker.replace(waker));
        }
        let Some(ask) = self.asks.remove(&id) else { return Ok(Err(Error::Lost)) };
        let Phase::Done(granted, request) = ask.phase else { return Ok(Err(Error::Lost)) };
        if let Ok(grant) = &granted {
            let Asking { owner, claim, .. } = ask.asking;
            let hold = Hold {
                request,
                module: grant.module,
                owner,
                claims: claim,
                is_pass: grant.token.is_none(),
                should_yield: ask.should_yield,
                // The connection may have been lost since.
                lost: self.stream.is_none(),
            };
            if !self.is_open(&hold) {
                return Ok(Err(Error::Lost));
            }
            self.holds.insert(id, hold);
        }
        Ok(granted)
    }

    fn is_lease_over(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.over() <= boot::now())
    }

    /// Is the hold open, as far as this client knows?
    fn is_open(&self, hold: &Hold) -> bool {
        !hold.lost && (hold.is_pass || !self.is_lease_over())
    }
}

fn granted(names: &mut Arbiter, frame: &Object) -> Phase {
    let unread = |why: String| Phase::Done(Err(Error::Unavailable(why)), 0);
    let number = match frame.needed_number("request") {
        Ok(number) => number,
        Err(why) => return unread(why),
    };
    let module = frame.needed_text("module").map(|name| names.resolve(name));
    let Ok(Ok(module)) = module else { return unread("a grant without a module".into()) };
    match grant_of(frame, module.module) {
        Ok(grant) => Phase::Granted(grant, number),
        Err(why) => unread(why),
    }
}

fn put_owner(frame: &mut Draft, owner: Option<Owner>) {
    if let Some(owner) = owner {
        frame.put("owner", owner.0);
    }
}

/// A roster under which every name is a module's.
fn any_names() -> Roster {
    let limits = Limits { modules: usize::from(u16::MAX), ..Limits::default() };
    Roster::new(RosterSpec { limits, ..RosterSpec::default() }).unwrap_or_default()
}

// What asks and turns need: see `Backend`.

impl Remote {
    pub(crate) fn hand_out_channel(&self) {
        self.hands_out_channel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn hands_out_channel(&self) -> bool {
        self.hands_out_channel.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(
        &self,
        module: &ModuleRef<'_>,
        asking: Asking,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        let now = self.clock.now();
        let connected = self.with(|state| {
            let found = state.names.resolve(module.name())?;
            let module = state.names.module_name(found.module).clone();
            if let Some(hold) = asking.within
                && !state.holds.get(&hold).is_some_and(|hold| state.is_open(hold))
            {
                return Err(Error::Lost);
            }
            let id = RequestId(state.next);
            state.next += 1;
            if state.stream.is_none() && asking.timeout == Some(Duration::ZERO) {
                return Ok((id, Some(Err(self.gone())), true));
            }
            let deadline = now + asking.timeout.unwrap_or(state.timeout);
            state.asks.insert(id, Ask::new(module, asking, 0, deadline));
            if state.stream.is_some() {
                state.send_ask(id, now);
            }
            Ok((id, None, state.stream.is_some()))
        });
        let (id, answer, connected) = connected?;
        if !connected {
            self.wake_thread();
        }
        Ok((id, answer))
    }

    pub(crate) fn poll(&self, id: RequestId, waker: &Waker) -> Option<Granted> {
        let waker = waker.clone();
        let (polled, is_unread) = self.with(|state| {
            let polled = state.poll(id, waker);
            (polled, matches!(state.reader, Slot::Here(_)))
        });
        if polled.is_err() && is_unread {
            self.wake_thread();
        }
        polled.ok()
    }

    pub(crate) fn wait_for(&self, id: RequestId) -> Granted {
        self.wait(|state, waker| state.poll(id, waker.clone()).ok())
    }

    pub(crate) fn forget(&self, id: RequestId) {
        self.with(|state| {
            let Some(ask) = state.asks.remove(&id) else { return };
            let is_over = matches!(ask.phase, Phase::Done(Err(_), _) | Phase::Refused(_));
            if ask.frame != 0 && !is_over && state.stream.is_some() {
                let mut frame = Draft::new();
                frame.put("ask", ask.frame);
                state.send("withdraw", frame);
            }
            state.to_wake.extend(ask.waker);
        });
    }

    pub(crate) fn end(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        how: Leave,
    ) -> Result<(), Error> {
        let request = self.open_request(hold)?;
        self.call("release", release(request, owner, how))?;
        self.with(|state| state.holds.remove(&hold));
        Ok(())
    }

    pub(crate) fn leave(&self, hold: RequestId, _owner: Option<Owner>, how: Leave) {
        self.with(|state| {
            if let Some(hold) = state.holds.remove(&hold)
                && !hold.lost
            {
                state.send("release", release(hold.request, None, how));
            }
        });
    }

    pub(crate) fn end_module(&self, module: &ModuleRef<'_>, owner: Owner) -> Result<(), Error> {
        let mut frame = Draft::new();
        let found = self.with(|state| {
            let found = state.names.resolve(module.name())?;
            let name = state.names.module_name(found.module).clone();
            frame.put("module", &*name);
            Ok::<_, Error>(found.module)
        })?;
        put_owner(&mut frame, Some(owner));
        let ended = self.call("release_module", frame);
        self.with(|state| {
            let own =
                |(_, hold): &(&RequestId, &Hold)| hold.module == found && hold.owner == Some(owner);
            let newest = state.holds.iter().rev().find(own).map(|(id, _)| *id);
            newest.and_then(|id| state.holds.remove(&id));
        });
        ended.map(drop)
    }

    pub(crate) fn owner_lost(&self, owner: Owner) {
        self.with(|state| {
            let is_own = |asking: &Asking| asking.owner == Some(owner);
            state.holds.retain(|_, hold| hold.owner != Some(owner));
            for ask in state.asks.values_mut().filter(|ask| is_own(&ask.asking)) {
                ask.phase = Phase::Done(Err(Error::Lost), 0);
                state.to_wake.extend(ask.waker.take());
            }
            let mut frame = Draft::new();
            put_owner(&mut frame, Some(owner));
            // Even one that has nothing left has a number there, of which there are not many.
            if state.stream.is_some() {
                state.send("owner_lost", frame);
            }
        });
    }

    /// Waits until the server has said whether the turn was given away at all.
    pub(crate) fn give_away(
        &self,
        hold: RequestId,
        owner: Option<Owner>,
        timeout: Option<Duration>,
    ) -> Result<(RequestId, Option<Granted>), Error> {
        let now = self.clock.now();
        let request = self.open_request(hold)?;
        let id = self.with(|state| {
            let held = state.holds.get(&hold).ok_or(Error::Lost)?;
            let asking = Asking {
                owner: held.owner,
                timeout,
                urgent: false,
                within: None,
                claim: held.claims,
            };
            let module = state.names.module_name(held.module).clone();
            let mut frame = Draft::new();
            frame.put("request", request);
            put_owner(&mut frame, owner);
            if let Some(timeout) = timeout {
                frame.put("timeout", timeout.as_secs_f64());
            }
            let frame = state.send("yield", frame);
            let id = RequestId(state.next);
            state.next += 1;
            state.frames.insert(frame, About::Ask(id));
            let deadline = now + timeout.unwrap_or(state.timeout);
            state.asks.insert(id, Ask::new(module, asking, frame, deadline));
            Ok::<_, Error>(id)
        })?;
        self.wait(|state, waker| {
            let Some(ask) = state.asks.get_mut(&id) else { return Some(Err(Error::Lost)) };
            match &ask.phase {
                Phase::Unheard if state.stream.is_some() => {
                    ask.waker = Some(waker.clone());
                    None
                }
                Phase::Refused(why) => {
                    let why = why.clone();
                    state.asks.remove(&id);
                    Some(Err(why))
                }
                _ => {
                    state.holds.remove(&hold);
                    Some(Ok((id, None)))
                }
            }
        })
    }

    pub(crate) fn holds(&self, hold: RequestId) -> bool {
        self.with(|state| {
            let hold = state.holds.get(&hold).filter(|hold| !hold.is_pass);
            hold.is_some_and(|hold| state.is_open(hold))
        })
    }

    /// A turn that is lost is to be given up too.
    pub(crate) fn should_yield(&self, hold: RequestId) -> bool {
        self.with(|state| {
            let hold = state.holds.get(&hold);
            hold.is_some_and(|hold| hold.should_yield || !state.is_open(hold))
        })
    }

    pub(crate) fn acknowledge(&self, hold: RequestId) -> Result<(), Error> {
        let request = self.open_request(hold)?;
        let mut frame = Draft::new();
        frame.put("request", request);
        self.call("acknowledge", frame).map(drop)
    }

    pub(crate) fn module_name(&self, module: ModuleId) -> Arc<str> {
        self.with(|state| state.names.module_name(module).clone())
    }

    pub(crate) fn module(&self, name: &str) -> Result<Module, Error> {
        let (id, is_verified) = self.with(|state| {
            let found = state.names.resolve(name)?;
            Ok::<_, Error>((found.module, state.verified.contains(&found.module)))
        })?;
        let name = self.module_name(id);
        if !is_verified {
            let mut frame = Draft::new();
            frame.put("module", &*name);
            self.call("module", frame)?;
            self.with(|state| state.verified.insert(id));
        }
        Ok(Module { mutex: self.number, id, name })
    }

    pub(crate) fn new_sleep(&self) -> u64 {
        self.with(|state| state.sleepers.new_key())
    }

    pub(crate) fn sleep(&self, hold: RequestId, is_pass: bool, end: Time) -> Slept {
        let parker = Parker::new();
        let key = self.new_sleep();
        let alarm = self.clock.wake_at(end, parker.waker());
        let slept = loop {
            if let Some(slept) = self.poll_sleep((hold, is_pass), end, key, &parker.waker()) {
                break slept;
            }
            parker.park();
        };
        self.clock.cancel(alarm);
        self.forget_sleep(key);
        slept
    }

    pub(crate) fn poll_sleep(
        &self,
        (hold, _is_pass): (RequestId, bool),
        end: Time,
        key: u64,
        waker: &Waker,
    ) -> Option<Slept> {
        let waker = waker.clone();
        let now = self.clock.now();
        let (slept, _old_waker) = self.with(|state| {
            let held = state.holds.get(&hold);
            if held.is_none_or(|hold| hold.should_yield || !state.is_open(hold)) {
                (Some(Slept::ShouldYield), None)
            } else if end <= now {
                (Some(Slept::Whole), None)
            } else {
                (None, state.sleepers.leave(key, waker))
            }
        });
        slept
    }

    pub(crate) fn forget_sleep(&self, key: u64) {
        let _waker = self.with(|state| state.sleepers.remove(key));
    }

    /// The server's number of a hold that is open.
    fn open_request(&self, hold: RequestId) -> Result<u64, Error> {
        self.with(|state| {
            let held = state.holds.get(&hold).ok_or(Error::NotHolder { holder: None })?;
            if state.is_open(held) { Ok(held.request) } else { Err(Error::Lost) }
        })
    }
}

fn release(request: u64, owner: Option<Owner>, how: Leave) -> Draft {
    let mut frame = Draft::new();
    frame.put("request", request);
    put_owner(&mut frame, owner);
    let how = match how {
        Leave::Released => return frame,
        Leave::Panicked => "panicked",
        Leave::Declined => "declined",
    };
    frame.put("how", how);
    frame
}

// Looking and steering.

impl Remote {
    /// Asks the server for something and waits for its reply, as a thread.
    fn call(&self, op: &str, frame: Draft) -> Result<Object, Error> {
        let end = self.clock.now() + CALL_WITHIN;
        let id = self.with(|state| {
            if state.stream.is_none() {
                return Err(self.gone());
            }
            let id = state.send(op, frame);
            state.calls.insert(id, Call { reply: None, end, waker: None });
            Ok(id)
        })?;
        self.wait(|state, waker| {
            let Some(call) = state.calls.get_mut(&id) else { return Some(Err(self.gone())) };
            if call.reply.is_none() {
                call.waker = Some(waker.clone());
                return None;
            }
            state.calls.remove(&id).and_then(|call| call.reply)
        })
    }

    fn steer(&self, op: &str, frame: Value) -> Result<(), Error> {
        let mut draft = Draft::new();
        for (key, value) in frame.as_object().into_iter().flatten() {
            draft.put(key, value);
        }
        self.call(op, draft).map(drop)
    }

    /// `cancel`, `disable` or `enable`.
    pub(crate) fn about(&self, op: &str, module: &str) -> Result<(), Error> {
        self.steer(op, json!({"module": module}))
    }

    pub(crate) fn set_mode(&self, module: &str, mode: Mode) -> Result<(), Error> {
        self.steer("mode", json!({"module": module, "mode": mode.name()}))
    }

    pub(crate) fn pause(
        &self,
        reason: &str,
        level: Below,
        lasts: Option<Duration>,
    ) -> Result<(), Error> {
        let lasts = lasts.map(seconds);
        self.steer("pause", json!({"reason": reason, "below": below(level), "lasts": lasts}))
    }

    pub(crate) fn resume(&self, reason: Option<&str>) -> Result<(), Error> {
        self.steer("resume", json!({"reason": reason}))
    }

    pub(crate) fn close(&self) {
        // A mutex that cannot be reached takes no requests either.
        let _ = self.call("close", Draft::new());
    }

    pub(crate) fn reload(&self, roster: &Roster) -> Result<(), Error> {
        self.steer("reload", json!({"roster": to_toml(roster)}))
    }

    pub(crate) fn reset(&self, owner: Option<Owner>) {
        if owner.is_some() {
            self.with(|state| state.holds.retain(|_, hold| hold.owner != owner));
        }
        // Without an owner the server takes one that nobody else is, who has nothing.
        let _ = self.steer("reset", json!({"owner": owner.map(|owner| owner.0)}));
    }

    pub(crate) fn status(&self) -> Result<Status, Error> {
        let reply = self.call("status", Draft::new())?;
        let status = reply.get("status").and_then(Value::as_object);
        let status = status.ok_or_else(|| Error::Unavailable("a reply without status".into()))?;
        Ok(status::status_of(status, self.clock.now()))
    }

    /// What there is to say about a mutex that cannot be reached.
    pub(crate) fn no_status(&self) -> Status {
        status::empty(self.clock.now())
    }

    /// The roster in force; while the server is away, the last that was known.
    pub(crate) fn roster(&self) -> Roster {
        let reply = self.call("roster", Draft::new()).ok();
        let text = reply.as_ref().and_then(|reply| reply.text("roster").ok().flatten());
        let found = text.and_then(|text| from_toml("roster", text).ok());
        self.with(|state| {
            if let Some(roster) = found {
                state.roster = roster;
            }
            state.roster.clone()
        })
    }

    /// Who holds the mutex; its owner if it is of this process.
    pub(crate) fn holder(&self) -> Option<(Option<Owner>, Arc<str>)> {
        let own = self.with(|state| {
            let mut holds = state.holds.values();
            let hold = holds.find(|hold| !hold.is_pass && state.is_open(hold))?;
            Some((hold.owner, state.names.module_name(hold.module).clone()))
        });
        own.or_else(|| Some((None, self.status().ok()?.holder?.module)))
    }

    pub(crate) fn events(&self, so_far: bool) -> RemoteEvents {
        RemoteEvents::new(self.url.clone(), self.secret.clone(), so_far)
    }

    /// Lets child processes inherit the connection, so that it stays open while one of them lives.
    #[cfg(unix)]
    pub(super) fn let_inherit(&self) -> Result<(), Error> {
        self.with(|state| match &state.stream {
            Some(Stream::Unix(stream)) => {
                let none = rustix::io::FdFlags::empty();
                let done = rustix::io::fcntl_setfd(stream, none);
                done.map_err(|error| Error::Unavailable(error.to_string()))
            }
            Some(Stream::Tcp(_)) => Err(Error::Unsupported("only Unix sockets are inherited")),
            None => Err(self.gone()),
        })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = state.stream.take() {
            stream.close();
        }
        self.wake_thread();
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketMutex").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Connects to the mutex at a URL.
pub(crate) fn connect(url: &str, roster: Option<Roster>) -> Result<PacketMutex, Error> {
    let told = |why| Error::Unavailable(format!("{url}: {why}"));
    let url: Url = url.parse().map_err(told)?;
    if url.address == Address::Local {
        return match roster {
            None => PacketMutex::named(&url.mutex),
            Some(roster) => PacketMutex::builder(roster).name(&url.mutex).build_named(),
        };
    }
    let remote = Remote::connect(url, roster)?;
    Ok(PacketMutex { backend: Backend::Remote(remote) })
}
