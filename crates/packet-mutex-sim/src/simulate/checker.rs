//! Checks at each event of an arbiter whether a rule is broken. It is as fast as the arbiter, for campaigns.
//!
//! It keeps its own record of waiters and holders, and shares no code with the decision. It checks less than the oracle: it
//! judges each event by what came before, and does not predict the whole log.

use super::world::Observer;
use crate::seconds::{Nanos, nanos};
use packet_mutex_arbiter::{
    Below, End, Event, EventKind, Input, Mode, ModuleId, Owner, RequestId, Roster, RosterSpec,
    Steer, Unserved,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The checker's own record of the mutex.
pub(super) struct Checker {
    spec: RosterSpec,
    modules: Vec<Module>,
    /// Delays of pairs of groups; `None`: any other.
    pairs: Vec<(Option<usize>, Option<usize>, Nanos)>,
    /// The last input.
    input: Option<Input>,
    now: Nanos,
    /// The last moment at which something happened, other than that time passed.
    changed: Nanos,
    seq: u64,
    waiters: Vec<Waiter>,
    /// A request that must be refused, and with which error.
    refusing: Option<(RequestId, &'static str)>,
    turn: Option<Turn>,
    passes: BTreeMap<RequestId, Pass>,
    /// When each group may next be granted a turn (S3).
    ready: Vec<Nanos>,
    last_token: u64,
    /// The request that a yield must still make.
    owed: Option<RequestId>,
    /// The last instant at which a request timed out.
    timed_out: Option<Nanos>,
    pauses: Vec<(Arc<str>, Below, Option<Nanos>)>,
    closing: bool,
    broken: Option<String>,
}

struct Module {
    name: String,
    group: usize,
    priority: u8,
    timeout: Nanos,
    delay: Nanos,
    longest: Option<Nanos>,
    urgent: bool,
    mode: Mode,
    disabled: bool,
}

#[derive(Clone, Copy)]
struct Waiter {
    request: RequestId,
    module: usize,
    owner: Option<Owner>,
    urgent: bool,
    arrived: Nanos,
    deadline: Nanos,
}

struct Turn {
    module: usize,
    owner: Option<Owner>,
    token: u64,
    since: Nanos,
    holds: Vec<(RequestId, usize, Nanos)>,
    /// The largest delay of what was not declined.
    delay: Option<Nanos>,
}

struct Pass {
    owner: Option<Owner>,
    since: Nanos,
}

impl Checker {
    pub(super) fn new(roster: &Roster) -> Self {
        let spec = roster.spec().clone();
        let mut groups: Vec<&str> = Vec::new();
        let mut number = |name| {
            let known = groups.iter().position(|group| *group == name);
            known.unwrap_or_else(|| {
                groups.push(name);
                groups.len() - 1
            })
        };
        let module = |m: &packet_mutex_arbiter::ModuleSpec, group| Module {
            name: m.name.clone(),
            group,
            priority: m.priority,
            timeout: nanos(m.timeout.unwrap_or(spec.timeout)),
            delay: nanos(m.handover_delay.unwrap_or(spec.handover_delay)),
            longest: m.longest_turn.map(nanos),
            urgent: m.urgent,
            mode: m.mode,
            disabled: false,
        };
        let modules = spec.modules.iter();
        let modules = modules.map(|m| module(m, number(m.group.as_deref().unwrap_or(&m.name))));
        let modules: Vec<Module> = modules.collect();
        let mut side = |name: &'_ str| {
            let name = spec.delays.iter().flat_map(|d| [&d.from, &d.to]).find(|n| *n == name);
            name.filter(|name| *name != "*").map(|name| number(name))
        };
        let pairs = spec.delays.iter().map(|d| (side(&d.from), side(&d.to), nanos(d.delay)));
        let pairs = pairs.collect();
        let ready = vec![0; groups.len()];
        Checker {
            modules,
            pairs,
            input: None,
            now: 0,
            changed: 0,
            seq: 0,
            waiters: Vec::new(),
            refusing: None,
            turn: None,
            passes: BTreeMap::new(),
            ready,
            last_token: 0,
            owed: None,
            timed_out: None,
            pauses: Vec::new(),
            closing: false,
            broken: None,
            spec,
        }
    }

    fn rule(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(why());
        }
    }

    // The state once an input and its consequences are done.

    /// Judges the state after the last input.
    fn settle(&mut self) {
        let now = self.now;
        if let Some((request, why)) = self.refusing.take() {
            self.rule(false, || format!("S4: request {} was not refused as {why}", request.0));
        }
        let owed = self.owed.take();
        self.rule(owed.is_none(), || format!("S11: request {owed:?} was not made"));
        let late = self.waiters.iter().find(|waiter| waiter.deadline <= now).map(|w| w.request.0);
        self.rule(late.is_none(), || format!("S4: request {late:?} waits past its deadline"));
        let stale = self.pauses.iter().any(|(_, _, until)| until.is_some_and(|t| t <= now));
        self.rule(!stale, || "S12: a pause lasts past its end".into());
        if self.turn.is_none()
            && let Some(best) = self.best()
            && self.admits(best)
        {
            self.rule(false, || format!("S2: request {} was left waiting", best.request.0));
        }
        let waits = |which: &dyn Fn(&Waiter) -> bool| self.waiters.iter().any(which);
        let left = match &self.input {
            Some(Input::Steer(Steer::Cancel { module })) => waits(&|w| w.module == module.index()),
            Some(Input::Steer(Steer::Mode { module, mode })) => {
                *mode != Mode::Enforced && waits(&|w| w.module == module.index())
            }
            Some(Input::OwnerLost { owner }) => {
                let owner = Some(*owner);
                waits(&|w| w.owner == owner)
                    || self.turn.as_ref().is_some_and(|turn| turn.owner == owner)
                    || self.passes.values().any(|pass| pass.owner == owner)
            }
            Some(Input::Withdraw { request }) => {
                let holds = |turn: &Turn| turn.holds.iter().any(|(hold, ..)| hold == request);
                waits(&|w| w.request == *request)
                    || self.passes.contains_key(request)
                    || self.turn.as_ref().is_some_and(holds)
            }
            Some(Input::Steer(Steer::Close)) => waits(&|_| true),
            _ => false,
        };
        let input = self.input.take();
        self.rule(!left, || format!("S12: something is left after {input:?}"));
    }

    fn best(&self) -> Option<Waiter> {
        let mut eligible = self.waiters.iter().filter(|waiter| !self.is_paused(waiter));
        let first = *eligible.next()?;
        Some(eligible.fold(
            first,
            |best, waiter| {
                if self.is_before(waiter, &best) { *waiter } else { best }
            },
        ))
    }

    /// S2, S10 and S13. Waiters are kept in order of arrival, so of equals the first stays the best.
    fn is_before(&self, a: &Waiter, b: &Waiter) -> bool {
        let key = |waiter: &Waiter| {
            let priority = i128::from(self.modules[waiter.module].priority);
            match self.spec.aging {
                _ if waiter.urgent => (true, 0),
                None => (false, priority),
                Some(interval) => {
                    let step = i128::from(nanos(interval));
                    // All waiters age alike, so the moment of arrival stands for the waiting time.
                    (false, priority * step - i128::from(waiter.arrived))
                }
            }
        };
        key(a) > key(b)
    }

    fn admits(&self, waiter: Waiter) -> bool {
        waiter.urgent || self.ready[self.modules[waiter.module].group] <= self.now
    }

    fn is_paused(&self, waiter: &Waiter) -> bool {
        let priority = self.modules[waiter.module].priority;
        let holds_back = |(_, below, _): &(Arc<str>, Below, Option<Nanos>)| match below {
            Below::Priority(level) => priority < *level,
            Below::Urgent => true,
        };
        !waiter.urgent && !self.pauses.is_empty() && self.pauses.iter().any(holds_back)
    }

    // Events.

    fn take(&mut self, request: RequestId) -> Option<Waiter> {
        let at = self.waiters.iter().position(|waiter| waiter.request == request);
        self.rule(at.is_some(), || format!("S16: request {} does not wait", request.0));
        at.map(|at| self.waiters.remove(at))
    }

    fn requested(&mut self, request: RequestId, module: usize) {
        let at = self.now;
        let (owner, urgent, timeout, id) = match &self.input {
            Some(Input::Request(asked)) => {
                (asked.owner, asked.urgent, asked.timeout, Some(asked.id))
            }
            Some(Input::Yield { owner, id, timeout, .. }) => (*owner, false, *timeout, Some(*id)),
            _ => (None, false, None, None),
        };
        self.rule(id == Some(request), || format!("S16: nobody made request {}", request.0));
        self.owed = self.owed.filter(|owed| *owed != request);
        let settings = &self.modules[module];
        let held = self.turn.as_ref().filter(|turn| owner.is_some() && turn.owner == owner);
        let nests = held.is_some_and(|turn| self.modules[turn.module].group == settings.group);
        let deadline = at.saturating_add(timeout.map_or(settings.timeout, nanos));
        let enforced = settings.mode == Mode::Enforced;
        let limit = self.spec.limits.waiters;
        let refusal = if held.is_some() && enforced {
            Some("would_deadlock")
        } else if self.closing {
            Some("closed")
        } else if settings.disabled {
            Some("disabled")
        } else if urgent && !settings.urgent && enforced {
            Some("refused")
        } else {
            // Passes of a module that is off leave no events, so only waiters are counted here.
            (enforced && self.waiters.len() >= limit).then_some("queue_full")
        };
        self.rule(!nests, || format!("S5: request {} is not nested", request.0));
        match refusal {
            Some(why) => self.refusing = Some((request, why)),
            None => {
                self.waiters.push(Waiter { request, module, owner, urgent, arrived: at, deadline })
            }
        }
    }

    fn refused(&mut self, request: RequestId, error: &'static str) {
        match self.refusing.take() {
            Some((expected, why)) => self.rule((expected, why) == (request, error), || {
                format!("S4: request {} refused as {error}, not {expected:?} as {why}", request.0)
            }),
            None => {
                // The limit may have been reached by passes, which are not counted here.
                self.waiters.retain(|waiter| waiter.request != request);
                self.rule(error == "queue_full", || {
                    format!("S4: request {} refused as {error} without reason", request.0)
                });
            }
        }
    }

    fn granted(&mut self, request: RequestId, token: u64, waited: Nanos) {
        let now = self.now;
        if let Some(turn) = &self.turn {
            let open = turn.token;
            self.rule(false, || format!("S1: token {token} while {open} is open"));
        }
        let last = std::mem::replace(&mut self.last_token, token);
        self.rule(token > last, || format!("S17: token {token} after {last}"));
        let best = self.best();
        let Some(waiter) = self.take(request) else { return };
        self.rule(best.is_some_and(|best| best.request == request), || {
            format!(
                "S2: request {} granted, but {:?} is better",
                request.0,
                best.map(|b| b.request.0)
            )
        });
        let ready = self.ready[self.modules[waiter.module].group];
        self.rule(waiter.urgent || ready <= now, || {
            format!("S3: request {} granted {} ns early", request.0, ready - now)
        });
        let changed = self.changed;
        self.rule(now <= changed.max(ready), || {
            format!("S2: request {} granted {} ns late", request.0, now - changed.max(ready))
        });
        self.rule(now <= waiter.deadline, || format!("S4: request {} granted too late", request.0));
        self.rule(waited == now - waiter.arrived, || format!("S16: a wait of {waited} ns"));
        self.turn = Some(Turn {
            module: waiter.module,
            owner: waiter.owner,
            token,
            since: now,
            holds: vec![(request, waiter.module, now)],
            delay: None,
        });
    }

    fn passed(&mut self, request: RequestId, module: usize) {
        let mode = self.modules[module].mode;
        self.rule(mode != Mode::Enforced, || format!("S15: request {} got a pass", request.0));
        if let Some(waiter) = self.take(request) {
            self.passes.insert(request, Pass { owner: waiter.owner, since: self.now });
        }
    }

    fn nested(&mut self, request: RequestId, module: usize, depth: usize) {
        let now = self.now;
        let asker = match &self.input {
            Some(Input::Request(asked)) => asked.owner,
            _ => None,
        };
        let group = |module: usize| self.modules[module].group;
        let may = self.turn.as_ref().is_some_and(|turn| {
            let known = turn.holds.iter().any(|(_, held, _)| *held == module);
            turn.owner == asker
                && turn.holds.len() == depth
                && (known || group(turn.module) == group(module))
        });
        self.rule(may, || format!("S5: request {} is nested", request.0));
        if let Some(turn) = &mut self.turn {
            turn.holds.push((request, module, now));
        }
    }

    fn unserved(&mut self, request: RequestId, why: Unserved, waited: Nanos) {
        let now = self.now;
        if why == Unserved::TimedOut && self.timed_out != Some(now) {
            // All deadlines of an instant come together, after its grants, so only the first is checked.
            self.timed_out = Some(now);
            let due = self.turn.is_none() && self.best().is_some_and(|best| self.admits(best));
            self.rule(!due, || {
                format!("S4: request {} timed out before a grant that was due", request.0)
            });
        }
        let Some(waiter) = self.take(request) else { return };
        let right = match (why, &self.input) {
            (Unserved::TimedOut, _) => waiter.deadline == now,
            (Unserved::Cancelled, Some(Input::Steer(Steer::Cancel { module }))) => {
                module.index() == waiter.module
            }
            (Unserved::Withdrawn, Some(Input::Withdraw { request: it })) => *it == request,
            (Unserved::Closed, Some(Input::Steer(Steer::Close))) => true,
            (Unserved::Lost, Some(Input::OwnerLost { owner })) => waiter.owner == Some(*owner),
            _ => false,
        };
        self.rule(right, || format!("S16: request {} ended as {why:?}", request.0));
        self.rule(waited == now - waiter.arrived, || format!("S16: a wait of {waited} ns"));
    }

    /// A hold or a pass ends; with the last hold, the turn.
    fn ended(&mut self, request: RequestId, (end, depth): (End, usize), held: Nanos) {
        let now = self.now;
        let owner = match &self.turn {
            Some(turn) => turn.owner,
            None => None,
        };
        let right = match (end, &self.input) {
            (End::Released | End::Panicked, Some(Input::End { hold, owner: by, .. })) => {
                *hold == request && *by == owner
            }
            (End::Declined, Some(Input::End { hold, .. } | Input::Withdraw { request: hold })) => {
                *hold == request
            }
            (End::Yielded, Some(Input::Yield { hold, .. })) => *hold == request && depth == 0,
            (End::Abandoned, Some(Input::OwnerLost { owner: lost })) => owner == Some(*lost),
            _ => false,
        };
        self.rule(right, || format!("S6: hold {} ended as {end:?}", request.0));
        let Some(turn) = &mut self.turn else {
            return self.rule(false, || format!("S16: hold {} was not open", request.0));
        };
        let Some(at) = turn.holds.iter().position(|(hold, ..)| *hold == request) else {
            return self.rule(false, || format!("S16: hold {} was not open", request.0));
        };
        let (_, module, since) = turn.holds.remove(at);
        // The request of a module that is off has no event.
        if let (End::Yielded, Some(Input::Yield { id, .. })) = (end, &self.input)
            && self.modules[module].mode != Mode::Off
        {
            self.owed = Some(*id);
        }
        if end != End::Declined {
            turn.delay = turn.delay.max(Some(self.modules[module].delay));
        }
        let open = turn.holds.len();
        self.rule(open == depth && held == now - since, || {
            format!("S16: hold {} ended with {open} open after {} ns", request.0, now - since)
        });
        if open > 0 {
            return;
        }
        let Some(turn) = self.turn.take() else { return };
        let Some(own) = turn.delay else { return };
        let from = self.modules[turn.module].group;
        let unclean = matches!(end, End::Abandoned | End::Revoked);
        for to in 0..self.ready.len() {
            let mut delay = self.delay(from, to, own);
            if to == from && unclean {
                delay = delay.max(Some(own));
            }
            let until = delay.map_or(0, |delay| now + delay);
            self.ready[to] = self.ready[to].max(until);
        }
    }

    /// S3: returns a pair's delay, the more specific pair first, else the module's own; `None` within a group.
    fn delay(&self, from: usize, to: usize, own: Nanos) -> Option<Nanos> {
        let pair = |pair: (Option<usize>, Option<usize>)| {
            let found = self.pairs.iter().find(|(from, to, _)| (*from, *to) == pair);
            found.map(|(.., delay)| *delay)
        };
        if let Some(delay) = pair((Some(from), Some(to))) {
            return Some(delay);
        }
        if from == to {
            return None;
        }
        let halves = pair((Some(from), None)).max(pair((None, Some(to))));
        Some(halves.or_else(|| pair((None, None))).unwrap_or(own))
    }
}

impl Observer for Checker {
    fn input(&mut self, at: Nanos, input: &Input) {
        self.input = Some(input.clone());
        if !matches!(input, Input::Tick) {
            self.changed = at;
        }
    }

    fn event(&mut self, event: &Event) {
        let at = event.at.as_nanos();
        let (seq, now) = (self.seq, self.now);
        self.rule(event.seq == seq + 1 && at >= now, || {
            format!("S16: event {} is out of order", event.seq)
        });
        self.seq = event.seq;
        self.now = at;
        let module = event.module.map_or(0, ModuleId::index);
        let request = event.request.unwrap_or(RequestId(0));
        match &event.kind {
            EventKind::Requested { .. } => self.requested(request, module),
            EventKind::Refused { error } => self.refused(request, error.name()),
            EventKind::Granted { pass: true, .. } => self.passed(request, module),
            EventKind::Granted { waited, .. } => {
                self.granted(request, event.token.map_or(0, |token| token.0), nanos(*waited));
            }
            EventKind::Nested { depth } => self.nested(request, module, *depth),
            EventKind::Unserved { why, waited } => self.unserved(request, *why, nanos(*waited)),
            EventKind::Ended { pass: true, held, .. } => {
                let pass = self.passes.remove(&request);
                let held = nanos(*held);
                self.rule(pass.is_some_and(|pass| held == at - pass.since), || {
                    format!("S15: pass {} ended", request.0)
                });
            }
            EventKind::Ended { end, depth, held, .. } => {
                self.ended(request, (*end, *depth), nanos(*held));
            }
            EventKind::Overrun { .. } => {
                let right = self
                    .turn
                    .as_ref()
                    .is_some_and(|turn| self.modules[turn.module].longest == Some(at - turn.since));
                self.rule(right, || format!("S8: an overrun of {}", request.0));
            }
            EventKind::Starving { waited, .. } => {
                let waits = self.waiters.iter().find(|waiter| waiter.request == request);
                let right = waits.is_some_and(|waiter| at - waiter.arrived == nanos(*waited))
                    && self.spec.starving_after == Some(*waited);
                self.rule(right, || format!("S13: {} is said to starve", request.0));
            }
            EventKind::Disabled => self.modules[module].disabled = true,
            EventKind::Enabled => self.modules[module].disabled = false,
            EventKind::Mode { mode } => self.modules[module].mode = *mode,
            EventKind::Paused { reason, below, until } => {
                self.pauses.retain(|(other, ..)| other != reason);
                let until = until.map(|until| until.as_nanos());
                self.pauses.push((reason.clone(), *below, until));
            }
            EventKind::Resumed { reason } => self.pauses.retain(|(other, ..)| other != reason),
            EventKind::Closing => self.closing = true,
            _ => {}
        }
        // An event may let a waiter in at the same instant. A grant or a notice of starving cannot.
        if !matches!(event.kind, EventKind::Granted { .. } | EventKind::Starving { .. }) {
            self.changed = self.changed.max(at);
        }
        let broken = self.broken.as_ref();
        // Only the first time: the text with the event has a parenthesis.
        if let Some(why) = broken.filter(|why| !why.contains(" (")) {
            let name = self.modules.get(module).map_or("", |module| module.name.as_str());
            self.broken = Some(format!("{why} ({} of {name} at {} ns)", event.kind.name(), at));
        }
    }

    fn handled(&mut self, _taken: bool) {
        self.settle();
    }

    fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}
