//! The rules of the practice world: what an action does to a character, and when it is refused.
//!
//! There is no clock and no I/O. The time is an argument and never goes back; random numbers come from the seed.
//!
//! **The server trusts the slot.** It acts on what lies at the place that an action names. An action that finds
//! nothing there, or something that it cannot be done with, is refused as `not_possible`. If it can be done with what is
//! there, it is done, and if that is not the item the action named, the verdict is `wrong_item`: a sword is thrown away
//! instead of an old boot, a rune is wasted on the water instead of a cast of the rod.
//!
//! | action | can be done with |
//! |---|---|
//! | move | anything in hand, backpack or open corpse; into the backpack, the hand or to the ground |
//! | use | food in hand or backpack, unless the character is full; the corpse |
//! | use with | the rod on water; a rune on anything, which uses it up |
//!
//! - **Containers insert at the front**, so every slot behind shifts. What is moved onto a stack of its own kind joins it
//!   instead, up to 100. A stack or slot that empties closes up.
//! - **The hand holds one item.** What is put into a full hand knocks the other to the ground.
//! - **The ground keeps nothing.** A weapon that gets there is lost.
//! - **Exhaustion.** An action within [`ACTION_GAP`] of the last one done, or a use-with within [`USE_WITH_GAP`] of the last
//!   use-with done, is refused as `exhausted`. A refused action does not exhaust.
//! - **Spells.** [`RUNE_SPELL`] turns the blank in hand into a rune; [`STRIKE_SPELL`] leaves a corpse beside the character, in
//!   place of an older one. Both need mana. Other words are only words.
//! - **Corpses** decay, with all that is in them, after [`CORPSE_LIFE`]. They take nothing.
//! - **Hunger** stops mana, which else comes back steadily.

use std::time::Duration;

use random::Rng;

use crate::wire::{
    Action, BACKPACK_WINDOW, CORPSE_WINDOW, Corpse, Effect, HAND, Item, Place, State, Verdict,
};

/// The weapon.
pub const SWORD: u16 = 3264;
/// A blank rune.
pub const BLANK: u16 = 3147;
/// A made rune.
pub const RUNE: u16 = 3160;
/// The fishing rod.
pub const ROD: u16 = 3483;
/// Food out of the water; stacks.
pub const FISH: u16 = 3578;
/// Food out of corpses; stacks.
pub const MEAT: u16 = 3577;
/// Money; stacks.
pub const GOLD: u16 = 3031;
/// An old boot: rubbish out of the water.
pub const BOOT: u16 = 3552;
/// The corpse of what the trainer strikes.
pub const CORPSE: u16 = 4286;
/// Water with fish in it.
pub const WATER: u16 = 4597;

/// Where the corpse lies.
pub const CORPSE_TILE: Place = Place::Map { x: 32098, y: 32219, z: 7 };
/// Where the water is.
pub const WATER_TILE: Place = Place::Map { x: 32096, y: 32219, z: 7 };
/// The ground under the character.
pub const GROUND_TILE: Place = Place::Map { x: 32097, y: 32219, z: 7 };

/// The least time between two actions. The modules' cooldown is just above it.
pub const ACTION_GAP: Duration = Duration::from_millis(200);
/// The least time between two uses of something on something.
pub const USE_WITH_GAP: Duration = Duration::from_secs(1);
/// How long a corpse lies there. It is a few cycles long, so that a module which waits too long for its turn finds it gone.
pub const CORPSE_LIFE: Duration = Duration::from_secs(12);
/// How much one meal feeds.
pub const MEAL: Duration = Duration::from_secs(6);
/// A character that is fed for longer than this cannot eat.
pub const FULL: Duration = Duration::from_secs(60);

/// The words that make a rune.
pub const RUNE_SPELL: &str = "adura vita";
/// What making a rune costs.
pub const RUNE_MANA: u16 = 100;
/// The words that strike.
pub const STRIKE_SPELL: &str = "exori mort";
/// What striking costs.
pub const STRIKE_MANA: u16 = 20;
/// The most mana that a character has.
pub const MAX_MANA: u16 = 500;
/// Mana that comes back each second, unless hungry.
pub const MANA_PER_SECOND: u64 = 30;

/// The most items in the backpack: few enough for one state message, whose lists have at most 255 items.
pub const BACKPACK_SLOTS: usize = 200;
/// The most items of a stack.
const STACK: u8 = 100;

/// One character and what is around it.
#[derive(Debug, Clone)]
pub struct World {
    now: Duration,
    rng: Rng,
    /// In millionths, so that a gain of mana over a fraction of a second is not lost.
    micro_mana: u64,
    fed_until: Duration,
    hand: Option<Item>,
    backpack: Vec<Item>,
    corpse: Option<Remains>,
    last_action: Option<Duration>,
    last_use_with: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Remains {
    open: bool,
    decays: Duration,
    items: Vec<Item>,
}

/// Where an item was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spot {
    Hand,
    Backpack(usize),
    Corpse(usize),
}

impl World {
    /// Returns the world of this seed, as it is when a character enters it at `now`.
    pub fn new(seed: u64, now: Duration) -> Self {
        let one = |id| Item { id, count: 1 };
        let some = |id, count| Item { id, count };
        // Weapons lie between rubbish and food, so that a slot that has shifted by one does harm.
        let mut backpack = vec![
            some(FISH, 2),
            one(SWORD),
            one(BOOT),
            one(SWORD),
            one(BOOT),
            one(SWORD),
            one(BOOT),
            one(ROD),
            one(RUNE),
            some(MEAT, 10),
            one(SWORD),
            one(BOOT),
            some(GOLD, 20),
            one(SWORD),
            one(BOOT),
            some(FISH, 3),
        ];
        backpack.extend(std::iter::repeat_n(one(BLANK), 100));
        World {
            now,
            rng: Rng::new(seed),
            micro_mana: 130_000_000,
            fed_until: now + Duration::from_secs(3),
            hand: Some(one(SWORD)),
            backpack,
            corpse: None,
            last_action: None,
            last_use_with: None,
        }
    }

    /// Returns what the client sees at `now`.
    pub fn state(&mut self, now: Duration) -> State {
        self.advance(now);
        let millis = |until: Duration| {
            u32::try_from(until.saturating_sub(self.now).as_millis()).unwrap_or(u32::MAX)
        };
        State {
            mana: self.mana(),
            fed_ms: millis(self.fed_until),
            hand: self.hand,
            backpack: self.backpack.clone(),
            corpse: self.corpse.as_ref().map(|remains| Corpse {
                open: remains.open,
                left_ms: millis(remains.decays),
                items: if remains.open { remains.items.clone() } else { Vec::new() },
            }),
        }
    }

    /// Carries out an action at `now`, or refuses it.
    pub fn act(&mut self, now: Duration, action: &Action) -> (Verdict, Vec<Effect>) {
        self.advance(now);
        let within = |last: Option<Duration>, gap| {
            last.is_some_and(|last| self.now.saturating_sub(last) < gap)
        };
        let use_with = matches!(action, Action::UseWith { .. });
        if within(self.last_action, ACTION_GAP)
            || use_with && within(self.last_use_with, USE_WITH_GAP)
        {
            return (Verdict::Exhausted, Vec::new());
        }
        let mut effects = Vec::new();
        let done = match action {
            Action::Say(text) => self.say(text, &mut effects),
            Action::Move { from, item, to, count } => {
                self.move_thing(*from, *item, *to, *count, &mut effects)
            }
            Action::Use { from, item, window: _ } => self.use_thing(*from, *item, &mut effects),
            Action::UseWith { from, item, to, to_item } => {
                self.use_with(*from, *item, *to, *to_item, &mut effects)
            }
        };
        let verdict = match done {
            None => Verdict::NotPossible,
            Some(as_named) => {
                // A refused action does not exhaust, so a client can try again at once.
                self.last_action = Some(self.now);
                if use_with {
                    self.last_use_with = Some(self.now);
                }
                if as_named { Verdict::Ok } else { Verdict::WrongItem }
            }
        };
        (verdict, effects)
    }

    fn mana(&self) -> u16 {
        u16::try_from(self.micro_mana / 1_000_000).unwrap_or(MAX_MANA)
    }

    /// Lets time pass: mana comes back, hunger grows, corpses decay.
    fn advance(&mut self, now: Duration) {
        let now = now.max(self.now);
        // Mana comes back only for the part of the time in which the character was fed.
        let fed = now.min(self.fed_until).saturating_sub(self.now);
        let gained = MANA_PER_SECOND * u64::try_from(fed.as_micros()).unwrap_or(u64::MAX / 100);
        self.micro_mana = (self.micro_mana + gained).min(u64::from(MAX_MANA) * 1_000_000);
        self.corpse.take_if(|remains| remains.decays <= now);
        self.now = now;
    }

    // The four actions. Each returns `None` if it cannot be done, else whether it was done to the item that was named.

    fn say(&mut self, text: &str, effects: &mut Vec<Effect>) -> Option<bool> {
        match text {
            RUNE_SPELL => {
                let blank = self.hand.as_mut().filter(|item| item.id == BLANK)?;
                self.micro_mana = self.micro_mana.checked_sub(u64::from(RUNE_MANA) * 1_000_000)?;
                blank.id = RUNE;
                effects.push(Effect::Rune);
            }
            STRIKE_SPELL => {
                self.micro_mana =
                    self.micro_mana.checked_sub(u64::from(STRIKE_MANA) * 1_000_000)?;
                let items = self.loot();
                self.corpse = Some(Remains { open: false, decays: self.now + CORPSE_LIFE, items });
            }
            _ => {}
        }
        Some(true)
    }

    fn move_thing(
        &mut self,
        from: Place,
        named: u16,
        to: Place,
        count: u8,
        effects: &mut Vec<Effect>,
    ) -> Option<bool> {
        let spot = self.find(from)?;
        let item = Item { count: count.min(self.peek(spot)?.count), ..self.peek(spot)? };
        if item.count == 0 {
            return None;
        }
        match to {
            Place::Inventory(HAND) if spot != Spot::Hand => {
                self.take(spot, item.count);
                if let Some(knocked) = self.hand.replace(item) {
                    drop_to_ground(knocked, effects);
                }
            }
            Place::Container { window: BACKPACK_WINDOW, slot } => {
                self.move_to_backpack(spot, item, usize::from(slot))?;
                if matches!(spot, Spot::Corpse(_)) {
                    effects.push(Effect::Loot);
                }
            }
            Place::Map { .. } => {
                self.take(spot, item.count);
                drop_to_ground(item, effects);
            }
            _ => return None,
        }
        Some(item.id == named)
    }

    /// Joins the stack at `slot` if it is one of this kind with room for all of it, else inserts at the front.
    fn move_to_backpack(&mut self, spot: Spot, item: Item, slot: usize) -> Option<()> {
        if spot == Spot::Backpack(slot) {
            return None;
        }
        let joins = |stack: &&mut Item| {
            stacks(item.id) && stack.id == item.id && stack.count <= STACK - item.count.min(STACK)
        };
        if let Some(stack) = self.backpack.get_mut(slot).filter(joins) {
            stack.count += item.count;
            self.take(spot, item.count);
            return Some(());
        }
        if self.backpack.len() >= BACKPACK_SLOTS {
            return None;
        }
        self.take(spot, item.count);
        self.backpack.insert(0, item);
        Some(())
    }

    fn use_thing(&mut self, from: Place, named: u16, effects: &mut Vec<Effect>) -> Option<bool> {
        if from == CORPSE_TILE {
            self.corpse.as_mut()?.open = true;
            return Some(named == CORPSE);
        }
        let spot = self.find(from)?;
        let item = self.peek(spot)?;
        let full = self.fed_until.saturating_sub(self.now) > FULL;
        if !food(item.id) || full || matches!(spot, Spot::Corpse(_)) {
            return None;
        }
        self.take(spot, 1);
        self.fed_until = self.fed_until.max(self.now) + MEAL;
        effects.push(Effect::Meal);
        Some(item.id == named)
    }

    fn use_with(
        &mut self,
        from: Place,
        named: u16,
        to: Place,
        to_named: u16,
        effects: &mut Vec<Effect>,
    ) -> Option<bool> {
        let spot = self.find(from)?;
        let item = self.peek(spot)?;
        match item.id {
            ROD if to == WATER_TILE => self.fish(effects),
            RUNE => self.take(spot, 1),
            _ => return None,
        }
        Some(item.id == named && (to != WATER_TILE || to_named == WATER))
    }

    /// Casts the rod: it brings mostly a fish, sometimes an old boot, else nothing.
    fn fish(&mut self, effects: &mut Vec<Effect>) {
        let id = match self.rng.range(1, 10) {
            1..=6 => FISH,
            7..=9 => BOOT,
            _ => return,
        };
        if self.backpack.len() < BACKPACK_SLOTS {
            self.backpack.insert(0, Item { id, count: 1 });
            if id == FISH {
                effects.push(Effect::Fish);
            }
        }
    }

    fn loot(&mut self) -> Vec<Item> {
        let gold = self.rng.range(5, 25) as u8;
        let more = self.rng.range(2, 8) as u8;
        let meat = self.rng.range(1, 2) as u8;
        vec![
            Item { id: GOLD, count: gold },
            Item { id: MEAT, count: meat },
            Item { id: GOLD, count: more },
        ]
    }

    fn find(&self, place: Place) -> Option<Spot> {
        match place {
            Place::Inventory(HAND) => Some(Spot::Hand),
            Place::Container { window: BACKPACK_WINDOW, slot } => Some(Spot::Backpack(slot.into())),
            Place::Container { window: CORPSE_WINDOW, slot } => {
                self.corpse.as_ref().filter(|remains| remains.open)?;
                Some(Spot::Corpse(slot.into()))
            }
            _ => None,
        }
    }

    fn peek(&self, spot: Spot) -> Option<Item> {
        match spot {
            Spot::Hand => self.hand,
            Spot::Backpack(slot) => self.backpack.get(slot).copied(),
            Spot::Corpse(slot) => self.corpse.as_ref()?.items.get(slot).copied(),
        }
    }

    /// Takes this many of the item there. The caller has made sure that there is one.
    fn take(&mut self, spot: Spot, count: u8) {
        let (items, slot) = match spot {
            Spot::Hand => {
                self.hand = self.hand.and_then(|item| less(item, count));
                return;
            }
            Spot::Backpack(slot) => (&mut self.backpack, slot),
            Spot::Corpse(slot) => match &mut self.corpse {
                Some(remains) => (&mut remains.items, slot),
                None => return,
            },
        };
        match items.get(slot).copied().and_then(|item| less(item, count)) {
            Some(rest) => items[slot] = rest,
            None if slot < items.len() => drop(items.remove(slot)),
            None => {}
        }
    }
}

/// Returns whether items of this kind stack.
pub fn stacks(id: u16) -> bool {
    matches!(id, FISH | MEAT | GOLD)
}

/// Returns whether items of this kind can be eaten.
pub fn food(id: u16) -> bool {
    matches!(id, FISH | MEAT)
}

fn less(item: Item, count: u8) -> Option<Item> {
    let count = item.count.saturating_sub(count);
    (count > 0).then_some(Item { count, ..item })
}

fn drop_to_ground(item: Item, effects: &mut Vec<Effect>) {
    if item.id == SWORD {
        effects.push(Effect::WeaponLost);
    }
}
