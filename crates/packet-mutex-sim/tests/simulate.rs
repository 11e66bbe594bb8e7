//! What a simulation says of crews whose answer is known, and that the crews of the repository are as told.

use packet_mutex_sim::simulate::{Crew, Outcome, Simulation};
use packet_mutex_sim::{Nanos, SECOND};
use std::path::Path;

fn crew(name: &str) -> Crew {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crews").join(name);
    Crew::open(&path).unwrap_or_else(|why| panic!("{why}"))
}

fn parsed(text: &str) -> Crew {
    Crew::parse("test.toml", text).unwrap_or_else(|why| panic!("{why}"))
}

fn simulation(crew: &Crew, hours: u32, seed: u64) -> Simulation<'_> {
    Simulation { roster: &crew.file.roster, demand: &crew.demand, hours, seed }
}

fn run(crew: &Crew, hours: u32) -> Outcome {
    simulation(crew, hours, 1).run(&mut |_| ()).unwrap()
}

/// Two that ask in turn, so that all can be reckoned by hand: the fisher's turn of 1 s ends at 3, 13, 23, … s; the eater
/// asks at 2.5, 12.5, … s, waits 0.5 s for the turn and 1 s for the delay, and has 2 s.
#[test]
fn what_can_be_reckoned_by_hand_is_so() {
    let crew = parsed(
        "
        [sources.clock]
        every = '10s'
        [modules.fisher]
        priority = 60
        work = { after = 'clock', reaction = '2s', action = '500ms', actions = 2 }
        [modules.eater]
        priority = 20
        work = { after = 'clock', reaction = '2500ms', action = '2s' }
        ",
    );
    let outcome = run(&crew, 1);
    let [fisher, eater] = outcome.modules.as_slice() else { panic!("two modules") };
    // The first clock strikes at 10 s, the last that counts at 3590 s; 3600 s is too late for a reaction.
    let rounds = 359;
    assert_eq!(
        (fisher.asks, fisher.turns, eater.asks, eater.turns),
        (rounds, rounds, rounds, rounds)
    );
    assert_eq!((fisher.wait(1.0), eater.wait(1.0)), (0, SECOND + SECOND / 2));
    assert_eq!(eater.wait(0.5), SECOND + SECOND / 2);
    assert_eq!((fisher.hold(1.0), eater.hold(0.5)), (SECOND, 2 * SECOND));
    assert_eq!(outcome.busy, rounds * 3 * SECOND);
    assert_eq!(outcome.held_up, rounds * SECOND);
    // From each to the other and back, but for the first turn.
    assert_eq!(outcome.handovers, 2 * rounds - 1);
    assert_eq!(eater.waited_for, [rounds * (SECOND + SECOND / 2), 0]);
    let longest = eater.longest.unwrap();
    assert_eq!((longest.from, longest.granted), (12 * SECOND + SECOND / 2, true));
}

#[test]
fn who_starves_and_because_of_whom() {
    let locked = parsed(
        "
        timeout = '10s'
        [modules.digger]
        priority = 90
        work = { rest = '500ms', action = '1s' }
        [modules.eater]
        priority = 20
        work = { rest = '20s', action = '100ms' }
        ",
    );
    let outcome = run(&locked, 1);
    let never: Vec<&str> = outcome.never_served().map(|module| module.module.as_str()).collect();
    assert_eq!(never, ["eater"]);
    let eater = &outcome.modules[1];
    assert!(eater.timeouts > 100 && eater.turns == 0);
    assert_eq!(eater.waited_for[1], 0);
    assert!(eater.waited_for[0] >= eater.timeouts * 10 * SECOND);
}

/// Each fate comes about as often as it is told, and a thread that dies is recovered.
#[test]
fn fates_are_as_frequent_as_told() {
    let crew = parsed(
        "
        [modules.fisher]
        priority = 60
        [modules.fisher.work]
        rest = '1s'
        action = '100ms'
        declines = 0.1
        panics = 0.1
        dies = 0.1
        stalls = 0.1
        stall = '3s'
        ",
    );
    let outcome = run(&crew, 24);
    let fisher = &outcome.modules[0];
    let near = |count: u64| {
        let share = count as f64 / fisher.turns as f64;
        assert!((share - 0.1).abs() < 0.01, "{share}");
    };
    [fisher.declined, fisher.panicked, fisher.abandoned].into_iter().for_each(near);
    assert_eq!(fisher.hold(1.0), 3 * SECOND + SECOND / 10);
    // The delay after an abandoned turn holds for the own group too.
    assert!(fisher.longest.is_some_and(|wait| wait.length == 0));
    assert_eq!(fisher.timeouts, 0);
}

/// A turn that is given away is made up for by the next; a nested one is part of the turn around it.
#[test]
fn turns_are_given_away_and_nested() {
    let crew = parsed(
        "
        [modules.fisher]
        work = { rest = '9s', action = '1s', yields = 1.0 }
        ",
    );
    let outcome = run(&crew, 1);
    let fisher = &outcome.modules[0];
    // The first of each two turns is asked for at 9, 19, … s.
    assert_eq!((fisher.asks, fisher.turns), (720, 720));
    assert_eq!(outcome.busy, 360 * SECOND);

    let crew = parsed(
        "
        [modules.fisher]
        work = { rest = '10s', action = '1s', nests = 1.0 }
        ",
    );
    let outcome = run(&crew, 1);
    let fisher = &outcome.modules[0];
    assert_eq!(fisher.asks, fisher.turns);
    // A nested turn begins at a moment within its turn and takes as long as until then, so up to twice as long together.
    assert!(fisher.hold(0.4) < SECOND + SECOND / 1000 && fisher.hold(0.8) > SECOND);
    assert!(fisher.hold(1.0) > SECOND * 19 / 10 && fisher.hold(1.0) <= 2 * SECOND);
}

/// The same seed is the same run; another seed is another.
#[test]
fn runs_repeat() {
    let crew = crew("six.toml");
    let told = |seed| {
        let outcome = simulation(&crew, 12, seed).run(&mut |_| ()).unwrap();
        let window = outcome.typical..outcome.typical + 120 * SECOND;
        let events = simulation(&crew, 12, seed).events(&[window]).unwrap();
        (format!("{outcome:?}"), events)
    };
    assert!(told(1) == told(1));
    assert!(told(1) != told(2));
    assert!(told(1).1[0].lines().count() > 50);
}

/// What a module draws does not depend on the roster, so that two plans meet the same demand.
#[test]
fn the_demand_of_two_rosters_is_the_same() {
    let (strict, aging) = (crew("busy-fisher.toml"), crew("busy-fisher-aging.toml"));
    let (strict, aging) = (run(&strict, 24), run(&aging, 24));
    // Those that do not wait for the mutex before they ask again.
    for at in [1, 3, 5] {
        assert_eq!(strict.modules[at].asks, aging.modules[at].asks);
    }
}

/// The crews that are compared differ in their rosters only.
#[test]
fn compared_crews_have_the_same_work() {
    for (one, other) in
        [("six.toml", "six-aging.toml"), ("busy-fisher.toml", "busy-fisher-aging.toml")]
    {
        assert_eq!(crew(one).demand, crew(other).demand, "{one} and {other}");
    }
    let six = crew("six.toml");
    assert_eq!(six.file.roster, packet_mutex_arbiter::Roster::default());
    assert_eq!(six.demand.works.len(), 6);
}

/// Nobody's clock stands still, however fast a crew asks.
#[test]
fn a_fast_crew_comes_to_its_end() {
    let crew = parsed(
        "
        [modules.a]
        work = { rest = '1ms', action = '99ms' }
        [modules.b]
        work = { every = '100ms', action = '0s', burst = 3 }
        ",
    );
    let mut last: Nanos = 0;
    let outcome = simulation(&crew, 1, 1).run(&mut |now| last = now).unwrap();
    assert!(last > 0);
    assert_eq!(outcome.modules[1].asks, 3 * 36_000);
}
