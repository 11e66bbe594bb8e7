//! The practice server: real TCP, one thread a connection.
//!
//! The protocol is in [`crate::wire`], the rules are in [`crate::world`]. A character that was entered is its connection's
//! alone. A character that was joined is played by all connections that join it. Each character has a world of its own, and
//! its lock makes one order of what its connections do. Everything is bounded: connections, frames, what is kept of them, and
//! how long a client may take to enter or to read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::judge::{Frame, write_line};
use crate::wire::{self, Action, ClientMessage, Frames, Judged, ServerMessage, State};
use crate::world::World;

/// The most connections at a time. One more is told so and closed.
pub const MAX_CONNECTIONS: usize = 64;
/// The most actions of one character, since all its frames are kept. The connection that sends one more is closed. At one
/// action every 0.2 s it is reached after 11 hours.
pub const MAX_FRAMES: u32 = 200_000;
/// The frames of so many characters are kept, the latest ones.
pub const MAX_CHARACTERS: usize = 64;
/// Otherwise a character that is played might have to make room for another.
const _: () = assert!(MAX_CHARACTERS >= MAX_CONNECTIONS);
/// How long a client may take to enter, and to read what it is sent.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the state is sent unasked: mana, hunger and corpses move on by themselves.
const STATE_INTERVAL: Duration = Duration::from_millis(250);
/// How often a quiet connection checks whether to send the state or to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The most reads of what a refused client still sends. With the read timeout, this bounds how long it can hold a thread.
const REFUSED_READS: u32 = 16;

/// A running server. It stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    connections: Mutex<Vec<JoinHandle<()>>>,
    characters: Mutex<VecDeque<Arc<Character>>>,
    log: Option<Mutex<File>>,
}

impl Server {
    /// Listens at `address` (port 0: any free one). Its times are those of [`clock::now`].
    pub fn start(address: impl ToSocketAddrs) -> io::Result<Server> {
        Server::start_logging(address, None)
    }

    /// Also writes each frame to `log` when it is judged, as a line of `frames.jsonl` with the `character`.
    pub fn start_logging(address: impl ToSocketAddrs, log: Option<File>) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            connections: Mutex::default(),
            characters: Mutex::default(),
            log: log.map(Mutex::new),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("practice-listener".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Server { address, shared, listener: Some(thread) })
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the frames of the latest character of this name, in order, as the server saw and judged them.
    pub fn frames(&self, character: &str) -> Vec<Frame> {
        let characters = lock(&self.shared.characters);
        let latest = characters.iter().rev().find(|known| known.name == character);
        latest.map(|known| lock(&known.play).seen.clone()).unwrap_or_default()
    }

    /// Waits until the server stops. It does not stop by itself.
    pub fn wait(mut self) {
        if let Some(listener) = self.listener.take() {
            // A listener that panicked has ended as well.
            let _ = listener.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            // This wakes the listener. If it fails, the listener does not wait any more.
            let _ = TcpStream::connect(self.address);
            let _ = listener.join();
        }
        for connection in std::mem::take(&mut *lock(&self.shared.connections)) {
            let _ = connection.join();
        }
    }
}

/// Locks, even after a panic elsewhere: what these locks protect is consistent at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else {
            // Most likely there are no descriptors left, and others must end first.
            std::thread::sleep(POLL_INTERVAL);
            continue;
        };
        let mut connections = lock(&shared.connections);
        connections.retain(|connection| !connection.is_finished());
        let full = connections.len() >= MAX_CONNECTIONS;
        let playing = Arc::clone(shared);
        let spawned = std::thread::Builder::new().name("practice-connection".to_owned());
        if full {
            // Refusing takes a while; other connections must not wait for this lock meanwhile.
            drop(connections);
            let mut refused = Connection { stream };
            if refused.prepare().is_ok() {
                refused.refuse("too many connections".to_owned());
            }
        } else if let Ok(thread) = spawned.spawn(move || serve(stream, &playing)) {
            connections.push(thread);
        }
    }
}

/// Serves one connection to its end. If the server ends it, the client is told why.
fn serve(stream: TcpStream, shared: &Shared) {
    let mut connection = Connection { stream };
    if let Err(Ended::Because(reason)) = connection.play(shared) {
        connection.refuse(reason);
    }
}

/// Why a connection ends.
enum Ended {
    /// The client left, or cannot be reached.
    Gone,
    /// The server ends it, for a reason that the client is told.
    Because(String),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Ended::Gone
    }
}

struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn prepare(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(POLL_INTERVAL))?;
        self.stream.set_write_timeout(Some(CLIENT_TIMEOUT))
    }

    fn send(&mut self, message: &ServerMessage) -> io::Result<()> {
        self.stream.write_all(&wire::frame(&message.encode()))
    }

    /// Tells the client why the connection ends, if it is still there.
    fn refuse(&mut self, reason: String) {
        let sent = self.send(&ServerMessage::Error(reason));
        if sent.is_err() || self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // To close while bytes of the client are unread would reset the connection, and the reason would be lost.
        let mut bytes = [0; 1024];
        for _ in 0..REFUSED_READS {
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn play(&mut self, shared: &Shared) -> Result<(), Ended> {
        self.prepare()?;
        let mut frames = Frames::new(wire::MAX_CLIENT_FRAME);
        let mut player: Option<Player> = None;
        let begun = clock::now();
        loop {
            while let Some(frame) = frames.next().map_err(|error| because(&error))? {
                let message = ClientMessage::decode(&frame).map_err(|error| because(&error))?;
                match (message, &mut player) {
                    (ClientMessage::Enter { seed, name }, None) => {
                        let now = clock::now();
                        let entered = player.insert(Player::enter(shared, seed, name, now));
                        self.send(&ServerMessage::Hello { time_us: micros(now) })?;
                        self.send(&ServerMessage::State(entered.look()))?;
                    }
                    (ClientMessage::Join { seed, name }, None) => {
                        let now = clock::now();
                        let joined = player.insert(Player::join(shared, seed, name, now)?);
                        let connection = joined.connection.unwrap_or_default();
                        self.send(&ServerMessage::Joined { time_us: micros(now), connection })?;
                        self.send(&ServerMessage::State(joined.look()))?;
                    }
                    (ClientMessage::Act(action), Some(player)) => {
                        let (judged, state) = player.act(shared, &action, frame)?;
                        // The state first: a client that sees the verdict has seen the result.
                        self.send(&ServerMessage::State(state))?;
                        self.send(&ServerMessage::Verdict(judged))?;
                    }
                    (ClientMessage::Ping, Some(player)) => {
                        self.send(&ServerMessage::State(player.look()))?;
                        self.send(&ServerMessage::Pong)?;
                    }
                    (ClientMessage::Enter { .. } | ClientMessage::Join { .. }, Some(_)) => {
                        let again = "enter (0x0a) or join (0x0b): was sent before";
                        return Err(Ended::Because(again.to_owned()));
                    }
                    (ClientMessage::Act(_) | ClientMessage::Ping, None) => {
                        let first = "enter (0x0a) or join (0x0b): must come first";
                        return Err(Ended::Because(first.to_owned()));
                    }
                }
            }
            if shared.stop.load(Ordering::Relaxed) {
                return Err(Ended::Because("the server stops".to_owned()));
            }
            let now = clock::now();
            match &mut player {
                Some(player) if now.saturating_sub(player.state_sent) >= STATE_INTERVAL => {
                    self.send(&ServerMessage::State(player.look()))?;
                }
                None if now.saturating_sub(begun) >= CLIENT_TIMEOUT => {
                    let late = "enter (0x0a) or join (0x0b): did not come in time";
                    return Err(Ended::Because(late.to_owned()));
                }
                _ => {}
            }
            let mut bytes = [0; 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Ended::Gone),
                Ok(count) => frames.push(&bytes[..count]),
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Err(Ended::Gone),
            }
        }
    }
}

fn because(error: &wire::WireError) -> Ended {
    Ended::Because(error.to_string())
}

/// Returns whether a read timed out. The kind of that error differs between platforms.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A character, and what the server saw of it.
#[derive(Debug)]
struct Character {
    name: String,
    seed: u64,
    /// Whether it was joined, so that others may join it too.
    joined: bool,
    play: Mutex<Play>,
}

/// What the connections of a character share.
#[derive(Debug)]
struct Play {
    world: World,
    seen: Vec<Frame>,
    /// How many connections it has had so far: the number of the next one.
    connections: u32,
    /// How many of them are still there.
    present: u32,
}

impl Character {
    fn new(seed: u64, name: String, joined: bool, now: Duration) -> Arc<Self> {
        let world = World::new(seed, now);
        let play = Play { world, seen: Vec::new(), connections: 0, present: 0 };
        Arc::new(Character { name, seed, joined, play: Mutex::new(play) })
    }

    fn is_played(&self) -> bool {
        lock(&self.play).present > 0
    }
}

/// One connection's part in its character.
struct Player {
    character: Arc<Character>,
    connection: Option<u32>,
    /// The number of its next action.
    next: u32,
    /// When it was last sent the state.
    state_sent: Duration,
}

impl Player {
    fn enter(shared: &Shared, seed: u64, name: String, now: Duration) -> Self {
        let character = Character::new(seed, name, false, now);
        let mut characters = lock(&shared.characters);
        keep(&mut characters, &character);
        Player::new(character, now)
    }

    /// Joins the character of this name that others have joined, or makes one.
    fn join(shared: &Shared, seed: u64, name: String, now: Duration) -> Result<Self, Ended> {
        let mut characters = lock(&shared.characters);
        let fits = |known: &&Arc<Character>| known.joined && known.name == name;
        let found = characters.iter().rev().find(fits).filter(|known| known.is_played()).cloned();
        let character = match found {
            Some(character) if character.seed != seed => {
                let plays = character.seed;
                let reason =
                    format!("join (0x0b): seed is {seed}, but `{name}` plays with {plays}");
                return Err(Ended::Because(reason));
            }
            Some(character) => character,
            None => {
                let character = Character::new(seed, name, true, now);
                keep(&mut characters, &character);
                character
            }
        };
        Ok(Player::new(character, now))
    }

    /// Must be called while all characters are locked, so that no other connection takes this one for abandoned and replaces it.
    fn new(character: Arc<Character>, now: Duration) -> Self {
        let mut play = lock(&character.play);
        let connection = character.joined.then_some(play.connections);
        play.connections = play.connections.saturating_add(1);
        play.present += 1;
        drop(play);
        Player { character, connection, next: 0, state_sent: now }
    }

    /// Returns the character's state now.
    fn look(&mut self) -> State {
        let mut play = lock(&self.character.play);
        self.state_sent = clock::now();
        play.world.state(self.state_sent)
    }

    /// Carries out an action, numbers it and records it.
    fn act(
        &mut self,
        shared: &Shared,
        action: &Action,
        frame: Vec<u8>,
    ) -> Result<(Judged, State), Ended> {
        let mut play = lock(&self.character.play);
        if play.seen.len() >= MAX_FRAMES as usize {
            return Err(Ended::Because(format!("more than {MAX_FRAMES} actions")));
        }
        // The time is read under the lock, so that times grow in the order of the actions.
        let now = clock::now();
        let (verdict, effects) = play.world.act(now, action);
        let judged = Judged { n: self.next, time_us: micros(now), verdict, effects, frame };
        self.next += 1;
        self.state_sent = now;
        let seen = Frame::new(&judged, self.connection, 0);
        if let Some(log) = &shared.log {
            let line = Line { character: &self.character.name, seen: &seen };
            // A log with gaps would show faults that are none, so the connection ends.
            let failed = |why| Ended::Because(format!("the log cannot be written: {why}"));
            write_line(&mut *lock(log), &line).map_err(failed)?;
        }
        play.seen.push(seen);
        Ok((judged, play.world.state(now)))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        lock(&self.character.play).present -= 1;
    }
}

/// A line of the server's log.
#[derive(serde::Serialize)]
struct Line<'a> {
    character: &'a str,
    #[serde(flatten)]
    seen: &'a Frame,
}

/// Keeps a character, if need be in place of the oldest one that is not played any more. There is always one: there are at
/// least as many places as connections, and the connection that asks does not play yet.
fn keep(characters: &mut VecDeque<Arc<Character>>, character: &Arc<Character>) {
    if characters.len() >= MAX_CHARACTERS {
        let left = characters.iter().position(|known| !known.is_played()).unwrap_or(0);
        characters.remove(left);
    }
    characters.push_back(Arc::clone(character));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actions_of_a_character_are_limited_over_all_its_connections() {
        let shared = Shared {
            stop: AtomicBool::new(false),
            connections: Mutex::default(),
            characters: Mutex::default(),
            log: None,
        };
        let join = || Player::join(&shared, 1, "alice".to_owned(), Duration::ZERO).ok().unwrap();
        let (mut first, mut second) = (join(), join());
        let say = Action::Say("x".to_owned());
        let (judged, _) = first.act(&shared, &say, say.encode()).ok().unwrap();
        let seen = Frame::new(&judged, first.connection, 0);
        lock(&first.character.play).seen.resize(MAX_FRAMES as usize - 1, seen);
        assert!(second.act(&shared, &say, say.encode()).is_ok());
        for player in [&mut first, &mut second] {
            match player.act(&shared, &say, say.encode()) {
                Err(Ended::Because(reason)) => assert_eq!(reason, "more than 200000 actions"),
                _ => panic!("one action too many"),
            }
        }
    }
}
