//! Mana comes back steadily until hunger stops it.

use std::time::Duration;

use practice::wire::{Effect, Verdict};
use practice::world::{FISH, FULL, MANA_PER_SECOND, MAX_MANA, MEAL, MEAT};

use crate::{NOT_POSSIBLE, Play, pack, use_item};

#[test]
fn mana_comes_back_while_fed() {
    let mut play = Play::new();
    let before = play.state().mana;
    assert_eq!(u64::from(play.later(1000).state().mana - before), MANA_PER_SECOND);
}

#[test]
fn hunger_stops_it_and_a_meal_starts_it_again() {
    let mut play = Play::new();
    let hungry = play.later(60_000).state();
    assert_eq!(hungry.fed_ms, 0);
    assert_eq!(play.later(60_000).state().mana, hungry.mana);
    assert_eq!(play.now(&use_item(pack(0), FISH)), (Verdict::Ok, vec![Effect::Meal]));
    assert_eq!(u128::from(play.state().fed_ms), MEAL.as_millis());
    let expected = u64::from(hungry.mana) + MANA_PER_SECOND * MEAL.as_secs();
    assert_eq!(u64::from(play.later(60_000).state().mana), expected.min(MAX_MANA.into()));
}

#[test]
fn often_or_seldom_looked_at_is_the_same() {
    let (mut often, mut seldom) = (Play::new(), Play::new());
    for _ in 0..1000 {
        often.later(3).state();
    }
    assert_eq!(often.state(), seldom.later(3000).state());
}

#[test]
fn time_never_goes_back() {
    let mut play = Play::new();
    let late = play.later(2000).state();
    play.now = Duration::ZERO;
    assert_eq!(play.state(), late);
}

#[test]
fn who_is_full_cannot_eat() {
    let mut play = Play::new();
    while u128::from(play.later(200).state().fed_ms) <= FULL.as_millis() {
        assert_eq!(play.now(&use_item(pack(9), MEAT)).1, [Effect::Meal]);
    }
    assert_eq!(play.now(&use_item(pack(0), FISH)), NOT_POSSIBLE);
}
