//! A mutex behind a socket, as asks and turns use it.
//!
//! The reading thread reads what the server says, keeps the lease alive, and connects again when the connection is lost. It
//! notes what it reads in the state, where threads and tasks wait for it as they do for a mutex in this process.
//!
//! A thread that waits reads for itself if nobody else does, because being woken by another thread takes longer than the
//! server's answer. The reading thread therefore leaves the reader to threads that ask often. It takes the reader when nobody
//! has asked for a while, or when a task waits, which cannot read.

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
    /// How many connections there have been. It tells a reader of an earlier connection from one of this.
    connection: u64,
    /// How often threads began or ceased to wait for the server. While it grows, they read for themselves.
    waits: u64,
    lease: Option<Lease>,
    /// For frames and for requests.
    next_number: u64,
    asks: BTreeMap<RequestId, Ask>,
    holds: BTreeMap<RequestId, Hold>,
    /// Frames that the server has not answered yet, and what each was sent for.
    unanswered: BTreeMap<u64, Purpose>,
    /// Requests for whose reply a thread waits.
    calls: BTreeMap<u64, Call>,
    sleepers: Wakers,
    /// Numbers, folds and checks names as every mutex does. It decides nothing.
    names: Arbiter,
    /// The modules that the server has confirmed.
    verified: BTreeSet<ModuleId>,
    roster: Roster,
    /// How long an ask waits if neither it nor its module says so. It counts until the server's answer tells the deadline.
    timeout: Duration,
    to_wake: Vec<Waker>,
}

/// How long turns last without a heartbeat (S8). Times are those since the machine was started.
#[derive(Debug)]
struct Lease {
    length: Duration,
    /// When the last heartbeat that has been answered was sent. The server renewed the lease later, so nothing is overrated.
    heard: Duration,
    /// The heartbeat that is not answered yet: the number of its frame, and when it was sent.
    sent: Option<(u64, Duration)>,
}

impl Lease {
    /// Returns when the turns of this client are over.
    fn over(&self) -> Duration {
        // Before the server's end of the lease, so that the holder has stopped when the next one begins, even if its clock is
        // a little slower than the server's.
        self.heard + self.length.mul_f64(0.95)
    }
}

/// Where the reader of the connection is.
enum Slot {
    /// Here: nobody is reading.
    Here(Reader),
    /// With a thread that is reading. `thread_waits` tells whether the reading thread must be woken when it is back.
    Away { thread_waits: bool },
    /// There is no connection, or it is over and the reading thread has yet to deal with that.
    Gone,
}

#[derive(Clone, Copy)]
enum Purpose {
    /// It made this request.
    Ask(RequestId),
    /// It claims this grant.
    Claim(RequestId),
}

struct Ask {
    module: Arc<str>,
    terms: Terms,
    /// The number of the frame that made it, or 0 if it was never sent.
    frame: u64,
    deadline: Time,
    phase: Phase,
    /// It was granted, and should be given away before its asker has even taken it.
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
    /// The server has not answered. It may not even have read the ask.
    Unheard,
    /// The server has answered that the ask waits.
    Waiting,
    /// It was granted, under this number of the server. If it must be claimed, that is still to be done.
    Granted(Grant, u64),
    /// The claim of the grant was sent.
    Claiming(Grant, u64),
    /// The answer may be taken.
    Done(Granted, u64),
    /// A turn was to be given away, and the server refused: there is no request, and the turn goes on.
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

/// What the reply to a call says if nothing went wrong.
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
    /// Works on the state under its lock. Wakers are used after it is unlocked.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let to_wake = take(&mut state.to_wake);
        drop(state);
        to_wake.into_iter().for_each(Waker::wake);
        result
    }

    /// The error while the server cannot be reached.
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
