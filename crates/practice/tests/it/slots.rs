//! Containers insert at the front, and the server trusts the slot.

use practice::wire::{Effect, Item, Place, Verdict};
use practice::world::{BOOT, FISH, GOLD, GROUND_TILE, MEAT, ROD, SWORD};

use crate::{
    IN_HAND, NOT_POSSIBLE, OK, Play, WRONG_ITEM, corpse, move_one, move_some, pack, use_item,
};

#[test]
fn an_insertion_shifts_every_slot_behind() {
    let mut play = Play::new();
    assert_eq!(play.front(), [FISH, SWORD, BOOT, SWORD]);
    play.act(&move_one(IN_HAND, SWORD, pack(0xFF)));
    assert_eq!(play.front(), [SWORD, FISH, SWORD, BOOT, SWORD]);
}

#[test]
fn a_removal_closes_up() {
    let mut play = Play::new();
    assert_eq!(play.act(&move_one(pack(2), BOOT, GROUND_TILE)), OK);
    assert_eq!(play.front(), [FISH, SWORD, SWORD]);
}

#[test]
fn what_lies_at_the_slot_is_hit() {
    let mut play = Play::new();
    play.act(&move_one(IN_HAND, SWORD, pack(0xFF)));
    let thrown = play.act(&move_one(pack(2), BOOT, GROUND_TILE));
    assert_eq!(thrown, (Verdict::WrongItem, vec![Effect::WeaponLost]), "the boot is at 3 now");
}

#[test]
fn the_wrong_food_is_eaten_and_the_inedible_refused() {
    let mut play = Play::new();
    assert_eq!(play.act(&use_item(pack(0), MEAT)), (Verdict::WrongItem, vec![Effect::Meal]));
    assert_eq!(play.act(&use_item(pack(1), MEAT)), NOT_POSSIBLE);
    assert_eq!(play.act(&use_item(pack(7), ROD)), NOT_POSSIBLE, "a rod is used with something");
}

#[test]
fn an_empty_slot_or_a_closed_window_is_refused() {
    let mut play = Play::new();
    for from in [pack(199), corpse(0), Place::Container { window: 9, slot: 0 }, Place::Inventory(3)]
    {
        assert_eq!(play.act(&move_one(from, SWORD, GROUND_TILE)), NOT_POSSIBLE, "{from:?}");
    }
    assert_eq!(play.act(&move_some(pack(0), FISH, GROUND_TILE, 0)), NOT_POSSIBLE);
    assert_eq!(play.act(&move_one(pack(0), FISH, pack(0))), NOT_POSSIBLE);
    assert_eq!(play.act(&move_one(pack(0), FISH, corpse(0))), NOT_POSSIBLE);
}

#[test]
fn stacks_of_a_kind_join() {
    let mut play = Play::new();
    assert_eq!(play.act(&move_some(pack(15), FISH, pack(0), 3)), OK);
    let state = play.state();
    assert_eq!(state.backpack[0], Item { id: FISH, count: 5 });
    assert!(state.backpack[1..].iter().all(|item| item.id != FISH));
}

#[test]
fn a_part_of_a_stack_can_be_moved() {
    let mut play = Play::new();
    assert_eq!(play.act(&move_some(pack(12), GOLD, pack(0xFF), 5)), OK);
    let state = play.state();
    assert_eq!(state.backpack[0], Item { id: GOLD, count: 5 });
    assert_eq!(state.backpack[13], Item { id: GOLD, count: 15 });
}

#[test]
fn a_stack_that_misses_its_kind_goes_to_the_front() {
    let mut play = Play::new();
    assert_eq!(play.act(&move_some(pack(15), FISH, pack(1), 3)), OK);
    assert_eq!(play.front(), [FISH, FISH, SWORD]);
    assert_eq!(play.act(&move_some(pack(0), GOLD, pack(1), 3)), WRONG_ITEM, "and joins as it is");
    assert_eq!(play.state().backpack[0], Item { id: FISH, count: 5 });
}
