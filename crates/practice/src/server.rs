//! The practice server: real TCP, one thread and one character a connection.
//!
//! The protocol is in [`crate::wire`], the rules are in [`crate::world`]. Each connection plays in a world of its own. Everything
//! is bounded: connections, frames, what is kept of them, and how long a client may take to enter or to read.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::wire::{self, ClientMessage, Frames, Judged, ServerMessage};
use crate::world::World;

/// The most connections at a time; one more is told so and closed.
pub const MAX_CONNECTIONS: usize = 64;
/// The most actions of one connection; the connection closes behind the last.
pub const MAX_FRAMES: u32 = 200_000;
/// Of so many characters the frames are kept, the latest ones.
pub const MAX_CHARACTERS: usize = 64;
/// How long a client may take to enter, and to read what it is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the state is sent unasked.
const NEWS: Duration = Duration::from_millis(250);
/// How often a quiet connection looks whether to send news or to stop.
const BREATH: Duration = Duration::from_millis(50);
/// How many reads of leftovers a refused client gets.
const FAREWELL: u32 = 16;

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
    characters: Mutex<VecDeque<(String, Log)>>,
}

/// What the server saw of one character.
type Log = Arc<Mutex<Vec<Judged>>>;

impl Server {
    /// Listens at `address` (port 0: any free one). Its times are those of [`clock::now`].
    pub fn start(address: impl ToSocketAddrs) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            connections: Mutex::default(),
            characters: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("practice-listener".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Server { address, shared, listener: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The frames of a character, in order, as the server saw and judged them: of the latest one of that name.
    pub fn frames(&self, character: &str) -> Vec<Judged> {
        let characters = lock(&self.shared.characters);
        let log = characters.iter().rev().find(|(name, _)| name == character);
        log.map(|(_, log)| lock(log).clone()).unwrap_or_default()
    }

    /// Waits until the server stops, which it does not by itself.
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
            // Wakes the listener; if that fails it is not waiting any more.
            let _ = TcpStream::connect(self.address);
            let _ = listener.join();
        }
        for connection in std::mem::take(&mut *lock(&self.shared.connections)) {
            let _ = connection.join();
        }
    }
}

/// What the lock protects is whole at any moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: others must end first.
            std::thread::sleep(BREATH);
            continue;
        };
        let mut connections = lock(&shared.connections);
        connections.retain(|connection| !connection.is_finished());
        let full = connections.len() >= MAX_CONNECTIONS;
        let playing = Arc::clone(shared);
        let spawned = std::thread::Builder::new().name("practice-connection".to_owned());
        if full {
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

/// Plays one connection to its end, and says why it ends if the client is to blame.
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
    /// This, which the client is told.
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
        self.stream.set_read_timeout(Some(BREATH))?;
        self.stream.set_write_timeout(Some(PATIENCE))
    }

    fn send(&mut self, message: &ServerMessage) -> io::Result<()> {
        self.stream.write_all(&wire::frame(&message.encode()))
    }

    /// Says why the connection ends. A client that has left does not hear it.
    fn refuse(&mut self, reason: String) {
        let sent = self.send(&ServerMessage::Error(reason));
        if sent.is_err() || self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // Closing while bytes of the client are unread would reset the connection and lose the reason on its way.
        let mut bytes = [0; 1024];
        for _ in 0..FAREWELL {
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn play(&mut self, shared: &Shared) -> Result<(), Ended> {
        self.prepare()?;
        let mut frames = Frames::new(wire::MAX_CLIENT_FRAME);
        let mut character: Option<Character> = None;
        let begun = clock::now();
        loop {
            while let Some(frame) = frames.next().map_err(|error| because(&error))? {
                let now = clock::now();
                let message = ClientMessage::decode(&frame).map_err(|error| because(&error))?;
                match (message, &mut character) {
                    (ClientMessage::Enter { seed, name }, None) => {
                        self.send(&ServerMessage::Hello { time_us: micros(now) })?;
                        let mut entered = Character::enter(shared, seed, name, now);
                        self.send(&ServerMessage::State(entered.world.state(now)))?;
                        character = Some(entered);
                    }
                    (ClientMessage::Act(action), Some(character)) => {
                        let (verdict, effects) = character.world.act(now, &action);
                        let judged = character.judged(now, verdict, effects, frame)?;
                        // The state first: who sees the verdict has seen what came of it.
                        let state = ServerMessage::State(character.world.state(now));
                        self.send(&state)?;
                        self.send(&ServerMessage::Verdict(judged))?;
                        character.news = now;
                    }
                    (ClientMessage::Enter { .. }, Some(_)) => {
                        return Err(Ended::Because("enter (0x0a): was sent before".to_owned()));
                    }
                    (ClientMessage::Act(_), None) => {
                        return Err(Ended::Because("enter (0x0a): must come first".to_owned()));
                    }
                }
            }
            if shared.stop.load(Ordering::Relaxed) {
                return Err(Ended::Because("the server stops".to_owned()));
            }
            let now = clock::now();
            match &mut character {
                Some(character) if now.saturating_sub(character.news) >= NEWS => {
                    character.news = now;
                    self.send(&ServerMessage::State(character.world.state(now)))?;
                }
                None if now.saturating_sub(begun) >= PATIENCE => {
                    return Err(Ended::Because("enter (0x0a): did not come in time".to_owned()));
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

/// A read timeout is the one or the other, by platform.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The character of a connection.
struct Character {
    world: World,
    log: Log,
    next: u32,
    /// When its state was sent last.
    news: Duration,
}

impl Character {
    fn enter(shared: &Shared, seed: u64, name: String, now: Duration) -> Self {
        let log = Log::default();
        let mut characters = lock(&shared.characters);
        if characters.len() >= MAX_CHARACTERS {
            characters.pop_front();
        }
        characters.push_back((name, Arc::clone(&log)));
        Character { world: World::new(seed, now), log, next: 0, news: now }
    }

    /// Numbers and records an action.
    fn judged(
        &mut self,
        now: Duration,
        verdict: wire::Verdict,
        effects: Vec<wire::Effect>,
        frame: Vec<u8>,
    ) -> Result<Judged, Ended> {
        if self.next >= MAX_FRAMES {
            return Err(Ended::Because(format!("more than {MAX_FRAMES} actions")));
        }
        let judged = Judged { n: self.next, time_us: micros(now), verdict, effects, frame };
        self.next += 1;
        lock(&self.log).push(judged.clone());
        Ok(judged)
    }
}
