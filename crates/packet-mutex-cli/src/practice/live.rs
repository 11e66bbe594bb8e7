//! Who holds and who waits, while the three runs are played: a live view in a terminal, plain lines elsewhere.

use crate::printer::Printer;
use crate::terminal::{RawMode, leaves};
use packet_mutex::{Event, EventKind, Events, PacketMutex, Status};
use practice::modules::{Mode, Module};
use practice::run::Watch;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event as terminal_event;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use std::io::{self, IsTerminal, Stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often the view is drawn and events are fetched.
const PACE: Duration = Duration::from_millis(100);
/// A module that sent something this recently is shown as acting.
const RECENT: Duration = Duration::from_millis(400);
/// Rows: a gauge, six modules, counters, borders.
const HEIGHT: u16 = 10;
/// Narrower terminals get plain lines.
const LEAST_WIDTH: u16 = 72;

/// One of the three runs while it is played.
pub(super) struct LiveRun {
    pub(super) mode: Mode,
    pub(super) mutex: PacketMutex,
    pub(super) watch: Watch,
}

/// Shows the runs until they are over, and returns the events of each. Stops them if the user asks for it.
pub(super) fn show(
    runs: &[LiveRun; 3],
    length: Duration,
    stop: &AtomicBool,
    over: &dyn Fn() -> bool,
    printer: &mut Printer,
) -> [Vec<Event>; 3] {
    let mut readers = runs.each_ref().map(|run| run.mutex.events_so_far());
    let mut events = [const { Vec::new() }; 3];
    let mut view = View::new(printer.colours_stderr());
    let begin = Instant::now();
    while !over() {
        let fresh = fetch(&mut readers, &mut events);
        match &mut view {
            Some(view) => view.draw(runs, begin.elapsed(), length, stop),
            None => fresh.iter().filter_map(plain_line).for_each(|line| printer.note(line)),
        }
        thread::sleep(PACE);
    }
    fetch(&mut readers, &mut events);
    events
}

/// Appends the new events of each run, and returns those of the run with the mutex.
fn fetch(readers: &mut [Events; 3], events: &mut [Vec<Event>; 3]) -> Vec<Event> {
    let mut last = Vec::new();
    for (reader, events) in readers.iter_mut().zip(events) {
        last = reader.take();
        events.extend(last.iter().cloned());
    }
    last
}

/// Returns a line for a turn of the run with the mutex, for logs and pipes.
fn plain_line(event: &Event) -> Option<String> {
    let module = event.module.as_deref()?;
    let what = match &event.kind {
        EventKind::Granted { waited, .. } => {
            format!("acquired after {:.3} s", waited.as_secs_f64())
        }
        EventKind::Ended { end, held, depth: 0, .. } => {
            format!("{} after {:.3} s", end.name(), held.as_secs_f64())
        }
        _ => return None,
    };
    let t = event.at.as_nanos() as f64 / 1e9;
    Some(format!("{t:9.3}  {} the mutex  {module:<10} {what}", Mode::With.name()))
}

/// The live view. Dropping it restores the terminal.
struct View {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    colours: bool,
    _raw: RawMode,
}

impl View {
    /// Returns `None` where there is no terminal to draw in.
    fn new(colours: bool) -> Option<View> {
        let (width, _) = ratatui::crossterm::terminal::size().ok()?;
        if !io::stderr().is_terminal() || !io::stdin().is_terminal() || width < LEAST_WIDTH {
            return None;
        }
        let raw = RawMode::new().ok()?;
        let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT) };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stderr()), options).ok()?;
        Some(View { terminal, colours, _raw: raw })
    }

    fn draw(&mut self, runs: &[LiveRun; 3], gone: Duration, length: Duration, stop: &AtomicBool) {
        if asked_to_stop() {
            stop.store(true, Ordering::Relaxed);
        }
        let colours = self.colours;
        let stopping = stop.load(Ordering::Relaxed);
        // The next frame makes up for one that cannot be drawn.
        let _ = self.terminal.draw(|frame| draw(frame, runs, gone, length, stopping, colours));
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = self.terminal.clear();
        let _ = self.terminal.show_cursor();
    }
}

fn asked_to_stop() -> bool {
    let mut asked = false;
    while terminal_event::poll(Duration::ZERO).unwrap_or(false) {
        if let Ok(terminal_event::Event::Key(key)) = terminal_event::read() {
            asked |= leaves(key);
        }
    }
    asked
}

fn draw(
    frame: &mut Frame<'_>,
    runs: &[LiveRun; 3],
    gone: Duration,
    length: Duration,
    stopping: bool,
    colours: bool,
) {
    let style = |colour| if colours { Style::new().fg(colour) } else { Style::new() };
    let [top, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(frame.area());
    let share = (gone.as_secs_f64() / length.as_secs_f64()).min(1.0);
    let left = length.saturating_sub(gone).as_secs();
    let label = if stopping || left == 0 {
        "the last cycles end".to_owned()
    } else {
        format!("{left} s left; q stops")
    };
    frame.render_widget(
        Gauge::default().ratio(share).label(label).gauge_style(style(Color::Cyan)),
        top,
    );
    let columns = Layout::horizontal([Constraint::Fill(1); 3]).spacing(1).split(rest);
    for (run, area) in runs.iter().zip(columns.iter()) {
        let title = match run.mode {
            Mode::Without => " without the mutex ",
            Mode::ActionOnly => " around each action ",
            Mode::With => " with the mutex ",
        };
        let lines = lines(run, &style);
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), *area);
    }
}

/// Returns a line for each module, and one of counters.
fn lines(run: &LiveRun, style: &dyn Fn(Color) -> Style) -> Vec<Line<'static>> {
    let status = (run.mode != Mode::Without).then(|| run.mutex.status());
    let mut lines: Vec<Line<'static>> = Module::ALL
        .iter()
        .map(|module| {
            let acts = run.watch.since_last_send(*module).is_some_and(|since| since < RECENT);
            let (mark, what, colour) = doing(status.as_ref(), module.name(), acts);
            Line::from(vec![
                Span::styled(format!("{mark} {:<9} ", module.name()), style(colour)),
                Span::styled(what, style(colour)),
            ])
        })
        .collect();
    let (sent, refused, wrong) = run.watch.counts();
    let alarm = if refused + wrong > 0 { Color::Red } else { Color::Green };
    lines.push(Line::from(vec![
        Span::raw(format!("{sent} sent ")),
        Span::styled(format!("{refused} refused {wrong} wrong"), style(alarm)),
    ]));
    lines
}

/// Returns a mark, a word and a colour for what the module does.
fn doing(status: Option<&Status>, module: &str, acts: bool) -> (char, String, Color) {
    let Some(status) = status else {
        return if acts {
            ('●', "acts".into(), Color::Yellow)
        } else {
            (' ', String::new(), Color::Gray)
        };
    };
    if let Some(holder) = status.holder.as_ref().filter(|holder| *holder.module == *module) {
        return ('●', format!("holds {:.1} s", holder.held.as_secs_f64()), Color::Green);
    }
    if let Some(waiter) = status.waiters.iter().find(|waiter| *waiter.module == *module) {
        let waited = format!("waits {:.1} s", waiter.waited.as_secs_f64());
        let next = status.next.as_ref().filter(|(next, _)| **next == *module);
        let next = next.filter(|_| status.holder.is_none());
        let word = match next {
            Some((_, left)) => format!("{waited}, in {:.1} s", left.as_secs_f64()),
            None => waited,
        };
        return ('○', word, Color::Yellow);
    }
    (' ', String::new(), Color::Gray)
}
