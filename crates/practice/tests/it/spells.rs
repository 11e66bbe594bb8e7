//! Conjuring needs the blank in hand, mana and the words.

use practice::wire::{Effect, Verdict};
use practice::world::{BLANK, RUNE, RUNE_SPELL, STRIKE_SPELL, SWORD};

use crate::{IN_HAND, NOT_POSSIBLE, OK, Play, move_one, pack, say};

fn equip_blank(play: &mut Play) {
    play.act(&move_one(IN_HAND, SWORD, pack(0xFF)));
    assert_eq!(play.act(&move_one(pack(17), BLANK, IN_HAND)), OK);
}

#[test]
fn a_blank_in_hand_becomes_a_rune() {
    let mut play = Play::new();
    equip_blank(&mut play);
    let before = play.later(300).state().mana;
    assert_eq!(play.now(&say(RUNE_SPELL)), (Verdict::Ok, vec![Effect::Rune]));
    assert_eq!(play.state().hand.unwrap().id, RUNE);
    assert_eq!(play.state().mana, before - 100);
    assert_eq!(play.act(&say(RUNE_SPELL)), NOT_POSSIBLE, "a rune is not a blank");
}

#[test]
fn without_the_blank_nothing_is_made_and_no_mana_spent() {
    let mut play = Play::new();
    let before = play.state().mana;
    assert_eq!(play.now(&say(RUNE_SPELL)), NOT_POSSIBLE);
    assert_eq!(play.state().mana, before);
}

#[test]
fn without_mana_nothing_is_made() {
    let mut play = Play::new();
    equip_blank(&mut play);
    // Strikes until the mana is gone; hunger keeps it so.
    while play.act(&say(STRIKE_SPELL)) == OK {}
    assert_eq!(play.act(&say(RUNE_SPELL)), NOT_POSSIBLE);
    assert_eq!(play.state().hand.unwrap().id, BLANK);
}

#[test]
fn other_words_are_only_words() {
    let mut play = Play::new();
    assert_eq!(play.now(&say("adura vita!")), OK);
}
