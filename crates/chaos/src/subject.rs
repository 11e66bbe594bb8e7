//! The commands of a client, and what every client has.

use crate::log::{Log, What};
use crate::step::Step;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many actions a turn has.
pub(crate) const ACTIONS: usize = 3;
/// A client that needs longer for a turn gives up.
const TURN_WITHIN: Duration = Duration::from_secs(15);

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Trouble(pub(crate) String);

impl<E: fmt::Display> From<E> for Trouble {
    fn from(error: E) -> Self {
        Trouble(error.to_string())
    }
}

/// The commands of a client.
pub(crate) trait Subject {
    /// Goes to a step, from where it is.
    fn reach(&mut self, step: Step) -> Result<(), Trouble>;
    /// Plays on to the end of the turn as if nothing had happened: it acts before it reads.
    fn finish(&mut self) -> Result<(), Trouble>;
    /// Waits until it has noticed that its turn is lost or the server is gone.
    fn notice_loss(&mut self) -> Result<(), Trouble>;
    /// Asks for a turn, anew if need be, acts in it and releases it.
    fn turn(&mut self) -> Result<(), Trouble>;
    /// Closes the writing side and reads to the end.
    fn half_close(&mut self) -> Result<(), Trouble>;
    /// Breaks the connection in the middle of a frame.
    fn reset(&mut self) -> Result<(), Trouble>;
}

/// What every client has: its module, its log and its connection to the far end.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) module: String,
    pub(crate) log: Log,
    actions: TcpStream,
    verdicts: BufReader<TcpStream>,
}

impl Actor {
    /// Connects to the far end.
    pub(crate) fn new(module: &str, channel: &str, log: &str) -> io::Result<Actor> {
        let actions = TcpStream::connect(channel)?;
        actions.set_nodelay(true)?;
        actions.set_read_timeout(Some(Duration::from_secs(10)))?;
        let verdicts = BufReader::new(actions.try_clone()?);
        Ok(Actor {
            module: module.into(),
            log: Log::open(Path::new(log), module)?,
            actions,
            verdicts,
        })
    }

    /// Sends an action and returns whether it was accepted.
    pub(crate) fn act(&mut self, token: u64) -> Result<bool, Trouble> {
        self.log.write(What::Sends { token });
        self.actions.write_all(format!("{token}\n").as_bytes())?;
        let mut verdict = String::new();
        self.verdicts.read_line(&mut verdict)?;
        let words: Vec<&str> = verdict.split_whitespace().collect();
        match words.as_slice() {
            ["accepted", at] => {
                self.log.write(What::Accepted { token, at: at.parse()? });
                Ok(true)
            }
            ["refused", newest] => {
                self.log.write(What::Refused { token, newest: newest.parse()? });
                Ok(false)
            }
            _ => Err(Trouble(format!("the far end says {verdict:?}"))),
        }
    }
}

/// Repeats an attempt until it succeeds, up to [`TURN_WITHIN`].
pub(crate) fn persist(mut attempt: impl FnMut() -> Result<(), Trouble>) -> Result<(), Trouble> {
    let end = Instant::now() + TURN_WITHIN;
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}
