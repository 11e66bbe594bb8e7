//! Actions that come too soon after another are refused.

use practice::wire::{Action, Effect, Verdict};
use practice::world::{BOOT, GROUND_TILE, ROD, RUNE, WATER, WATER_TILE};

use crate::{EXHAUSTED, NOT_POSSIBLE, OK, Play, move_one, pack, say};

fn cast() -> Action {
    Action::UseWith { from: pack(7), item: ROD, to: WATER_TILE, to_item: WATER }
}

#[test]
fn any_action_within_a_fifth_of_a_second() {
    let mut play = Play::new();
    assert_eq!(play.now(&say("hi")), OK);
    assert_eq!(play.later(199).now(&say("hi")), EXHAUSTED);
    assert_eq!(play.later(1).now(&say("hi")), OK, "exactly 0.2 s after the last one that was done");
}

#[test]
fn a_refused_action_does_not_exhaust() {
    let mut play = Play::new();
    assert_eq!(play.now(&move_one(pack(199), BOOT, GROUND_TILE)), NOT_POSSIBLE);
    assert_eq!(play.later(1).now(&say("hi")), OK);
    assert_eq!(play.later(150).now(&say("hi")), EXHAUSTED);
    assert_eq!(play.later(50).now(&say("hi")), OK);
}

#[test]
fn a_use_with_within_a_second_of_the_last() {
    let mut play = Play::new();
    assert_eq!(play.now(&cast()).0, Verdict::Ok);
    assert_eq!(play.later(500).now(&say("hi")), OK);
    assert_eq!(play.later(499).now(&cast()), EXHAUSTED);
    // The first cast may have brought something that shifts the rod.
    let rod = play.state().backpack.iter().position(|item| item.id == ROD).unwrap() as u8;
    let again = Action::UseWith { from: pack(rod), item: ROD, to: WATER_TILE, to_item: WATER };
    assert_eq!(play.later(1).now(&again).0, Verdict::Ok);
}

#[test]
fn the_rod_brings_fish_and_boots_and_a_rune_is_used_up() {
    let mut play = Play::new();
    let (mut fish, mut more) = (0, 0);
    for _ in 0..60 {
        let before = play.state().backpack;
        let rod = before.iter().position(|item| item.id == ROD).unwrap() as u8;
        let cast = Action::UseWith { from: pack(rod), item: ROD, to: WATER_TILE, to_item: WATER };
        let (verdict, effects) = play.act(&cast);
        assert_eq!(verdict, Verdict::Ok);
        fish += usize::from(effects == [Effect::Fish]);
        more += play.state().backpack.len() - before.len();
    }
    assert!(fish > 20 && more > fish, "{fish} fish of {more} catches");

    let slot = play.state().backpack.iter().position(|item| item.id == RUNE).unwrap() as u8;
    let hit = Action::UseWith { from: pack(slot), item: ROD, to: WATER_TILE, to_item: WATER };
    assert_eq!(play.act(&hit).0, Verdict::WrongItem, "a rune instead of the rod");
    assert!(play.state().backpack.iter().all(|item| item.id != RUNE));
}
