//! One run of a cell: brings the subject to its step, causes the fault, and lets every client play to its end.

use crate::channel::Channel;
use crate::judge::{Figures, judge};
use crate::log::{Line, Log, What, read};
use crate::process::{Client, Server};
use crate::step::{
    Cell, DELAY, FIRST, Fault, Kind, LAST, LEASE, NESTED, SUBJECT, Standing, Step, Transport,
};
use packet_mutex::PacketMutex;
use random::Rng;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// How long a process stays stopped over a Unix socket. No lease runs there, so nothing ends by itself: this is time enough
/// for a wrong grant to show.
const STOPPED: Duration = Duration::from_millis(250);
/// With processes held up for longer than this, the times in the logs say nothing. It is well below a lease.
const HELD_UP: Duration = Duration::from_millis(200);
/// The most runs of a cell whose machine was too slow for it.
const ATTEMPTS: usize = 4;

/// The outcome of a cell.
#[derive(Debug)]
pub struct Outcome {
    /// The cell.
    pub cell: Cell,
    /// What is wrong; empty if nothing is.
    pub wrong: Vec<String>,
    /// What was measured.
    pub figures: Figures,
    /// The lines of all logs, in order of time.
    pub lines: Vec<Line>,
    /// How many runs before this one were discarded, because the machine was held up for too long.
    pub spoiled: usize,
}

impl fmt::Display for Outcome {
    /// The cell, what is wrong, and the logs with times from the first line on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.cell)?;
        for what in &self.wrong {
            writeln!(f, "  {what}")?;
        }
        let start = self.lines.first().map_or(0, |line| line.t);
        for Line { t, who, what } in &self.lines {
            let at = Duration::from_nanos(t - start).as_secs_f64();
            writeln!(f, "    {at:.6} {who:<9} {what:?}")?;
        }
        Ok(())
    }
}

/// Runs a cell and judges it. Its processes are this program in other roles.
///
/// A run that fails while the whole machine was held up for a good part of a lease says nothing. It is repeated, a few times
/// at most.
#[must_use]
pub fn run(program: &Path, cell: Cell) -> Outcome {
    let mut spoiled = 0;
    loop {
        let metronome = Metronome::start();
        let (lines, trouble) = play(program, cell);
        let held_up = metronome.stop();
        let (figures, mut wrong) = judge(cell, &lines);
        wrong.extend(trouble);
        // A run without an error counts, however slow the machine was.
        if wrong.is_empty() || held_up < HELD_UP || spoiled + 1 == ATTEMPTS {
            return Outcome { cell, wrong, figures, lines, spoiled };
        }
        spoiled += 1;
    }
}

/// Plays a cell in a directory of its own. Returns the lines of the logs, and the client that hung or failed, if one did.
fn play(program: &Path, cell: Cell) -> (Vec<Line>, Option<String>) {
    let directory = match tempfile::tempdir() {
        Ok(directory) => directory,
        Err(why) => return (Vec::new(), Some(why.to_string())),
    };
    let played = Director::start(program, cell, directory.path()).and_then(Director::play);
    let logs = ["director", SUBJECT, FIRST, LAST].map(|who| directory.path().join(who));
    (read(&logs), played.err())
}

/// Drives the processes of one run, and logs when it causes the fault.
struct Director<'a> {
    program: &'a Path,
    cell: Cell,
    place: &'a Path,
    log: Log,
    rng: Option<Rng>,
    channel: Channel,
    server: Server,
    first: Standby,
    last: Standby,
}

/// A client that stands by.
struct Standby {
    client: Client,
    /// Whether it was told to play a turn to its end.
    plays: bool,
}

impl Standby {
    /// Tells it to play a turn to its end, unless it was told before.
    fn turn(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.plays, true) {
            return Ok(());
        }
        self.client.tell("turn")
    }
}

impl<'a> Director<'a> {
    fn start(program: &'a Path, cell: Cell, place: &'a Path) -> Result<Director<'a>, String> {
        let told = |error: std::io::Error| error.to_string();
        std::fs::write(place.join("roster.toml"), roster(cell)).map_err(told)?;
        let log = Log::open(&place.join("director"), "director").map_err(told)?;
        let channel = Channel::open().map_err(told)?;
        let server = Server::start(program, place, cell.transport, None)?;
        let by = |module| {
            let client = client(program, Kind::Library, module, &server.url, &channel, place)?;
            Ok::<_, String>(Standby { client, plays: false })
        };
        let (first, last) = (by(FIRST)?, by(LAST)?);
        let rng = cell.jitter.map(Rng::new);
        Ok(Director { program, cell, place, log, rng, channel, server, first, last })
    }

    fn subject(&self) -> Result<Client, String> {
        client(self.program, self.cell.kind, SUBJECT, &self.server.url, &self.channel, self.place)
    }

    fn play(mut self) -> Result<(), String> {
        let Cell { step, fault, transport, .. } = self.cell;
        let over_tcp = transport == Transport::Tcp;
        let mut subject = self.subject()?;
        if step.is_behind_a_holder() {
            self.first.client.does("reach holding")?;
        }
        if let Some(before) = step.before() {
            self.reach(&mut subject, before)?;
            self.others_ask()?;
        }
        self.reach(&mut subject, step)?;
        if step.before().is_none() && step.standing() != Standing::Nothing {
            self.others_ask()?;
        }
        self.pause((0, 80));

        self.log.write(What::Fault);
        match fault {
            Fault::Kill => {
                subject.kill();
                // The server has to see the closed connection first; a grant to the dead subject would only delay the others.
                self.until_forgotten()?;
                self.others_end()?;
                subject = self.subject()?;
            }
            Fault::Stop => {
                let stopped = Instant::now();
                subject.stop()?;
                self.others_while_stopped()?;
                // Over TCP for more than a lease since the stop, so that the subject is surely too late. The turns of the
                // others count towards it.
                let least = if over_tcp {
                    LEASE.mul_f64(1.3).saturating_sub(stopped.elapsed())
                } else {
                    STOPPED
                };
                sleep(least);
                self.log.write(What::Continues);
                subject.go_on()?;
                subject.tell("finish")?;
                self.settle(&mut subject)?;
                self.others_end()?;
            }
            Fault::HalfClose | Fault::Reset => {
                subject.tell(fault.name())?;
                self.until_forgotten()?;
                self.others_end()?;
                self.settle(&mut subject)?;
            }
            Fault::ServerKill => {
                self.server.kill();
                // With jitter the clients meet both a server that is gone and one that is back at once.
                self.pause((0, 300));
                self.log.write(What::Restarts);
                let url = self.server.url.clone();
                self.server = Server::start(self.program, self.place, transport, Some(&url))?;
                let is_told = self.rng.is_none()
                    && (self.cell.kind == Kind::Raw || step.standing() != Standing::Waits);
                // A client that waits through the library is told nothing of the restart: the library asks anew.
                subject.tell(if is_told { "notice-loss" } else { "finish" })?;
                self.others_end()?;
                self.settle(&mut subject)?;
            }
            Fault::ServerStop => {
                self.server.stop()?;
                // A holder in the library must count its lease by itself, while the server is silent.
                let holds = step.standing() == Standing::Holds && self.rng.is_none();
                if holds && over_tcp && self.cell.kind == Kind::Library {
                    subject.tell("notice-loss")?;
                }
                // For more than a lease, so that the clients have to give their turns up before the server goes on.
                sleep(if over_tcp { LEASE.mul_f64(1.3) } else { STOPPED });
                self.log.write(What::Continues);
                self.server.go_on()?;
                subject.tell("finish")?;
                self.others_end()?;
                self.settle(&mut subject)?;
            }
        }
        // Whatever came before: the mutex must still serve the subject.
        subject.does("turn")
    }

    /// Brings the subject to the step, and without jitter exactly there.
    fn reach(&mut self, subject: &mut Client, step: Step) -> Result<(), String> {
        subject.tell(&format!("reach {}", step.name()))?;
        if self.rng.is_some() {
            self.pause((0, 40));
            return Ok(());
        }
        // The library's call returns only once it has the turn, so the server is asked whether it waits.
        if self.cell.kind == Kind::Library && step.standing() == Standing::Waits {
            return self.until_waiting(|waiters| waiters.contains(&SUBJECT));
        }
        subject.settle()
    }

    /// Tells the others to ask, and waits until they wait, unless one of them holds.
    fn others_ask(&mut self) -> Result<(), String> {
        let is_free = !self.cell.step.is_behind_a_holder();
        match self.cell.step {
            // It keeps the turn that the subject yields to it, so that the subject still waits when the fault comes.
            Step::YieldSent => self.first.client.tell("reach holding")?,
            _ if is_free => self.first.turn()?,
            _ => {}
        }
        self.pause((0, 40));
        self.last.turn()?;
        if self.rng.is_some() {
            return Ok(());
        }
        self.until_waiting(|waiters| {
            waiters.contains(&LAST) && (!is_free || waiters.contains(&FIRST))
        })
    }

    /// Lets the others play on as far as a stopped subject lets them.
    fn others_while_stopped(&mut self) -> Result<(), String> {
        let has = self.cell.step.standing();
        if self.cell.transport == Transport::Unix && self.rng.is_some() {
            // With jitter the subject may hold, and then the others end only after it.
            self.first.turn()?;
            return self.last.turn();
        }
        match has {
            _ if self.cell.transport == Transport::Tcp => self.others_end(),
            Standing::Nothing => self.others_end(),
            Standing::Waits => {
                // The first one holds. Its release gives the turn to the stopped subject, so the last one must not get it.
                self.first.turn()?;
                self.first.client.settle()
            }
            Standing::Holds => Ok(()),
        }
    }

    /// Lets both others play a turn to its end.
    fn others_end(&mut self) -> Result<(), String> {
        self.first.turn()?;
        self.pause((0, 40));
        self.last.turn()?;
        self.first.client.settle()?;
        self.last.client.settle()
    }

    /// Waits for the subject's answers.
    fn settle(&self, subject: &mut Client) -> Result<(), String> {
        let Cell { step, fault, transport, .. } = self.cell;
        // Its ask may have been granted and the turn lost while it was stopped. With jitter the step may have been out of
        // reach. A client that hangs is always an error.
        let may_be_lost = fault == Fault::Stop && transport == Transport::Tcp;
        let may_fail = may_be_lost && step.standing() == Standing::Waits || self.rng.is_some();
        match subject.settle() {
            Err(why) if !may_fail || why.contains("hangs") => Err(why),
            _ => Ok(()),
        }
    }

    /// Waits until the server has dropped the subject's ask, if it had one.
    fn until_forgotten(&self) -> Result<(), String> {
        if self.rng.is_some() || self.cell.step.standing() != Standing::Waits {
            return Ok(());
        }
        self.until_waiting(|waiters| !waiters.contains(&SUBJECT))
    }

    fn until_waiting(&self, enough: impl Fn(&[&str]) -> bool) -> Result<(), String> {
        let told = |error: packet_mutex::Error| error.to_string();
        let mutex = PacketMutex::connect(&self.server.url).map_err(told)?;
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let waiters = mutex.try_status().map_err(told)?.waiters;
            let names: Vec<&str> = waiters.iter().map(|waiter| &*waiter.module).collect();
            if enough(&names) {
                return Ok(());
            }
            if end <= Instant::now() {
                return Err(format!("{names:?} wait"));
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Sleeps for a random time in a range of milliseconds, if the cell has jitter.
    fn pause(&mut self, range: (u64, u64)) {
        if let Some(rng) = &mut self.rng {
            sleep(Duration::from_millis(rng.range(range.0, range.1)));
        }
    }
}

fn roster(cell: Cell) -> String {
    let mut text = format!("handover_delay = '{}ms'\ntimeout = '20s'\n", DELAY.as_millis());
    for (module, priority) in [(FIRST, 100), (SUBJECT, 60), (NESTED, 40), (LAST, 30)] {
        text += &format!("[modules.{module}]\npriority = {priority}\n");
        if [SUBJECT, NESTED, cell.kin()].contains(&module) {
            text += "group = 'fishing'\n";
        }
    }
    text
}

fn client(
    program: &Path,
    kind: Kind,
    module: &'static str,
    url: &str,
    channel: &Channel,
    place: &Path,
) -> Result<Client, String> {
    let kind = if kind == Kind::Raw { "raw" } else { "library" };
    let (channel, log) = (channel.address.to_string(), place.join(module));
    Client::start(program, module, &[kind, url, module, &channel, &log.display().to_string()])
}

/// Measures for how long the processes of this machine were held up.
struct Metronome {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Duration>,
}

impl Metronome {
    fn start() -> Metronome {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = thread::spawn(move || {
            // What a sleep takes longer than asked is what every process of the machine had to wait.
            let beat = Duration::from_millis(10);
            let (mut last, mut most) = (Instant::now(), Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                sleep(beat);
                most = most.max(last.elapsed().saturating_sub(beat));
                last = Instant::now();
            }
            most
        });
        Metronome { over, thread }
    }

    fn stop(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
