//! `packet-mutex watch`: a running mutex, live, in a terminal.
//!
//! One thread draws. It is told what happens by the others: keys, looks at the mutex, answers to what was asked for,
//! signals. None of them draws, and no mutex that is slow to answer holds a key up.

mod draw;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use crate::ExitStatus;
use crate::elsewhere::{At, end_trace, ended, start_trace, status_of};
use crate::platform::{self, Told};
use crate::printer::Printer;
use packet_mutex::{Entry, PacketMutex, Roster, Status};
use ratatui::crossterm::event::{self, Event, KeyEvent};
use screen::Screen;
use std::io::{self, IsTerminal, stdout};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use view::{Deed, Steering, View};

/// How often the mutex is looked at while something moves.
const PACE: Duration = Duration::from_millis(100);
/// And while nothing does: an event is seen at once all the same.
const CALM: Duration = Duration::from_secs(1);
/// How often the view is drawn without news, to say that there are none.
const TICK: Duration = Duration::from_millis(500);

/// Watch a running mutex: who holds, who waits and why, and lanes over time
///
/// Keys steer it; `?` tells them. Exit code: 69 if the mutex cannot be reached at the start; a connection that is lost
/// later is made anew. It needs a terminal: scripts use `status --json`, or `report` with a trace.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,

    /// Write the mutex's events, from those that it still keeps until the view ends, to this file, for `report`
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

pub(crate) fn watch(args: &Args, printer: &mut Printer) -> ExitStatus {
    let done = show(args, printer);
    ended(done, printer)
}

fn show(args: &Args, printer: &mut Printer) -> Result<ExitStatus, (ExitStatus, String)> {
    if !stdout().is_terminal() {
        let why = "watch draws in a terminal, and stdout is none; for scripts there are `packet-mutex status --json` \
                   and, for a trace, `packet-mutex report`";
        return Err((ExitStatus::BadInput, why.into()));
    }
    let mutex = args.at.connect()?;
    let status = mutex.try_status().map_err(|error| (status_of(&error), error.to_string()))?;
    let mut view = View::new(mutex.name(), &args.at.url(), &mutex.roster(), status);
    let colours = printer.colours_stdout();
    view.colours = colours;
    // The view asks for colours by itself.
    ratatui::crossterm::style::force_color_output(colours);
    let broken = |error: io::Error| (ExitStatus::BadInput, format!("the terminal: {error}"));
    let trace = start_trace(args.trace.as_deref(), [&mutex])?;
    let mut screen = Screen::new().map_err(broken)?;
    // Whoever has news waits until the last are drawn: a mutex where much happens is looked at less often.
    let (sender, news) = sync_channel(1);
    let (asked, steerings) = channel();
    start(&mutex, &sender, steerings);
    let done = run(&mut view, &mut screen, &news, &asked).map_err(broken);
    drop(screen);
    end_trace(trace, printer);
    done
}

/// What the thread that draws is told.
enum News {
    Key(KeyEvent),
    /// The terminal has another size.
    Size,
    Look(Box<Look>),
    Done(Steering, Result<(), String>),
    /// By the operating system.
    Told(Told),
    /// There are no more keys.
    NoKeys(io::Error),
}

/// A look at the mutex.
struct Look {
    entries: Vec<Entry>,
    status: Result<Status, String>,
    /// If it was replaced.
    roster: Option<Roster>,
}

/// Draws until it is to end.
fn run(
    view: &mut View,
    screen: &mut Screen,
    news: &Receiver<News>,
    asked: &Sender<Steering>,
) -> io::Result<ExitStatus> {
    let began = Instant::now();
    loop {
        view.tick(began.elapsed());
        screen.terminal()?.draw(|frame| draw::draw(view, frame))?;
        let news = match news.recv_timeout(TICK) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(ExitStatus::Done),
        };
        view.tick(began.elapsed());
        let deed = match news {
            News::Key(key) => view.key(key),
            News::Size => None,
            News::Look(look) => {
                if let Some(roster) = &look.roster {
                    view.take_roster(roster);
                }
                view.looked(&look.entries, look.status);
                None
            }
            News::Done(steering, result) => {
                view.done(&steering, result);
                None
            }
            News::NoKeys(error) => return Err(error),
            News::Told(Told::End(code)) => return Ok(ExitStatus::Command(code)),
            News::Told(Told::Suspend) => Some(Deed::Suspend),
            // Somebody may have used the terminal meanwhile.
            News::Told(Told::GoOn) => Some(Deed::Redraw),
        };
        match deed {
            None => {}
            Some(Deed::Leave) => return Ok(ExitStatus::Done),
            Some(Deed::Suspend) => screen.without(platform::suspend)?,
            Some(Deed::Redraw) => screen.without(|| {})?,
            // The thread that does it lives as long as this one.
            Some(Deed::Steer(steering)) => drop(asked.send(steering)),
        }
    }
}

/// Starts the threads that tell what happens. They end with the process.
fn start(mutex: &PacketMutex, news: &SyncSender<News>, steerings: Receiver<Steering>) {
    let (looking, told) = (mutex.clone(), news.clone());
    thread::spawn(move || look(&looking, &told));
    let told = news.clone();
    thread::spawn(move || keys(&told));
    let (steered, told) = (mutex.clone(), news.clone());
    thread::spawn(move || {
        for steering in steerings {
            let result = steering.carry_out(&steered).map_err(|error| error.to_string());
            if told.send(News::Done(steering, result)).is_err() {
                return;
            }
        }
    });
    let told = news.clone();
    platform::tell_signals(move |signal| told.send(News::Told(signal)).is_ok());
}

fn look(mutex: &PacketMutex, news: &SyncSender<News>) {
    let mut events = mutex.events_so_far();
    let mut pace = PACE;
    loop {
        let began = Instant::now();
        let mut entries = events.wait(pace);
        thread::sleep(PACE.saturating_sub(began.elapsed()));
        entries.extend(events.take());
        let status = mutex.try_status().map_err(|error| error.to_string());
        pace = if status.as_ref().is_ok_and(is_calm) { CALM } else { PACE };
        let is_reload =
            |entry: &Entry| matches!(entry, Entry::Told { event, .. } if event == "reloaded");
        let roster = entries.iter().any(is_reload).then(|| mutex.roster());
        if news.send(News::Look(Box::new(Look { entries, status, roster }))).is_err() {
            return;
        }
    }
}

/// Does nothing move but what has an event?
fn is_calm(status: &Status) -> bool {
    status.holder.is_none() && status.waiters.is_empty() && status.paused.is_empty()
}

fn keys(news: &SyncSender<News>) {
    loop {
        let told = match event::read() {
            Ok(Event::Key(key)) => News::Key(key),
            Ok(Event::Resize(..)) => News::Size,
            Ok(_) => continue,
            Err(error) => News::NoKeys(error),
        };
        let is_last = matches!(told, News::NoKeys(_));
        if news.send(told).is_err() || is_last {
            return;
        }
    }
}
