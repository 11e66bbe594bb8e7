//! The hand holds one item; what is put into a full hand knocks the other to the ground.

use practice::wire::{Effect, Verdict};
use practice::world::{BLANK, BOOT, FISH, GROUND_TILE, SWORD};

use crate::{IN_HAND, NOT_POSSIBLE, OK, Play, move_one, pack};

#[test]
fn out_and_in_again() {
    let mut play = Play::new();
    assert_eq!(play.act(&move_one(IN_HAND, SWORD, pack(0xFF))), OK);
    assert_eq!(play.state().hand, None);
    assert_eq!(play.front(), [SWORD, FISH]);
    assert_eq!(play.act(&move_one(pack(0), SWORD, IN_HAND)), OK);
    assert_eq!(play.state().hand.unwrap().id, SWORD);
    assert_eq!(play.front(), [FISH, SWORD]);
}

#[test]
fn a_weapon_that_is_knocked_off_is_lost() {
    let mut play = Play::new();
    assert_eq!(
        play.act(&move_one(pack(16), BLANK, IN_HAND)),
        (Verdict::Ok, vec![Effect::WeaponLost])
    );
    assert_eq!(play.state().hand.unwrap().id, BLANK);
    assert_eq!(play.act(&move_one(pack(2), BOOT, IN_HAND)), OK, "a blank is no weapon");
}

#[test]
fn a_weapon_that_is_thrown_away_is_lost() {
    let mut play = Play::new();
    let thrown = play.act(&move_one(IN_HAND, SWORD, GROUND_TILE));
    assert_eq!(thrown, (Verdict::Ok, vec![Effect::WeaponLost]));
    assert_eq!(play.act(&move_one(IN_HAND, SWORD, GROUND_TILE)), NOT_POSSIBLE);
}

#[test]
fn from_hand_to_hand_is_nothing() {
    let mut play = Play::new();
    assert_eq!(play.act(&move_one(IN_HAND, SWORD, IN_HAND)), NOT_POSSIBLE);
}
