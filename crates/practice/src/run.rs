//! One character played by the six modules: each in a thread of its own over one connection, or in a process of its own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use packet_mutex::{Error, PacketMutex, Roster, Turn};
use serde::Serialize;

use crate::client::{Client, ClientError, Sender};
use crate::clock;
use crate::judge::{Counts, Frame, Sent, Waited, judge};
use crate::modules::{Do, Mode, Module, Player};
use crate::wire::Verdict;

/// How often a sleeping module checks whether the run is over.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the turn is taken.
    pub mode: Mode,
    /// The practice server.
    pub server: SocketAddr,
    /// Whether the server is in this process and has the same clock as the logs; see [`Client::enter`].
    pub embedded: bool,
    /// How long new cycles begin. The last ones are played to their end.
    pub length: Duration,
    /// The seed of the world and of the modules' random numbers.
    pub seed: u64,
}

/// Figures of a run, to read while it lasts.
#[derive(Debug, Default)]
pub struct Watch {
    sent: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
    /// When each of [`Module::ALL`] last sent something, in microseconds; 0 if it has not.
    last_send: [AtomicU64; 6],
}

impl Watch {
    /// Returns the frames so far: those sent, refused, and done to another item than the one named.
    pub fn counts(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.sent), count(&self.refused), count(&self.wrong))
    }

    /// Returns how long ago the module last sent something.
    pub fn since_last_send(&self, module: Module) -> Option<Duration> {
        let at = self.last_send[module as usize].load(Ordering::Relaxed);
        (at > 0).then(|| clock::now().saturating_sub(Duration::from_micros(at)))
    }

    fn sends(&self, module: Module) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(clock::now().as_micros()).unwrap_or(u64::MAX);
        self.last_send[module as usize].store(now.max(1), Ordering::Relaxed);
    }

    fn judged(&self, verdict: Verdict) {
        match verdict {
            Verdict::Ok => {}
            Verdict::Exhausted | Verdict::NotPossible => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::WrongItem => {
                self.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The judge's counts.
    pub counts: Counts,
    /// What each module sent.
    pub sends: Vec<Sent>,
    /// What the server saw.
    pub frames: Vec<Frame>,
    /// How long each turn was waited for.
    pub waits: Vec<Waited>,
    /// Asks for a turn that failed: module and reason.
    pub failures: Vec<(String, String)>,
}

impl Outcome {
    /// Creates a directory and writes `frames.jsonl` and `sends.jsonl` into it.
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

/// Plays until the length is over or `stop` is set, and then closes the mutex. All times are on the clock of
/// [`clock::now`], which is that of the mutex's events.
///
/// The mutex is not used in the mode [`Mode::Without`].
pub fn run(
    config: &Config,
    mutex: &PacketMutex,
    stop: &AtomicBool,
    watch: &Watch,
) -> Result<Outcome, ClientError> {
    let client = Client::enter(config.server, config.mode.name(), config.seed, config.embedded)?;
    let begin = clock::now();
    let game = Game {
        end: begin + config.length,
        client: &client,
        mutex,
        stop,
        watch,
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
            std::thread::sleep(POLL_INTERVAL);
        }
        // Modules that wait for a turn would otherwise wait until their timeout.
        mutex.close();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(played) => played,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    let waits = game.waits.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failures = game.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    result?;
    let (sends, frames) = client.leave();
    let roster = mutex.roster();
    let counts = judge(&frames, &sends, &waits, |module| group(&roster, module));
    Ok(Outcome { counts, sends, frames, waits, failures })
}

/// Plays one module until the length is over, in a process of its own. The client has joined the character, and the mutex is
/// behind a URL and stays open for the others. Returns the asks for a turn that failed.
///
/// The mutex is not used in the mode [`Mode::Without`].
pub fn run_module(
    player: Player,
    client: &Client,
    mutex: &PacketMutex,
    length: Duration,
) -> Result<Vec<(String, String)>, ClientError> {
    let game = Game {
        end: clock::now() + length,
        client,
        mutex,
        stop: &AtomicBool::new(false),
        watch: &Watch::default(),
        over: AtomicBool::new(false),
        waits: Mutex::default(),
        failures: Mutex::default(),
    };
    game.play(player)?;
    Ok(game.failures.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Returns a module's group in the roster. A module without one is a group of its own.
pub(crate) fn group(roster: &Roster, module: &str) -> String {
    let group = roster.module(module).and_then(|spec| spec.group.clone());
    group.unwrap_or_else(|| module.to_owned())
}

/// What the modules of this process share.
struct Game<'a> {
    end: Duration,
    client: &'a Client,
    mutex: &'a PacketMutex,
    stop: &'a AtomicBool,
    watch: &'a Watch,
    /// Set when one of the six cannot go on.
    over: AtomicBool,
    waits: Mutex<Vec<Waited>>,
    failures: Mutex<Vec<(String, String)>>,
}

impl Game<'_> {
    fn ended(&self) -> bool {
        clock::now() >= self.end
            || self.stop.load(Ordering::Relaxed)
            || self.over.load(Ordering::Relaxed)
    }

    /// Ends the run for all modules if the server is gone.
    fn checked<T>(&self, result: Result<T, ClientError>) -> Result<T, ClientError> {
        if result.is_err() {
            self.over.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Carries out what the player wants, until the run is over.
    fn play(&self, mut player: Player) -> Result<(), ClientError> {
        let module = player.module().name();
        let mut turn: Option<Turn> = None;
        loop {
            let now = clock::now();
            match player.next(now, &self.client.state()) {
                // Only between two cycles: a cycle that stops half-way could leave the hand unarmed.
                Do::Sleep { idle: true, .. } if self.ended() => return Ok(()),
                Do::Sleep { until, .. } => {
                    std::thread::sleep(until.saturating_sub(now).min(POLL_INTERVAL));
                }
                Do::Acquire => match self.mutex.acquire(module) {
                    Ok(granted) => {
                        push(
                            &self.waits,
                            Waited { module, seconds: granted.waited().as_secs_f64() },
                        );
                        turn = Some(granted);
                    }
                    Err(Error::Closed) => return Ok(()),
                    Err(error) => {
                        push(&self.failures, (module.to_owned(), error.to_string()));
                        player.give_up(now);
                    }
                },
                Do::Look => self.checked(self.client.look())?,
                Do::Send(action) => {
                    let token = turn.as_ref().and_then(Turn::token).map(|token| token.to_string());
                    let sender = Sender { module, cycle: player.cycle(), token };
                    self.watch.sends(player.module());
                    let verdict = self.checked(self.client.act(sender, &action))?;
                    self.watch.judged(verdict);
                    player.verdict(verdict);
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
