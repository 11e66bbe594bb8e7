//! A mutex behind a socket, as asks and turns use it.
//!
//! One thread reads what the server says, keeps the lease alive, and connects anew when the connection is lost. What it
//! finds out is left in the state, where threads and tasks wait for it as they do for a mutex in the process.
//!
//! A thread that waits reads itself if nobody does, for to be woken by another one takes longer than the server's answer.
//! So the reading thread leaves the reader to those that ask often: it takes it up when nobody asked for a while, or when
//! somebody waits who does not read.

mod boot;
mod calls;
mod connecting;
mod frames;
mod place;
mod reading;

use super::stream::{Reader, Stream};
use super::url::Url;
use crate::error::Error;
use crate::place::{Granted, Identity, Terms};
use crate::wakers::Wakers;
use packet_mutex_arbiter::{Arbiter, Grant, ModuleId, Owner, RequestId, Roster, Status, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem::take;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;

/// A mutex behind a socket.
pub(crate) struct Remote {
    identity: Identity,
    url: Url,
    secret: Option<String>,
    /// The roster that this client brought (S19).
    brought: Option<Roster>,
    state: Mutex<State>,
    thread: OnceLock<Thread>,
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
    /// How long an ask waits if neither it nor its module says; the server's answer has the last word.
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
    terms: Terms,
    /// The frame that made it.
    frame: u64,
    deadline: Time,
    phase: Phase,
    /// It was granted, and told to yield before it was taken.
    should_yield: bool,
    waker: Option<Waker>,
}

impl Ask {
    fn new(module: Arc<str>, terms: Terms, frame: u64, deadline: Time) -> Self {
        let (phase, should_yield, waker) = (Phase::Unheard, false, None);
        Ask { module, terms, frame, deadline, phase, should_yield, waker }
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

/// What the reply to a call says, if it went well.
enum Answer {
    Done,
    Status(Box<Status>),
    /// As TOML.
    Roster(String),
}

struct Call {
    reply: Option<Result<Answer, Error>>,
    end: Time,
    waker: Option<Waker>,
}

impl Remote {
    /// Works on the state under its lock, and wakes whom that concerns once it is unlocked.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let to_wake = take(&mut state.to_wake);
        drop(state);
        to_wake.into_iter().for_each(Waker::wake);
        result
    }

    fn gone(&self) -> Error {
        Error::Unavailable(format!("{} cannot be reached", self.url))
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
