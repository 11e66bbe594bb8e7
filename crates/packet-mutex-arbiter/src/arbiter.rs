//! The state machine.

use crate::decision::{Barrier, Decision, Hold, Holder, Pass, Pause, Waiter};
use crate::event::{End, Event, EventKind, Unserved};
use crate::input::{
    Below, Input, Leave, ModuleId, Owner, REASON_MAX, Request, RequestId, Steer, Token,
};
use crate::output::{AHEAD_MAX, Answer, Failure, Grant, Output, Refusal, TimedOut};
use crate::records::Records;
use crate::roster::{DURATION_MAX, Mode, Roster};
use crate::status::Status;
use crate::table::{NameError, Resolved};
use crate::time::Time;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// The most pauses that can be set at a time.
const PAUSES_MAX: usize = 64;

/// Decides who goes next on one shared action channel.
///
/// It has no clock, thread, I/O or randomness (S18). A front drives it in three steps:
///
/// 1. Stamp the time *after* the last protected action, and call [`handle`](Self::handle) with what happened.
/// 2. Drain [`poll_output`](Self::poll_output) until it is empty. Hand each answer to the asker that waits for it.
/// 3. At [`poll_timeout`](Self::poll_timeout), hand in [`Input::Tick`]. A spurious or late tick changes no outcome.
///
/// What fell due before an input is done first, in due order. It is stamped with the time at which it was due.
///
/// At one instant the order is:
///
/// 1. the input,
/// 2. the ends of pauses, leases and unclaimed grants,
/// 3. the grant,
/// 4. all deadlines of that instant,
/// 5. grants that the deadlines made possible,
/// 6. notices: overrun, starving, should yield.
///
/// ```
/// use packet_mutex_arbiter::{Answer, Arbiter, Input, Leave, Output, Request, Roster, Start, Time};
///
/// let mut arbiter = Arbiter::new(Roster::default(), Start::default());
/// let fisher = arbiter.resolve("fisher").unwrap().module;
/// let eater = arbiter.resolve("eater").unwrap().module;
///
/// // The fisher fishes from 0 s to 2 s, while the eater gets hungry at 1 s.
/// let seconds = |s: u64| Time::from_nanos(s * 1_000_000_000);
/// let (cast, bite) = (arbiter.next_request(), arbiter.next_request());
/// let inputs = [
///     (seconds(0), Input::Request(Request::new(cast, fisher))),
///     (seconds(1), Input::Request(Request::new(bite, eater))),
///     (seconds(2), Input::End { hold: cast, owner: None, how: Leave::Released }),
/// ];
///
/// let mut granted = Vec::new();
/// let mut inputs = inputs.into_iter().peekable();
/// loop {
///     // The next thing that happens: an input, or what falls due.
///     let due = arbiter.poll_timeout().unwrap_or(Time::MAX);
///     let (now, input) = match inputs.next_if(|(at, _)| *at <= due) {
///         Some(next) => next,
///         None if granted.len() < 2 => (due, Input::Tick),
///         None => break,
///     };
///     arbiter.handle(now, input).unwrap();
///     while let Some(output) = arbiter.poll_output() {
///         if let Output::Answer { request, answer: Answer::Turn(_) } = output {
///             granted.push((request, now));
///         }
///     }
/// }
/// // The eater's turn begins a second after the fisher's end.
/// assert_eq!(granted, [(cast, seconds(0)), (bite, seconds(3))]);
/// ```
#[derive(Clone, Debug)]
pub struct Arbiter {
    decision: Decision,
    records: Records,
    outputs: VecDeque<Output>,
    /// When the next thing falls due. It is worked out once after each input.
    due: Option<Time>,
}

/// The asker that gets a pass.
#[derive(Clone, Copy)]
struct Asker {
    id: RequestId,
    module: ModuleId,
    owner: Option<Owner>,
    urgent: bool,
}

/// Where an arbiter starts from.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The time.
    pub now: Time,
    /// The first token. It must be larger than all tokens that were given before (S17).
    pub first_token: u64,
    /// Whether the mutex existed before. If so, its delay holds for every group, and the first turns see that a turn may
    /// have been abandoned (S17).
    pub after_restart: bool,
}

/// A mutex without history.
impl Default for Start {
    fn default() -> Self {
        Start { now: Time::ZERO, first_token: 1, after_restart: false }
    }
}

impl Arbiter {
    /// Makes an arbiter that nobody holds.
    #[must_use]
    pub fn new(roster: Roster, start: Start) -> Self {
        let mut decision = Decision::new(roster, start.now);
        if start.after_restart {
            decision.abandoned = true;
            let longest = decision.table.longest_delay();
            decision.delays.raise_all(start.now + longest);
        }
        Arbiter {
            decision,
            records: Records::new(start.first_token),
            outputs: VecDeque::new(),
            due: None,
        }
    }

    // What a front looks up.

    /// Returns the module with this name. A module that the roster does not name is added, unless the roster is strict.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the text is not a valid name, is too like a name of the roster, or is unknown to a strict roster,
    /// or if there are too many modules.
    pub fn resolve(&mut self, name: &str) -> Result<Resolved, NameError> {
        self.decision.table.resolve(name)
    }

    /// Returns a module's name.
    #[must_use]
    pub fn module_name(&self, module: ModuleId) -> &Arc<str> {
        &self.decision.table.module(module).name
    }

    /// Returns the roster in force.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        self.decision.table.roster()
    }

    /// Reserves and returns the number of the next request.
    pub fn next_request(&mut self) -> RequestId {
        let id = RequestId(self.records.next_request);
        self.records.next_request += 1;
        id
    }

    /// Returns whether this hold's turn should be given away (S11). It is `false` if the hold is not open.
    ///
    /// Things that fell due before `now` count only once an [`Input::Tick`] has been handed in.
    #[must_use]
    pub fn should_yield(&self, hold: RequestId, now: Time) -> bool {
        self.open_hold(hold).is_some() && self.decision.should_yield(now)
    }

    /// Returns whether this is an open hold of the turn.
    #[must_use]
    pub fn holds(&self, hold: RequestId) -> bool {
        self.open_hold(hold).is_some()
    }

    /// Returns when a waiting request times out (S4), or `None` if it does not wait.
    #[must_use]
    pub fn deadline(&self, request: RequestId) -> Option<Time> {
        self.decision.requests.get(&request).map(|waiter| waiter.deadline)
    }

    /// Returns whether this is an open pass (S15).
    #[must_use]
    pub fn is_pass(&self, hold: RequestId) -> bool {
        self.decision.passes.contains_key(&hold)
    }

    /// Returns the holder: its owner, if it has one, and the module that got the turn.
    #[must_use]
    pub fn holder(&self) -> Option<(Option<Owner>, ModuleId)> {
        self.decision.holder.as_ref().map(|holder| (holder.owner, holder.module))
    }

    /// Returns the decision without the records. It is the state for a model checker.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns a consistent snapshot for people and monitors (S16). Hand in an [`Input::Tick`] first.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        Status::new(&self.decision, &self.records, now, self.next_grant())
    }

    /// Returns how many events after number `seq` are lost, and those that are still kept.
    pub fn events_since(&self, seq: u64) -> (u64, impl Iterator<Item = &Event>) {
        self.records.since(seq)
    }

    /// Returns the number of the newest event, or 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.records.last_seq()
    }

    /// Returns the next grant if nobody else arrives, and how long until then. While somebody holds, it assumes that the
    /// turn ends now.
    fn next_grant(&self) -> Option<(ModuleId, Duration)> {
        if self.decision.requests.is_empty() {
            return None;
        }
        // A clone of the machine runs ahead. A second computation of who is next would have to repeat every rule and
        // could come to differ from them. The clone gets empty records, since copying the event log would cost far
        // more than the answer.
        let mut records = Records::new(self.records.next_token);
        records.turns_ended = self.records.turns_ended;
        let decision = self.decision.clone();
        let mut ahead = Arbiter { decision, records, outputs: VecDeque::new(), due: self.due };
        let now = ahead.decision.now;
        if ahead.decision.holder.is_some() {
            while !ahead.decision.holds.is_empty() {
                // Each end counts towards the turn's delay, so the nested holds end one by one as they would in a
                // real release.
                ahead.end_hold(0, End::Released);
            }
            ahead.settle(now);
        }
        loop {
            if let Some(holder) = &ahead.decision.holder {
                return Some((holder.module, ahead.decision.now.since(now)));
            }
            // Deadlines fall due on the way as well: a waiter that times out before its grant is not the next. Each
            // round takes a waiter or a due time away, so the loop ends.
            let due = ahead.due?;
            ahead.settle(due);
        }
    }

    // What a front drives.

    /// Takes in what happened at `now`. A time before the last one counts as the last one (S18).
    ///
    /// # Errors
    ///
    /// The reason why this input was refused. It then changed nothing but the log. An [`Input::Request`] never fails here:
    /// its answer, good or bad, is an [`Output`].
    ///
    /// # Panics
    ///
    /// If an invariant of the arbiter itself is broken.
    pub fn handle(&mut self, now: Time, input: Input) -> Result<(), Failure> {
        let now = now.max(self.decision.now);
        // A timer may ring late. What fell due is done first, one due time after the other, each with its own time as
        // `now`: so a late tick decides what a punctual one would have decided (S18).
        while let Some(due) = self.due.filter(|due| *due < now) {
            self.settle(due);
        }
        self.decision.now = now;
        let result = self.apply(input);
        self.settle(now);
        result
    }

    /// Returns the next thing to carry out, or `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when to hand in an [`Input::Tick`] if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    fn apply(&mut self, input: Input) -> Result<(), Failure> {
        match input {
            Input::Tick => {}
            Input::Request(request) => self.request(request),
            Input::End { hold, owner, how } => self.end(hold, owner, how)?,
            Input::EndModule { module, owner } => self.end_module(module, owner)?,
            Input::Yield { hold, owner, id, timeout } => {
                self.give_away(hold, owner, id, timeout)?;
            }
            Input::Withdraw { request } => self.withdraw(request),
            Input::Claim { request } => self.claim(request)?,
            Input::Acknowledge { hold } => self.acknowledge(hold)?,
            Input::Heartbeat { hold } => self.heartbeat(hold)?,
            Input::OwnerLost { owner } => self.owner_lost(owner),
            Input::Steer(steer) => self.steer(steer)?,
        }
        Ok(())
    }

    // Asking.

    /// Answers the request or lets it wait (S2, S4, S5, S12, S14, S15).
    fn request(&mut self, request: Request) {
        assert!(request.id.0 < self.records.next_request, "a number from next_request()");
        let Request { id, module, .. } = request;
        let own_turn = self.decision.holder.as_ref().filter(|_| self.is_holder(&request));
        let same_group = own_turn.map(|holder| self.is_of_group(module, holder));
        let limit = self.decision.table.limits().waiters;
        // A nested turn comes before every refusal: its owner has the mutex already, so a pause, a disabled module or
        // a closing mutex must not stop it half-way (S5).
        if same_group == Some(true) && self.decision.holds.len() < limit {
            return self.nest(id, module);
        }
        let mode = self.decision.table.module(module).mode;
        let refusal = self.refusal(&request, mode, same_group);
        // A module that is switched off leaves no trace. A refusal is recorded all the same: somebody will look for it.
        let recorded = mode != Mode::Off || refusal.is_some();
        let settings = self.decision.table.module(module);
        let timeout = request.timeout.unwrap_or(settings.timeout);
        if recorded {
            let kind = EventKind::Requested { urgent: request.urgent, timeout };
            self.log(Some(module), Some(id), None, kind);
            if request.requeued {
                self.log(Some(module), Some(id), None, EventKind::Requeued);
            }
        }
        if let Some(failure) = refusal {
            self.log(Some(module), Some(id), None, EventKind::Refused { error: failure.kind() });
            return self.answer(id, Answer::Failed(failure));
        }
        if mode != Mode::Enforced {
            let asker = Asker { id, module, owner: request.owner, urgent: request.urgent };
            return self.pass(asker, Duration::ZERO, recorded);
        }
        let now = self.decision.now;
        let waiter = Waiter {
            module,
            owner: request.owner,
            urgent: request.urgent,
            arrived: now,
            deadline: now + timeout,
            starving_at: self.roster().spec().starving_after.map(|after| now + after),
            lease: request.lease,
            claim: request.claim,
            turns_before: self.records.turns_ended,
        };
        // A shortcut for the usual case. The only asker is the best without a queue, so all ordered maps and sets of
        // the queue are left alone. With a pause the request must queue up: the pause may end at this very instant,
        // which `settle` does before it grants.
        let decision = &self.decision;
        let alone = decision.requests.is_empty() && decision.holder.is_none();
        let alone = alone && decision.pauses.is_empty();
        if alone && self.decision.is_admitted(&waiter) {
            self.open_turn(id, waiter);
        } else {
            self.decision.enqueue(id, waiter);
        }
    }

    /// Returns why the request is refused at once, or `None` if it may wait.
    ///
    /// `same_group` is `None` if the asker does not hold the turn. Otherwise it says whether the turn is of the module's
    /// group.
    fn refusal(&self, request: &Request, mode: Mode, same_group: Option<bool>) -> Option<Failure> {
        let (holds_own, holds_other) = (same_group == Some(true), same_group == Some(false));
        let decision = &self.decision;
        let module = decision.table.module(request.module);
        let name = || module.name.clone();
        // To name a hold that is over is the asker's mistake, whatever else would apply.
        if request.within.is_some_and(|hold| !self.is_open(hold)) {
            return Some(self.not_holder());
        }
        // It would have nested if the turn had room for one hold more.
        if holds_own {
            return Some(Failure::QueueFull { limit: decision.table.limits().waiters });
        }
        // Only the timeout could end the wait: the turn that is in the way ends after this call returns. A pass does not
        // wait, so it is let through.
        if holds_other && mode == Mode::Enforced {
            let holds = decision.holder.as_ref().map(|h| self.module_name(h.module).clone());
            return holds.map(|holds| Failure::WouldDeadlock { holds, asked: name() });
        }
        if decision.closing {
            return Some(Failure::Closed);
        }
        if module.disabled {
            return Some(Failure::Disabled { module: name() });
        }
        if request.timeout.max(request.lease).is_some_and(|longest| longest > DURATION_MAX) {
            return Some(Failure::Refused(Refusal::TooLong));
        }
        if request.lease.is_some_and(|lease| lease.is_zero()) {
            return Some(Failure::Refused(Refusal::NoLease));
        }
        if request.urgent && !module.may_be_urgent && mode == Mode::Enforced {
            return Some(Failure::Refused(Refusal::UrgencyDenied { module: name() }));
        }
        let limit = decision.table.limits().waiters;
        let full = match mode {
            Mode::Enforced => decision.requests.len() >= limit,
            // Passes do not wait, but leaked ones must not fill the memory either (S14).
            Mode::Observed | Mode::Off => decision.passes.len() >= limit,
        };
        full.then_some(Failure::QueueFull { limit })
    }

    fn is_of_group(&self, module: ModuleId, holder: &Holder) -> bool {
        self.decision.table.module(module).group == holder.group
            // A reload can move a module to another group while it has a hold. It may still nest in its own turn.
            || self.decision.holds.iter().any(|hold| hold.module == module)
    }

    /// Grants a nested turn, which shares the outer one's token and clock (S5).
    fn nest(&mut self, id: RequestId, module: ModuleId) {
        let now = self.decision.now;
        let abandoned = self.decision.abandoned;
        let Some(token) = self.decision.holder.as_ref().map(|holder| holder.token) else { return };
        let depth = self.decision.holds.len();
        self.decision.holds.push(Hold { request: id, module, since: now });
        self.log(Some(module), Some(id), Some(token), EventKind::Nested { depth });
        let grant = Grant {
            module,
            token: Some(token),
            waited: Duration::ZERO,
            others_since_request: 0,
            predecessor_abandoned: abandoned,
            depth,
        };
        self.answer(id, Answer::Turn(grant));
    }

    /// Grants a pass, which excludes nobody. An overlap or a gap that is too short is recorded (S15).
    fn pass(&mut self, asker: Asker, waited: Duration, recorded: bool) {
        let Asker { id, module, owner, urgent } = asker;
        let now = self.decision.now;
        let mode = self.decision.table.module(module).mode;
        let abandoned = self.decision.abandoned;
        if recorded {
            let kind = EventKind::Granted { waited, pass: true, others: 0, abandoned, urgent };
            self.log(Some(module), Some(id), None, kind);
            self.records.module_mut(module).passes += 1;
        }
        if mode == Mode::Observed {
            let holder = self.decision.holder.iter().zip(&self.decision.holds);
            let turn = holder.map(|(holder, first)| (holder.owner, first.module, first.request));
            let overlaps: Vec<_> = turn.chain(self.observed_passes()).collect();
            self.log_conflicts(id, module, owner, None, overlaps);
            let group = self.decision.table.module(module).group;
            let (delay, gap) =
                (self.decision.delays.before(group), self.decision.gaps.before(group));
            // Turns and passes both send packets, so the barrier that stands longer counts.
            let barrier = if gap.until > delay.until { gap } else { delay };
            // An urgent request would have skipped the delay (S10).
            if !urgent {
                self.log_short_gap(id, module, None, barrier);
            }
        }
        self.decision.passes.insert(id, Pass { module, owner, since: now, mode, recorded });
        let grant = Grant {
            module,
            token: None,
            waited,
            others_since_request: 0,
            predecessor_abandoned: abandoned,
            depth: 0,
        };
        self.answer(id, Answer::Pass(grant));
    }

    fn observed_passes(&self) -> impl Iterator<Item = (Option<Owner>, ModuleId, RequestId)> {
        let observed = self.decision.passes.iter().filter(|(_, p)| p.mode == Mode::Observed);
        observed.map(|(id, pass)| (pass.owner, pass.module, *id))
    }

    /// Logs one `conflict` event for each overlap with another owner's turn or pass.
    fn log_conflicts(
        &mut self,
        id: RequestId,
        module: ModuleId,
        owner: Option<Owner>,
        token: Option<Token>,
        overlaps: Vec<(Option<Owner>, ModuleId, RequestId)>,
    ) {
        for (other, with, with_request) in overlaps {
            // Without owners nobody can tell whether both are the same task. A false alarm is better than a missed
            // one.
            if other.is_none() || other != owner {
                let kind = EventKind::Conflict { with, with_request };
                self.log(Some(module), Some(id), token, kind);
            }
        }
    }

    fn log_short_gap(
        &mut self,
        id: RequestId,
        module: ModuleId,
        token: Option<Token>,
        barrier: Barrier,
    ) {
        let missing = barrier.until.since(self.decision.now);
        if let Some(after) = barrier.by.filter(|_| !missing.is_zero()) {
            self.log(Some(module), Some(id), token, EventKind::ShortGap { after, missing });
        }
    }

    // Settling: doing what is due at this instant.

    fn settle(&mut self, now: Time) {
        // The order makes the outcome independent of how late the front is. `expire` comes before `grant`, since an
        // expired lease frees the mutex and an ended pause admits waiters at this very instant. Deadlines come after
        // the grant, since a grant that falls on the deadline itself counts (S4). A waiter that times out can clear
        // the way for one behind it, so it goes round until no deadline is left.
        self.decision.now = now;
        loop {
            self.expire();
            self.grant();
            if !self.time_out() {
                break;
            }
        }
        // Notices come last and once: they change nobody's outcome, and they must speak of the state that was
        // reached.
        self.notice();
        self.due = self.decision.due();
        self.decision.assert_invariants(self.due);
    }

    /// Ends pauses, leases and unclaimed grants whose time has come.
    fn expire(&mut self) {
        let now = self.decision.now;
        let is_over = |until: Option<Time>| until.is_some_and(|until| until <= now);
        if self.decision.pauses.iter().any(|pause| is_over(pause.until)) {
            self.drop_pauses(|pause| is_over(pause.until));
        }
        let Some(holder) = &self.decision.holder else {
            return;
        };
        // Both can be due at one instant. Revoked is the careful answer: it leaves the mark, and the delay for every
        // group.
        if is_over(holder.lease.map(|(_, until)| until)) {
            self.end_turn_from_outside(End::Revoked);
        } else if is_over(holder.claim_until) {
            self.end_turn_from_outside(End::Declined);
        }
    }

    /// Grants the best waiter (S2), or nobody while its delay runs (S3). An urgent waiter skips the delay (S10).
    fn grant(&mut self) {
        if self.decision.holder.is_some() {
            return;
        }
        let Some((id, best)) = self.decision.best() else { return };
        // Nobody else is tried. If a lower waiter without a delay could go first, a busy group would starve the best
        // one (S2).
        if !self.decision.is_admitted(best) {
            return;
        }
        if let Some(waiter) = self.decision.take(id) {
            self.open_turn(id, waiter);
        }
    }

    fn open_turn(&mut self, id: RequestId, waiter: Waiter) {
        let now = self.decision.now;
        let module = waiter.module;
        let settings = self.decision.table.module(module);
        let (group, longest_turn) = (settings.group, settings.longest_turn);
        let claim_within = self.roster().spec().claim_within;
        let token = self.records.take_token();
        let waited = now.since(waiter.arrived);
        let others = self.records.turns_ended - waiter.turns_before;
        let (abandoned, urgent) = (self.decision.abandoned, waiter.urgent);
        self.decision.holder = Some(Holder {
            owner: waiter.owner,
            module,
            group,
            token,
            urgent,
            since: now,
            delay: None,
            lease: waiter.lease.map(|length| (length, now + length)),
            // Kept for the life of the turn, while `claim_until` is cleared by the claim: a yield asks again on the
            // same terms.
            claims: waiter.claim,
            claim_until: waiter.claim.then_some(now + claim_within),
            overrun_at: longest_turn.map(|longest| now + longest),
            overran: false,
            told_to_yield: false,
            // With aging, the wait counts as the holder's priority too. Otherwise the next in line, which has waited
            // nearly as long, would ask it to yield at once (S11).
            waited,
        });
        self.decision.holds.push(Hold { request: id, module, since: now });
        let kind = EventKind::Granted { waited, pass: false, others, abandoned, urgent };
        self.log(Some(module), Some(id), Some(token), kind);
        let record = self.records.module_mut(module);
        record.turns += 1;
        record.wait.record(waited);
        if !self.decision.passes.is_empty() {
            let overlaps: Vec<_> = self.observed_passes().collect();
            self.log_conflicts(id, module, waiter.owner, Some(token), overlaps);
        }
        if !urgent {
            self.log_short_gap(id, module, Some(token), self.decision.gaps.before(group));
        }
        let grant = Grant {
            module,
            token: Some(token),
            waited,
            others_since_request: others,
            predecessor_abandoned: abandoned,
            depth: 0,
        };
        self.answer(id, Answer::Turn(grant));
    }

    /// Ends all waiters whose deadline has come (S4). Returns whether there were any.
    fn time_out(&mut self) -> bool {
        let now = self.decision.now;
        if self.decision.deadlines.first().is_none_or(|(at, _)| *at > now) {
            return false;
        }
        let due = self.decision.deadlines.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<RequestId> = due.map(|(_, id)| *id).collect();
        // All answers are worked out before anybody leaves, so that those of one instant see the same queue. Otherwise the
        // first would report another number of waiters ahead than the second, by the accident of their order.
        let told: Vec<_> = due.iter().map(|id| (*id, self.timed_out(*id))).collect();
        for (id, why) in told {
            self.end_waiter(id, Unserved::TimedOut, Failure::TimedOut(why));
        }
        true
    }

    fn timed_out(&self, id: RequestId) -> TimedOut {
        let decision = &self.decision;
        let waiter = &decision.requests[&id];
        let rank = decision.rank(id, waiter);
        let holder = decision.holder.as_ref();
        let priority = decision.table.module(waiter.module).priority;
        TimedOut {
            waited: decision.now.since(waiter.arrived),
            holder: holder
                .map(|h| (self.module_name(h.module).clone(), decision.now.since(h.since))),
            ahead: decision.waiting.range(..rank).take(AHEAD_MAX).count(),
            delay_left: decision.admitted_at(waiter).since(decision.now),
            paused: decision.pause_before(waiter.urgent, priority).map(|p| p.reason.clone()),
        }
    }

    /// Reports overruns (S8), starving waiters (S13), and that the holder should yield (S11). It grants nothing.
    fn notice(&mut self) {
        let now = self.decision.now;
        if let Some(holder) = &mut self.decision.holder
            && holder.overrun_at.is_some_and(|at| at <= now)
        {
            // Reported once. `overran` remembers it, since it goes on asking the holder to yield.
            holder.overrun_at = None;
            holder.overran = true;
            let (module, token, held) = (holder.module, holder.token, now.since(holder.since));
            let request = self.decision.holds[0].request;
            self.log(Some(module), Some(request), Some(token), EventKind::Overrun { held });
        }
        while let Some((_, id)) =
            self.decision.starving.first().filter(|(at, _)| *at <= now).copied()
        {
            self.decision.starving.pop_first();
            let Some(waiter) = self.decision.requests.get_mut(&id) else {
                continue;
            };
            waiter.starving_at = None;
            let (module, waited) = (waiter.module, now.since(waiter.arrived));
            let by = self.kept_out_by(id);
            self.log(Some(module), Some(id), None, EventKind::Starving { waited, by });
        }
        let should_yield = self.decision.should_yield(now);
        // The reason to yield can vanish, for instance when the waiter withdraws. The flag follows it both ways, so
        // that a new reason is told again.
        if let Some(holder) = &mut self.decision.holder
            && holder.told_to_yield != should_yield
        {
            holder.told_to_yield = should_yield;
            if should_yield {
                let hold = self.decision.holds[0].request;
                self.outputs.push_back(Output::ShouldYield { hold });
            }
        }
    }

    fn kept_out_by(&self, id: RequestId) -> Option<ModuleId> {
        let decision = &self.decision;
        let best = decision.best().filter(|(best, _)| *best != id).map(|(_, w)| w.module);
        let holder = decision.holder.as_ref().map(|h| h.module);
        holder.or(best).or(decision.last.map(|(module, _)| module))
    }

    // Ending.

    /// Ends a hold or pass if it is the owner's (S6).
    fn end(&mut self, hold: RequestId, owner: Option<Owner>, how: Leave) -> Result<(), Failure> {
        let end = match how {
            Leave::Released => End::Released,
            Leave::Panicked => End::Panicked,
            Leave::Declined => End::Declined,
        };
        if let Some(at) = self.open_hold(hold).filter(|_| self.holder_is(owner)) {
            self.end_hold(at, end);
            return Ok(());
        }
        if self.decision.passes.get(&hold).is_some_and(|pass| pass.owner == owner) {
            self.end_pass(hold, end);
            return Ok(());
        }
        self.log(None, Some(hold), None, EventKind::NotHolder);
        Err(self.not_holder())
    }

    fn end_module(&mut self, module: ModuleId, owner: Owner) -> Result<(), Failure> {
        let owner = Some(owner);
        // The newest, so that enter and leave calls without a handle pair up like brackets.
        let newest = self.decision.holds.iter().rposition(|hold| hold.module == module);
        if let Some(at) = newest.filter(|_| self.holder_is(owner)) {
            self.end_hold(at, End::Released);
            return Ok(());
        }
        let mut passes = self.decision.passes.iter().rev();
        let pass = passes.find(|(_, pass)| pass.module == module && pass.owner == owner);
        if let Some(id) = pass.map(|(id, _)| *id) {
            self.end_pass(id, End::Released);
            return Ok(());
        }
        self.log(Some(module), None, None, EventKind::NotHolder);
        Err(self.not_holder())
    }

    /// Ends the turn and asks again, in one step (S11).
    fn give_away(
        &mut self,
        hold: RequestId,
        owner: Option<Owner>,
        id: RequestId,
        timeout: Option<Duration>,
    ) -> Result<(), Failure> {
        let (module, lease, claim);
        if let Some(at) = self.open_hold(hold).filter(|_| self.holder_is(owner)) {
            let Some(holder) = &self.decision.holder else {
                return Err(self.not_holder());
            };
            if self.decision.holds.len() > 1 {
                return Err(Failure::Refused(Refusal::NestedOpen));
            }
            (module, lease) =
                (self.decision.holds[at].module, holder.lease.map(|(length, _)| length));
            claim = holder.claims;
            self.end_hold(at, End::Yielded);
        } else if let Some(pass) =
            self.decision.passes.get(&hold).filter(|pass| pass.owner == owner).copied()
        {
            (module, lease, claim) = (pass.module, None, false);
            self.end_pass(hold, End::Yielded);
        } else {
            self.log(None, Some(hold), None, EventKind::NotHolder);
            return Err(self.not_holder());
        }
        // Urgency is not carried over. An urgent turn that yields would otherwise be granted again before all that
        // are not urgent.
        let again = Request { owner, timeout, lease, claim, ..Request::new(id, module) };
        self.request(again);
        Ok(())
    }

    /// Takes a waiter that went away out of the queue. A grant that it never saw is declined (S12).
    fn withdraw(&mut self, id: RequestId) {
        if self.decision.requests.contains_key(&id) {
            self.end_waiter(id, Unserved::Withdrawn, Failure::Withdrawn);
        } else if let Some(at) = self.open_hold(id) {
            self.end_hold(at, End::Declined);
        } else if self.decision.passes.contains_key(&id) {
            self.end_pass(id, End::Declined);
        }
    }

    fn claim(&mut self, request: RequestId) -> Result<(), Failure> {
        if let Some(holder) = &mut self.decision.holder
            && self.decision.holds[0].request == request
        {
            holder.claim_until = None;
            return Ok(());
        }
        // Passes and nested turns need no claim, so a claim of one is accepted and changes nothing.
        if self.is_open(request) { Ok(()) } else { Err(Failure::Lost) }
    }

    fn acknowledge(&mut self, hold: RequestId) -> Result<(), Failure> {
        let Some(holder) = self.decision.holder.as_ref().filter(|_| self.holds(hold)) else {
            return Err(self.not_holder());
        };
        if self.decision.abandoned {
            let (module, token) = (holder.module, holder.token);
            self.decision.abandoned = false;
            self.log(Some(module), Some(hold), Some(token), EventKind::Acknowledged);
        }
        Ok(())
    }

    fn heartbeat(&mut self, hold: RequestId) -> Result<(), Failure> {
        let now = self.decision.now;
        if self.open_hold(hold).is_none() {
            return Err(self.not_holder());
        }
        if let Some((length, until)) =
            self.decision.holder.as_mut().and_then(|holder| holder.lease.as_mut())
        {
            *until = now + *length;
        }
        Ok(())
    }

    /// Ends what a lost owner leaves behind (S7).
    fn owner_lost(&mut self, owner: Owner) {
        let owner = Some(owner);
        self.end_waiters(Unserved::Lost, |waiter| waiter.owner == owner);
        if self.holder_is(owner) {
            self.end_turn_from_outside(End::Abandoned);
        }
        let passes = self.decision.passes.iter().filter(|(_, pass)| pass.owner == owner);
        let passes: Vec<RequestId> = passes.map(|(id, _)| *id).collect();
        for id in passes {
            self.end_pass(id, End::Abandoned);
            self.outputs.push_back(Output::Ended { hold: id, end: End::Abandoned });
        }
    }

    /// Ends all holds of the turn and tells their owner, which did not end them itself.
    fn end_turn_from_outside(&mut self, end: End) {
        while let Some(last) = self.decision.holds.len().checked_sub(1) {
            let hold = self.end_hold(last, end);
            self.outputs.push_back(Output::Ended { hold, end });
        }
    }

    /// Ends the hold at this place in the turn. With the last hold the turn is over, and its delays begin.
    fn end_hold(&mut self, at: usize, end: End) -> RequestId {
        let now = self.decision.now;
        let hold = self.decision.holds.remove(at);
        let depth = self.decision.holds.len();
        let delay = self.decision.table.module(hold.module).delay;
        let Some(holder) = &mut self.decision.holder else {
            unreachable!("a turn is open as its holds are")
        };
        if end != End::Declined {
            holder.delay = holder.delay.max(Some(delay));
        }
        let token = holder.token;
        let kind = EventKind::Ended { end, held: now.since(hold.since), depth, pass: false };
        self.log(Some(hold.module), Some(hold.request), Some(token), kind);
        if depth > 0 {
            return hold.request;
        }
        let Some(holder) = self.decision.holder.take() else { return hold.request };
        let held = now.since(holder.since);
        self.records.module_mut(holder.module).hold.record(held);
        // No delay means that every hold was declined. Then nothing was sent, and for history and delays there was no
        // turn (S9).
        if let Some(delay) = holder.delay {
            // Its owner may still be acting, so the delay holds for its own group too, and later turns see the mark
            // (S7).
            let unclean = matches!(end, End::Abandoned | End::Revoked);
            let by = (now, holder.module);
            self.decision.delays.raise(&self.decision.table, holder.group, delay, by, unclean);
            self.decision.abandoned |= unclean;
            self.decision.last = Some((holder.module, now));
            self.records.turns_ended += 1;
        }
        hold.request
    }

    fn end_pass(&mut self, id: RequestId, end: End) {
        let now = self.decision.now;
        let Some(pass) = self.decision.passes.remove(&id) else {
            return;
        };
        let held = now.since(pass.since);
        if pass.recorded {
            let kind = EventKind::Ended { end, held, depth: 0, pass: true };
            self.log(Some(pass.module), Some(id), None, kind);
            self.records.module_mut(pass.module).hold.record(held);
        }
        if pass.mode == Mode::Observed && end != End::Declined {
            let settings = self.decision.table.module(pass.module);
            let (group, delay) = (settings.group, settings.delay);
            let by = (now, pass.module);
            self.decision.gaps.raise(&self.decision.table, group, delay, by, false);
        }
    }

    fn end_waiters(&mut self, why: Unserved, which: impl Fn(&Waiter) -> bool) {
        let ids = self.decision.requests.iter().filter(|(_, waiter)| which(waiter));
        let ids: Vec<RequestId> = ids.map(|(id, _)| *id).collect();
        for id in ids {
            let failure = match why {
                Unserved::Closed => Failure::Closed,
                Unserved::Lost => Failure::Lost,
                _ => Failure::Cancelled,
            };
            self.end_waiter(id, why, failure);
        }
    }

    fn end_waiter(&mut self, id: RequestId, why: Unserved, failure: Failure) {
        let Some(waiter) = self.decision.take(id) else {
            return;
        };
        let waited = self.decision.now.since(waiter.arrived);
        if why == Unserved::TimedOut {
            self.records.module_mut(waiter.module).timeouts += 1;
        }
        self.log(Some(waiter.module), Some(id), None, EventKind::Unserved { why, waited });
        self.answer(id, Answer::Failed(failure));
    }

    // Steering.

    fn steer(&mut self, steer: Steer) -> Result<(), Failure> {
        match steer {
            Steer::Cancel { module } => {
                self.end_waiters(Unserved::Cancelled, |waiter| waiter.module == module);
            }
            Steer::Disable { module } => self.set_disabled(module, true),
            Steer::Enable { module } => self.set_disabled(module, false),
            Steer::Mode { module, mode } => self.set_mode(module, mode),
            Steer::Pause { reason, below, lasts } => self.pause(&reason, below, lasts)?,
            Steer::Resume { reason } => self.resume(reason)?,
            Steer::Close => self.close(),
            Steer::Reload(roster) => self.reload(*roster)?,
            Steer::Revoke { reason } => self.revoke(&reason)?,
            Steer::Reset { owner } => self.reset(owner),
        }
        Ok(())
    }

    fn set_disabled(&mut self, module: ModuleId, disabled: bool) {
        let settings = self.decision.table.module_mut(module);
        if settings.disabled != disabled {
            settings.disabled = disabled;
            let kind = if disabled { EventKind::Disabled } else { EventKind::Enabled };
            self.log(Some(module), None, None, kind);
        }
    }

    /// Switches a module's mode. This applies to waiters at once and leaves open turns and passes as they are (S15).
    fn set_mode(&mut self, module: ModuleId, mode: Mode) {
        let settings = self.decision.table.module_mut(module);
        if settings.mode == mode {
            return;
        }
        settings.mode = mode;
        self.log(Some(module), None, None, EventKind::Mode { mode });
        self.let_pass(module);
    }

    /// Gives passes to the waiters of a module that is no longer enforced.
    fn let_pass(&mut self, module: ModuleId) {
        if self.decision.table.module(module).mode == Mode::Enforced {
            return;
        }
        let waiting = self.decision.requests.iter().filter(|(_, w)| w.module == module);
        let waiting: Vec<RequestId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            if let Some(waiter) = self.decision.take(id) {
                let waited = self.decision.now.since(waiter.arrived);
                let Waiter { owner, urgent, .. } = waiter;
                self.pass(Asker { id, module, owner, urgent }, waited, true);
            }
        }
    }

    /// Sets a pause. It replaces an earlier pause with the same reason (S12).
    fn pause(
        &mut self,
        reason: &str,
        below: Below,
        lasts: Option<Duration>,
    ) -> Result<(), Failure> {
        check_reason(reason)?;
        if lasts.is_some_and(|lasts| lasts > DURATION_MAX) {
            return Err(Failure::Refused(Refusal::TooLong));
        }
        let until = lasts.map(|lasts| self.decision.now + lasts);
        let pause = Pause { reason: reason.into(), below, until };
        let pauses = &mut self.decision.pauses;
        if let Some(same) = pauses.iter_mut().find(|pause| *pause.reason == *reason) {
            *same = pause;
        } else if pauses.len() >= PAUSES_MAX {
            return Err(Failure::Refused(Refusal::TooManyPauses { limit: PAUSES_MAX }));
        } else {
            pauses.push(pause);
        }
        self.decision.replace_all();
        self.log(None, None, None, EventKind::Paused { reason: reason.into(), below, until });
        Ok(())
    }

    fn resume(&mut self, reason: Option<String>) -> Result<(), Failure> {
        let ended = self.drop_pauses(|pause| reason.as_ref().is_none_or(|r| **r == *pause.reason));
        // A name that matches nothing is probably mistyped. To resume everything when nothing is paused is not a
        // mistake.
        if ended == 0 && reason.is_some() {
            return Err(Failure::Refused(Refusal::NoSuchPause));
        }
        Ok(())
    }

    fn drop_pauses(&mut self, which: impl Fn(&Pause) -> bool) -> usize {
        let (ended, kept): (Vec<Pause>, Vec<Pause>) =
            core::mem::take(&mut self.decision.pauses).into_iter().partition(which);
        self.decision.pauses = kept;
        self.decision.replace_all();
        let count = ended.len();
        for Pause { reason, .. } in ended {
            self.log(None, None, None, EventKind::Resumed { reason });
        }
        count
    }

    fn close(&mut self) {
        if !self.decision.closing {
            self.decision.closing = true;
            self.log(None, None, None, EventKind::Closing);
            self.end_waiters(Unserved::Closed, |_| true);
        }
    }

    /// Ends the turn whatever its owner does. The token and the mark catch what it does late (S12).
    fn revoke(&mut self, reason: &str) -> Result<(), Failure> {
        check_reason(reason)?;
        let Some(holder) = &self.decision.holder else { return Err(self.not_holder()) };
        let (module, token) = (holder.module, holder.token);
        let request = self.decision.holds[0].request;
        let kind = EventKind::Revoking { reason: reason.into() };
        self.log(Some(module), Some(request), Some(token), kind);
        self.end_turn_from_outside(End::Revoked);
        Ok(())
    }

    /// Replaces the roster. Waiters keep their arrival and deadline, and running delays go on (S19).
    fn reload(&mut self, roster: Roster) -> Result<(), Failure> {
        let modules = self.decision.table.modules();
        // Remembered before the table changes: modes to report what the reload switched, delays since a module may
        // move to a group in front of which no barrier stands.
        let modes: Vec<Mode> = modules.iter().map(|m| m.mode).collect();
        let delays = modules.iter().map(|m| (m.group, self.decision.delays.before(m.group)));
        let delays: Vec<_> = delays.collect();
        self.decision
            .table
            .reload(roster)
            .map_err(|limit| Failure::Refused(Refusal::TooManyModules { limit }))?;
        self.decision.keep_delays(&delays);
        self.decision.replace_all();
        self.log(None, None, None, EventKind::Reloaded);
        for (index, before) in modes.into_iter().enumerate() {
            let module = ModuleId(u16::try_from(index).unwrap_or(u16::MAX));
            let mode = self.decision.table.module(module).mode;
            if mode != before {
                self.log(Some(module), None, None, EventKind::Mode { mode });
                self.let_pass(module);
            }
        }
        Ok(())
    }

    /// Resets the mutex for a test. It ends no turn of another owner and does not restart the tokens (S20).
    fn reset(&mut self, owner: Option<Owner>) {
        // A turn without an owner cannot be told from anybody else's, so a caller without one ends none.
        while owner.is_some() && self.holder_is(owner) {
            self.end_hold(0, End::Released);
        }
        let passes =
            self.decision.passes.iter().filter(|(_, p)| owner.is_some() && p.owner == owner);
        let passes: Vec<RequestId> = passes.map(|(id, _)| *id).collect();
        passes.into_iter().for_each(|id| self.end_pass(id, End::Released));
        self.end_waiters(Unserved::Cancelled, |_| true);
        self.records.clear_counts();
        self.decision.delays = Default::default();
        self.decision.gaps = Default::default();
        self.decision.abandoned = false;
        self.decision.last = None;
        self.log(None, None, None, EventKind::Reset);
    }

    // Small helpers.

    /// Returns the hold's place in the open turn.
    fn open_hold(&self, hold: RequestId) -> Option<usize> {
        self.decision.holds.iter().position(|open| open.request == hold)
    }

    fn is_open(&self, hold: RequestId) -> bool {
        self.holds(hold) || self.decision.passes.contains_key(&hold)
    }

    /// Returns whether the asker holds the turn, as its owner or through one of its holds (S5).
    fn is_holder(&self, request: &Request) -> bool {
        // Two tasks without an owner are not the same owner.
        let is_owner = request.owner.is_some() && self.holder_is(request.owner);
        is_owner || request.within.is_some_and(|hold| self.holds(hold))
    }

    fn holder_is(&self, owner: Option<Owner>) -> bool {
        self.decision.holder.as_ref().is_some_and(|holder| holder.owner == owner)
    }

    fn not_holder(&self) -> Failure {
        let holder = self.decision.holder.as_ref();
        Failure::NotHolder { holder: holder.map(|h| self.module_name(h.module).clone()) }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        self.outputs.push_back(Output::Answer { request, answer });
    }

    fn log(
        &mut self,
        module: Option<ModuleId>,
        request: Option<RequestId>,
        token: Option<Token>,
        kind: EventKind,
    ) {
        let limit = self.decision.table.limits().events;
        self.records.write(limit, self.decision.now, (module, request, token), kind);
    }
}

/// Checks a reason. People read it in logs and on terminals, so control characters are kept out of it.
fn check_reason(reason: &str) -> Result<(), Failure> {
    let fits = (1..=REASON_MAX).contains(&reason.len());
    if fits && !reason.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Failure::Refused(Refusal::BadReason))
    }
}
