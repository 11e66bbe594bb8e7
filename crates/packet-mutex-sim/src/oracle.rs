//! A second, naive implementation of `docs/RULES.md`. It predicts the whole event log from the whole history.
//!
//! It shares nothing with the arbiter but the types of rosters and inputs. Where the arbiter keeps queues and
//! barriers, this keeps plain lists of what happened and goes through all of them again for every decision. It is
//! slow and simple. Where the two differ, one of them has misread a rule.

use crate::action::{Action, Ask};
use crate::log::{Entry, Name, Value};
use crate::seconds::{Nanos, nanos};
use packet_mutex_arbiter::{
    Below, DEFAULT_PRIORITY, Leave, Mode, ModuleSpec, Roster, RosterSpec, Steer,
};
use std::sync::Arc;

// The limits are written here again rather than taken from the arbiter: a limit that changes there must fail here.

/// The longest timeout, lease or pause.
const LONGEST: Nanos = 24 * 3600 * crate::seconds::SECOND;
const REASON_MAX: usize = 200;
const PAUSES_MAX: usize = 64;

/// The naive predictor.
#[derive(Clone, Debug)]
pub struct Oracle {
    roster: Arc<RosterSpec>,
    /// All modules: the roster's in order, then others in the order in which they were first named.
    modules: Vec<Module>,
    now: Nanos,
    /// Numbers all asks and ends, to tell which came first at one instant.
    count: u64,
    asks: Vec<Waiter>,
    turns: Vec<Turn>,
    passes: Vec<Pass>,
    pauses: Vec<Pause>,
    /// Delays that run for another reason than a turn's end: a restart, or a module that moved into the group with a delay
    /// still running. Each has its group (`None`: all), its end and the module after which it runs.
    floors: Vec<(Option<Name>, Nanos, Option<usize>)>,
    abandoned: bool,
    closed: bool,
    next_token: u64,
    log: Vec<Entry>,
    seq: u64,
    /// Whether history that cannot matter any more is dropped, for long runs.
    forgets: bool,
}

#[derive(Clone, Debug)]
struct Module {
    name: Name,
    group: Name,
    priority: u8,
    timeout: Nanos,
    delay: Nanos,
    longest: Option<Nanos>,
    urgent: bool,
    mode: Mode,
    disabled: bool,
}

#[derive(Clone, Debug)]
struct Waiter {
    name: Name,
    module: usize,
    owner: Option<Name>,
    urgent: bool,
    at: Nanos,
    count: u64,
    deadline: Nanos,
    starving_told: bool,
    starving_at: Option<Nanos>,
    lease: Option<Nanos>,
    claim: bool,
    over: bool,
}

#[derive(Clone, Debug)]
struct Turn {
    token: u64,
    module: usize,
    group: Name,
    owner: Option<Name>,
    urgent: bool,
    since: Nanos,
    waited: Nanos,
    holds: Vec<Hold>,
    lease: Option<Nanos>,
    heard: Nanos,
    claim: bool,
    /// Until when it must be claimed; `None`: it need not be, or was.
    unclaimed_until: Option<Nanos>,
    overran: bool,
    longest: Option<Nanos>,
    end: Option<TurnEnd>,
}

#[derive(Clone, Debug)]
struct TurnEnd {
    at: Nanos,
    count: u64,
    unclean: bool,
    /// The largest delay of what was not declined; `None`: all was.
    delay: Option<Nanos>,
    roster: Arc<RosterSpec>,
}

#[derive(Clone, Debug)]
struct Hold {
    name: Name,
    module: usize,
    since: Nanos,
    /// How it ended and the module's delay at that time.
    end: Option<(&'static str, Nanos)>,
}

#[derive(Clone, Debug)]
struct Pass {
    name: Name,
    /// The place of its ask among all asks.
    count: u64,
    module: usize,
    owner: Option<Name>,
    mode: Mode,
    recorded: bool,
    since: Nanos,
    end: Option<PassEnd>,
}

/// A pass that is about to be given.
struct Passing {
    module: usize,
    count: u64,
    urgent: bool,
    waited: Nanos,
    recorded: bool,
}

#[derive(Clone, Debug)]
struct PassEnd {
    at: Nanos,
    count: u64,
    declined: bool,
    group: Name,
    delay: Nanos,
    roster: Arc<RosterSpec>,
}

#[derive(Clone, Debug)]
struct Pause {
    reason: String,
    below: Below,
    until: Option<Nanos>,
}

/// The kind of error with which an action is refused.
pub type Refused = &'static str;

impl Oracle {
    /// Returns a mutex without history.
    #[must_use]
    pub fn new(roster: &Roster) -> Self {
        let mut oracle = Oracle {
            roster: Arc::new(roster.spec().clone()),
            modules: Vec::new(),
            now: 0,
            count: 0,
            asks: Vec::new(),
            turns: Vec::new(),
            passes: Vec::new(),
            pauses: Vec::new(),
            floors: Vec::new(),
            abandoned: false,
            closed: false,
            next_token: 1,
            log: Vec::new(),
            seq: 0,
            forgets: false,
        };
        for spec in &roster.spec().modules {
            let module = oracle.settings(spec);
            oracle.modules.push(module);
        }
        oracle
    }

    /// Sets the first token and, if `restarted`, starts as after an abandoned turn (S17).
    #[must_use]
    pub fn started(mut self, first_token: u64, restarted: bool) -> Self {
        self.next_token = first_token;
        if restarted {
            // It is not known whose turn was open, so the longest delay of all runs.
            let delays = self.roster.delays.iter().map(|d| nanos(d.delay));
            let all = delays.chain(self.modules.iter().map(|m| m.delay));
            let longest = all.max().unwrap_or(0).max(nanos(self.roster.handover_delay));
            self.floors.push((None, longest, None));
            self.abandoned = true;
        }
        self
    }

    /// Drops history that cannot matter any more, so that a step takes no longer in a long run than in a short one.
    #[must_use]
    pub fn forgetting(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// Returns the predicted events since the last call.
    pub fn log(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.log)
    }

    /// Does all that falls due before `to`.
    pub fn advance(&mut self, to: Nanos) {
        while let Some(due) = self.due().filter(|due| *due < to) {
            self.now = due;
            self.settle();
        }
    }

    /// Carries out an action at a moment, with all that fell due before and at that moment.
    ///
    /// # Errors
    ///
    /// The kind of error with which the action is refused.
    pub fn act(&mut self, at: Nanos, action: &Action) -> Result<(), Refused> {
        // S18: what fell due before is done first; a time never goes back.
        self.advance(at);
        self.now = self.now.max(at);
        let done = self.apply(action);
        self.settle();
        if self.forgets {
            self.forget();
        }
        done
    }

    /// Returns whether the turn with this open hold should be given away (S11).
    #[must_use]
    pub fn should_yield(&self, hold: &str) -> bool {
        let Some(turn) = self.turn() else { return false };
        if !turn.open().any(|open| *open.name == *hold) {
            return false;
        }
        let priority = self.turn_priority(turn);
        if turn.overran || (!turn.urgent && self.paused(priority)) {
            return true;
        }
        // A holder's waiting time is how long it waited for its grant.
        let waited = if self.roster.aging.is_some() { turn.waited } else { 0 };
        let holders = i128::from(priority) * self.step() + i128::from(waited);
        let above = |w: &&Waiter| w.urgent || (!turn.urgent && self.effective(w) > holders);
        self.eligible().any(|w| above(&w))
    }

    /// Returns the open holds of the turn and the open passes, with their owners.
    #[must_use]
    pub fn open(&self) -> Vec<(Name, Option<Name>)> {
        let holds = self
            .turn()
            .into_iter()
            .flat_map(|turn| turn.open().map(|hold| (hold.name.clone(), turn.owner.clone())));
        let passes = self.passes.iter().filter(|pass| pass.end.is_none());
        holds.chain(passes.map(|pass| (pass.name.clone(), pass.owner.clone()))).collect()
    }

    // The present, derived from the history each time.

    fn turn(&self) -> Option<&Turn> {
        // S1: at most one is open.
        let mut open = self.turns.iter().filter(|turn| turn.end.is_none());
        let turn = open.next();
        assert!(open.next().is_none(), "two turns are open");
        turn
    }

    fn turn_mut(&mut self) -> Option<&mut Turn> {
        self.turns.iter_mut().find(|turn| turn.end.is_none())
    }

    fn turn_priority(&self, turn: &Turn) -> u8 {
        turn.open().map(|hold| self.modules[hold.module].priority).max().unwrap_or(0)
    }

    fn paused(&self, priority: u8) -> bool {
        self.pauses.iter().any(|pause| match pause.below {
            Below::Priority(level) => priority < level,
            Below::Urgent => true,
        })
    }

    /// The waiters that no pause holds back.
    fn eligible(&self) -> impl Iterator<Item = &Waiter> {
        self.asks
            .iter()
            .filter(|w| !w.over && (w.urgent || !self.paused(self.modules[w.module].priority)))
    }

    /// Returns priority + waiting time / interval, multiplied by the interval so that it is a whole number.
    fn effective(&self, waiter: &Waiter) -> i128 {
        let waited = if self.roster.aging.is_some() { self.now - waiter.at } else { 0 };
        i128::from(self.modules[waiter.module].priority) * self.step() + i128::from(waited)
    }

    fn step(&self) -> i128 {
        self.roster.aging.map_or(1, |interval| i128::from(nanos(interval)))
    }

    /// S2 and S10: urgent before others, then effective priority, then arrival.
    fn is_before(&self, a: &Waiter, b: &Waiter) -> bool {
        if a.urgent != b.urgent {
            return a.urgent;
        }
        if !a.urgent && self.effective(a) != self.effective(b) {
            return self.effective(a) > self.effective(b);
        }
        a.count < b.count
    }

    fn best(&self) -> Option<&Waiter> {
        let mut best: Option<&Waiter> = None;
        for waiter in self.eligible() {
            if best.is_none_or(|best| self.is_before(waiter, best)) {
                best = Some(waiter);
            }
        }
        best
    }

    /// Returns when the history lets a group in (S3).
    fn ready(&self, group: &Name) -> Nanos {
        let ends = self.turns.iter().filter_map(|turn| self.keeps_out(turn, group));
        ends.chain(self.floors_of(group).map(|(until, _)| until)).max().unwrap_or(0)
    }

    fn floors_of(&self, group: &Name) -> impl Iterator<Item = (Nanos, Option<usize>)> {
        let of = self.floors.iter().filter(move |(of, ..)| of.as_ref().is_none_or(|g| g == group));
        of.map(|(_, until, by)| (*until, *by))
    }

    /// Returns until when a turn that ended keeps a group out.
    fn keeps_out(&self, turn: &Turn, group: &Name) -> Option<Nanos> {
        let end = turn.end.as_ref()?;
        let own = end.delay?;
        let mut delay = delay(&end.roster, &turn.group, group, own);
        if end.unclean && turn.group == *group {
            // S7: the delay holds for every group, its own included.
            delay = delay.max(Some(own));
        }
        Some(end.at + delay?)
    }

    /// Returns until when a pass that ended should have kept a group out (S15).
    fn gap(&self, pass: &Pass, group: &Name) -> Option<Nanos> {
        let end = pass.end.as_ref().filter(|end| !end.declined && pass.mode == Mode::Observed)?;
        Some(end.at + delay(&end.roster, &end.group, group, end.delay)?)
    }

    fn due(&self) -> Option<Nanos> {
        let mut due: Vec<Nanos> = self.pauses.iter().filter_map(|pause| pause.until).collect();
        for waiter in self.asks.iter().filter(|w| !w.over) {
            due.push(waiter.deadline);
            due.extend(waiter.starving_at.filter(|_| !waiter.starving_told));
        }
        if let Some(turn) = self.turn() {
            due.extend(turn.lease.map(|lease| turn.heard + lease));
            due.extend(turn.unclaimed_until);
            due.extend(turn.longest.filter(|_| !turn.overran).map(|t| turn.since + t));
        } else if let Some(best) = self.best() {
            // Only the best waiter counts: if it may not go yet, no other goes before it.
            due.push(if best.urgent { 0 } else { self.ready(&self.modules[best.module].group) });
        }
        due.into_iter().min()
    }

    // Events.

    fn write(
        &mut self,
        event: &'static str,
        (request, module, token): (Option<Name>, Option<usize>, Option<u64>),
        details: Vec<(&'static str, Value)>,
    ) {
        self.seq += 1;
        let module = module.map(|module| self.modules[module].name.clone());
        let (seq, at) = (self.seq, self.now);
        self.log.push(Entry { seq, at, event, request, module, token, details });
    }

    fn tick(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// S18: at one instant comes the input, then the ends of pauses, leases and unclaimed grants, then the grant, then all
    /// deadlines, then grants that the deadlines made possible, then notices.
    fn settle(&mut self) {
        loop {
            self.expire();
            self.grant();
            if !self.time_out() {
                break;
            }
        }
        self.notice();
    }

    fn expire(&mut self) {
        let now = self.now;
        self.end_pauses(|pause| pause.until.is_some_and(|until| until <= now));
        let Some(turn) = self.turn() else { return };
        if turn.lease.is_some_and(|lease| turn.heard + lease <= now) {
            self.end_turn("revoked");
        } else if turn.unclaimed_until.is_some_and(|until| until <= now) {
            self.end_turn("declined");
        }
    }

    fn end_pauses(&mut self, which: impl Fn(&Pause) -> bool) -> usize {
        let (ended, kept): (Vec<Pause>, Vec<Pause>) =
            std::mem::take(&mut self.pauses).into_iter().partition(which);
        self.pauses = kept;
        for pause in &ended {
            let reason = Value::Text(pause.reason.as_str().into());
            self.write("resumed", (None, None, None), vec![("reason", reason)]);
        }
        ended.len()
    }

    fn grant(&mut self) {
        if self.turn().is_some() {
            return;
        }
        let Some(best) = self.best().cloned() else { return };
        let settings = self.modules[best.module].clone();
        if !best.urgent && self.ready(&settings.group) > self.now {
            return;
        }
        self.finish(&best.name);
        let token = self.next_token;
        self.next_token += 1;
        // By the count and not the time: a turn that ended at the instant of the ask may have ended before it.
        let between = |turn: &&Turn| {
            let end = turn.end.as_ref();
            end.is_some_and(|end| end.delay.is_some() && end.count > best.count)
        };
        let others = self.turns.iter().filter(between).count() as u64;
        let mut details = vec![("waited", Value::For(self.now - best.at))];
        if others > 0 {
            details.push(("others", Value::Count(others)));
        }
        if best.urgent {
            details.push(("urgent", Value::Yes));
        }
        if self.abandoned {
            details.push(("predecessor_abandoned", Value::Yes));
        }
        let about = (Some(best.name.clone()), Some(best.module), Some(token));
        self.write("granted", about.clone(), details);
        let hold =
            Hold { name: best.name.clone(), module: best.module, since: self.now, end: None };
        self.conflicts(&about, best.owner.as_ref());
        if !best.urgent {
            let gap = self.worst_gap(&settings.group);
            self.short_gap(&about, gap);
        }
        self.turns.push(Turn {
            token,
            module: best.module,
            group: settings.group,
            owner: best.owner,
            urgent: best.urgent,
            since: self.now,
            waited: self.now - best.at,
            holds: vec![hold],
            lease: best.lease,
            heard: self.now,
            claim: best.claim,
            unclaimed_until: best.claim.then(|| self.now + nanos(self.roster.claim_within)),
            overran: false,
            longest: settings.longest,
            end: None,
        });
    }

    /// S15: one `conflict` for each open turn or observed pass of another owner.
    fn conflicts(
        &mut self,
        about: &(Option<Name>, Option<usize>, Option<u64>),
        owner: Option<&Name>,
    ) {
        let mut others = Vec::new();
        if let Some(turn) = self.turn() {
            let first = turn.open().next();
            others.extend(first.map(|hold| (turn.owner.clone(), hold.module, hold.name.clone())));
        }
        let mut passes: Vec<&Pass> = self.passes.iter().collect();
        passes.retain(|pass| pass.end.is_none() && pass.mode == Mode::Observed);
        passes.sort_by_key(|pass| pass.count);
        others.extend(passes.iter().map(|p| (p.owner.clone(), p.module, p.name.clone())));
        for (other, with, with_request) in others {
            if other.is_none() || other.as_ref() != owner {
                let with = Value::Word(self.modules[with].name.clone());
                let with_request = Value::Word(with_request);
                let details = vec![("with", with), ("with_request", with_request)];
                self.write("conflict", about.clone(), details);
            }
        }
    }

    /// Returns the pass that should have kept the group out longest: until when, and its module.
    fn worst_gap(&self, group: &Name) -> Option<(Nanos, Option<usize>)> {
        let mut worst: Option<(Nanos, Option<usize>)> = None;
        let mut ended: Vec<&Pass> = self.passes.iter().filter(|p| p.end.is_some()).collect();
        ended.sort_by_key(|pass| pass.end.as_ref().map(|end| end.count));
        for pass in ended {
            if let Some(until) = self.gap(pass, group)
                && worst.is_none_or(|(worst, _)| until > worst)
            {
                worst = Some((until, Some(pass.module)));
            }
        }
        worst
    }

    /// Returns the same for turns.
    fn worst_delay(&self, group: &Name) -> Option<(Nanos, Option<usize>)> {
        let mut worst: Option<(Nanos, Option<usize>)> = None;
        let turns = self
            .turns
            .iter()
            .filter_map(|turn| Some((self.keeps_out(turn, group)?, Some(turn.module))));
        for (until, module) in turns.chain(self.floors_of(group)) {
            // The first of equals, as with passes.
            if worst.is_none_or(|(worst, _)| until > worst) {
                worst = Some((until, module));
            }
        }
        worst
    }

    fn short_gap(
        &mut self,
        about: &(Option<Name>, Option<usize>, Option<u64>),
        gap: Option<(Nanos, Option<usize>)>,
    ) {
        if let Some((until, Some(after))) = gap
            && until > self.now
        {
            let after = Value::Word(self.modules[after].name.clone());
            let details = vec![("after", after), ("missing", Value::For(until - self.now))];
            self.write("short_gap", about.clone(), details);
        }
    }

    /// S4: carries out all deadlines of this instant together. Returns whether there were any.
    fn time_out(&mut self) -> bool {
        let is_due = |waiter: &&Waiter| !waiter.over && waiter.deadline <= self.now;
        let mut due: Vec<Waiter> = self.asks.iter().filter(is_due).cloned().collect();
        due.sort_by_key(|waiter| (waiter.deadline, waiter.count));
        due.iter().for_each(|waiter| self.leave_queue(waiter, "timed_out"));
        !due.is_empty()
    }

    fn leave_queue(&mut self, waiter: &Waiter, event: &'static str) {
        self.finish(&waiter.name);
        let waited = Value::For(self.now - waiter.at);
        let about = (Some(waiter.name.clone()), Some(waiter.module), None);
        self.write(event, about, vec![("waited", waited)]);
    }

    /// Ends all waiters of a kind, in order of arrival.
    fn leave_all(&mut self, event: &'static str, which: impl Fn(&Waiter) -> bool) {
        let leaves = |waiter: &&Waiter| !waiter.over && which(waiter);
        let leaving: Vec<Waiter> = self.asks.iter().filter(leaves).cloned().collect();
        leaving.iter().for_each(|waiter| self.leave_queue(waiter, event));
    }

    fn finish(&mut self, request: &Name) {
        for waiter in self.asks.iter_mut().filter(|w| w.name == *request) {
            waiter.over = true;
        }
    }

    fn notice(&mut self) {
        let now = self.now;
        if let Some(turn) = self.turn_mut()
            && turn.longest.is_some_and(|longest| turn.since + longest <= now)
            && !turn.overran
        {
            turn.overran = true;
            let first = turn.open().next().map(|hold| hold.name.clone());
            let about = (first, Some(turn.module), Some(turn.token));
            let held = Value::For(now - turn.since);
            self.write("overrun", about, vec![("held", held)]);
        }
        let is_due =
            |w: &&Waiter| !w.over && !w.starving_told && w.starving_at.is_some_and(|at| at <= now);
        let mut starving: Vec<Waiter> = self.asks.iter().filter(is_due).cloned().collect();
        starving.sort_by_key(|w| (w.starving_at, w.count));
        for waiter in starving {
            for told in self.asks.iter_mut().filter(|w| w.name == waiter.name) {
                told.starving_told = true;
            }
            let best = self.best().filter(|best| best.name != waiter.name).map(|w| w.module);
            let holder = self.turn().map(|turn| turn.module);
            let by = holder.or(best).or_else(|| self.last());
            let mut details = vec![("waited", Value::For(now - waiter.at))];
            details.extend(by.map(|by| ("by", Value::Word(self.modules[by].name.clone()))));
            self.write("starving", (Some(waiter.name), Some(waiter.module), None), details);
        }
    }

    /// Returns the module of the last turn that was not declined.
    fn last(&self) -> Option<usize> {
        let ended = self.turns.iter().filter_map(|turn| {
            let end = turn.end.as_ref().filter(|end| end.delay.is_some())?;
            Some((end.count, turn.module))
        });
        ended.max().map(|(_, module)| module)
    }

    fn apply(&mut self, action: &Action) -> Result<(), Refused> {
        match action {
            Action::Tick => {}
            Action::Ask(ask) => {
                let module = self.module(&ask.module)?;
                self.ask(ask, module);
            }
            Action::End { hold, owner, how } => {
                let end = match how {
                    Leave::Released => "released",
                    Leave::Panicked => "panicked",
                    Leave::Declined => "declined",
                };
                if !self.end_own(hold, owner.as_ref(), end) {
                    self.write("not_holder", (Some(hold.clone()), None, None), Vec::new());
                    return Err("not_holder");
                }
            }
            Action::EndModule { module, owner } => return self.end_module(module, owner),
            Action::Yield { hold, owner, request, timeout } => {
                return self.give_away(hold, owner.as_ref(), request, *timeout);
            }
            Action::Withdraw(request) => self.withdraw(request),
            Action::Claim(request) => return self.claim(request),
            Action::Acknowledge(hold) => return self.acknowledge(hold),
            Action::Heartbeat(hold) => {
                let now = self.now;
                let turn = self.turn_mut().filter(|turn| turn.open().any(|h| h.name == *hold));
                turn.ok_or("not_holder")?.heard = now;
            }
            Action::OwnerLost(owner) => self.owner_lost(owner),
            Action::Steer(steer) => return self.steer(steer),
            Action::Reset(owner) => self.reset(owner.as_ref()),
        }
        Ok(())
    }

    fn steer(&mut self, steer: &Steer<Name>) -> Result<(), Refused> {
        match steer {
            Steer::Cancel { module } => {
                let module = self.module(module)?;
                self.leave_all("cancelled", |waiter| waiter.module == module);
            }
            Steer::Disable { module } => self.set_disabled(module, true)?,
            Steer::Enable { module } => self.set_disabled(module, false)?,
            Steer::Mode { module, mode } => {
                let module = self.module(module)?;
                self.set_mode(module, *mode);
            }
            Steer::Pause { reason, below, lasts } => {
                return self.pause(reason, *below, lasts.map(nanos));
            }
            Steer::Resume { reason } => {
                let ended =
                    self.end_pauses(|pause| reason.as_ref().is_none_or(|r| *r == pause.reason));
                if ended == 0 && reason.is_some() {
                    return Err("refused");
                }
            }
            Steer::Close => {
                if !self.closed {
                    self.closed = true;
                    self.write("closing", (None, None, None), Vec::new());
                    self.leave_all("closed", |_| true);
                }
            }
            Steer::Reload(roster) => return self.reload(roster),
            Steer::Revoke { reason } => return self.revoke(reason),
            Steer::Reset { .. } => self.reset(None),
        }
        Ok(())
    }

    /// S12: ends the turn of whoever holds.
    fn revoke(&mut self, reason: &str) -> Result<(), Refused> {
        if !is_reason(reason) {
            return Err("refused");
        }
        let Some(turn) = self.turn() else { return Err("not_holder") };
        let first = turn.open().next().map(|hold| hold.name.clone());
        let about = (first, Some(turn.module), Some(turn.token));
        self.write("revoking", about, vec![("reason", Value::Text(reason.into()))]);
        self.end_turn("revoked");
        Ok(())
    }

    fn ask(&mut self, ask: &Ask, module: usize) {
        let settings = self.modules[module].clone();
        let own = |turn: &&Turn| {
            let by_owner = ask.owner.is_some() && turn.owner == ask.owner;
            by_owner || turn.open().any(|hold| ask.within.as_ref() == Some(&hold.name))
        };
        let own_turn = self.turn().filter(own);
        let same = |turn: &Turn| {
            turn.group == settings.group || turn.open().any(|hold| hold.module == module)
        };
        let nests = own_turn.is_some_and(same);
        let holds_other = own_turn.is_some() && !nests;
        let nested = self.turn().map_or(0, |turn| turn.open().count());
        let too_deep = nests && nested >= self.roster.limits.waiters;
        if nests && !too_deep {
            return self.nest(&ask.request, module);
        }
        let timeout = ask.timeout.unwrap_or(settings.timeout);
        let refusal = self.refusal(ask, &settings, (holds_other, too_deep));
        let about = (Some(ask.request.clone()), Some(module), None);
        let recorded = settings.mode != Mode::Off || refusal.is_some();
        if recorded {
            let mut details = vec![("timeout", Value::For(timeout))];
            if ask.urgent {
                details.push(("urgent", Value::Yes));
            }
            self.write("requested", about.clone(), details);
            if ask.requeued {
                self.write("requeued", about.clone(), vec![]);
            }
        }
        if let Some(error) = refusal {
            return self.write("refused", about, vec![("error", Value::Fixed(error))]);
        }
        let count = self.tick();
        if settings.mode != Mode::Enforced {
            let pass = Passing { module, count, urgent: ask.urgent, waited: 0, recorded };
            return self.pass(&ask.request, ask.owner.clone(), pass);
        }
        self.asks.push(Waiter {
            name: ask.request.clone(),
            module,
            owner: ask.owner.clone(),
            urgent: ask.urgent,
            at: self.now,
            count,
            deadline: self.now + timeout,
            starving_told: false,
            starving_at: self.roster.starving_after.map(|after| self.now + nanos(after)),
            lease: ask.lease,
            claim: ask.claim,
            over: false,
        });
    }

    fn refusal(
        &self,
        ask: &Ask,
        module: &Module,
        (holds_other, too_deep): (bool, bool),
    ) -> Option<Refused> {
        let enforced = module.mode == Mode::Enforced;
        let waiting = self.asks.iter().filter(|w| !w.over).count();
        let passing = self.passes.iter().filter(|p| p.end.is_none()).count();
        // The order matters: several can apply, and the first is the answer (S4).
        let checks = [
            ("not_holder", ask.within.as_ref().is_some_and(|hold| !self.is_open(hold))),
            ("queue_full", too_deep),
            ("would_deadlock", holds_other && enforced),
            ("closed", self.closed),
            ("disabled", module.disabled),
            ("refused", ask.timeout.max(ask.lease).is_some_and(|longest| longest > LONGEST)),
            ("refused", ask.lease == Some(0)),
            ("refused", ask.urgent && !module.urgent && enforced),
            (
                "queue_full",
                (if enforced { waiting } else { passing }) >= self.roster.limits.waiters,
            ),
        ];
        checks.into_iter().find(|(_, is)| *is).map(|(error, _)| error)
    }

    fn is_open(&self, hold: &Name) -> bool {
        self.turn().is_some_and(|turn| turn.open().any(|h| h.name == *hold))
            || self.passes.iter().any(|pass| pass.end.is_none() && pass.name == *hold)
    }

    fn nest(&mut self, request: &Name, module: usize) {
        let now = self.now;
        let Some(turn) = self.turn_mut() else { return };
        let (token, depth) = (turn.token, turn.open().count() as u64);
        turn.holds.push(Hold { name: request.clone(), module, since: now, end: None });
        let about = (Some(request.clone()), Some(module), Some(token));
        self.write("nested", about, vec![("depth", Value::Count(depth))]);
    }

    fn pass(
        &mut self,
        request: &Name,
        owner: Option<Name>,
        Passing { module, count, urgent, waited, recorded }: Passing,
    ) {
        let settings = self.modules[module].clone();
        let about = (Some(request.clone()), Some(module), None);
        if recorded {
            let mut details = vec![("waited", Value::For(waited)), ("pass", Value::Yes)];
            if urgent {
                details.push(("urgent", Value::Yes));
            }
            if self.abandoned {
                details.push(("predecessor_abandoned", Value::Yes));
            }
            self.write("granted", about.clone(), details);
        }
        if settings.mode == Mode::Observed {
            self.conflicts(&about, owner.as_ref());
            let (delay, gap) = (self.worst_delay(&settings.group), self.worst_gap(&settings.group));
            let until = |gap: Option<(Nanos, Option<usize>)>| gap.map(|(until, _)| until);
            if !urgent {
                self.short_gap(&about, if until(gap) > until(delay) { gap } else { delay });
            }
        }
        self.passes.push(Pass {
            name: request.clone(),
            count,
            module,
            owner,
            mode: settings.mode,
            recorded,
            since: self.now,
            end: None,
        });
    }

    // Ends.

    /// Ends an open hold or pass of this owner.
    fn end_own(&mut self, hold: &Name, owner: Option<&Name>, end: &'static str) -> bool {
        let held = self.turn().is_some_and(|turn| {
            turn.owner.as_ref() == owner && turn.open().any(|h| h.name == *hold)
        });
        let passing = self
            .passes
            .iter()
            .any(|pass| pass.end.is_none() && pass.name == *hold && pass.owner.as_ref() == owner);
        if held {
            self.end_hold(hold, end);
        } else if passing {
            self.end_pass(hold, end);
        }
        held || passing
    }

    fn end_module(&mut self, module: &str, owner: &Name) -> Result<(), Refused> {
        let module = self.module(module)?;
        let turn = self.turn().filter(|turn| turn.owner.as_ref() == Some(owner));
        let hold = turn.and_then(|turn| turn.open().filter(|hold| hold.module == module).last());
        let passes = self.passes.iter().filter(|pass| {
            pass.end.is_none() && pass.module == module && pass.owner.as_ref() == Some(owner)
        });
        let pass = passes.max_by_key(|pass| pass.count);
        match (hold.map(|hold| hold.name.clone()), pass.map(|pass| pass.name.clone())) {
            (Some(hold), _) => self.end_hold(&hold, "released"),
            (None, Some(pass)) => self.end_pass(&pass, "released"),
            (None, None) => {
                self.write("not_holder", (None, Some(module), None), Vec::new());
                return Err("not_holder");
            }
        }
        Ok(())
    }

    fn end_hold(&mut self, hold: &Name, how: &'static str) {
        let (now, count) = (self.now, self.tick());
        let delays: Vec<Nanos> = self.modules.iter().map(|module| module.delay).collect();
        let roster = self.roster.clone();
        let Some(turn) = self.turn_mut() else { return };
        let Some(at) = turn.holds.iter().position(|h| h.name == *hold) else { return };
        let module = turn.holds[at].module;
        turn.holds[at].end = Some((how, delays[module]));
        let depth = turn.open().count() as u64;
        let (token, held) = (turn.token, now - turn.holds[at].since);
        if depth == 0 {
            // S3: the largest delay of its modules; S9: what was declined left no trace.
            let did = turn.holds.iter().filter_map(|hold| hold.end);
            let delay = did.filter(|(how, _)| *how != "declined").map(|(_, delay)| delay).max();
            let unclean = delay.is_some() && matches!(how, "abandoned" | "revoked");
            turn.end = Some(TurnEnd { at: now, count, unclean, delay, roster });
            self.abandoned |= unclean;
        }
        let mut details = vec![("held", Value::For(held))];
        if depth > 0 {
            details.push(("depth", Value::Count(depth)));
        }
        self.write(how, (Some(hold.clone()), Some(module), Some(token)), details);
    }

    /// Ends all holds of the turn, the newest first.
    fn end_turn(&mut self, how: &'static str) {
        while let Some(newest) =
            self.turn().and_then(|turn| turn.open().last()).map(|hold| hold.name.clone())
        {
            self.end_hold(&newest, how);
        }
    }

    fn end_pass(&mut self, request: &Name, how: &'static str) {
        let (now, count, roster) = (self.now, self.tick(), self.roster.clone());
        let modules = self.modules.clone();
        let open = |pass: &&mut Pass| pass.end.is_none() && pass.name == *request;
        let Some(pass) = self.passes.iter_mut().find(open) else { return };
        let Module { group, delay, .. } = modules[pass.module].clone();
        let declined = how == "declined";
        pass.end = Some(PassEnd { at: now, count, declined, group, delay, roster });
        if pass.recorded {
            let about = (Some(request.clone()), Some(pass.module), None);
            let details = vec![("held", Value::For(now - pass.since)), ("pass", Value::Yes)];
            self.write(how, about, details);
        }
    }

    fn give_away(
        &mut self,
        hold: &Name,
        owner: Option<&Name>,
        request: &Name,
        timeout: Option<Nanos>,
    ) -> Result<(), Refused> {
        let mut again = Ask { owner: owner.cloned(), timeout, ..Ask::new(request, "") };
        let own =
            |turn: &&Turn| turn.owner.as_ref() == owner && turn.open().any(|h| h.name == *hold);
        let module;
        if let Some(turn) = self.turn().filter(own) {
            if turn.open().count() > 1 {
                return Err("refused");
            }
            (again.lease, again.claim) = (turn.lease, turn.claim);
            module = turn.open().next().map_or(turn.module, |hold| hold.module);
        } else {
            let pass = self.passes.iter().find(|pass| {
                pass.end.is_none() && pass.name == *hold && pass.owner.as_ref() == owner
            });
            let Some(pass) = pass else {
                self.write("not_holder", (Some(hold.clone()), None, None), Vec::new());
                return Err("not_holder");
            };
            module = pass.module;
        }
        self.end_own(hold, owner, "yielded");
        self.ask(&again, module);
        Ok(())
    }

    fn withdraw(&mut self, request: &Name) {
        let waiting = self.asks.iter().find(|w| !w.over && w.name == *request).cloned();
        if let Some(waiter) = waiting {
            self.leave_queue(&waiter, "withdrawn");
        } else if self.turn().is_some_and(|turn| turn.open().any(|h| h.name == *request)) {
            self.end_hold(request, "declined");
        } else {
            self.end_pass(request, "declined");
        }
    }

    fn claim(&mut self, request: &Name) -> Result<(), Refused> {
        if let Some(turn) = self.turn_mut()
            && turn.open().next().is_some_and(|hold| hold.name == *request)
        {
            turn.unclaimed_until = None;
        }
        if self.is_open(request) { Ok(()) } else { Err("lost") }
    }

    fn acknowledge(&mut self, hold: &Name) -> Result<(), Refused> {
        let turn = self.turn().filter(|turn| turn.open().any(|h| h.name == *hold));
        let turn = turn.ok_or("not_holder")?;
        let about = (Some(hold.clone()), Some(turn.module), Some(turn.token));
        if self.abandoned {
            self.abandoned = false;
            self.write("acknowledged", about, Vec::new());
        }
        Ok(())
    }

    fn owner_lost(&mut self, owner: &Name) {
        self.leave_all("lost", |waiter| waiter.owner.as_ref() == Some(owner));
        if self.turn().is_some_and(|turn| turn.owner.as_ref() == Some(owner)) {
            self.end_turn("abandoned");
        }
        self.end_passes_of(owner, "abandoned");
    }

    fn end_passes_of(&mut self, owner: &Name, how: &'static str) {
        let mut passes: Vec<Pass> = self.passes.clone();
        passes.retain(|pass| pass.end.is_none() && pass.owner.as_ref() == Some(owner));
        passes.sort_by_key(|pass| pass.count);
        passes.iter().for_each(|pass| self.end_pass(&pass.name, how));
    }

    // Steering.

    fn set_disabled(&mut self, module: &str, disabled: bool) -> Result<(), Refused> {
        let module = self.module(module)?;
        if self.modules[module].disabled != disabled {
            self.modules[module].disabled = disabled;
            let event = if disabled { "disabled" } else { "enabled" };
            self.write(event, (None, Some(module), None), Vec::new());
        }
        Ok(())
    }

    fn set_mode(&mut self, module: usize, mode: Mode) {
        if self.modules[module].mode == mode {
            return;
        }
        self.modules[module].mode = mode;
        let details = vec![("mode", Value::Fixed(mode.name()))];
        self.write("mode", (None, Some(module), None), details);
        if mode == Mode::Enforced {
            return;
        }
        let mut waiting: Vec<Waiter> = self.asks.iter().filter(|w| !w.over).cloned().collect();
        waiting.retain(|waiter| waiter.module == module);
        for waiter in waiting {
            self.finish(&waiter.name);
            let (count, urgent, waited) = (waiter.count, waiter.urgent, self.now - waiter.at);
            let pass = Passing { module, count, urgent, waited, recorded: true };
            self.pass(&waiter.name, waiter.owner, pass);
        }
    }

    fn pause(&mut self, reason: &str, below: Below, lasts: Option<Nanos>) -> Result<(), Refused> {
        if !is_reason(reason) || lasts.is_some_and(|lasts| lasts > LONGEST) {
            return Err("refused");
        }
        let until = lasts.map(|lasts| self.now + lasts);
        let pause = Pause { reason: reason.to_string(), below, until };
        match self.pauses.iter().position(|pause| pause.reason == reason) {
            Some(at) => self.pauses[at] = pause,
            None if self.pauses.len() >= PAUSES_MAX => return Err("refused"),
            None => self.pauses.push(pause),
        }
        let below = match below {
            Below::Priority(level) => Value::Count(u64::from(level)),
            Below::Urgent => Value::Fixed("urgent"),
        };
        let mut details = vec![("reason", Value::Text(reason.into())), ("below", below)];
        details.extend(until.map(|until| ("until", Value::At(until))));
        self.write("paused", (None, None, None), details);
        Ok(())
    }

    fn reload(&mut self, roster: &Roster) -> Result<(), Refused> {
        let new = roster.spec();
        let added = new.modules.iter().filter(|m| self.known(&m.name).is_none()).count();
        if self.modules.len() + added > new.limits.modules {
            return Err("refused");
        }
        let old = std::mem::replace(&mut self.roster, Arc::new(new.clone()));
        let (mut switched, mut moved) = (Vec::new(), Vec::new());
        for at in 0..self.modules.len() {
            let before = self.modules[at].clone();
            let written = |roster: &RosterSpec| {
                let named = roster.modules.iter().find(|m| *m.name == *before.name).cloned();
                named.unwrap_or_else(|| ModuleSpec::new(&before.name, DEFAULT_PRIORITY))
            };
            let (was, is) = (written(&old), written(new));
            let mut module = self.settings(&is);
            module.disabled = before.disabled;
            // A switch made while running stays, unless the rosters themselves differ.
            if was.mode == is.mode {
                module.mode = before.mode;
            } else if is.mode != before.mode {
                switched.push((at, is.mode));
                module.mode = before.mode;
            }
            if module.group != before.group {
                // S19: no running delay shrinks, not by a move into a group that may go at once either.
                if let Some((until, by)) = self.worst_delay(&before.group) {
                    moved.push((Some(module.group.clone()), until, by));
                }
            }
            self.modules[at] = module;
        }
        self.floors.extend(moved);
        for spec in &new.modules {
            if self.known(&spec.name).is_none() {
                let module = self.settings(spec);
                self.modules.push(module);
            }
        }
        self.write("reloaded", (None, None, None), Vec::new());
        switched.into_iter().for_each(|(module, mode)| self.set_mode(module, mode));
        Ok(())
    }

    /// S20: ends the caller's own turn, cancels the waiters, forgets the delay.
    fn reset(&mut self, owner: Option<&Name>) {
        if let Some(owner) = owner {
            while let Some(oldest) = self
                .turn()
                .filter(|turn| turn.owner.as_ref() == Some(owner))
                .and_then(|turn| turn.open().next())
                .map(|hold| hold.name.clone())
            {
                self.end_hold(&oldest, "released");
            }
            self.end_passes_of(owner, "released");
        }
        self.leave_all("cancelled", |_| true);
        self.turns.retain(|turn| turn.end.is_none());
        self.passes.retain(|pass| pass.end.is_none());
        self.floors.clear();
        self.abandoned = false;
        self.write("reset", (None, None, None), Vec::new());
    }

    // Modules.

    fn known(&self, name: &str) -> Option<usize> {
        self.modules.iter().position(|module| *module.name == *name)
    }

    /// Returns a module's index. A module that the roster does not name is made when it is first asked for.
    fn module(&mut self, name: &str) -> Result<usize, Refused> {
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !(1..=64).contains(&name.len()) || !name.chars().all(good) {
            return Err("invalid_name");
        }
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.known(&name) {
            return Ok(known);
        }
        // S14: a name that differs from a roster's only in `_`, `.` and `-` is a slip.
        let letters = |name: &str| name.replace(['_', '.', '-'], "");
        if self.roster.modules.iter().any(|m| letters(&m.name) == letters(&name)) {
            return Err("invalid_name");
        }
        if self.roster.strict {
            return Err("unknown_module");
        }
        if self.modules.len() >= self.roster.limits.modules {
            return Err("refused");
        }
        let module = self.settings(&ModuleSpec::new(&name, DEFAULT_PRIORITY));
        self.modules.push(module);
        Ok(self.modules.len() - 1)
    }

    fn settings(&self, spec: &ModuleSpec) -> Module {
        Module {
            name: spec.name.as_str().into(),
            group: spec.group.as_deref().unwrap_or(&spec.name).into(),
            priority: spec.priority,
            timeout: nanos(spec.timeout.unwrap_or(self.roster.timeout)),
            delay: nanos(spec.handover_delay.unwrap_or(self.roster.handover_delay)),
            longest: spec.longest_turn.map(nanos),
            urgent: spec.urgent,
            mode: spec.mode,
            disabled: false,
        }
    }

    fn forget(&mut self) {
        self.asks.retain(|waiter| !waiter.over);
        if self.turns.len() + self.passes.len() < 6 {
            return;
        }
        // A declined turn is not the last: the history stays what it was (S9).
        let ends = self.turns.iter().filter_map(|turn| turn.end.as_ref());
        let Some(last) = ends.filter(|end| end.delay.is_some()).map(|end| end.count).max() else {
            return;
        };
        let oldest = self.asks.iter().map(|waiter| waiter.count).min().unwrap_or(u64::MAX);
        let delays = self.roster.delays.iter().map(|delay| nanos(delay.delay));
        let delays = delays.chain(self.modules.iter().map(|module| module.delay));
        let longest = delays.max().unwrap_or(0);
        let now = self.now;
        // The last turn stays: it may have to be named.
        self.turns.retain(|turn| {
            turn.end
                .as_ref()
                .is_none_or(|end| end.count == last || end.count > oldest || end.at + longest > now)
        });
        self.passes.retain(|pass| pass.end.as_ref().is_none_or(|end| end.at + longest > now));
    }
}

impl Turn {
    fn open(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(|hold| hold.end.is_none())
    }
}

/// S3: returns the delay between groups; `own` is that of the turn's modules. The exact pair counts, else the longer of the
/// two pairs with one `*`, else `*` to `*`, else the turn's own. Within a group only the exact pair counts.
fn delay(roster: &RosterSpec, from: &str, to: &str, own: Nanos) -> Option<Nanos> {
    if roster.delays.is_empty() {
        return (from != to).then_some(own);
    }
    let pair = |a: &str, b: &str| {
        let mut pairs = roster.delays.iter().filter(|d| d.from == a && d.to == b);
        pairs.next().map(|d| nanos(d.delay))
    };
    if let Some(exact) = pair(from, to) {
        return Some(exact);
    }
    if from == to {
        return None;
    }
    pair(from, "*").max(pair("*", to)).or(pair("*", "*")).or(Some(own))
}

/// Returns whether a text can be the reason of a pause or a revoke.
fn is_reason(text: &str) -> bool {
    (1..=REASON_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}
