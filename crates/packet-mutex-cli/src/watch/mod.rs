//! `packet-mutex watch`: a running mutex, live, in a terminal.
//!
//! One thread draws. The other threads send it updates: keys, polls of the mutex, results of steering, signals. None of
//! them draws, and a mutex that is slow to answer delays no key.

mod draw;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use crate::connection::Connection;
use crate::exit::{ExitStatus, Failure, finish};
use crate::platform::{self, Signal};
use crate::printer::Printer;
use crate::trace::TraceFile;
use packet_mutex::{Event, EventKind, PacketMutex, Roster, Status};
use ratatui::crossterm::event::{self as terminal_event, KeyEvent};
use screen::Screen;
use std::io::{self, IsTerminal, stdout};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use view::{Action, Order, View};

/// How often the mutex is polled while something moves.
const POLL_BUSY: Duration = Duration::from_millis(100);
/// How often it is polled while nothing moves. An event is seen at once all the same.
const POLL_CALM: Duration = Duration::from_secs(1);
/// How often the view is drawn without an update, to show that there is none.
const REDRAW_EVERY: Duration = Duration::from_millis(500);

/// Watch a running mutex: who holds, who waits and why, and lanes over time
///
/// Keys steer it; `?` lists them. Exit code: 69 if the mutex cannot be reached at the start; a connection that is lost
/// later is made anew. It needs a terminal: scripts use `status --json`, or `report` with a trace.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: Connection,

    /// Write the mutex's events to this file, for `report`: those that it still keeps, and all until the view ends
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

pub(crate) fn watch(args: &Args, printer: &mut Printer) -> ExitStatus {
    let done = show(args, printer);
    finish(done, printer)
}

fn show(args: &Args, printer: &mut Printer) -> Result<ExitStatus, Failure> {
    if !stdout().is_terminal() {
        let why = "watch draws in a terminal, and stdout is not one; scripts use `packet-mutex status --json` or, with a \
                   trace, `packet-mutex report`";
        return Err(Failure::bad_input(why));
    }
    let mutex = args.connection.open()?;
    let status = mutex.try_status()?;
    let mut view = View::new(mutex.name(), &args.connection.url(), &mutex.roster(), status);
    let colours = printer.colours_stdout();
    view.colours = colours;
    // crossterm looks at the environment by itself, but `--color` decides here.
    ratatui::crossterm::style::force_color_output(colours);
    let broken = |error: io::Error| Failure::bad_input(format!("the terminal: {error}"));
    let trace = TraceFile::start(args.trace.as_deref(), [&mutex])?;
    let mut screen = Screen::new().map_err(broken)?;
    // The channel holds one update, so that senders wait until the last is drawn: a busy mutex is polled less often.
    let (sender, updates) = sync_channel(1);
    let (orders, ordered) = channel();
    start(&mutex, &sender, ordered);
    let done = run(&mut view, &mut screen, &updates, &orders).map_err(broken);
    drop(screen);
    trace.finish(printer);
    done
}

/// What the other threads send to the thread that draws.
enum Update {
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    Polled(Box<Poll>),
    /// An order was carried out, or not.
    Steered(Order, Result<(), String>),
    Signal(Signal),
    /// There are no more keys.
    NoKeys(io::Error),
}

/// What a poll of the mutex found.
struct Poll {
    events: Vec<Event>,
    status: Result<Status, String>,
    /// The roster, if it was replaced.
    roster: Option<Roster>,
}

/// Draws until the view is to end.
fn run(
    view: &mut View,
    screen: &mut Screen,
    updates: &Receiver<Update>,
    orders: &Sender<Order>,
) -> io::Result<ExitStatus> {
    let began = Instant::now();
    loop {
        view.tick(began.elapsed());
        screen.terminal()?.draw(|frame| draw::draw(view, frame))?;
        let update = match updates.recv_timeout(REDRAW_EVERY) {
            Ok(update) => update,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(ExitStatus::Done),
        };
        view.tick(began.elapsed());
        let action = match update {
            Update::Key(key) => view.key(key),
            Update::Resized => None,
            Update::Polled(poll) => {
                if let Some(roster) = &poll.roster {
                    view.set_roster(roster);
                }
                view.update(&poll.events, poll.status);
                None
            }
            Update::Steered(order, result) => {
                view.steered(&order, result);
                None
            }
            Update::NoKeys(error) => return Err(error),
            Update::Signal(Signal::End(code)) => return Ok(ExitStatus::Command(code)),
            Update::Signal(Signal::Suspend) => Some(Action::Suspend),
            // Another program may have used the terminal meanwhile.
            Update::Signal(Signal::Continue) => Some(Action::Redraw),
        };
        match action {
            None => {}
            Some(Action::Quit) => return Ok(ExitStatus::Done),
            Some(Action::Suspend) => screen.without(platform::suspend)?,
            Some(Action::Redraw) => screen.without(|| {})?,
            // The thread that carries it out lives as long as this one.
            Some(Action::Steer(order)) => drop(orders.send(order)),
        }
    }
}

/// Starts the threads that send updates. They end with the process.
fn start(mutex: &PacketMutex, updates: &SyncSender<Update>, orders: Receiver<Order>) {
    let (polled, sender) = (mutex.clone(), updates.clone());
    thread::spawn(move || poll_mutex(&polled, &sender));
    let sender = updates.clone();
    thread::spawn(move || read_keys(&sender));
    let (steered, sender) = (mutex.clone(), updates.clone());
    thread::spawn(move || {
        for order in orders {
            let mut steps = order.steps.iter();
            let result = steps.try_for_each(|step| steered.steer(step.as_str()));
            let result = result.map_err(|error| error.to_string());
            if sender.send(Update::Steered(order, result)).is_err() {
                return;
            }
        }
    });
    let sender = updates.clone();
    platform::on_signal(move |signal| sender.send(Update::Signal(signal)).is_ok());
}

fn poll_mutex(mutex: &PacketMutex, updates: &SyncSender<Update>) {
    let mut reader = mutex.events_so_far();
    let mut pace = POLL_BUSY;
    loop {
        let began = Instant::now();
        let mut events = reader.wait(pace);
        thread::sleep(POLL_BUSY.saturating_sub(began.elapsed()));
        events.extend(reader.take());
        let status = mutex.try_status().map_err(|error| error.to_string());
        pace = if status.as_ref().is_ok_and(is_calm) { POLL_CALM } else { POLL_BUSY };
        let is_reload = |event: &Event| matches!(event.kind, EventKind::Reloaded);
        let roster = events.iter().any(is_reload).then(|| mutex.roster());
        if updates.send(Update::Polled(Box::new(Poll { events, status, roster }))).is_err() {
            return;
        }
    }
}

/// Returns whether nothing changes without an event.
fn is_calm(status: &Status) -> bool {
    status.holder.is_none() && status.waiters.is_empty() && status.paused.is_empty()
}

fn read_keys(updates: &SyncSender<Update>) {
    loop {
        let update = match terminal_event::read() {
            Ok(terminal_event::Event::Key(key)) => Update::Key(key),
            Ok(terminal_event::Event::Resize(..)) => Update::Resized,
            Ok(_) => continue,
            Err(error) => Update::NoKeys(error),
        };
        let is_last = matches!(update, Update::NoKeys(_));
        if updates.send(update).is_err() || is_last {
            return;
        }
    }
}
