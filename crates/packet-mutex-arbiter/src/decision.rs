//! The decision: who holds, who waits, and which delays run. What is only recorded is in `records.rs`.

use crate::input::{Below, ModuleId, Owner, RequestId, Token};
use crate::roster::{Mode, Roster};
use crate::table::{GroupId, Module, Table};
use crate::time::{Time, nanos};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

/// What the arbiter decides from.
///
/// Two decisions are equal, and have the same hash, if they decide alike from now on. Times count from their own `now`.
/// Requests count by their order. Delays that have run out do not count. So a decision can serve as a model checker's state.
#[derive(Clone, Debug)]
pub struct Decision {
    pub(crate) now: Time,
    pub(crate) table: Table,
    pub(crate) holder: Option<Holder>,
    /// The turn's open holds, its own and nested ones, oldest first. Empty if and only if nobody holds.
    pub(crate) holds: Vec<Hold>,
    pub(crate) requests: BTreeMap<RequestId, Waiter>,
    /// The waiters that may be granted, best first.
    pub(crate) waiting: BTreeSet<Rank>,
    /// The waiters that a pause holds back, best first.
    pub(crate) held_back: BTreeSet<Rank>,
    pub(crate) deadlines: BTreeSet<(Time, RequestId)>,
    /// When each waiter is reported as starving. An entry goes away with the report.
    pub(crate) starving: BTreeSet<(Time, RequestId)>,
    pub(crate) passes: BTreeMap<RequestId, Pass>,
    pub(crate) pauses: Vec<Pause>,
    /// Until when turns that ended keep each group out (S3).
    pub(crate) delays: Barriers,
    /// The same for passes that ended. They keep nobody out, but a turn or pass that comes earlier is a short gap (S15).
    pub(crate) gaps: Barriers,
    pub(crate) closing: bool,
    /// A turn was abandoned or revoked and nobody has acknowledged it (S7).
    pub(crate) abandoned: bool,
    pub(crate) last: Option<(ModuleId, Time)>,
}

/// A turn.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) owner: Option<Owner>,
    /// The module that got the turn.
    pub(crate) module: ModuleId,
    pub(crate) group: GroupId,
    pub(crate) token: Token,
    pub(crate) urgent: bool,
    pub(crate) since: Time,
    /// The largest delay of the modules whose holds ended and were not declined. `None` if there is none yet (S3, S9).
    pub(crate) delay: Option<Duration>,
    pub(crate) lease: Option<(Duration, Time)>,
    /// Whether its asker has to claim its grants. It stays set after the claim, for the request that a yield makes.
    pub(crate) claims: bool,
    /// Until when this grant must be claimed. `None` once it is, or if it need not be.
    pub(crate) claim_until: Option<Time>,
    pub(crate) overrun_at: Option<Time>,
    pub(crate) overran: bool,
    pub(crate) told_to_yield: bool,
    /// How long it waited for the grant. With aging, that is part of its effective priority (S11, S13).
    pub(crate) waited: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) request: RequestId,
    pub(crate) module: ModuleId,
    pub(crate) since: Time,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) module: ModuleId,
    pub(crate) owner: Option<Owner>,
    pub(crate) urgent: bool,
    pub(crate) arrived: Time,
    pub(crate) deadline: Time,
    pub(crate) starving_at: Option<Time>,
    pub(crate) lease: Option<Duration>,
    pub(crate) claim: bool,
    /// How many turns had ended when it arrived.
    pub(crate) turns_before: u64,
}

/// A waiter's place: urgent first, then effective priority, then arrival (S2). It does not change while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    not_urgent: bool,
    /// Smaller is better. Without aging it is the negative priority. With aging it is the moment at which the waiter's
    /// effective priority was zero, or would have been (S13).
    // With aging it is arrived − priority × interval, in nanoseconds. That can be negative, and the time alone needs
    // all 64 bits. Whole numbers keep the order exact, where floats would round near ties.
    key: i128,
    pub(crate) request: RequestId,
}

/// An open pass of an observed or switched-off module (S15).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) module: ModuleId,
    pub(crate) owner: Option<Owner>,
    pub(crate) since: Time,
    pub(crate) mode: Mode,
    /// Whether its `requested` event was written. If so, its end is written too, even if the mode was switched meanwhile.
    pub(crate) recorded: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Pause {
    pub(crate) reason: Arc<str>,
    pub(crate) below: Below,
    pub(crate) until: Option<Time>,
}

/// Until when something is kept out, and the module whose turn or pass began it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Barrier {
    pub(crate) until: Time,
    pub(crate) by: Option<ModuleId>,
}

/// A barrier before each group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Barriers {
    groups: Vec<Barrier>,
    /// The barrier before groups that are not yet known.
    newcomers: Barrier,
}

impl Barrier {
    /// Moves the barrier, but only to a later time. A running delay is never shortened (S3).
    fn raise(&mut self, to: Barrier) {
        // A barrier that fell would let a group in before the delay that it was promised: for example after an urgent
        // turn with a short delay, which came right after a turn with a long one.
        if to.until > self.until {
            *self = to;
        }
    }
}

impl Barriers {
    pub(crate) fn before(&self, group: GroupId) -> Barrier {
        self.groups.get(group.index()).copied().unwrap_or(self.newcomers)
    }

    /// Raises the barriers as the end of a turn or pass of the group `from` requires.
    pub(crate) fn raise(
        &mut self,
        table: &Table,
        from: GroupId,
        own_delay: Duration,
        (end, by): (Time, ModuleId),
        own_group_too: bool,
    ) {
        // A group that appeared since the last turn has been kept out like any other newcomer until now.
        let newcomers = self.newcomers;
        self.groups.resize(table.group_count(), newcomers);
        let barrier = |delay| Barrier { until: end + delay, by: Some(by) };
        for to in table.group_ids() {
            let mut delay = table.delay(from, Some(to), own_delay);
            if to == from && own_group_too {
                delay = delay.max(Some(own_delay));
            }
            if let Some(delay) = delay {
                self.groups[to.index()].raise(barrier(delay));
            }
        }
        if let Some(delay) = table.delay(from, None, own_delay) {
            self.newcomers.raise(barrier(delay));
        }
    }

    /// Raises the barrier before one group.
    fn raise_one(&mut self, table: &Table, group: GroupId, barrier: Barrier) {
        self.groups.resize(table.group_count(), self.newcomers);
        self.groups[group.index()].raise(barrier);
    }

    /// Raises the barrier before every group.
    pub(crate) fn raise_all(&mut self, until: Time) {
        let barrier = Barrier { until, by: None };
        self.groups.iter_mut().for_each(|group| group.raise(barrier));
        self.newcomers.raise(barrier);
    }
}

impl Decision {
    pub(crate) fn new(roster: Roster, now: Time) -> Self {
        Decision {
            now,
            table: Table::new(roster),
            holder: None,
            holds: Vec::new(),
            requests: BTreeMap::new(),
            waiting: BTreeSet::new(),
            held_back: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            starving: BTreeSet::new(),
            passes: BTreeMap::new(),
            pauses: Vec::new(),
            delays: Barriers::default(),
            gaps: Barriers::default(),
            closing: false,
            abandoned: false,
            last: None,
        }
    }

    /// Keeps running delays after modules changed their groups (S19). `before` has each module's old group and barrier.
    pub(crate) fn keep_delays(&mut self, before: &[(GroupId, Barrier)]) {
        for ((old, barrier), module) in before.iter().zip(self.table.modules()) {
            // The module takes its barrier along. This may keep the new group out longer than needed, never shorter.
            if *old != module.group {
                self.delays.raise_one(&self.table, module.group, *barrier);
            }
        }
    }

    // Waiters.

    pub(crate) fn enqueue(&mut self, id: RequestId, waiter: Waiter) {
        self.deadlines.insert((waiter.deadline, id));
        if let Some(at) = waiter.starving_at {
            self.starving.insert((at, id));
        }
        self.place(id, &waiter);
        self.requests.insert(id, waiter);
    }

    /// Takes a request out of the queue. Returns `None` if it does not wait.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<Waiter> {
        let waiter = self.requests.remove(&id)?;
        let rank = self.rank(id, &waiter);
        // The rank is computed anew instead of stored. It gives the same value, since every change that enters it
        // goes through `replace_all`.
        if !self.waiting.remove(&rank) {
            self.held_back.remove(&rank);
        }
        self.deadlines.remove(&(waiter.deadline, id));
        if let Some(at) = waiter.starving_at {
            self.starving.remove(&(at, id));
        }
        Some(waiter)
    }

    /// Ranks all waiters anew, after pauses or priorities changed.
    pub(crate) fn replace_all(&mut self) {
        self.waiting.clear();
        self.held_back.clear();
        for (id, waiter) in core::mem::take(&mut self.requests) {
            self.place(id, &waiter);
            self.requests.insert(id, waiter);
        }
    }

    fn place(&mut self, id: RequestId, waiter: &Waiter) {
        let rank = self.rank(id, waiter);
        let queue = if self.pause_before(waiter.urgent, self.priority(waiter.module)).is_some() {
            &mut self.held_back
        } else {
            &mut self.waiting
        };
        queue.insert(rank);
    }

    pub(crate) fn rank(&self, request: RequestId, waiter: &Waiter) -> Rank {
        let priority = i128::from(self.priority(waiter.module));
        let key = match self.table.aging() {
            // Urgent ones go by arrival alone (S10). Request numbers grow, so the last field of the rank is the
            // arrival.
            _ if waiter.urgent => 0,
            None => -priority,
            Some(interval) => i128::from(waiter.arrived.as_nanos()) - priority * interval,
        };
        Rank { not_urgent: !waiter.urgent, key, request }
    }

    fn priority(&self, module: ModuleId) -> u8 {
        self.table.module(module).priority
    }

    pub(crate) fn best(&self) -> Option<(RequestId, &Waiter)> {
        let rank = self.waiting.first()?;
        Some((rank.request, &self.requests[&rank.request]))
    }

    /// Returns priority plus waiting time divided by the interval (S13), for people. The order uses whole numbers.
    pub(crate) fn effective(&self, waiter: &Waiter, now: Time) -> f64 {
        let aged = match self.table.aging() {
            Some(interval) if !waiter.urgent => {
                nanos(now.since(waiter.arrived)) as f64 / interval as f64
            }
            _ => 0.0,
        };
        f64::from(self.priority(waiter.module)) + aged
    }

    /// Returns when the delay lets this waiter in (S3). An urgent waiter skips the delay (S10).
    pub(crate) fn admitted_at(&self, waiter: &Waiter) -> Time {
        if waiter.urgent {
            return Time::ZERO;
        }
        self.delays.before(self.table.module(waiter.module).group).until
    }

    /// Returns whether it could be granted now, if it were the best.
    pub(crate) fn is_admitted(&self, waiter: &Waiter) -> bool {
        self.admitted_at(waiter) <= self.now
            && self.pause_before(waiter.urgent, self.priority(waiter.module)).is_none()
    }

    /// Returns the pause that holds back a request of this kind, if there is one.
    pub(crate) fn pause_before(&self, urgent: bool, priority: u8) -> Option<&Pause> {
        self.pauses.iter().find(|pause| !urgent && pause.below.holds_back(priority))
    }

    // The holder.

    /// Returns the turn's priority: the highest of its open holds.
    fn holding_priority(&self) -> u8 {
        self.holds.iter().map(|hold| self.priority(hold.module)).max().unwrap_or(0)
    }

    /// Returns from when on the holder should yield if nothing else happens (S11). It may be in the past.
    pub(crate) fn should_yield_from(&self) -> Option<Time> {
        let holder = self.holder.as_ref()?;
        let priority = self.holding_priority();
        if holder.overran || self.pause_before(holder.urgent, priority).is_some() {
            return Some(Time::ZERO);
        }
        // Delays are not looked at: which of them will count is known only when this turn ends.
        let (_, best) = self.best()?;
        if best.urgent {
            return Some(Time::ZERO);
        }
        // Only another urgent request is above an urgent turn, and that was looked at before.
        if holder.urgent {
            return None;
        }
        let above = i128::from(self.priority(best.module)) - i128::from(priority);
        match self.table.aging() {
            None => (above > 0).then_some(Time::ZERO),
            // The waiter ages and the holder does not: its age was fixed at its grant. So the moment can be computed,
            // and nobody needs to poll. Strictly higher is one nanosecond after equal.
            Some(interval) => {
                let to_catch_up = -above * interval + i128::from(nanos(holder.waited));
                let wait = u64::try_from((to_catch_up + 1).max(0)).unwrap_or(u64::MAX);
                Some(best.arrived + Duration::from_nanos(wait))
            }
        }
    }

    pub(crate) fn should_yield(&self, now: Time) -> bool {
        self.should_yield_from().is_some_and(|from| from <= now)
    }

    // Time.

    /// Returns when the next thing falls due if nothing else happens.
    pub(crate) fn due(&self) -> Option<Time> {
        let mut due = Time::MAX;
        let mut at = |time: Option<Time>| due = due.min(time.unwrap_or(Time::MAX));
        at(self.deadlines.first().map(|(at, _)| *at));
        at(self.starving.first().map(|(at, _)| *at));
        self.pauses.iter().for_each(|pause| at(pause.until));
        if let Some(holder) = &self.holder {
            at(holder.lease.map(|(_, until)| until));
            at(holder.claim_until);
            at(holder.overrun_at);
            // Once told, the past moment of the reason would fall due again and again.
            if !holder.told_to_yield {
                at(self.should_yield_from());
            }
        } else {
            // Only the best waiter's delay can lead to a grant; see `grant`.
            at(self.best().map(|(_, best)| self.admitted_at(best)));
        }
        (due < Time::MAX).then_some(due)
    }

    /// Checks what must hold between two inputs. The checks are cheap, so they stay on in release builds.
    pub(crate) fn assert_invariants(&self, due: Option<Time>) {
        assert_eq!(self.waiting.len() + self.held_back.len(), self.requests.len());
        assert_eq!(self.deadlines.len(), self.requests.len());
        assert_eq!(self.holder.is_none(), self.holds.is_empty(), "a turn is open as its holds are");
        assert!(due.is_none_or(|due| due > self.now), "left undone what was due");
    }

    /// Passes on all that matters from now on, as words. Two decisions that decide alike give the same words.
    ///
    /// Each structure is taken apart without `..`. So a new field does not compile until somebody has said here whether it
    /// decides anything.
    fn essence(&self, word: &mut impl FnMut(u64)) {
        let Decision {
            now,
            table,
            holder,
            holds,
            requests,
            // Both orders follow from the requests, the pauses and the table.
            waiting: _,
            held_back: _,
            // So do these two.
            deadlines: _,
            starving: _,
            passes,
            pauses,
            delays,
            gaps,
            closing,
            abandoned,
            last,
        } = self;
        let left = |at: Option<Time>| {
            // Shifted by one, so that "never" differs from "now".
            at.map_or(0, |at| nanos(at.since(*now)).saturating_add(1))
        };
        // When somebody began to wait matters only where waiting counts.
        let waited = |waited: Duration| table.aging().map_or(0, |_| nanos(waited));
        for flag in [*closing, *abandoned, last.is_some()] {
            word(flag.into());
        }
        for module in table.modules() {
            let Module {
                name: _,
                group,
                priority,
                timeout,
                delay,
                longest_turn,
                may_be_urgent,
                mode,
                disabled,
            } = module;
            word(
                u64::from(*priority) << 8
                    | (*mode as u64) << 2
                    | u64::from(*may_be_urgent) << 1
                    | u64::from(*disabled),
            );
            word(group.index() as u64);
            word(nanos(*delay));
            word(nanos(*timeout));
            word(longest_turn.map_or(0, |longest| nanos(longest).saturating_add(1)));
        }
        word(holder.is_some().into());
        if let Some(holder) = holder {
            let Holder {
                owner,
                // The holds name the modules that still count.
                module: _,
                group,
                token: _,
                urgent,
                since: _,
                delay,
                lease,
                claims,
                claim_until,
                overrun_at,
                overran,
                told_to_yield,
                waited: waited_for,
            } = holder;
            word(number(*owner));
            word(group.index() as u64);
            for flag in [*urgent, *claims, *overran, *told_to_yield] {
                word(flag.into());
            }
            word(delay.map_or(0, |d| nanos(d) + 1));
            word(waited(*waited_for));
            word(lease.map_or(0, |(length, _)| nanos(length)));
            word(left(lease.map(|(_, until)| until)));
            word(left(*claim_until));
            word(left(*overrun_at));
            word(holds.len() as u64);
            for Hold { request: _, module, since: _ } in holds {
                word(u64::from(module.0));
            }
        }
        word(requests.len() as u64);
        for waiter in requests.values() {
            let Waiter {
                module,
                owner,
                urgent,
                arrived,
                deadline,
                starving_at,
                lease,
                claim,
                turns_before: _,
            } = waiter;
            word(u64::from(module.0) << 2 | u64::from(*urgent) << 1 | u64::from(*claim));
            word(number(*owner));
            word(left(Some(*deadline)));
            word(left(*starving_at));
            word(lease.map_or(0, nanos));
            word(waited(now.since(*arrived)));
        }
        word(passes.len() as u64);
        for Pass { module, owner, since: _, mode, recorded } in passes.values() {
            word(u64::from(module.0) << 3 | (*mode as u64) << 1 | u64::from(*recorded));
            word(number(*owner));
        }
        for Pause { reason: _, below, until } in pauses {
            match below {
                Below::Priority(level) => word(u64::from(*level)),
                Below::Urgent => word(256),
            }
            word(left(*until));
        }
        for barriers in [delays, gaps] {
            let groups = table.group_ids().map(|group| barriers.before(group));
            for Barrier { until, by: _ } in groups.chain([barriers.newcomers]) {
                word(left(Some(until)));
            }
        }
    }

    fn words(&self) -> Vec<u64> {
        let mut words = Vec::new();
        self.essence(&mut |word| words.push(word));
        words
    }
}

/// Returns an owner as a word. It is shifted by one, so that no owner differs from owner 0.
fn number(owner: Option<Owner>) -> u64 {
    owner.map_or(0, |owner| owner.0.wrapping_add(1))
}

impl PartialEq for Decision {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl Eq for Decision {}

impl Hash for Decision {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.essence(&mut |word| state.write_u64(word));
    }
}
