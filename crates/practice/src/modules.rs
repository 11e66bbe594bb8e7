//! The six modules: when each has work, the actions of its cycle, and where it takes its turn.
//!
//! They are scripts of the kind that the mutex is for. A cycle reads the slots and plans its actions, allowing for what each of
//! them shifts. Then it pauses before each action, as a person would, sends it, and waits for the server's verdict. Each script
//! is correct when it is alone, so none checks whether its last action worked. The scripts are the same in all three
//! [`Mode`]s. Only where they take the turn differs:
//!
//! | mode | turn | slots are read |
//! |---|---|---|
//! | `without` | none | at the start of the cycle, while the others act |
//! | `action_only` | around each action | before the wait for the turn, so they are stale |
//! | `with` | around the whole cycle | inside the turn |
//!
//! A [`Player`] has no clock, thread or connection. Its caller asks it what to do next, in real or in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use random::Rng;

use crate::wire::{Action, BACKPACK_WINDOW, CORPSE_WINDOW, HAND, Item, Place, State, Verdict};
use crate::world::{
    BACKPACK_SLOTS, BLANK, BOOT, CORPSE, CORPSE_TILE, GROUND_TILE, ROD, RUNE, RUNE_MANA,
    RUNE_SPELL, STRIKE_MANA, STRIKE_SPELL, SWORD, WATER, WATER_TILE, food, stacks,
};

/// How long a module waits after each action before it goes on or ends its turn: the server's 0.2 s and a little more. So
/// the next turn is never exhausted, even one of the same group that follows at once.
const COOLDOWN: Duration = Duration::from_millis(205);
/// How often a module checks whether it has work.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A corpse that decays sooner than this is left alone: it would not last for the cycle.
const CORPSE_MARGIN_MS: u32 = 3000;
/// A character that is fed for less than this eats.
const HUNGRY_MS: u32 = 30_000;
/// The most items that one cycle takes out of a corpse.
const MOST_LOOT: usize = 5;
/// The most old boots that one cycle throws away.
const MOST_RUBBISH: usize = 2;
/// A slot behind all items, so that an item goes to the front and never onto a stack.
const IN_FRONT: Place = Place::Container { window: BACKPACK_WINDOW, slot: 0xFF };

/// Where the turn is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nowhere.
    Without,
    /// Around each single action.
    ActionOnly,
    /// Around each cycle.
    With,
}

impl Mode {
    /// All three, in the order in which they are compared.
    pub const ALL: [Mode; 3] = [Mode::Without, Mode::ActionOnly, Mode::With];

    /// Returns the name, as in the JSON and of the log's directory.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Without => "without",
            Mode::ActionOnly => "action_only",
            Mode::With => "with",
        }
    }
}

/// One of the six.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// Unequips the weapon, equips a blank, casts, puts the rune away, equips the weapon again.
    Runemaker,
    /// Strikes, then opens the corpse; arms the hand if it finds no weapon in it.
    Trainer,
    /// Casts the rod every 2 to 4 s.
    Fisher,
    /// Moves what is in the corpse to the backpack, and throws rubbish away.
    AutoLoot,
    /// Joins two stacks of a kind.
    Stacker,
    /// Eats.
    Eater,
}

impl Module {
    /// All six, highest priority of the default roster first.
    pub const ALL: [Module; 6] = [
        Module::Runemaker,
        Module::Trainer,
        Module::Fisher,
        Module::AutoLoot,
        Module::Stacker,
        Module::Eater,
    ];

    /// Returns the name in the roster and the logs.
    pub fn name(self) -> &'static str {
        match self {
            Module::Runemaker => "runemaker",
            Module::Trainer => "trainer",
            Module::Fisher => "fisher",
            Module::AutoLoot => "auto_loot",
            Module::Stacker => "stacker",
            Module::Eater => "eater",
        }
    }

    /// Returns the module of this name.
    pub fn named(name: &str) -> Option<Module> {
        Module::ALL.into_iter().find(|module| module.name() == name)
    }

    /// Returns the actions of a cycle, with the slots as they are in `view`; none if there is no work.
    ///
    /// The plan allows for what the cycle's own actions shift, but not for what others shift.
    fn plan(self, view: &State) -> Vec<Action> {
        match self {
            Module::Runemaker => make_rune(view),
            Module::Trainer => train(view),
            Module::Fisher => fish(view),
            Module::AutoLoot => loot(view),
            Module::Stacker => stack(view),
            Module::Eater => eat(view),
        }
    }

    /// Returns the least and the most milliseconds that it pauses before each action, besides the cooldown.
    fn think_ms(self) -> (u64, u64) {
        match self {
            // It waits for its moves to show on the screen, as bots that change equipment do.
            Module::Runemaker => (150, 400),
            _ => (40, 200),
        }
    }

    /// Returns the least and the most milliseconds that it rests between two cycles. A module that failed tries again sooner,
    /// as bots do. Work is scarce as well: mana and hunger limit the runemaker, corpses limit the trainer and the looter. So
    /// each of the six has a turn within 30 s even under strict priorities.
    fn rest_ms(self, failed: bool) -> (u64, u64) {
        match (self, failed) {
            (Module::Fisher, _) => (2000, 4000),
            (_, true) => (100, 300),
            (Module::Runemaker, false) => (1500, 2500),
            (Module::Trainer, false) => (200, 400),
            (Module::AutoLoot, false) => (3500, 4500),
            (Module::Stacker, false) => (1200, 2000),
            (Module::Eater, false) => (1000, 1500),
        }
    }
}

/// Plans a rune: the weapon out of the hand, a blank into it, the spell, the rune out of it, the weapon into it.
fn make_rune(view: &State) -> Vec<Action> {
    let Some(blank) = slot_of(view, BLANK).filter(|_| view.mana >= RUNE_MANA) else {
        return Vec::new();
    };
    let mut plan = Vec::new();
    if let Some(item) = view.hand {
        plan.push(take_from_hand(item.id));
    }
    // What the hand held will lie at the front, so every slot shifts by one.
    let shift = plan.len() as u8;
    let armed = view.hand.is_some_and(|item| item.id == SWORD);
    match slot_of(view, SWORD).filter(|_| !armed) {
        // Disarmed by some mishap: nothing but the weapon into the hand.
        Some(sword) => plan.push(take_in_hand(SWORD, sword + shift)),
        None => plan.extend([
            take_in_hand(BLANK, blank + shift),
            Action::Say(RUNE_SPELL.to_owned()),
            take_from_hand(RUNE),
        ]),
    }
    if armed {
        // The weapon lies at slot 1, behind the rune that went to the front after it.
        plan.push(take_in_hand(SWORD, 1));
    }
    plan
}

/// Plans a strike and the opening of its corpse, once the last corpse is gone. Without a weapon in hand, it takes one first.
fn train(view: &State) -> Vec<Action> {
    let armed = view.hand.is_some_and(|item| item.id == SWORD);
    if let Some(sword) = slot_of(view, SWORD).filter(|_| !armed) {
        return vec![take_in_hand(SWORD, sword)];
    }
    if view.corpse.is_some() || view.mana < STRIKE_MANA {
        return Vec::new();
    }
    vec![
        Action::Say(STRIKE_SPELL.to_owned()),
        Action::Use { from: CORPSE_TILE, item: CORPSE, window: CORPSE_WINDOW },
    ]
}

fn fish(view: &State) -> Vec<Action> {
    let cast = |slot| {
        let from = backpack(slot);
        Action::UseWith { from, item: ROD, to: WATER_TILE, to_item: WATER }
    };
    slot_of(view, ROD).map(cast).into_iter().collect()
}

/// Plans to empty the corpse, from its back so that nothing in it shifts, and then to throw old boots away, from the back as well.
fn loot(view: &State) -> Vec<Action> {
    let room = view.backpack.len() < BACKPACK_SLOTS - 10;
    let corpse = view.corpse.iter().filter(|corpse| room && corpse.left_ms > CORPSE_MARGIN_MS);
    let items = corpse.flat_map(|corpse| corpse.items.iter().enumerate().rev().take(MOST_LOOT));
    let mut plan: Vec<_> = items
        .map(|(slot, item)| Action::Move {
            from: Place::Container { window: CORPSE_WINDOW, slot: slot as u8 },
            item: item.id,
            to: IN_FRONT,
            count: item.count,
        })
        .collect();
    let looted = plan.len() as u8;
    let boots = view.backpack.iter().zip(looted..).filter(|(item, _)| item.id == BOOT);
    let boots: Vec<u8> = boots.map(|(_, slot)| slot).take(MOST_RUBBISH).collect();
    plan.extend(boots.iter().rev().map(|slot| Action::Move {
        from: backpack(*slot),
        item: BOOT,
        to: GROUND_TILE,
        count: 1,
    }));
    plan
}

/// Plans to join the first two stacks of one kind that fit together: the second onto the first.
fn stack(view: &State) -> Vec<Action> {
    let stacks = || view.backpack.iter().zip(0..).filter(|(item, _)| stacks(item.id));
    let pair = stacks().find_map(|(onto, first)| {
        let (item, second) = stacks().find(|(item, second)| {
            *second > first && item.id == onto.id && item.count <= 100 - onto.count.min(100)
        })?;
        let (from, to) = (backpack(second), backpack(first));
        Some(Action::Move { from, item: item.id, to, count: item.count })
    });
    pair.into_iter().collect()
}

fn eat(view: &State) -> Vec<Action> {
    let meal = view.backpack.iter().zip(0..).find(|(item, _)| food(item.id));
    let eat =
        |(item, slot): (&Item, u8)| Action::Use { from: backpack(slot), item: item.id, window: 0 };
    meal.filter(|_| view.fed_ms < HUNGRY_MS).map(eat).into_iter().collect()
}

fn backpack(slot: u8) -> Place {
    Place::Container { window: BACKPACK_WINDOW, slot }
}

fn take_from_hand(item: u16) -> Action {
    Action::Move { from: Place::Inventory(HAND), item, to: IN_FRONT, count: 1 }
}

fn take_in_hand(item: u16, slot: u8) -> Action {
    Action::Move { from: backpack(slot), item, to: Place::Inventory(HAND), count: 1 }
}

/// Returns the first slot of the backpack that holds this.
fn slot_of(view: &State, id: u16) -> Option<u8> {
    view.backpack.iter().zip(0..).find(|(item, _)| item.id == id).map(|(_, slot)| slot)
}

/// What a [`Player`] wants its caller to do before it is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Wait. Between two cycles (`idle`) the player may be stopped.
    Sleep {
        /// Until when, on the caller's clock.
        until: Duration,
        /// Whether it is between two cycles.
        idle: bool,
    },
    /// Wait for a turn.
    Acquire,
    /// Ask the server for the state: the next view must not be older than this.
    Look,
    /// Send this action, and report its [verdict](Player::verdict).
    Send(Action),
    /// End the turn; decline it if nothing was sent in it.
    Release {
        /// Whether something was sent in it.
        used: bool,
    },
}

/// A module at play: its script as a state machine.
#[derive(Debug)]
pub struct Player {
    module: Module,
    mode: Mode,
    rng: Rng,
    phase: Phase,
    /// The rest of the cycle's plan.
    plan: VecDeque<Action>,
    cycle: u64,
    used: bool,
    failed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Between two cycles.
    Rest(Duration),
    /// It has its turn, if it takes one around the cycle.
    Begin,
    /// It reads the slots and plans.
    Plan,
    /// It goes on to the next action, or to the end of the cycle.
    Next,
    /// The moment before an action.
    Think(Duration),
    /// It sends the action.
    Send,
    /// It has the verdict.
    Sent,
    /// The moment after an action.
    Cool(Duration),
}

impl Player {
    /// Returns a player that starts at `now`.
    pub fn new(module: Module, mode: Mode, seed: u64, now: Duration) -> Self {
        // Each module draws its own numbers, whatever the others do.
        let rng = Rng::new(seed ^ (module as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Player {
            module,
            mode,
            rng,
            phase: Phase::Rest(now),
            plan: VecDeque::new(),
            cycle: 0,
            used: false,
            failed: false,
        }
    }

    /// Returns its module.
    pub fn module(&self) -> Module {
        self.module
    }

    /// Returns the number of the current or last cycle, from 1.
    pub fn cycle(&self) -> u64 {
        self.cycle
    }

    /// Returns what to do at `now`, when the character is as in `view`.
    pub fn next(&mut self, now: Duration, view: &State) -> Do {
        loop {
            match self.phase {
                Phase::Rest(until) if now < until => return Do::Sleep { until, idle: true },
                Phase::Rest(_) if self.module.plan(view).is_empty() => {
                    self.phase = Phase::Rest(now + LOOK_INTERVAL);
                }
                Phase::Rest(_) => {
                    self.cycle += 1;
                    (self.used, self.failed) = (false, false);
                    self.phase = Phase::Begin;
                    if self.mode == Mode::With {
                        return Do::Acquire;
                    }
                }
                Phase::Begin => {
                    self.phase = Phase::Plan;
                    return Do::Look;
                }
                Phase::Plan => {
                    self.plan = self.module.plan(view).into();
                    self.phase = Phase::Next;
                }
                Phase::Next if self.plan.is_empty() => {
                    let (from, to) = self.module.rest_ms(self.failed);
                    let rest = Duration::from_millis(self.rng.range(from, to));
                    self.phase = Phase::Rest(now + rest);
                    if self.mode == Mode::With {
                        return Do::Release { used: self.used };
                    }
                }
                Phase::Next => {
                    let (from, to) = self.module.think_ms();
                    let think = Duration::from_millis(self.rng.range(from, to));
                    self.phase = Phase::Think(now + think);
                }
                Phase::Think(until) if now < until => return Do::Sleep { until, idle: false },
                Phase::Think(_) => {
                    self.phase = Phase::Send;
                    if self.mode == Mode::ActionOnly {
                        return Do::Acquire;
                    }
                }
                Phase::Send => {
                    self.phase = Phase::Sent;
                    if let Some(action) = self.plan.pop_front() {
                        return Do::Send(action);
                    }
                }
                Phase::Sent => {
                    self.used = true;
                    self.phase = Phase::Cool(now + COOLDOWN);
                    if self.mode == Mode::ActionOnly {
                        return Do::Release { used: true };
                    }
                }
                Phase::Cool(until) if now < until => return Do::Sleep { until, idle: false },
                Phase::Cool(_) => self.phase = Phase::Next,
            }
        }
    }

    /// Reports that the turn it asked for was refused. It leaves the cycle.
    pub fn give_up(&mut self, now: Duration) {
        self.plan.clear();
        self.phase = Phase::Rest(now + LOOK_INTERVAL);
    }

    /// Reports the server's verdict on the last action.
    pub fn verdict(&mut self, verdict: Verdict) {
        self.failed |= verdict != Verdict::Ok;
    }
}
