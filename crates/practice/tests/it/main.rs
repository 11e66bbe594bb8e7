//! The practice crate from outside: one file per behaviour.

mod check;
mod corpse;
mod exhaustion;
mod hand;
mod hunger;
mod joining;
mod judge;
mod logs;
mod process;
mod processes;
mod real_tcp;
mod server;
mod slots;
mod spells;
mod stand_in;
mod virtual_time;
mod wire;

use std::time::Duration;

use practice::wire::{Action, BACKPACK_WINDOW, CORPSE_WINDOW, Effect, HAND, Place, Verdict};
use practice::world::World;

/// A world in virtual time; each action comes well after the one before.
struct Play {
    world: World,
    now: Duration,
}

impl Play {
    fn new() -> Self {
        Play { world: World::new(7, Duration::ZERO), now: Duration::ZERO }
    }

    fn later(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    /// Acts at once.
    fn now(&mut self, action: &Action) -> (Verdict, Vec<Effect>) {
        self.world.act(self.now, action)
    }

    /// Acts a second and a bit later.
    fn act(&mut self, action: &Action) -> (Verdict, Vec<Effect>) {
        self.later(1100).now(action)
    }

    fn state(&mut self) -> practice::wire::State {
        self.world.state(self.now)
    }

    /// The kinds at the front of the backpack.
    fn front<const N: usize>(&mut self) -> [u16; N] {
        let backpack = self.state().backpack;
        std::array::from_fn(|slot| backpack[slot].id)
    }
}

const OK: (Verdict, Vec<Effect>) = (Verdict::Ok, Vec::new());
const NOT_POSSIBLE: (Verdict, Vec<Effect>) = (Verdict::NotPossible, Vec::new());
const WRONG_ITEM: (Verdict, Vec<Effect>) = (Verdict::WrongItem, Vec::new());
const EXHAUSTED: (Verdict, Vec<Effect>) = (Verdict::Exhausted, Vec::new());

const IN_HAND: Place = Place::Inventory(HAND);

fn pack(slot: u8) -> Place {
    Place::Container { window: BACKPACK_WINDOW, slot }
}

fn corpse(slot: u8) -> Place {
    Place::Container { window: CORPSE_WINDOW, slot }
}

fn say(text: &str) -> Action {
    Action::Say(text.to_owned())
}

fn move_one(from: Place, item: u16, to: Place) -> Action {
    move_some(from, item, to, 1)
}

fn move_some(from: Place, item: u16, to: Place, count: u8) -> Action {
    Action::Move { from, item, to, count }
}

fn use_item(from: Place, item: u16) -> Action {
    Action::Use { from, item, window: CORPSE_WINDOW }
}
