//! A client as a process, driven line by line.

use crate::library::Library;
use crate::log::{Log, What};
use crate::raw::Raw;
use crate::step::Step;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many actions a turn has.
pub(crate) const ACTIONS: usize = 3;
/// A client that needs longer for a turn says that it hangs.
const TURN_WITHIN: Duration = Duration::from_secs(15);

/// Why a command was not done.
#[derive(Debug)]
pub(crate) struct Trouble(pub(crate) String);

impl<E: fmt::Display> From<E> for Trouble {
    fn from(error: E) -> Self {
        Trouble(error.to_string())
    }
}

/// What a client can be told to do.
pub(crate) trait Subject {
    /// Goes to a step, from the one before if it is on the way.
    fn reach(&mut self, step: Step) -> Result<(), Trouble>;
    /// Plays on to the end, as if nothing had happened: acts first, listens later.
    fn finish(&mut self) -> Result<(), Trouble>;
    /// Waits until it has found out that the server is gone.
    fn notice_loss(&mut self) -> Result<(), Trouble>;
    /// Asks for a turn, anew if need be, acts in it and releases it.
    fn turn(&mut self) -> Result<(), Trouble>;
    /// Closes the writing side and reads to the end.
    fn half_close(&mut self) -> Result<(), Trouble>;
    /// Breaks the connection off in the middle of a frame.
    fn reset(&mut self) -> Result<(), Trouble>;
}

/// A client's own: its name, its log and its way to the far end.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) module: String,
    pub(crate) log: Log,
    actions: TcpStream,
    verdicts: BufReader<TcpStream>,
}

impl Own {
    /// Sends an action; whether it was accepted.
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

/// `client KIND URL MODULE CHANNEL LOG`: does what the lines of stdin say, and answers each with a line, until stdin ends.
///
/// # Errors
///
/// What is wrong with the arguments, or why the client cannot begin.
pub fn serve_commands(args: &[String]) -> Result<(), String> {
    let [kind, url, module, channel, log] = args else {
        return Err("client KIND URL MODULE CHANNEL LOG".into());
    };
    let told = |error: io::Error| error.to_string();
    let actions = TcpStream::connect(channel).map_err(told)?;
    actions.set_nodelay(true).map_err(told)?;
    actions.set_read_timeout(Some(Duration::from_secs(10))).map_err(told)?;
    let verdicts = BufReader::new(actions.try_clone().map_err(told)?);
    let log = Log::open(Path::new(log), module).map_err(told)?;
    let own = Own { module: module.clone(), log, actions, verdicts };
    let mut subject: Box<dyn Subject> = match kind.as_str() {
        "raw" => Box::new(Raw::new(own, url)),
        _ => Box::new(Library::new(own, url).map_err(|why| why.0)?),
    };
    let mut answers = io::stdout();
    writeln!(answers, "ready").map_err(told)?;
    for command in io::stdin().lines().map_while(Result::ok) {
        let done = obey(&mut *subject, &command);
        let answer = done.map_or_else(|why| format!("{command}: {}", why.0), |()| "done".into());
        if writeln!(answers, "{answer}").is_err() {
            break;
        }
    }
    Ok(())
}

fn obey(subject: &mut dyn Subject, command: &str) -> Result<(), Trouble> {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("reach", step) => {
            let step = Step::named(step).ok_or_else(|| Trouble("no such step".into()))?;
            subject.reach(step)
        }
        ("finish", _) => subject.finish(),
        ("notice-loss", _) => subject.notice_loss(),
        ("turn", _) => subject.turn(),
        ("half-close", _) => subject.half_close(),
        ("reset", _) => subject.reset(),
        _ => Err(Trouble("no such command".into())),
    }
}

/// Tries until it is done, for a while.
pub(crate) fn persist(mut attempt: impl FnMut() -> Result<(), Trouble>) -> Result<(), Trouble> {
    let end = Instant::now() + TURN_WITHIN;
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}
