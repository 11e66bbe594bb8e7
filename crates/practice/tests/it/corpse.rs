//! A strike leaves a corpse, which opens, is looted, and decays.

use practice::wire::{Effect, Verdict};
use practice::world::{CORPSE, CORPSE_TILE, GOLD, STRIKE_SPELL, SWORD};

use crate::{NOT_POSSIBLE, OK, Play, WRONG_ITEM, corpse, move_some, pack, say, use_item};

fn strike(play: &mut Play) {
    assert_eq!(play.now(&say(STRIKE_SPELL)), OK);
}

#[test]
fn shows_what_it_holds_once_open() {
    let mut play = Play::new();
    assert_eq!(play.now(&use_item(CORPSE_TILE, CORPSE)), NOT_POSSIBLE);
    strike(&mut play);
    let closed = play.state().corpse.unwrap();
    assert!(!closed.open && closed.items.is_empty());
    assert_eq!(play.act(&move_some(corpse(0), GOLD, pack(0xFF), 100)), NOT_POSSIBLE, "closed");
    assert_eq!(play.act(&use_item(CORPSE_TILE, CORPSE)), OK);
    let open = play.state().corpse.unwrap();
    assert!(open.open && open.items.len() == 3);
}

#[test]
fn its_items_are_loot() {
    let mut play = Play::new();
    strike(&mut play);
    play.act(&use_item(CORPSE_TILE, CORPSE));
    let taken = play.act(&move_some(corpse(2), GOLD, pack(0xFF), 100));
    assert_eq!(taken, (Verdict::Ok, vec![Effect::Loot]));
    assert_eq!(play.front(), [GOLD]);
    assert_eq!(play.state().corpse.unwrap().items.len(), 2);
}

#[test]
fn decays_with_all_that_is_in_it() {
    let mut play = Play::new();
    strike(&mut play);
    play.act(&use_item(CORPSE_TILE, CORPSE));
    assert!(play.later(12_000 - 1_101).state().corpse.is_some());
    assert_eq!(play.later(1).state().corpse, None);
    assert_eq!(play.now(&move_some(corpse(0), GOLD, pack(0xFF), 1)), NOT_POSSIBLE);
}

#[test]
fn a_new_one_takes_the_place_of_the_old() {
    let mut play = Play::new();
    strike(&mut play);
    play.act(&use_item(CORPSE_TILE, CORPSE));
    assert_eq!(play.act(&say(STRIKE_SPELL)), OK);
    assert!(!play.state().corpse.unwrap().open);
}

#[test]
fn opened_under_another_name_it_is_the_wrong_item() {
    let mut play = Play::new();
    strike(&mut play);
    assert_eq!(play.act(&use_item(CORPSE_TILE, SWORD)), WRONG_ITEM);
}
