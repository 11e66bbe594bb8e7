//! Connecting, keeping the lease alive, and connecting again.

use super::reading::{CHECK_EVERY, read_from};
use super::{Lease, Phase, Remote, Slot, State, boot};
use crate::clock::SystemClock;
use crate::error::Error;
use crate::log;
use crate::net::protocol::Request;
use crate::net::stream::{Welcome, greet, secret};
use crate::net::url::Url;
use crate::place::{Identity, Place};
use crate::wakers::Wakers;
use packet_mutex_arbiter::{Arbiter, Limits, RequestId, Roster, RosterSpec, Start};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

/// How much longer than its timeout an ask waits for the server to say that it timed out. The server knows why it did, so
/// its answer is worth a little time.
const GRACE: Duration = Duration::from_secs(2);
/// How long the reading thread waits after the first attempt to connect failed, and after later ones at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Remote {
    /// Connects to the mutex, and starts the thread that keeps the connection.
    pub(in crate::net) fn connect(url: Url, brought: Option<Roster>) -> Result<Arc<Remote>, Error> {
        let secret = secret();
        // Before the hello is sent: the lease may have begun at any time after it.
        let heard = boot::now();
        let welcome = greet(&url, secret.as_deref(), brought.as_ref())?;
        let state = State {
            stream: None,
            reader: Slot::Gone,
            connection: 0,
            waits: 0,
            lease: None,
            next_number: 1,
            asks: BTreeMap::new(),
            holds: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            calls: BTreeMap::new(),
            sleepers: Wakers::default(),
            names: Arbiter::new(any_names(), Start::default()),
            verified: BTreeSet::new(),
            roster: brought.clone().unwrap_or_default(),
            timeout: Duration::ZERO,
            to_wake: Vec::new(),
        };
        let remote = Arc::new(Remote {
            identity: Identity::new(url.mutex.as_str().into(), Arc::new(SystemClock)),
            url,
            secret,
            brought,
            state: Mutex::new(state),
            thread: OnceLock::new(),
        });
        remote.connected(welcome, heard)?;
        let weak = Arc::downgrade(&remote);
        let thread = std::thread::Builder::new().name("packet-mutex-client".into());
        let thread = thread.spawn(move || keep_connected(&weak));
        let thread = thread.map_err(|error| Error::Unavailable(error.to_string()))?;
        let _ = remote.thread.set(thread.thread().clone());
        // From here on there is a roster to show even while the server is away.
        let _ = remote.roster();
        Ok(remote)
    }

    /// Takes a new connection into use. All asks that wait are made again, with the time that they have left (S4).
    pub(super) fn connected(&self, welcome: Welcome, heard: Duration) -> Result<(), Error> {
        let Welcome { mut reader, life: _, timeout, lease } = welcome;
        let bad = |error| Error::Unavailable(format!("{}: {error}", self.url));
        let stream = reader.stream.try_clone().map_err(bad)?;
        let now = self.identity.clock.now();
        self.with(|state| {
            state.stream = Some(stream);
            state.connection += 1;
            reader.connection = state.connection;
            state.reader = Slot::Here(reader);
            state.lease = lease.map(|length| Lease { length, heard, sent: None });
            state.timeout = timeout;
            let ids: Vec<RequestId> = state.asks.keys().copied().collect();
            for id in ids {
                let Some(ask) = state.asks.get(&id) else { continue };
                if !matches!(ask.phase, Phase::Unheard) {
                    continue;
                }
                if ask.frame != 0 {
                    log::write_requeued(&self.identity.name, &ask.module);
                }
                state.send_ask(id, now);
            }
        });
        Ok(())
    }

    /// The connection is lost, and all its turns with it. Asks that wait will be made again.
    pub(super) fn disconnected(&self) {
        let now = self.identity.clock.now();
        self.with(|state| {
            if let Some(stream) = state.stream.take() {
                stream.close();
            }
            state.reader = Slot::Gone;
            state.lease = None;
            state.unanswered.clear();
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
                    // The turn around it is lost.
                    _ if ask.terms.within.is_some() => Phase::Done(Err(Error::Lost), 0),
                    _ if ask.deadline <= now => Phase::Done(Err(gone.clone()), 0),
                    _ => Phase::Unheard,
                };
                ask.phase = again;
                state.to_wake.extend(ask.waker.take());
            }
        });
    }

    /// Sends the heartbeat if it is due, and ends what is overdue. Returns how long it is until the next check, or `None` if
    /// the lease is over: then the connection is over too.
    pub(super) fn check_clock(&self) -> Option<Duration> {
        let now = self.identity.clock.now();
        self.with(|state| {
            let gone = self.gone();
            for ask in state.asks.values_mut() {
                // While the server is away, no answer of it is worth waiting for.
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
            let Some(lease) = &state.lease else { return Some(CHECK_EVERY) };
            let at = boot::now();
            // The protocol asks for a third. A quarter leaves time for a heartbeat that is late.
            let (over, due) = (lease.over(), lease.heard + lease.length / 4);
            if over <= at {
                return None;
            }
            if due <= at && lease.sent.is_none() {
                let frame = state.send(Request::Heartbeat(None));
                if let Some(lease) = &mut state.lease {
                    lease.sent = Some((frame, at));
                }
            }
            let next = if due > at { due } else { over };
            Some(CHECK_EVERY.min(next - at))
        })
    }
}

/// What the reading thread does: reads from the connection and connects again, until the mutex has no more handles.
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
            let _ = strong.check_clock();
            drop(strong);
            // It is woken early when the mutex is dropped, and when somebody asks: an ask must not wait for the whole pause.
            std::thread::park_timeout(pause);
            pause = BACK_OFF.1.min(pause * 2);
        }
    }
}

/// Returns a roster under which every valid name is a module. The server decides which names are modules.
fn any_names() -> Roster {
    let limits = Limits { modules: usize::from(u16::MAX), ..Limits::default() };
    Roster::new(RosterSpec { limits, ..RosterSpec::default() }).unwrap_or_default()
}
