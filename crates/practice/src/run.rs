//! One character played by the six modules, each in a thread of its own, over one connection.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::client::{Client, ClientError, Clock, Sender};
use crate::judge::{Counts, Frame, Sent, Waited, judge};
use crate::modules::{Do, Mode, Module, Player};

/// A sleeper looks at least this often whether the run is over.
const SLICE: Duration = Duration::from_millis(50);

/// What to play.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the turn is taken.
    pub mode: Mode,
    /// The practice server.
    pub server: SocketAddr,
    /// The clock of the logs.
    pub clock: Clock,
    /// How long cycles are begun; the last ones are played to their end.
    pub length: Duration,
    /// Fixes the world and the modules' chances.
    pub seed: u64,
}

/// The mutex, as far as a run needs it.
pub trait Gate: Sync {
    /// Waits for a turn.
    fn acquire(&self, module: &'static str) -> Result<Box<dyn Turn + '_>, Refused>;
    /// Ends every waiter: the run is over.
    fn close(&self);
    /// The group of a module.
    fn group(&self, module: &str) -> String;
}

/// A turn; dropped, it is released.
pub trait Turn {
    /// Its fencing number.
    fn token(&self) -> String;
    /// Ends a turn that sent nothing.
    fn decline(self: Box<Self>);
}

/// No turn was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The run is over.
    Closed,
    /// This once, for this reason.
    Because(String),
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The judge's counts.
    pub counts: Counts,
    /// What was sent, by whom.
    pub sends: Vec<Sent>,
    /// What the server saw.
    pub frames: Vec<Frame>,
    /// How long each turn was waited for.
    pub waits: Vec<Waited>,
    /// Asks for a turn that failed: module and reason.
    pub failures: Vec<(String, String)>,
}

impl Outcome {
    /// Writes `frames.jsonl` and `sends.jsonl` into a directory, which is created.
    pub fn write_logs(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        write_lines(&directory.join("frames.jsonl"), &self.frames)?;
        write_lines(&directory.join("sends.jsonl"), &self.sends)
    }
}

fn write_lines<T: Serialize>(path: &Path, lines: &[T]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Plays until the length is over or `stop` is set. Without a gate no turns are taken, whatever the mode.
pub fn run(
    config: &Config,
    gate: Option<&dyn Gate>,
    stop: &AtomicBool,
) -> Result<Outcome, ClientError> {
    let client = Client::enter(config.server, config.mode.name(), config.seed, config.clock)?;
    let begin = config.clock.now();
    let game = Game {
        clock: config.clock,
        end: begin + config.length,
        client: &client,
        gate,
        stop,
        over: AtomicBool::new(false),
        waits: Mutex::default(),
        failures: Mutex::default(),
    };
    let result = std::thread::scope(|scope| {
        let threads: Vec<_> = Module::ALL
            .iter()
            .map(|module| {
                let player = Player::new(*module, config.mode, config.seed, begin);
                let game = &game;
                scope.spawn(move || game.play(player))
            })
            .collect();
        while !game.ended() {
            std::thread::sleep(SLICE);
        }
        if let Some(gate) = gate {
            gate.close();
        }
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(played) => played,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    let waits = game.waits.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failures = game.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    result?;
    let (sends, frames) = client.leave();
    let group = |module: &str| gate.map_or(module.to_owned(), |gate| gate.group(module));
    let counts = judge(&frames, &sends, &waits, group);
    Ok(Outcome { counts, sends, frames, waits, failures })
}

/// What the six threads share.
struct Game<'a> {
    clock: Clock,
    end: Duration,
    client: &'a Client,
    gate: Option<&'a dyn Gate>,
    stop: &'a AtomicBool,
    /// Set when one of the six cannot go on.
    over: AtomicBool,
    waits: Mutex<Vec<Waited>>,
    failures: Mutex<Vec<(String, String)>>,
}

impl Game<'_> {
    fn ended(&self) -> bool {
        self.clock.now() >= self.end
            || self.stop.load(Ordering::Relaxed)
            || self.over.load(Ordering::Relaxed)
    }

    /// Does what the player wants, until the run is over.
    fn play(&self, mut player: Player) -> Result<(), ClientError> {
        let module = player.module().name();
        let mut turn: Option<Box<dyn Turn + '_>> = None;
        loop {
            let now = self.clock.now();
            match player.next(now, &self.client.state()) {
                Do::Sleep { idle: true, .. } if self.ended() => return Ok(()),
                Do::Sleep { until, .. } => {
                    std::thread::sleep(until.saturating_sub(now).min(SLICE));
                }
                Do::Acquire => {
                    let Some(gate) = self.gate else { continue };
                    match gate.acquire(module) {
                        Ok(granted) => {
                            turn = Some(granted);
                            let seconds = self.clock.now().saturating_sub(now).as_secs_f64();
                            push(&self.waits, Waited { module, seconds });
                        }
                        Err(Refused::Closed) => return Ok(()),
                        Err(Refused::Because(reason)) => {
                            push(&self.failures, (module.to_owned(), reason));
                            player.give_up(now);
                        }
                    }
                }
                Do::Send(action) => {
                    let token = turn.as_ref().map(|turn| turn.token());
                    let sender = Sender { module, cycle: player.cycle(), token };
                    match self.client.act(sender, &action) {
                        Ok(verdict) => player.verdict(verdict),
                        Err(error) => {
                            self.over.store(true, Ordering::Relaxed);
                            return Err(error);
                        }
                    }
                }
                Do::Release { used } => match turn.take() {
                    Some(turn) if !used => turn.decline(),
                    released => drop(released),
                },
            }
        }
    }
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}
