//! The faults of a campaign: an operator who steers, a flood of requests, a thread that is killed.

use super::distribution::Distribution;
use super::world::{Job, Observer, Plan, World};
use crate::seconds::{Nanos, SECOND};
use packet_mutex_arbiter::{Below, Input, Leave, Mode, Owner, RequestId, Steer};
use random::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Draws the faults of a world and their times.
pub(super) struct Faults {
    rng: Rng,
    every: Distribution,
    /// The number of works of the world's crew.
    works: usize,
    /// The planned faults, in order of time and then of planning; `None`: the fault is drawn when its time comes.
    plans: BinaryHeap<Reverse<(Nanos, u64, Option<Fault>)>>,
    planned: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The owner of any request is lost, whether it waits or holds.
    Dies,
    /// Any request is withdrawn, whether it waits or holds.
    Withdraws,
    /// A module asks many times at once.
    Flood {
        work: usize,
    },
    /// A module asks at the instant of what is due next, or a nanosecond before or after it.
    Meets {
        work: usize,
    },
    /// A turn ends at the instant of what is due next, or a nanosecond before or after it.
    Ends,
    /// An owner tries to end a turn that is not its own.
    Steals,
    /// A module asks.
    Asks {
        work: usize,
    },
    /// A module's waiting requests are cancelled.
    Cancel {
        work: usize,
    },
    /// A module is disabled, and later enabled again.
    Disable {
        work: usize,
    },
    Enable {
        work: usize,
    },
    /// The mutex is paused, for a while or until it is resumed.
    Pause,
    Resume,
    /// A module is switched to another mode, and later back.
    Switch {
        work: usize,
    },
    SwitchBack {
        work: usize,
    },
    /// The holder gives its turn away.
    Yields,
    /// The holder's thread asks once more: nested, or a deadlock that must be refused.
    AsksAgain {
        work: usize,
    },
    /// The holder acknowledges an abandoned turn before its own.
    Acknowledges,
    /// A timer fires although nothing is due.
    Tick,
}

/// The longest that a module is disabled or switched, or the mutex paused.
const LONGEST: Nanos = 20 * SECOND;

/// With more open requests than this, no module is switched to another mode.
const MODE_SWITCH_JOBS_MAX: usize = 30;

impl Faults {
    /// Returns the faults of a seed, one in each interval of this length on average.
    pub(super) fn new(seed: u64, every: Nanos, works: usize) -> Self {
        let every = Distribution::Exponential(every.max(SECOND / 1000));
        let (rng, plans) = (Rng::new(seed), BinaryHeap::new());
        let mut faults = Faults { rng, every, works, plans, planned: 0 };
        faults.plan_next(0);
        faults
    }

    fn plan_next(&mut self, now: Nanos) {
        let pause = self.every.sample(&mut self.rng);
        self.plan(now + pause, None);
    }

    fn plan(&mut self, at: Nanos, fault: Option<Fault>) {
        self.planned += 1;
        self.plans.push(Reverse((at, self.planned, fault)));
    }

    /// Carries out the next plan of the world or the next fault, if it comes by `end`. Returns whether there was one.
    pub(super) fn step<O: Observer>(&mut self, world: &mut World<'_, O>, end: Nanos) -> bool {
        let next = self.plans.peek().map_or(Nanos::MAX, |Reverse((at, ..))| *at);
        // At one instant the world's plans come first. A fault comes before what falls due, so that an ask or an end can
        // meet a deadline at its very instant.
        if next > end || world.next_plan() <= next || world.next_due() < next {
            return world.step(end);
        }
        let Some(Reverse((now, _, planned))) = self.plans.pop() else { return false };
        let fault = planned.unwrap_or_else(|| {
            let fault = self.draw();
            self.plan_next(now);
            fault
        });
        self.go_wrong(world, now, fault);
        true
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.rng.below(limit as u64)).unwrap_or(0)
    }

    fn draw(&mut self) -> Fault {
        let work = self.below(self.works);
        match self.below(26) {
            0..=1 => Fault::Dies,
            2..=5 => Fault::Withdraws,
            6 => Fault::Flood { work },
            7..=9 => Fault::Meets { work },
            10 => Fault::Cancel { work },
            11..=12 => Fault::Disable { work },
            13..=14 => Fault::Pause,
            15..=16 => Fault::Switch { work },
            17 => Fault::Yields,
            18..=19 => Fault::AsksAgain { work },
            20..=21 => Fault::Ends,
            22 => Fault::Steals,
            23..=24 => Fault::Acknowledges,
            _ => Fault::Tick,
        }
    }

    fn go_wrong<O: Observer>(&mut self, world: &mut World<'_, O>, now: Nanos, fault: Fault) {
        match fault {
            Fault::Dies => {
                if let Some(owner) = self.somebody(world).map(|(_, job)| job.owner) {
                    world.hand_in(now, Input::OwnerLost { owner });
                }
            }
            Fault::Withdraws => {
                if let Some(request) = self.somebody(world).map(|(id, _)| id) {
                    world.withdraw(now, request);
                }
            }
            Fault::Flood { work } => {
                for _ in 0..10 + self.below(90) {
                    self.ask(world, now, work);
                }
            }
            Fault::Meets { work } => {
                let at = self.beside_what_is_due(world, now);
                self.plan(at, Some(Fault::Asks { work }));
            }
            Fault::Ends => {
                if let Some((hold, _)) = holding(world) {
                    let at = self.beside_what_is_due(world, now);
                    world.plan(at, Plan::End { hold });
                }
            }
            Fault::Steals => {
                if let Some((hold, _)) = holding(world) {
                    // Requests are numbered from 1, so no request has this owner.
                    let (owner, how) = (Some(Owner(0)), Leave::Released);
                    world.hand_in(now, Input::End { hold, owner, how });
                }
            }
            Fault::Asks { work } => self.ask(world, now, work),
            Fault::Cancel { work } => {
                let module = world.module(work);
                world.hand_in(now, Input::Steer(Steer::Cancel { module }));
            }
            Fault::Disable { work } => {
                let module = world.module(work);
                world.hand_in(now, Input::Steer(Steer::Disable { module }));
                let until = now + self.rng.range(0, LONGEST);
                self.plan(until, Some(Fault::Enable { work }));
            }
            Fault::Enable { work } => {
                let module = world.module(work);
                world.hand_in(now, Input::Steer(Steer::Enable { module }));
            }
            Fault::Pause => self.pause(world, now),
            Fault::Resume => {
                world.hand_in(now, Input::Steer(Steer::Resume { reason: None }));
            }
            // Each request that is let pass makes a conflict event with every other. Too many of them overflow the event buffer.
            Fault::Switch { .. } if world.jobs.len() > MODE_SWITCH_JOBS_MAX => {}
            Fault::Switch { work } => {
                let mode = [Mode::Observed, Mode::Off][self.below(2)];
                let module = world.module(work);
                world.hand_in(now, Input::Steer(Steer::Mode { module, mode }));
                let until = now + self.rng.range(0, LONGEST);
                self.plan(until, Some(Fault::SwitchBack { work }));
            }
            Fault::SwitchBack { work } => {
                let module = world.module(work);
                world.hand_in(now, Input::Steer(Steer::Mode { module, mode: Mode::Enforced }));
            }
            Fault::Yields => {
                if let Some(hold) = holding(world).map(|(hold, _)| hold) {
                    world.give_away(now, hold);
                }
            }
            Fault::AsksAgain { work } => {
                if let Some((_, owner)) = holding(world) {
                    let length = self.rng.range(0, SECOND);
                    world.request_apart(now, (world.module(work), Some(owner)), length, |_| ());
                    // While the nested turn is open, the outer one must not be given away; this tries.
                    self.plan(now + length / 2, Some(Fault::Yields));
                }
            }
            Fault::Acknowledges => {
                if let Some((hold, _)) = holding(world) {
                    world.hand_in(now, Input::Acknowledge { hold });
                }
            }
            Fault::Tick => {
                world.hand_in(now, Input::Tick);
            }
        }
    }

    /// Returns the moment at which the arbiter has something to do, or a nanosecond before or after it.
    fn beside_what_is_due<O: Observer>(&mut self, world: &World<'_, O>, now: Nanos) -> Nanos {
        let due = match world.next_due() {
            Nanos::MAX => now,
            due => due.max(now),
        };
        (due + self.below(3) as u64).saturating_sub(1).max(now)
    }

    /// Asks for a short turn, mostly with a short timeout.
    fn ask<O: Observer>(&mut self, world: &mut World<'_, O>, now: Nanos, work: usize) {
        let length = self.rng.range(0, SECOND / 2);
        let timeout = [0, SECOND / 2, 3 * SECOND, 10 * SECOND][self.below(4)];
        let urgent = self.below(20) == 0;
        world.request_apart(now, (world.module(work), None), length, |request| {
            request.urgent = urgent;
            request.timeout = Some(Duration::from_nanos(timeout));
        });
    }

    fn pause<O: Observer>(&mut self, world: &mut World<'_, O>, now: Nanos) {
        let level = u8::try_from(self.below(121)).unwrap_or(0);
        let below = if self.below(3) == 0 { Below::Urgent } else { Below::Priority(level) };
        let reason = ["alarm", "supper"][self.below(2)].to_string();
        let length = self.rng.range(0, LONGEST);
        let by_itself = self.below(2) == 0;
        let lasts = by_itself.then(|| Duration::from_nanos(length));
        world.hand_in(now, Input::Steer(Steer::Pause { reason, below, lasts }));
        if !by_itself {
            self.plan(now + length, Some(Fault::Resume));
        }
    }

    /// Draws one of the requests that wait or hold.
    fn somebody<'w, O>(&mut self, world: &'w World<'_, O>) -> Option<(RequestId, &'w Job)> {
        let at = self.below(world.jobs.len());
        world.jobs.iter().nth(at).map(|(id, job)| (*id, job))
    }
}

/// Returns the newest request that holds.
fn holding<O>(world: &World<'_, O>) -> Option<(RequestId, Owner)> {
    let mut newest = world.jobs.iter().rev();
    newest.find(|(_, job)| job.granted).map(|(id, job)| (*id, job.owner))
}
