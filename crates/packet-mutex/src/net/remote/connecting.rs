//! Connecting, keeping the lease alive, and connecting anew.

use super::reading::{LOOK, read_from};
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

/// How much longer than its timeout an ask waits for the server to say that it timed out.
const GRACE: Duration = Duration::from_secs(2);
/// Until the first attempt to connect anew, and the longest between two.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Remote {
    /// Connects to the mutex and keeps the connection.
    pub(in crate::net) fn connect(url: Url, brought: Option<Roster>) -> Result<Arc<Remote>, Error> {
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
        // Known from here on, even while the server is away.
        let _ = remote.roster();
        Ok(remote)
    }

    /// Takes up a new connection: asks for all that waits once more (S4: with the time that is left to it).
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

    /// The connection is lost, and with it every turn that was had through it; what waits is asked for again.
    pub(super) fn disconnected(&self) {
        let now = self.identity.clock.now();
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
                    _ if ask.terms.within.is_some() => Phase::Done(Err(Error::Lost), 0),
                    _ if ask.deadline <= now => Phase::Done(Err(gone.clone()), 0),
                    _ => Phase::Unheard,
                };
                ask.phase = again;
                state.to_wake.extend(ask.waker.take());
            }
        });
    }

    /// Looks at the clock: sends the heartbeat that is due, and ends what is overdue. How long until the next look;
    /// `None`: the lease is over, and with it the connection.
    pub(super) fn look(&self) -> Option<Duration> {
        let now = self.identity.clock.now();
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
                let frame = state.send(Request::Heartbeat(None));
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

/// A roster under which every name is a module's.
fn any_names() -> Roster {
    let limits = Limits { modules: usize::from(u16::MAX), ..Limits::default() };
    Roster::new(RosterSpec { limits, ..RosterSpec::default() }).unwrap_or_default()
}
