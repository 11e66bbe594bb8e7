//! A stand-in for the reader's own bot, with which the examples of `docs/GUIDE.md`, `README.md` and others compile as they
//! are.

use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(doctest)]
#[doc = include_str!("../../../docs/GUIDE.md")]
#[doc = include_str!("../../../docs/PAGE.md")]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../CONTRIBUTING.md")]
mod documents {}

/// An item of the game.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A fishing rod.
    Rod,
    /// An empty rune.
    Blank,
    /// The weapon.
    Sword,
    /// Food.
    Fish,
}

/// Where an item can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The hand.
    Hand,
    /// A slot of the backpack.
    Backpack(usize),
    /// A slot of the open corpse.
    Corpse(usize),
    /// The water.
    Water,
}

/// The connection to the game and the state that it last reported. Here that is only the items of the backpack.
#[derive(Debug)]
pub struct Game {
    backpack: Vec<Item>,
    used_with: AtomicUsize,
}

impl Game {
    /// Returns a game with these items in the backpack.
    pub fn with(backpack: &[Item]) -> Self {
        Game { backpack: backpack.into(), used_with: AtomicUsize::new(0) }
    }

    /// Returns the place of the first item of this kind in the backpack.
    pub fn find(&self, item: Item) -> Option<Place> {
        self.backpack.iter().position(|found| *found == item).map(Place::Backpack)
    }

    /// Returns the item in the hand.
    pub fn hand(&self) -> Option<Item> {
        None
    }

    /// Returns the last item in the open corpse.
    pub fn loot(&self) -> Option<(Place, Item)> {
        None
    }

    /// Returns two places whose items can be joined.
    pub fn stacks(&self) -> Option<(Place, Place)> {
        None
    }

    /// Returns whether the mana is full.
    pub fn mana_is_full(&self) -> bool {
        true
    }

    /// Returns whether it is time to eat.
    pub fn is_hungry(&self) -> bool {
        true
    }

    /// Tells the game to use the item at this place.
    pub fn use_item(&self, _place: Place) {}

    /// Tells the game to use the item at the first place on what is at the second.
    pub fn use_with(&self, _item: Place, _with: Place) {
        self.used_with.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the game to move the item.
    pub fn move_item(&self, _from: Place, _to: Place) {}

    /// Tells the game to say a text.
    pub fn say(&self, _spell: &str) {}

    /// Returns how often an item was used on another.
    pub fn used_with(&self) -> usize {
        self.used_with.load(Ordering::Relaxed)
    }
}
