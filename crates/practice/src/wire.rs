//! The messages between a client and the practice server. This description is complete: it is enough to play from any language.
//!
//! # Framing
//!
//! Every message, in both directions, is one frame: a `u16` length, then that many bytes. The first of them names the
//! message. All numbers are little-endian. There is no encryption and no checksum. A client's frame has 1 to
//! [`MAX_CLIENT_FRAME`] bytes, a server's 1 to [`MAX_SERVER_FRAME`] (both without the length).
//!
//! Decoding is strict: an empty or oversized frame, an unknown first byte, a field that is cut off or out of range, and
//! bytes left over are each an error that names frame and field. The server answers with [error](#server-to-client) and closes
//! the connection.
//!
//! # A session
//!
//! 1. The client sends *enter*, the server answers *hello* and *state*; or it sends *join*, the server answers *joined* and *state*.
//! 2. The client sends actions. Each action is a numbered frame: the connection's first one is `n` = 0.
//! 3. The server answers each action, in order, with *state* and then *verdict*. A client that has read the verdict has the slots
//!    as they are after the action. The server also sends *state* unasked about four times a second, since mana, hunger and
//!    corpses move on by themselves.
//! 4. The client may send *ping* at any time. It is not an action. The server answers, in order, with *state* and then *pong*. A
//!    client that has read the pong has the slots as they were after it sent the ping.
//!
//! # One character, several connections
//!
//! A character that was *entered* is its connection's alone, whatever its name. A character that was *joined* is played by all
//! connections that join that name, for as long as one of them is there: the first puts it into a world of its seed, and the
//! others name the same seed. The connections are told apart by the number in *joined*, from 0 in the order in which they join.
//!
//! There is one world. The server does one action at a time, in the order in which it reads them, whichever connection they come
//! from. A verdict goes to the connection that acted, under that connection's `n`. What the others did shows
//! in *state*, which every connection is sent as above. Unasked, it may be a quarter of a second old. So a client that has waited
//! for its turn sends *ping* before it reads the slots.
//!
//! The time in *hello*, *joined* and *verdict* is the server's monotonic clock in microseconds. A client with a clock of its own
//! measures the offset at *enter*: the time in *hello* is half-way between sending *enter* and reading *hello*. The same holds
//! for *join*.
//!
//! The items, tiles, spells and times that these messages speak of are the constants of [`crate::world`].
//!
//! # Client to server
//!
//! The four actions are those of the 7.72 protocol, byte for byte.
//!
//! | message | bytes |
//! |---|---|
//! | enter | `0A` `u16` version (772) `u64` seed, string name |
//! | join | `0B` `u16` version (772) `u64` seed, string name |
//! | ping | `1E` |
//! | move thing | `78` place from, `u16` item, `u8` stack, place to, `u8` count |
//! | use item | `82` place from, `u16` item, `u8` stack, `u8` window |
//! | use item with | `83` place from, `u16` item, `u8` stack, place to, `u16` item there, `u8` stack there |
//! | say | `96` `u8` kind (1: aloud), string text |
//!
//! A *string* is a `u16` length and that many bytes of printable ASCII, 1 to [`MAX_TEXT`].
//!
//! A *place* is `u16` x, `u16` y, `u8` z:
//!
//! | x | y | z | is |
//! |---|---|---|---|
//! | `FFFF` | 1 to 10 | 0 | the character's inventory; [`HAND`] (6) is the left hand |
//! | `FFFF` | `40` + window (0 to 15) | slot | that slot of an open container; 0 is the front |
//! | other | any | 0 to 15 | a tile of the map |
//!
//! *stack* repeats the slot of a container, is 0 for the inventory, and 0 to 9 on the map (where this server looks at the
//! tile only). *window* is where a used container would open, 0 to 15; this server opens a corpse as [`CORPSE_WINDOW`] always.
//!
//! # Server to client
//!
//! | message | bytes |
//! |---|---|
//! | hello | `0A` `u64` time |
//! | verdict | `0B` `u32` n, `u64` time, `u8` [verdict](Verdict), `u8` number of [effects](Effect) and one byte each, `u16` length and the frame as the server saw it |
//! | state | `0C` `u16` mana, `u32` milliseconds until hungry, item in hand, list of the backpack, `u8` corpse: 0 none, 1 lies there, 2 open; if not 0: `u32` milliseconds until it decays, list of what it holds |
//! | error | `0D` string; then the connection closes |
//! | joined | `0E` `u64` time, `u32` the connection's number |
//! | pong | `1E` |
//!
//! An *item* is `u16` id and `u8` count; no item is id 0, count 0. A *list* is a `u8` number of items and the items, front first.

use thiserror::Error;

/// The protocol version that *enter* and *join* must name.
pub const VERSION: u16 = 772;
/// The most bytes in a frame from a client, without the length. The longest are *enter* and *join*, with 13 bytes and
/// [`MAX_TEXT`]; the limit leaves little room for anything else.
pub const MAX_CLIENT_FRAME: usize = 300;
/// The most bytes in a frame from the server, without the length. The longest is *state* with a full backpack.
pub const MAX_SERVER_FRAME: usize = 2048;
/// The longest string.
pub const MAX_TEXT: usize = 200;
/// The inventory slot of the hand that holds weapon, blank and rune.
pub const HAND: u8 = 6;
/// The window of the backpack, always open.
pub const BACKPACK_WINDOW: u8 = 0;
/// The window of the corpse, once it was opened.
pub const CORPSE_WINDOW: u8 = 1;

/// Why bytes were not a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{frame}: {field} {problem}")]
pub struct WireError {
    /// The message, such as `move thing (0x78)`.
    pub frame: &'static str,
    /// The field that could not be read.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The frame ends inside the field.
    #[error("is cut off")]
    Truncated,
    /// The frame goes on after its last field.
    #[error("is followed by {0} bytes too many")]
    TrailingBytes(usize),
    /// A length is above its limit, or zero.
    #[error("is {is} bytes long, not 1 to {limit}")]
    Length {
        /// The length found.
        is: usize,
        /// The most allowed.
        limit: usize,
    },
    /// A value that the field cannot have.
    #[error("cannot be {0:#x}")]
    Value(u64),
    /// A string holds something other than printable ASCII.
    #[error("is not printable ASCII")]
    Text,
}

/// Where an item is, or should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A slot of the inventory, 1 to 10.
    Inventory(u8),
    /// A slot of an open container.
    Container {
        /// The container's window, 0 to 15.
        window: u8,
        /// The slot, 0 at the front.
        slot: u8,
    },
    /// A tile.
    Map {
        /// East; never `0xFFFF`.
        x: u16,
        /// South.
        y: u16,
        /// Floor, 0 to 15.
        z: u8,
    },
}

/// What a client asks to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// 0x96: say something aloud; spells are said.
    Say(String),
    /// 0x78: move an item.
    Move {
        /// Where it is expected.
        from: Place,
        /// What is expected there.
        item: u16,
        /// Where it should go.
        to: Place,
        /// How many of it.
        count: u8,
    },
    /// 0x82: use an item: eat, open.
    Use {
        /// Where it is expected.
        from: Place,
        /// What is expected there.
        item: u16,
        /// Where a container would open.
        window: u8,
    },
    /// 0x83: use an item on something.
    UseWith {
        /// Where it is expected.
        from: Place,
        /// What is expected there.
        item: u16,
        /// On what place.
        to: Place,
        /// What is expected on that place.
        to_item: u16,
    },
}

/// A message from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first message: who plays, in a world of which seed.
    Enter {
        /// Fixes all of the world's randomness.
        seed: u64,
        /// The character.
        name: String,
    },
    /// In place of enter: who plays together with others, in a world of which seed.
    Join {
        /// Fixes all of the world's randomness; the same for all who join.
        seed: u64,
        /// The character.
        name: String,
    },
    /// Asks for the state and a pong.
    Ping,
    /// An action.
    Act(Action),
}

/// A kind of item, and how many of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The kind, as the 7.72 client numbers it.
    pub id: u16,
    /// 1 to 100; 1 for what does not stack.
    pub count: u8,
}

/// How the server answered an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// 0: done.
    Ok,
    /// 1: refused, it came too soon after another.
    Exhausted,
    /// 2: refused, it cannot be done.
    NotPossible,
    /// 3: done, but to another item than the one named.
    WrongItem,
}

/// A notable result of an action, for the judge's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// 0: a rune was made.
    Rune,
    /// 1: a fish was caught.
    Fish,
    /// 2: something was eaten.
    Meal,
    /// 3: an item came from a corpse into the backpack.
    Loot,
    /// 4: a weapon fell to the ground and is gone.
    WeaponLost,
}

/// A corpse as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpse {
    /// Whether its window is open.
    pub open: bool,
    /// Milliseconds until it decays with all that is in it.
    pub left_ms: u32,
    /// What it holds, front first.
    pub items: Vec<Item>,
}

/// All that a client knows about its character.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Mana to cast with.
    pub mana: u16,
    /// Milliseconds until hunger stops the mana.
    pub fed_ms: u32,
    /// What the hand holds.
    pub hand: Option<Item>,
    /// The backpack, front first.
    pub backpack: Vec<Item>,
    /// The corpse beside the character.
    pub corpse: Option<Corpse>,
}

/// The server's answer to one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The number of the action on its connection, from 0.
    pub n: u32,
    /// When the server read it, in microseconds of its clock.
    pub time_us: u64,
    /// The answer.
    pub verdict: Verdict,
    /// Its results.
    pub effects: Vec<Effect>,
    /// The frame as the server saw it, without the length.
    pub frame: Vec<u8>,
}

/// A message from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// The answer to *enter*.
    Hello {
        /// Now, in microseconds of the server's clock.
        time_us: u64,
    },
    /// The answer to one action.
    Verdict(Judged),
    /// The character now.
    State(State),
    /// Why the connection closes.
    Error(String),
    /// The answer to *join*.
    Joined {
        /// Now, in microseconds of the server's clock.
        time_us: u64,
        /// Which of the character's connections this is, from 0.
        connection: u32,
    },
    /// The answer to *ping*, after the state.
    Pong,
}

/// Puts the length before a message's bytes.
pub fn frame(message: &[u8]) -> Vec<u8> {
    // No message of this module comes near 65,535 bytes: lists and strings are limited.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&message[..usize::from(length)]);
    bytes
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct Frames {
    buffer: Vec<u8>,
    limit: usize,
}

impl Frames {
    /// Returns a buffer for frames of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Frames { buffer: Vec::new(), limit }
    }

    /// Adds bytes as they arrive. Call [`Frames::next`] until it returns `None` before the next push: that bounds the buffer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole frame, without its length; `None` if more bytes are needed.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator would end for good at the first None"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        let [low, high, ..] = self.buffer[..] else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes([low, high]));
        // Checked before the rest has come, so that no client can make the buffer grow.
        if length == 0 || length > self.limit {
            let problem = Problem::Length { is: length, limit: self.limit };
            return Err(WireError { frame: "frame", field: "length", problem });
        }
        if self.buffer.len() < 2 + length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(2 + length);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.drain(..2);
        Ok(Some(frame))
    }
}

impl ClientMessage {
    /// Returns the message's bytes, without the length.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ClientMessage::Enter { seed, name } => encode_player(0x0A, *seed, name),
            ClientMessage::Join { seed, name } => encode_player(0x0B, *seed, name),
            ClientMessage::Ping => vec![0x1E],
            ClientMessage::Act(action) => action.encode(),
        }
    }

    /// Reads a frame, without its length.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let Some((&code, body)) = frame.split_first() else {
            return Err(WireError {
                frame: "client message",
                field: "first byte",
                problem: Problem::Truncated,
            });
        };
        let name = match code {
            0x0A => "enter (0x0a)",
            0x0B => "join (0x0b)",
            0x1E => "ping (0x1e)",
            0x78 => "move thing (0x78)",
            0x82 => "use item (0x82)",
            0x83 => "use item with (0x83)",
            0x96 => "say (0x96)",
            _ => {
                let problem = Problem::Value(code.into());
                return Err(WireError { frame: "client message", field: "first byte", problem });
            }
        };
        let mut fields = Fields { frame: name, rest: body };
        let message = match code {
            0x0A => {
                let (seed, name) = fields.player()?;
                ClientMessage::Enter { seed, name }
            }
            0x0B => {
                let (seed, name) = fields.player()?;
                ClientMessage::Join { seed, name }
            }
            0x1E => ClientMessage::Ping,
            0x78 => {
                let (from, item) = fields.thing("from", "item", "stack")?;
                let to = fields.place("to")?;
                ClientMessage::Act(Action::Move { from, item, to, count: fields.u8("count")? })
            }
            0x82 => {
                let (from, item) = fields.thing("from", "item", "stack")?;
                let window = fields.u8("window")?;
                if window > 15 {
                    return Err(fields.value("window", window));
                }
                ClientMessage::Act(Action::Use { from, item, window })
            }
            0x83 => {
                let (from, item) = fields.thing("from", "item", "stack")?;
                let (to, to_item) = fields.thing("to", "item there", "stack there")?;
                ClientMessage::Act(Action::UseWith { from, item, to, to_item })
            }
            _ => {
                let kind = fields.u8("kind")?;
                if kind != 1 {
                    return Err(fields.value("kind", kind));
                }
                ClientMessage::Act(Action::Say(fields.text("text")?))
            }
        };
        fields.end()?;
        Ok(message)
    }
}

impl Action {
    /// Returns the action's bytes, without the length.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        match self {
            Action::Say(text) => {
                out.extend([0x96, 1]);
                put_text(&mut out, text);
            }
            Action::Move { from, item, to, count } => {
                out.push(0x78);
                put_thing(&mut out, *from, *item);
                put_place(&mut out, *to);
                out.push(*count);
            }
            Action::Use { from, item, window } => {
                out.push(0x82);
                put_thing(&mut out, *from, *item);
                out.push(*window);
            }
            Action::UseWith { from, item, to, to_item } => {
                out.push(0x83);
                put_thing(&mut out, *from, *item);
                put_thing(&mut out, *to, *to_item);
            }
        }
        out
    }
}

impl ServerMessage {
    /// Returns the message's bytes, without the length.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            ServerMessage::Hello { time_us } => {
                out.push(0x0A);
                out.extend(time_us.to_le_bytes());
            }
            ServerMessage::Verdict(judged) => {
                out.push(0x0B);
                out.extend(judged.n.to_le_bytes());
                out.extend(judged.time_us.to_le_bytes());
                out.push(judged.verdict as u8);
                out.push(judged.effects.len() as u8);
                out.extend(judged.effects.iter().map(|effect| *effect as u8));
                out.extend((judged.frame.len() as u16).to_le_bytes());
                out.extend(&judged.frame);
            }
            ServerMessage::State(state) => {
                out.push(0x0C);
                out.extend(state.mana.to_le_bytes());
                out.extend(state.fed_ms.to_le_bytes());
                put_item(&mut out, state.hand.unwrap_or(Item { id: 0, count: 0 }));
                put_items(&mut out, &state.backpack);
                match &state.corpse {
                    None => out.push(0),
                    Some(corpse) => {
                        out.push(if corpse.open { 2 } else { 1 });
                        out.extend(corpse.left_ms.to_le_bytes());
                        put_items(&mut out, &corpse.items);
                    }
                }
            }
            ServerMessage::Error(text) => {
                out.push(0x0D);
                put_text(&mut out, text);
            }
            ServerMessage::Joined { time_us, connection } => {
                out.push(0x0E);
                out.extend(time_us.to_le_bytes());
                out.extend(connection.to_le_bytes());
            }
            ServerMessage::Pong => out.push(0x1E),
        }
        out
    }

    /// Reads a frame, without its length.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let Some((&code, body)) = frame.split_first() else {
            return Err(WireError {
                frame: "server message",
                field: "first byte",
                problem: Problem::Truncated,
            });
        };
        let name = match code {
            0x0A => "hello (0x0a)",
            0x0B => "verdict (0x0b)",
            0x0C => "state (0x0c)",
            0x0D => "error (0x0d)",
            0x0E => "joined (0x0e)",
            0x1E => "pong (0x1e)",
            _ => {
                let problem = Problem::Value(code.into());
                return Err(WireError { frame: "server message", field: "first byte", problem });
            }
        };
        let mut fields = Fields { frame: name, rest: body };
        let message = match code {
            0x0A => ServerMessage::Hello { time_us: fields.u64("time")? },
            0x0B => ServerMessage::Verdict(fields.judged()?),
            0x0C => ServerMessage::State(fields.state()?),
            0x0D => ServerMessage::Error(fields.text("text")?),
            0x0E => {
                let (time_us, connection) = (fields.u64("time")?, fields.u32("connection")?);
                ServerMessage::Joined { time_us, connection }
            }
            _ => ServerMessage::Pong,
        };
        fields.end()?;
        Ok(message)
    }
}

/// Returns the bytes of enter or join.
fn encode_player(code: u8, seed: u64, name: &str) -> Vec<u8> {
    let mut out = vec![code];
    out.extend(VERSION.to_le_bytes());
    out.extend(seed.to_le_bytes());
    put_text(&mut out, name);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Replaces and cuts what the other side would refuse. Texts of this crate are within the limits, but callers choose names.
    let text: Vec<u8> = text
        .bytes()
        .map(|b| if matches!(b, 0x20..=0x7E) { b } else { b'?' })
        .take(MAX_TEXT)
        .collect();
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text);
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    let (x, y, z) = match place {
        Place::Inventory(slot) => (0xFFFF, slot.into(), 0),
        Place::Container { window, slot } => (0xFFFF, 0x40 | u16::from(window & 0x0F), slot),
        Place::Map { x, y, z } => (x, y, z),
    };
    out.extend(u16::to_le_bytes(x));
    out.extend(u16::to_le_bytes(y));
    out.push(z);
}

fn put_thing(out: &mut Vec<u8>, place: Place, item: u16) {
    put_place(out, place);
    out.extend(item.to_le_bytes());
    out.push(if let Place::Container { slot, .. } = place { slot } else { 0 });
}

fn put_item(out: &mut Vec<u8>, item: Item) {
    out.extend(item.id.to_le_bytes());
    out.push(item.count);
}

fn put_items(out: &mut Vec<u8>, items: &[Item]) {
    let count = u8::try_from(items.len()).unwrap_or(u8::MAX);
    out.push(count);
    items.iter().take(count.into()).for_each(|item| put_item(out, *item));
}

/// The rest of a message that is read field by field.
struct Fields<'a> {
    frame: &'static str,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn error(&self, field: &'static str, problem: Problem) -> WireError {
        WireError { frame: self.frame, field, problem }
    }

    fn value(&self, field: &'static str, value: impl Into<u64>) -> WireError {
        self.error(field, Problem::Value(value.into()))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let (bytes, rest) =
            self.rest.split_first_chunk().ok_or(self.error(field, Problem::Truncated))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array(field).map(|[byte]| byte)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_le_bytes)
    }

    fn bytes(&mut self, field: &'static str, limit: usize) -> Result<Vec<u8>, WireError> {
        let length = usize::from(self.u16(field)?);
        if length == 0 || length > limit {
            return Err(self.error(field, Problem::Length { is: length, limit }));
        }
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or(self.error(field, Problem::Truncated))?;
        self.rest = rest;
        Ok(bytes.to_vec())
    }

    fn text(&mut self, field: &'static str) -> Result<String, WireError> {
        let bytes = self.bytes(field, MAX_TEXT)?;
        match String::from_utf8(bytes) {
            Ok(text) if text.bytes().all(|b| matches!(b, 0x20..=0x7E)) => Ok(text),
            _ => Err(self.error(field, Problem::Text)),
        }
    }

    /// Reads version, seed and name of enter and join.
    fn player(&mut self) -> Result<(u64, String), WireError> {
        let version = self.u16("version")?;
        if version != VERSION {
            return Err(self.value("version", version));
        }
        Ok((self.u64("seed")?, self.text("name")?))
    }

    fn place(&mut self, field: &'static str) -> Result<Place, WireError> {
        let (x, y, z) = (self.u16(field)?, self.u16(field)?, self.u8(field)?);
        match (x, y, z) {
            (0xFFFF, 1..=10, 0) => Ok(Place::Inventory(y as u8)),
            (0xFFFF, 0x40..=0x4F, slot) => Ok(Place::Container { window: (y & 0x0F) as u8, slot }),
            (0xFFFF, ..) => Err(self.value(field, y)),
            (x, y, z @ 0..=15) => Ok(Place::Map { x, y, z }),
            (_, _, z) => Err(self.value(field, z)),
        }
    }

    /// Reads a place, the item expected there, and its position in the stack.
    fn thing(
        &mut self,
        place: &'static str,
        item: &'static str,
        stack: &'static str,
    ) -> Result<(Place, u16), WireError> {
        let place = self.place(place)?;
        let id = self.u16(item)?;
        let is = self.u8(stack)?;
        let fits = match place {
            Place::Inventory(_) => is == 0,
            Place::Container { slot, .. } => is == slot,
            Place::Map { .. } => is <= 9,
        };
        if fits { Ok((place, id)) } else { Err(self.value(stack, is)) }
    }

    fn item(&mut self, field: &'static str) -> Result<Item, WireError> {
        Ok(Item { id: self.u16(field)?, count: self.u8(field)? })
    }

    fn items(&mut self, field: &'static str) -> Result<Vec<Item>, WireError> {
        let count = self.u8(field)?;
        (0..count).map(|_| self.item(field)).collect()
    }

    fn judged(&mut self) -> Result<Judged, WireError> {
        let (n, time_us) = (self.u32("n")?, self.u64("time")?);
        let verdict = match self.u8("verdict")? {
            0 => Verdict::Ok,
            1 => Verdict::Exhausted,
            2 => Verdict::NotPossible,
            3 => Verdict::WrongItem,
            other => return Err(self.value("verdict", other)),
        };
        let effects = (0..self.u8("effects")?).map(|_| self.effect()).collect::<Result<_, _>>()?;
        Ok(Judged { n, time_us, verdict, effects, frame: self.bytes("frame", MAX_CLIENT_FRAME)? })
    }

    fn effect(&mut self) -> Result<Effect, WireError> {
        match self.u8("effects")? {
            0 => Ok(Effect::Rune),
            1 => Ok(Effect::Fish),
            2 => Ok(Effect::Meal),
            3 => Ok(Effect::Loot),
            4 => Ok(Effect::WeaponLost),
            other => Err(self.value("effects", other)),
        }
    }

    fn state(&mut self) -> Result<State, WireError> {
        let (mana, fed_ms) = (self.u16("mana")?, self.u32("milliseconds until hungry")?);
        let hand = Some(self.item("hand")?).filter(|item| item.id != 0);
        let backpack = self.items("backpack")?;
        let corpse = match self.u8("corpse")? {
            0 => None,
            state @ (1 | 2) => Some(Corpse {
                open: state == 2,
                left_ms: self.u32("milliseconds until decay")?,
                items: self.items("items of the corpse")?,
            }),
            other => return Err(self.value("corpse", other)),
        };
        Ok(State { mana, fed_ms, hand, backpack, corpse })
    }

    fn end(&self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(self.error("last field", Problem::TrailingBytes(more))),
        }
    }
}
