//! What goes wrong around the modules: an operator, a flood, a thread that is killed.

use super::distribution::Distribution;
use super::world::{Job, Observer, Plan, World};
use crate::seconds::{Nanos, SECOND};
use packet_mutex_arbiter::{Below, Input, Leave, Mode, Owner, RequestId, Steer};
use random::Rng;
use std::time::Duration;

/// When what goes wrong.
pub(super) struct Faults {
    rng: Rng,
    every: Distribution,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Somebody's thread is killed, whether it waits or holds.
    Dies,
    /// Somebody goes away, at whatever point its ask is.
    Withdraws,
    /// A module asks many times at once.
    Flood {
        work: usize,
    },
    /// Somebody asks at the very instant of what is due next, or a nanosecond beside it.
    Meets {
        work: usize,
    },
    /// A turn ends at the very instant of what is due next, or a nanosecond beside it.
    Ends,
    /// Somebody ends a turn that is not its own.
    Steals,
    /// Somebody asks.
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
    /// The holder has dealt with what an abandoned turn before it left behind.
    Acknowledges,
    /// A timer fires for nothing.
    Tick,
}

/// No disturbance lasts longer.
const LONGEST: Nanos = 20 * SECOND;

/// More than these asks at a time are a crowd.
const CROWD: usize = 30;

impl Faults {
    /// With one fault in so long, on average.
    pub(super) fn new(seed: u64, every: Nanos) -> Self {
        Faults { rng: Rng::new(seed), every: Distribution::Exponential(every.max(SECOND / 1000)) }
    }

    /// How long until the next fault.
    pub(super) fn pause(&mut self) -> Nanos {
        self.every.sample(&mut self.rng)
    }

    fn below(&mut self, limit: usize) -> usize {
        let last = limit.saturating_sub(1) as u64;
        usize::try_from(self.rng.range(0, last)).unwrap_or(0)
    }

    /// A fault.
    pub(super) fn draw(&mut self, works: usize) -> Fault {
        let work = self.below(works);
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
}

impl<O: Observer> World<'_, O> {
    /// Something goes wrong.
    pub(super) fn go_wrong(&mut self, now: Nanos, fault: Fault, faults: &mut Faults) {
        match fault {
            Fault::Dies => {
                if let Some(owner) = self.somebody(faults).map(|(_, job)| job.owner) {
                    self.hand_in(now, Input::OwnerLost { owner });
                }
            }
            Fault::Withdraws => {
                if let Some(request) = self.somebody(faults).map(|(id, _)| id) {
                    self.withdraw(now, request);
                }
            }
            Fault::Flood { work } => {
                for _ in 0..10 + faults.below(90) {
                    self.ask_apart(now, work, faults);
                }
            }
            Fault::Meets { work } => {
                let at = self.beside_what_is_due(now, faults);
                self.plan(at, Plan::Fault(Fault::Asks { work }));
            }
            Fault::Ends => {
                if let Some((hold, _)) = self.holding() {
                    let at = self.beside_what_is_due(now, faults);
                    self.plan(at, Plan::End { hold });
                }
            }
            Fault::Steals => {
                if let Some((hold, _)) = self.holding() {
                    // An owner that there never was.
                    let (owner, how) = (Some(Owner(0)), Leave::Released);
                    self.hand_in(now, Input::End { hold, owner, how });
                }
            }
            Fault::Asks { work } => self.ask_apart(now, work, faults),
            Fault::Cancel { work } => {
                let module = self.module(work);
                self.hand_in(now, Input::Steer(Steer::Cancel { module }));
            }
            Fault::Disable { work } => {
                let module = self.module(work);
                self.hand_in(now, Input::Steer(Steer::Disable { module }));
                let until = now + faults.rng.range(0, LONGEST);
                self.plan(until, Plan::Fault(Fault::Enable { work }));
            }
            Fault::Enable { work } => {
                let module = self.module(work);
                self.hand_in(now, Input::Steer(Steer::Enable { module }));
            }
            Fault::Pause => self.pause(now, faults),
            Fault::Resume => {
                self.hand_in(now, Input::Steer(Steer::Resume { reason: None }));
            }
            // Each of a crowd that is switched conflicts with all others: so many events that some would be dropped.
            Fault::Switch { .. } if self.jobs.len() > CROWD => {}
            Fault::Switch { work } => {
                let mode = [Mode::Observed, Mode::Off][faults.below(2)];
                let module = self.module(work);
                self.hand_in(now, Input::Steer(Steer::Mode { module, mode }));
                let until = now + faults.rng.range(0, LONGEST);
                self.plan(until, Plan::Fault(Fault::SwitchBack { work }));
            }
            Fault::SwitchBack { work } => {
                let module = self.module(work);
                self.hand_in(now, Input::Steer(Steer::Mode { module, mode: Mode::Enforced }));
            }
            Fault::Yields => {
                if let Some(hold) = self.holding().map(|(hold, _)| hold) {
                    self.give_away(now, hold);
                }
            }
            Fault::AsksAgain { work } => {
                if let Some((_, owner)) = self.holding() {
                    let length = faults.rng.range(0, SECOND);
                    self.request_apart(now, (self.module(work), Some(owner)), length, |_| ());
                    // Who has a nested turn cannot give the outer one away.
                    self.plan(now + length / 2, Plan::Fault(Fault::Yields));
                }
            }
            Fault::Acknowledges => {
                if let Some((hold, _)) = self.holding() {
                    self.hand_in(now, Input::Acknowledge { hold });
                }
            }
            Fault::Tick => {
                self.hand_in(now, Input::Tick);
            }
        }
    }

    /// A nanosecond before what is due next, at the very instant, or a nanosecond after.
    fn beside_what_is_due(&self, now: Nanos, faults: &mut Faults) -> Nanos {
        let due = self.arbiter.poll_timeout().map_or(now, |due| due.as_nanos().max(now));
        (due + faults.below(3) as u64).saturating_sub(1).max(now)
    }

    /// An ask, or one of a flood: mostly short, mostly impatient.
    fn ask_apart(&mut self, now: Nanos, work: usize, faults: &mut Faults) {
        let length = faults.rng.range(0, SECOND / 2);
        let timeout = [0, SECOND / 2, 3 * SECOND, 10 * SECOND][faults.below(4)];
        let urgent = faults.below(20) == 0;
        self.request_apart(now, (self.module(work), None), length, |request| {
            request.urgent = urgent;
            request.timeout = Some(Duration::from_nanos(timeout));
        });
    }

    fn pause(&mut self, now: Nanos, faults: &mut Faults) {
        let level = u8::try_from(faults.below(121)).unwrap_or(0);
        let below = if faults.below(3) == 0 { Below::Urgent } else { Below::Priority(level) };
        let reason = ["alarm", "supper"][faults.below(2)].to_string();
        let length = faults.rng.range(0, LONGEST);
        let by_itself = faults.below(2) == 0;
        let lasts = by_itself.then(|| Duration::from_nanos(length));
        self.hand_in(now, Input::Steer(Steer::Pause { reason, below, lasts }));
        if !by_itself {
            self.plan(now + length, Plan::Fault(Fault::Resume));
        }
    }

    /// Anybody who waits or holds.
    fn somebody(&self, faults: &mut Faults) -> Option<(RequestId, &Job)> {
        let at = faults.below(self.jobs.len());
        self.jobs.iter().nth(at).map(|(id, job)| (*id, job))
    }

    /// The newest that was granted to somebody.
    fn holding(&self) -> Option<(RequestId, Owner)> {
        let mut newest = self.jobs.iter().rev();
        newest.find(|(_, job)| job.granted).map(|(id, job)| (*id, job.owner))
    }
}
