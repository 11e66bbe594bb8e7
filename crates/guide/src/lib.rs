//! Stands for the reader's own bot, so that the examples of `docs/GUIDE.md`, `README.md` and others compile as they are.

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

/// The connection to the game and what it last told: here, nothing but the items of the backpack.
#[derive(Debug)]
pub struct Game {
    backpack: Vec<Item>,
    used_with: AtomicUsize,
}

impl Game {
    /// A game with these items in the backpack.
    pub fn with(backpack: &[Item]) -> Self {
        Game { backpack: backpack.into(), used_with: AtomicUsize::new(0) }
    }

    /// The place of the first item of this kind in the backpack.
    pub fn find(&self, item: Item) -> Option<Place> {
        self.backpack.iter().position(|found| *found == item).map(Place::Backpack)
    }

    /// What the hand holds.
    pub fn hand(&self) -> Option<Item> {
        None
    }

    /// The last item in the open corpse.
    pub fn loot(&self) -> Option<(Place, Item)> {
        None
    }

    /// Two places whose items can be joined.
    pub fn stacks(&self) -> Option<(Place, Place)> {
        None
    }

    /// Whether the mana is enough for a spell.
    pub fn mana_is_full(&self) -> bool {
        true
    }

    /// Whether it is time to eat.
    pub fn is_hungry(&self) -> bool {
        true
    }

    /// Sends: use the item at this place.
    pub fn use_item(&self, _place: Place) {}

    /// Sends: use the item at this place with what is at the other.
    pub fn use_with(&self, _item: Place, _with: Place) {
        self.used_with.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends: move the item.
    pub fn move_item(&self, _from: Place, _to: Place) {}

    /// Sends: say.
    pub fn say(&self, _spell: &str) {}

    /// How often an item was used with another.
    pub fn used_with(&self) -> usize {
        self.used_with.load(Ordering::Relaxed)
    }
}
