//! Campaigns: random crews at work while things go wrong, for as many hours as there is time for.

use super::checker::Checker;
use super::comparison::Comparison;
use super::crew::{Burst, Crew, Demand, Source, When, Work};
use super::distribution::{Distribution, rng_for, stream};
use super::faults::Faults;
use super::shrink::{Rosters, Tape, catch_panic, replay, scenario, shrink};
use super::world::{Observer, World};
use crate::seconds::{Nanos, SECOND};
use packet_mutex_arbiter::{
    DelaySpec, End, Event, EventKind, Input, Limits, ModuleSpec, Roster, RosterSpec, Steer,
    Unserved,
};
use random::Rng;
use std::time::Duration;

const NAMES: [&str; 6] = ["runemaker", "trainer", "fisher", "auto_loot", "stacker", "eater"];
/// One of so many runs has its first hour compared with the oracle too. The oracle is too slow for all of them.
const ORACLE_EVERY: u64 = 64;

/// One run of a campaign.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The seed of the crew, of its random numbers and of the faults.
    pub seed: u64,
    /// The length of the run.
    pub hours: u32,
}

/// Counts of what happened in runs of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many runs were made.
    pub runs: u64,
    /// Simulated hours.
    pub hours: u64,
    /// Inputs of the arbiter, ticks included.
    pub inputs: u64,
    /// Events that were judged.
    pub events: u64,
    /// Turns, nested ones not counted.
    pub turns: u64,
    /// Turns that were asked for urgently.
    pub urgent: u64,
    /// Nested turns.
    pub nested: u64,
    /// Turns that were declined.
    pub declined: u64,
    /// Turns that were given away.
    pub yielded: u64,
    /// Turns that a panic ended.
    pub panicked: u64,
    /// Turns that were abandoned.
    pub abandoned: u64,
    /// Requests that ended without a turn.
    pub unserved: u64,
    /// Those of them that timed out.
    pub timed_out: u64,
    /// Those of them that were withdrawn.
    pub withdrawn: u64,
    /// Hours that the oracle agreed with, event by event.
    pub oracle_hours: u64,
}

impl Counts {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Counts) {
        // Without `..`, so that the compiler finds a count that is forgotten here.
        let Counts {
            runs,
            hours,
            inputs,
            events,
            turns,
            urgent,
            nested,
            declined,
            yielded,
            panicked,
            abandoned,
            unserved,
            timed_out,
            withdrawn,
            oracle_hours,
        } = *other;
        let sums = [
            (&mut self.runs, runs),
            (&mut self.hours, hours),
            (&mut self.inputs, inputs),
            (&mut self.events, events),
            (&mut self.turns, turns),
            (&mut self.urgent, urgent),
            (&mut self.nested, nested),
            (&mut self.declined, declined),
            (&mut self.yielded, yielded),
            (&mut self.panicked, panicked),
            (&mut self.abandoned, abandoned),
            (&mut self.unserved, unserved),
            (&mut self.timed_out, timed_out),
            (&mut self.withdrawn, withdrawn),
            (&mut self.oracle_hours, oracle_hours),
        ];
        sums.into_iter().for_each(|(sum, one)| *sum += one);
    }
}

impl Observer for Counts {
    fn input(&mut self, _at: Nanos, _input: &Input) {
        self.inputs += 1;
    }

    fn event(&mut self, event: &Event) {
        self.events += 1;
        match &event.kind {
            EventKind::Granted { pass: false, urgent, .. } => {
                self.turns += 1;
                self.urgent += u64::from(*urgent);
            }
            EventKind::Nested { .. } => self.nested += 1,
            EventKind::Ended { end: End::Declined, .. } => self.declined += 1,
            EventKind::Ended { end: End::Yielded, .. } => self.yielded += 1,
            EventKind::Ended { end: End::Panicked, .. } => self.panicked += 1,
            EventKind::Ended { end: End::Abandoned, .. } => self.abandoned += 1,
            EventKind::Unserved { why, .. } => {
                self.unserved += 1;
                self.timed_out += u64::from(*why == Unserved::TimedOut);
                self.withdrawn += u64::from(*why == Unserved::Withdrawn);
            }
            _ => {}
        }
    }
}

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The run.
    pub campaign: Campaign,
    /// Which rule was broken, and how.
    pub why: String,
    /// The shortest scenario found that shows it, with what the oracle expects; `None` if no part of the run shows it alone.
    pub scenario: Option<String>,
}

impl Campaign {
    /// Runs a random crew, and compares the first hour of some runs with the oracle.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run(&self) -> Result<Counts, Box<Broken>> {
        self.run_random(|roster| roster)
    }

    /// Runs this crew while things go wrong, and compares all of it with the oracle.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run_crew(&self, crew: &Crew) -> Result<Counts, Box<Broken>> {
        let roster = crew.file.roster.clone();
        let rosters = Rosters { rules: roster.clone(), arbiter: roster };
        let both = |rules: &Roster| (Checker::new(rules), Comparison::new(rules));
        let counts = self.judged(&rosters, &crew.demand, both)?;
        Ok(Counts { oracle_hours: counts.hours, ..counts })
    }

    /// Runs a random crew, judged by another roster than the arbiter's.
    fn run_random(&self, rules: impl FnOnce(Roster) -> Roster) -> Result<Counts, Box<Broken>> {
        let (arbiter, demand) = random_crew(self.seed);
        let rosters = Rosters { rules: rules(arbiter.clone()), arbiter };
        let mut counts = self.judged(&rosters, &demand, Checker::new)?;
        if self.seed.is_multiple_of(ORACLE_EVERY) {
            let hour = Campaign { hours: 1, ..*self };
            counts.oracle_hours = hour.judged(&rosters, &demand, Comparison::new)?.hours;
        }
        Ok(counts)
    }

    fn judged<J: Observer>(
        &self,
        rosters: &Rosters,
        demand: &Demand,
        judge: impl Fn(&Roster) -> J,
    ) -> Result<Counts, Box<Broken>> {
        let mut counts = Counts::default();
        let why = catch_panic(|| {
            let world = self.drive(rosters, demand, (judge(&rosters.rules), counts))?;
            counts = world.observer.1;
            let broken = world.observer.broken().map(String::from);
            let lost = || Some(format!("S16: request {} has no answer", world.unanswered()?.0));
            broken.or_else(lost)
        });
        let Some(why) = why else {
            return Ok(Counts { runs: 1, hours: self.hours.into(), ..counts });
        };
        let tape = self.tape(rosters, demand, judge(&rosters.rules));
        let tape = shrink(tape, |tape| replay(rosters, tape, &judge).is_some());
        let title = format!("Seed {} of a campaign: {why}", self.seed);
        let scenario = tape.map(|tape| scenario(rosters, &title, &tape));
        Err(Box::new(Broken { campaign: *self, why, scenario }))
    }

    /// Runs to the end or until a rule is broken. At the end the mutex is closed, and one more request must be refused.
    fn drive<'d, O: Observer>(
        &self,
        rosters: &Rosters,
        demand: &'d Demand,
        observer: O,
    ) -> Option<World<'d, O>> {
        // The roster names all modules of the crew, so none is refused.
        let mut world = World::new(demand, rosters.arbiter.clone(), self.seed, observer).ok()?;
        let end = Nanos::from(self.hours) * 3600 * SECOND;
        let mut rng = rng_for(self.seed, stream("faults", ""), 0);
        // From a fault every ten seconds to one in about 43 minutes: in the busy runs faults meet, in the quiet ones the crew
        // is seen undisturbed.
        let every = (10 * SECOND) << rng.range(0, 8);
        let mut faults = Faults::new(rng.next_u64(), every, world.works());
        while world.observer.broken().is_none() && faults.step(&mut world, end) {}
        if world.observer.broken().is_none() {
            world.hand_in(end, Input::Steer(Steer::Close));
            world.request_apart(end, (world.module(0), None), 0, |_| ());
            world.hand_in(end, Input::Tick);
        }
        Some(world)
    }

    /// Runs again and returns all inputs.
    fn tape<J: Observer>(&self, rosters: &Rosters, demand: &Demand, judge: J) -> Tape {
        let mut tape = Tape::new();
        // The inputs before a panic count as well.
        let _ = catch_panic(|| {
            self.drive(rosters, demand, (&mut tape, judge))?;
            None
        });
        // The rule may have been broken by what fell due after the last input.
        tape.extend(tape.last().map(|(at, _)| (*at, Input::Tick)));
        tape
    }
}

// Random crews.

/// Returns the crew of a seed: two to six modules with settings and work of their own.
fn random_crew(seed: u64) -> (Roster, Demand) {
    let mut rng = rng_for(seed, stream("crew", ""), 0);
    let rng = &mut rng;
    let count = rng.range(2, NAMES.len() as u64) as usize;
    let ms = |ms: u64| Duration::from_millis(ms);
    let modules: Vec<ModuleSpec> = NAMES[..count]
        .iter()
        .map(|name| ModuleSpec {
            group: one_in(rng, 2).then(|| ["red", "blue"][rng.below(2) as usize].to_string()),
            timeout: one_in(rng, 3).then(|| ms(rng.range(0, 20_000))),
            handover_delay: one_in(rng, 4).then(|| ms(rng.range(0, 3000))),
            longest_turn: one_in(rng, 2).then(|| ms(rng.range(100, 3000))),
            urgent: !one_in(rng, 5),
            ..ModuleSpec::new(name, rng.range(0, 120) as u8)
        })
        .collect();
    let delays = if one_in(rng, 4) { delays(rng) } else { Vec::new() };
    let spec = RosterSpec {
        handover_delay: ms([0, 600, 1000, 2000][rng.below(4) as usize]),
        timeout: ms(rng.range(2000, 30_000)),
        aging: one_in(rng, 2).then(|| ms(rng.range(10, 500))),
        starving_after: one_in(rng, 2).then(|| ms(rng.range(1000, 20_000))),
        // Events are read after each input, so a short buffer is enough, and it stays in the processor's cache.
        limits: Limits {
            // Four are soon full, so that requests are refused; 4096 hardly ever are.
            waiters: [4, 64, 4096][rng.below(3) as usize],
            events: 2048,
            ..Limits::default()
        },
        modules,
        delays,
        ..RosterSpec::default()
    };
    let every = Distribution::Exponential(rng.range(5, 60) * SECOND);
    let burst = Burst { size: (1, 3), gap: Distribution::Uniform(0, SECOND) };
    let sources = vec![Source { name: "corpse".into(), every, burst }];
    let works = spec.modules.iter().map(|module| work(&module.name, rng)).collect();
    // All durations are within bounds, so the roster is valid.
    (Roster::new(spec).unwrap_or_default(), Demand { works, sources })
}

/// Draws up to three delays for different pairs of groups. The first two name one side each, so that both can apply.
fn delays(rng: &mut Rng) -> Vec<DelaySpec> {
    let mut delays: Vec<DelaySpec> = Vec::new();
    for at in 0..3 {
        let mut side = |any| match any {
            true => "*".to_string(),
            false => ["red", "blue", "runemaker"][rng.below(3) as usize].to_string(),
        };
        let (from, to) = (side(at == 1), side(at == 0));
        let delay = Duration::from_millis(rng.range(0, 2000));
        if !delays.iter().any(|other| (&other.from, &other.to) == (&from, &to)) {
            delays.push(DelaySpec { from, to, delay });
        }
    }
    delays
}

fn work(module: &str, rng: &mut Rng) -> Work {
    let mean = rng.range(2, 60) * SECOND;
    let when = match rng.below(4) {
        0..=1 => When::Rest(Distribution::Uniform(mean / 2, mean + mean / 2)),
        2 => When::Every(Distribution::Exponential(mean)),
        _ => When::After { source: 0, reaction: Distribution::Uniform(0, 2 * SECOND) },
    };
    let mut rarely = |most: u64| rng.range(0, most) as f64 / 1000.0;
    Work {
        module: module.to_string(),
        when,
        urgent: rarely(20),
        declines: rarely(100),
        panics: rarely(20),
        dies: rarely(20),
        // The faults cover both.
        yields: 0.0,
        nests: 0.0,
        stalls: rarely(10),
        gives_up: rarely(50),
        burst: Burst { size: (1, 1 + rng.below(3) as u32), gap: Distribution::Uniform(0, SECOND) },
        actions: (1, 1 + rng.below(6) as u32),
        action: Distribution::Uniform(0, rng.range(10, 500) * (SECOND / 1000)),
        stall: Distribution::Lognormal { median: 3 * SECOND, p99: 40 * SECOND },
        patience: Distribution::Exponential(2 * SECOND),
    }
}

fn one_in(rng: &mut Rng, n: u64) -> bool {
    rng.below(n) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::ArbiterFront;
    use crate::run::run;
    use crate::scenario::Scenario;
    use std::path::Path;

    /// An arbiter whose delay is a millisecond too short is caught, and a short scenario shows it.
    #[test]
    fn a_broken_rule_is_found_and_shrunk_to_a_scenario() {
        let longer = |roster: Roster| {
            let mut spec = roster.into_spec();
            spec.handover_delay += Duration::from_millis(1);
            Roster::new(spec).unwrap()
        };
        let broken = (0..20)
            .find_map(|seed| Campaign { seed, hours: 1 }.run_random(longer).err())
            .expect("a rule is broken");
        assert!(broken.why.starts_with("S3: "), "{}", broken.why);
        let text = broken.scenario.expect("it is shrunk");
        let scenario = Scenario::parse(Path::new("shrunk"), &text).unwrap();
        assert!(scenario.steps.len() <= 6, "{text}");
        // It passes where the rule is kept, and fails on the arbiter that broke it.
        run(&scenario, &mut ArbiterFront::new(&scenario)).unwrap_or_else(|why| panic!("{why}"));
        let mut wrong = scenario.clone();
        (wrong.roster, _) = random_crew(broken.campaign.seed);
        run(&scenario, &mut ArbiterFront::new(&wrong)).unwrap_err();
    }

    /// A difference that only the oracle notices, such as a wrong count of others' turns, is shrunk too.
    #[test]
    fn what_only_the_oracle_notices_is_shrunk_too() {
        let (roster, demand) = random_crew(0);
        let mut spec = roster.clone().into_spec();
        spec.modules.iter_mut().for_each(|module| module.priority = 7);
        let rosters = Rosters { arbiter: roster, rules: Roster::new(spec).unwrap() };
        let oracle = Comparison::new(&rosters.rules);
        let tape = Campaign { seed: 0, hours: 1 }.tape(&rosters, &demand, oracle);
        let differs = |tape: &[_]| replay(&rosters, tape, Comparison::new).is_some();
        let short = shrink(tape, differs).expect("equal priorities are another order");
        assert!(short.len() <= 8, "{short:?}");
    }
}
