//! The modules at work around the arbiter, in virtual time.

use super::crew::{Burst, Demand, When, Work};
use super::distribution::{chance, count, rng_for, stream, unit};
use crate::seconds::Nanos;
use packet_mutex_arbiter::{
    Answer, Arbiter, Event, Input, Leave, ModuleId, NameError, Output, Owner, Request, RequestId,
    Roster, Start, Time,
};
use random::Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Sees all inputs and events of an arbiter, and may judge them.
pub(super) trait Observer {
    /// Called before an input is handed in.
    fn input(&mut self, _at: Nanos, _input: &Input) {}

    /// Called once for each event, in order.
    fn event(&mut self, event: &Event);

    /// Called after all events of the last input, with whether the arbiter took that input.
    fn handled(&mut self, _taken: bool) {}

    /// Returns the first rule that was broken, and how.
    fn broken(&self) -> Option<&str> {
        None
    }
}

/// Two observers beside each other.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn input(&mut self, at: Nanos, input: &Input) {
        self.0.input(at, input);
        self.1.input(at, input);
    }

    fn event(&mut self, event: &Event) {
        self.0.event(event);
        self.1.event(event);
    }

    fn handled(&mut self, taken: bool) {
        self.0.handled(taken);
        self.1.handled(taken);
    }

    fn broken(&self) -> Option<&str> {
        self.0.broken().or(self.1.broken())
    }
}

/// A crew at work.
pub(super) struct World<'c, O> {
    arbiter: Arbiter,
    pub(super) observer: O,
    demand: &'c Demand,
    seed: u64,
    /// A player for each of the crew's works, in their order.
    players: Vec<Player>,
    /// The stream of each source's draws.
    source_streams: Vec<u64>,
    /// The plans, in order of time and then of planning, so that plans for one instant are carried out in the order in which
    /// they were made.
    plans: BinaryHeap<Reverse<(Nanos, u64, Plan)>>,
    planned: u64,
    pub(super) jobs: BTreeMap<RequestId, Job>,
    seen: u64,
}

/// The progress of a module with its work.
struct Player {
    module: ModuleId,
    /// The stream that its random numbers come from.
    stream: u64,
    /// The number of its asks so far: its next draws depend on it.
    asks: u64,
    /// The number of its occasions so far.
    occasions: u64,
    /// The asks that are left of its burst, if it rests between its turns.
    left: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Plan {
    /// The `at`th occasion of a source.
    Happens { source: usize, at: u64 },
    /// An occasion of a module that asks by itself.
    Occasion { work: usize },
    /// A module asks.
    Ask { work: usize },
    /// A turn comes to its end.
    End { hold: RequestId },
    /// A holder gives its turn away.
    Yield { hold: RequestId },
    /// A holder asks again inside its turn.
    Nest { hold: RequestId },
    /// An asker loses patience.
    GivesUp { request: RequestId },
}

/// An ask on its way, or the turn that came of it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The module's place among the works; `None` for an ask that is no part of the crew's work.
    work: Option<usize>,
    pub(super) module: ModuleId,
    pub(super) owner: Owner,
    pub(super) granted: bool,
    length: Nanos,
    fate: Fate,
    /// When the turn is given away or a nested turn begins, counted from its start. The nested turn takes as long again.
    cut: Nanos,
    /// How long after its end the module asks again, if it rests between its turns.
    again: Option<Nanos>,
}

/// How a turn goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Declines,
    Panics,
    Dies,
    Stalls,
    Yields,
    Nests,
}

impl<'c, O: Observer> World<'c, O> {
    /// Returns a crew at time zero.
    ///
    /// # Errors
    ///
    /// If the roster refuses the name of a module that works.
    pub(super) fn new(
        demand: &'c Demand,
        roster: Roster,
        seed: u64,
        observer: O,
    ) -> Result<Self, NameError> {
        let mut arbiter = Arbiter::new(roster, Start::default());
        let player = |work: &Work| {
            Ok(Player {
                module: arbiter.resolve(&work.module)?.module,
                asks: 0,
                stream: stream("turn", &work.module),
                occasions: 0,
                left: 0,
            })
        };
        let players = demand.works.iter().map(player).collect::<Result<Vec<_>, NameError>>()?;
        let mut world = World {
            arbiter,
            observer,
            demand,
            seed,
            players,
            source_streams: demand.sources.iter().map(|s| stream("source", &s.name)).collect(),
            plans: BinaryHeap::new(),
            planned: 0,
            jobs: BTreeMap::new(),
            seen: 0,
        };
        for (source, of) in demand.sources.iter().enumerate() {
            let first = of.every.sample(&mut rng_for(seed, world.source_streams[source], 0));
            world.plan(first, Plan::Happens { source, at: 1 });
        }
        for (work, of) in demand.works.iter().enumerate() {
            match &of.when {
                When::Rest(rest) => {
                    let first = rest.sample(&mut rng_for(seed, stream("first", &of.module), 0));
                    world.plan(first, Plan::Ask { work });
                }
                When::Every(every) => {
                    let first = every.sample(&mut rng_for(seed, stream("first", &of.module), 0));
                    world.plan(first, Plan::Occasion { work });
                }
                When::After { .. } => {}
            }
        }
        Ok(world)
    }

    /// Returns the moment of the crew's next plan.
    pub(super) fn next_plan(&self) -> Nanos {
        self.plans.peek().map_or(Nanos::MAX, |Reverse((at, ..))| *at)
    }

    /// Returns the moment at which the arbiter has something to do by itself.
    pub(super) fn next_due(&self) -> Nanos {
        self.arbiter.poll_timeout().map_or(Nanos::MAX, Time::as_nanos)
    }

    /// Carries out the next plan or tick, if it comes by `end`. Returns whether there was one.
    pub(super) fn step(&mut self, end: Nanos) -> bool {
        let due = self.next_due();
        if self.next_plan().min(due) > end {
            return false;
        }
        // At one instant plans come before what falls due, as inputs do in the arbiter (S18).
        if due < self.next_plan() {
            self.hand_in(due, Input::Tick);
        } else if let Some(Reverse((at, _, plan))) = self.plans.pop() {
            self.carry_out(at, plan);
        }
        true
    }

    pub(super) fn plan(&mut self, at: Nanos, plan: Plan) {
        self.planned += 1;
        self.plans.push(Reverse((at, self.planned, plan)));
    }

    /// Hands in an input and carries out its outputs. Returns whether the arbiter took it.
    pub(super) fn hand_in(&mut self, now: Nanos, input: Input) -> bool {
        self.observer.input(now, &input);
        let taken = self.arbiter.handle(Time::from_nanos(now), input).is_ok();
        while let Some(output) = self.arbiter.poll_output() {
            match output {
                Output::Answer { request, answer: Answer::Turn(_) | Answer::Pass(_) } => {
                    self.granted(now, request);
                }
                Output::Answer { request, answer: Answer::Failed(_) } => self.over(now, request),
                Output::Ended { hold, .. } => self.over(now, hold),
                Output::ShouldYield { .. } => {}
            }
        }
        let (_, events) = self.arbiter.events_since(self.seen);
        for event in events {
            self.seen = event.seq;
            self.observer.event(event);
        }
        self.observer.handled(taken);
        taken
    }

    fn carry_out(&mut self, now: Nanos, plan: Plan) {
        match plan {
            Plan::Happens { source, at } => self.happens(now, source, at),
            Plan::Occasion { work } => self.occasion(now, work),
            Plan::Ask { work } => self.ask(now, work),
            Plan::End { hold } => self.end(now, hold),
            Plan::Yield { hold } => self.yields(now, hold),
            Plan::Nest { hold } => self.nests(now, hold),
            Plan::GivesUp { request } => {
                if self.jobs.get(&request).is_some_and(|job| !job.granted) {
                    self.withdraw(now, request);
                }
            }
        }
    }

    fn happens(&mut self, now: Nanos, source: usize, at: u64) {
        let demand = self.demand;
        let mut rng = rng_for(self.seed, self.source_streams[source], at);
        let of = &demand.sources[source];
        self.plan(now + of.every.sample(&mut rng), Plan::Happens { source, at: at + 1 });
        for moment in moments(&of.burst, now, &mut rng) {
            for (work, of) in demand.works.iter().enumerate() {
                if let When::After { source: its, reaction } = &of.when
                    && *its == source
                {
                    let mut rng = self.next_occasion(work);
                    let asks = moment + reaction.sample(&mut rng);
                    for ask in moments(&of.burst, asks, &mut rng) {
                        self.plan(ask, Plan::Ask { work });
                    }
                }
            }
        }
    }

    fn occasion(&mut self, now: Nanos, work: usize) {
        let of = &self.demand.works[work];
        let When::Every(every) = &of.when else { return };
        let mut rng = self.next_occasion(work);
        self.plan(now + every.sample(&mut rng), Plan::Occasion { work });
        for ask in moments(&of.burst, now, &mut rng) {
            self.plan(ask, Plan::Ask { work });
        }
    }

    /// Returns the generator of the module's next occasion: its own, whatever other modules the crew has.
    fn next_occasion(&mut self, work: usize) -> Rng {
        let player = &mut self.players[work];
        player.occasions += 1;
        rng_for(self.seed, !player.stream, player.occasions)
    }

    fn ask(&mut self, now: Nanos, work: usize) {
        let of = &self.demand.works[work];
        let player = &mut self.players[work];
        player.asks += 1;
        // All random numbers of this ask are drawn now, so that how it fares does not change the module's later draws.
        let mut rng = rng_for(self.seed, player.stream, player.asks);
        let urgent = chance(&mut rng, of.urgent);
        let fate = {
            // Each probability is a share of all turns, so one number decides among them.
            let mut left = unit(&mut rng);
            let fates = [
                (Fate::Declines, of.declines),
                (Fate::Panics, of.panics),
                (Fate::Dies, of.dies),
                (Fate::Stalls, of.stalls),
                (Fate::Yields, of.yields),
                (Fate::Nests, of.nests),
            ];
            let drawn = fates.into_iter().find(|(_, share)| {
                left -= share;
                left <= 0.0
            });
            drawn.map_or(Fate::Done, |(fate, _)| fate)
        };
        let actions = count(&mut rng, of.actions);
        let mut length: Nanos = (0..actions).map(|_| of.action.sample(&mut rng)).sum();
        let mut cut = 0;
        match fate {
            Fate::Done => {}
            Fate::Declines => length = 0,
            Fate::Panics | Fate::Dies => length = rng.range(0, length),
            Fate::Stalls => length += of.stall.sample(&mut rng),
            Fate::Yields | Fate::Nests => cut = rng.range(0, length),
        }
        let patience = chance(&mut rng, of.gives_up).then(|| of.patience.sample(&mut rng));
        let again = if let When::Rest(rest) = &of.when {
            if player.left == 0 {
                player.left = count(&mut rng, of.burst.size);
            }
            player.left -= 1;
            let (rest, gap) = (rest.sample(&mut rng), of.burst.gap.sample(&mut rng));
            Some(if player.left == 0 { rest } else { gap })
        } else {
            None
        };
        let module = player.module;
        let job = |owner| Job {
            work: Some(work),
            module,
            owner,
            granted: false,
            length,
            fate,
            cut,
            again,
        };
        let id = self.request(now, job, |request| request.urgent = urgent);
        if let Some(patience) = patience {
            self.plan(now + patience, Plan::GivesUp { request: id });
        }
    }

    /// Makes a request. `job` is called with the request's own owner, and may choose another.
    fn request(
        &mut self,
        now: Nanos,
        job: impl FnOnce(Owner) -> Job,
        terms: impl FnOnce(&mut Request),
    ) -> RequestId {
        let id = self.arbiter.next_request();
        let job = job(Owner(id.0));
        let mut request = Request::new(id, job.module);
        request.owner = Some(job.owner);
        terms(&mut request);
        self.jobs.insert(id, job);
        self.hand_in(now, Input::Request(request));
        id
    }

    /// Asks once, apart from the crew's work. An `owner` that is given may hold the mutex already.
    pub(super) fn request_apart(
        &mut self,
        now: Nanos,
        (module, owner): (ModuleId, Option<Owner>),
        length: Nanos,
        terms: impl FnOnce(&mut Request),
    ) {
        let job = |own| Job {
            work: None,
            module,
            owner: owner.unwrap_or(own),
            granted: false,
            length,
            fate: Fate::Done,
            cut: 0,
            again: None,
        };
        self.request(now, job, terms);
    }

    /// Gives a turn away and asks for another one. Returns whether the arbiter allowed it.
    pub(super) fn give_away(&mut self, now: Nanos, hold: RequestId) -> bool {
        let Some(job) = self.jobs.get(&hold).cloned() else { return false };
        let (id, owner) = (self.arbiter.next_request(), Some(job.owner));
        self.jobs.insert(id, Job { granted: false, ..job });
        let taken = self.hand_in(now, Input::Yield { hold, owner, id, timeout: None });
        self.jobs.remove(if taken { &hold } else { &id });
        taken
    }

    /// Gives a turn away after the part of it that was drawn. The turn after it takes the rest.
    fn yields(&mut self, now: Nanos, hold: RequestId) {
        let Some(job) = self.jobs.get_mut(&hold) else { return };
        let rest = job.length - job.cut;
        (job.fate, job.length) = (Fate::Done, rest);
        if !self.give_away(now, hold) {
            // A nested turn is open, so this one goes on to its end.
            self.plan(now + rest, Plan::End { hold });
        }
    }

    fn nests(&mut self, now: Nanos, hold: RequestId) {
        let Some(job) = self.jobs.get(&hold) else { return };
        let (module, owner, length) = (job.module, job.owner, job.cut);
        self.request_apart(now, (module, Some(owner)), length, |_| ());
    }

    fn granted(&mut self, now: Nanos, request: RequestId) {
        let Some(job) = self.jobs.get_mut(&request) else { return };
        assert!(!job.granted, "S16: request {} is answered twice", request.0);
        job.granted = true;
        let (hold, fate, end, cut) = (request, job.fate, now + job.length, now + job.cut);
        match fate {
            Fate::Yields => return self.plan(cut, Plan::Yield { hold }),
            Fate::Nests => self.plan(cut, Plan::Nest { hold }),
            _ => {}
        }
        self.plan(end, Plan::End { hold });
    }

    /// Ends a turn in the way that was drawn, unless it is over already.
    fn end(&mut self, now: Nanos, hold: RequestId) {
        let Some(job) = self.jobs.get(&hold) else { return };
        let how = match job.fate {
            Fate::Done | Fate::Stalls | Fate::Yields | Fate::Nests => Leave::Released,
            Fate::Declines => Leave::Declined,
            Fate::Panics => Leave::Panicked,
            Fate::Dies => {
                let owner = job.owner;
                self.hand_in(now, Input::OwnerLost { owner });
                return;
            }
        };
        let owner = Some(job.owner);
        self.over(now, hold);
        self.hand_in(now, Input::End { hold, owner, how });
    }

    /// Withdraws a request, whether it waits or holds.
    pub(super) fn withdraw(&mut self, now: Nanos, request: RequestId) {
        self.hand_in(now, Input::Withdraw { request });
        // A granted one counts as declined, and the arbiter has no output for that.
        self.over(now, request);
    }

    /// Removes a request, and plans the next one of its module.
    fn over(&mut self, now: Nanos, request: RequestId) {
        let Some(job) = self.jobs.remove(&request) else { return };
        if let (Some(work), Some(again)) = (job.work, job.again) {
            self.plan(now + again, Plan::Ask { work });
        }
    }

    /// Returns a request that has no answer.
    pub(super) fn unanswered(&self) -> Option<RequestId> {
        self.jobs.iter().find(|(_, job)| !job.granted).map(|(id, _)| *id)
    }

    /// Returns how many works the crew has.
    pub(super) fn works(&self) -> usize {
        self.players.len()
    }

    /// Returns the module of a work.
    pub(super) fn module(&self, work: usize) -> ModuleId {
        self.players[work].module
    }
}

/// Returns the moments of a burst that begins at `from`.
fn moments(burst: &Burst, from: Nanos, rng: &mut Rng) -> Vec<Nanos> {
    let mut at = from;
    let mut moments = vec![at];
    for _ in 1..count(rng, burst.size) {
        at += burst.gap.sample(rng);
        moments.push(at);
    }
    moments
}
