//! What a client has: its asks and turns, and what becomes of them when it is gone.

use super::mailbox::Mailbox;
use crate::local::{LocalMutex, Reader};
use crate::mutex::PacketMutex;
use packet_mutex_arbiter::{Input, Owner, RequestId};
use std::collections::BTreeMap;
use std::mem::take;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Client {
    /// A process of the same user on this machine. Its turns end when its connection does (S7).
    Unix,
    /// A client on any machine that knows the secret. Its turns have leases (S8).
    Tcp,
}

/// A connection that has said hello.
pub(super) struct Connection {
    pub(super) mutex: PacketMutex,
    pub(super) local: Arc<LocalMutex>,
    /// The lease of its turns. A client that is silent for longer counts as gone.
    pub(super) lease: Option<Duration>,
    /// The owners behind the client's own numbers for its threads and tasks.
    pub(super) owners: BTreeMap<u64, Owner>,
    /// The requests that wait.
    pub(super) asks: BTreeMap<RequestId, Ask>,
    pub(super) holds: BTreeMap<RequestId, Hold>,
    pub(super) mailbox: Arc<Mailbox>,
    /// The keys of its wakers: for changes that concern its holds, and for events while one of them should be given away.
    pub(super) keys: Option<(u64, u64)>,
    pub(super) events: Option<Reader>,
}

#[derive(Clone, Copy)]
pub(super) struct Ask {
    /// The number of the frame that made the request.
    pub(super) frame: u64,
    pub(super) owner: Owner,
}

pub(super) struct Hold {
    pub(super) ask: Ask,
    pub(super) is_pass: bool,
    /// The grant may have reached the client.
    pub(super) seen: bool,
    /// The client was told that it should give the turn away.
    pub(super) told_to_yield: bool,
}

impl Connection {
    pub(super) fn new(mutex: PacketMutex, local: Arc<LocalMutex>, lease: Option<Duration>) -> Self {
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
            // A grant that was not sent is declined (S12): the client cannot have acted.
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
                    // Perhaps only the wire is cut and the holder goes on acting. Nobody else gets in before its lease is over.
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

/// An owner whose connection is gone while its lease still runs.
struct Lingering {
    mutex: Weak<LocalMutex>,
    owner: Owner,
    turns: Vec<RequestId>,
    key: u64,
}

impl Wake for Lingering {
    /// Lets the owner go once its turn is over, and waits on until then.
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
