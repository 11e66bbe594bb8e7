//! What the view knows and what its keys do. It is given what happens and when, and does nothing itself.

use crate::report::lanes_of;
use crate::terminal::{control, leaves};
use packet_mutex::{
    Event, EventKind, Mode, ModuleStatus, Roster, Status, Steer, Time, all_but_urgent,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timeline::{Live, is_trouble};

/// The most recent events that are kept.
const RECENT_MAX: usize = 100;
/// How long a message is shown.
const MESSAGE_FOR: Duration = Duration::from_secs(10);
/// After this long without an answer, the view says so.
const SILENT_AFTER: Duration = Duration::from_millis(2500);
/// How much time the lanes show, in seconds, to choose from.
const STRETCHES: [u32; 6] = [10, 30, 60, 120, 300, 600];
/// The reason of the pauses that are set here.
const REASON: &str = "paused from the view";

/// The view of one mutex.
pub(super) struct View {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) colours: bool,
    pub(super) status: Status,
    pub(super) lanes: Live,
    /// The newest last.
    pub(super) recent: VecDeque<RecentEvent>,
    pub(super) prompt: Option<Prompt>,
    pub(super) help: bool,
    order: Vec<String>,
    /// The module that keys are about; `None`: the first.
    chosen: Option<Arc<str>>,
    stretch: usize,
    message: Option<(Message, Duration)>,
    /// Why the mutex cannot be reached.
    unreachable: Option<String>,
    /// The time in this view.
    now: Duration,
    /// When the last poll of the mutex ended.
    polled: Duration,
    /// When the last poll ended that the mutex answered.
    answered: Duration,
    /// The number of the newest event.
    seq: u64,
}

/// An event in words.
pub(super) struct RecentEvent {
    /// In seconds, on the mutex's clock.
    pub(super) t: f64,
    pub(super) module: String,
    pub(super) what: String,
    pub(super) is_trouble: bool,
}

/// A question. The next key answers it.
pub(super) enum Prompt {
    /// Whether this is really meant.
    Confirm(Order),
    /// In which mode this module should be.
    Mode(Arc<str>),
}

/// A message, and whether it is bad news.
pub(super) struct Message {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

/// Whether the mutex is as it is shown.
pub(super) enum Link<'a> {
    Live,
    /// The mutex has not answered for this long.
    Silent(Duration),
    /// It cannot be reached, for this reason, and what is shown is this old.
    Gone(Duration, &'a str),
}

/// What a key asks the loop for.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Quit,
    /// Stop the process, as Ctrl-Z does.
    Suspend,
    Redraw,
    Steer(Order),
}

/// What to do to the mutex.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    /// The command that does the same, for people.
    pub(super) command: String,
    /// One after the other, until one is refused.
    pub(super) steps: Vec<Steer<Arc<str>>>,
}

impl Order {
    fn new(command: impl Into<String>, step: Steer<Arc<str>>) -> Self {
        Order { command: command.into(), steps: vec![step] }
    }

    fn cancel(module: Arc<str>) -> Self {
        Order::new(format!("cancel {module}"), Steer::Cancel { module })
    }

    fn disable(module: Arc<str>) -> Self {
        Order::new(format!("disable {module}"), Steer::Disable { module })
    }

    fn enable(module: Arc<str>) -> Self {
        Order::new(format!("enable {module}"), Steer::Enable { module })
    }

    fn mode(module: Arc<str>, mode: Mode) -> Self {
        Order::new(format!("mode {module} {}", mode.name()), Steer::Mode { module, mode })
    }

    fn pause() -> Self {
        let (reason, below) = (REASON.into(), all_but_urgent());
        Order::new("pause", Steer::Pause { reason, below, lasts: None })
    }

    /// Ends the pauses that were on the screen when the key was pressed, and none that came after.
    fn resume(reasons: &[Arc<str>]) -> Self {
        let step = |reason: &Arc<str>| Steer::Resume { reason: Some(reason.to_string()) };
        Order { command: "resume".into(), steps: reasons.iter().map(step).collect() }
    }
}

// What it is given.

impl View {
    pub(super) fn new(name: &str, url: &str, roster: &Roster, status: Status) -> Self {
        let mut view = View {
            name: name.into(),
            url: url.into(),
            colours: true,
            status,
            lanes: Live::default(),
            recent: VecDeque::new(),
            prompt: None,
            help: false,
            order: Vec::new(),
            chosen: None,
            stretch: 1,
            message: None,
            unreachable: None,
            now: Duration::ZERO,
            polled: Duration::ZERO,
            answered: Duration::ZERO,
            seq: 0,
        };
        view.set_roster(roster);
        view
    }

    /// Takes the order of the modules, and their groups, from the roster.
    pub(super) fn set_roster(&mut self, roster: &Roster) {
        let lanes = lanes_of(roster);
        self.order = lanes.iter().map(|lane| lane.module.clone()).collect();
        self.lanes.set_lanes(lanes);
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        self.message = self.message.take().filter(|(_, since)| now < *since + MESSAGE_FOR);
    }

    /// Takes in a poll of the mutex: the events since the last one, and how the mutex is or why it cannot be reached.
    pub(super) fn update(&mut self, events: &[Event], status: Result<Status, String>) {
        self.polled = self.now;
        events.iter().for_each(|event| self.add(event));
        match status {
            Ok(status) => {
                self.unreachable = None;
                self.answered = self.now;
                // A clock that goes back is another server's. A second is allowed for, because events may be a little newer
                // than the status before them.
                if status.now + Duration::from_secs(1) < self.status.now {
                    self.start_over();
                }
                self.status = status;
            }
            Err(why) => self.unreachable = Some(why),
        }
    }

    fn add(&mut self, event: &Event) {
        if matches!(event.kind, EventKind::Dropped { .. }) {
            self.lanes.gap();
        } else if event.seq <= self.seq {
            self.start_over();
        }
        self.seq = self.seq.max(event.seq);
        // The lanes read events as traces have them.
        let Ok(json) = serde_json::to_value(event) else { return };
        let Some(t) = self.lanes.push(&json) else { return };
        let Some(what) = in_words(&event.kind) else { return };
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(RecentEvent {
            t,
            module: event.module.as_deref().unwrap_or_default().into(),
            what,
            is_trouble: is_trouble(event.kind.name()),
        });
    }

    /// Forgets what happened: the server is another than before, with another clock and other numbers.
    fn start_over(&mut self) {
        let mut lanes = Live::default();
        lanes.set_lanes(self.lanes.lanes().to_vec());
        self.lanes = lanes;
        self.recent.clear();
        self.seq = 0;
        self.status.now = Time::ZERO;
    }

    /// Says whether an order was carried out.
    pub(super) fn steered(&mut self, order: &Order, result: Result<(), String>) {
        let command = &order.command;
        match result {
            Ok(()) => self.show_message(format!("done: {command}"), false),
            Err(why) => self.show_message(format!("not done: {command}: {why}"), true),
        }
    }

    fn show_message(&mut self, text: String, is_bad: bool) {
        self.message = Some((Message { text, is_bad }, self.now));
    }
}

/// Returns what happened, for a line of its own; `None` for what the lanes and the queue show.
fn in_words(kind: &EventKind) -> Option<String> {
    let name = kind.name().replace('_', " ");
    Some(match kind {
        EventKind::Requested { .. } | EventKind::Nested { .. } => return None,
        // A nested turn is over; the turn around it is not.
        EventKind::Ended { depth: 1.., .. } => return None,
        EventKind::Granted { pass: true, .. } => "passes".into(),
        EventKind::Granted { waited, .. } => format!("granted after {}", precise(*waited)),
        EventKind::Ended { held, .. } => format!("{name} after {}", precise(*held)),
        EventKind::Unserved { waited, .. } => format!("{name} after {}", precise(*waited)),
        EventKind::Refused { error } => format!("refused: {}", error.name().replace('_', " ")),
        EventKind::Overrun { held } => format!("overrun: has held for {}", precise(*held)),
        EventKind::Starving { waited, by: None } => {
            format!("starving: has waited for {}", precise(*waited))
        }
        EventKind::Starving { waited, by: Some(by) } => {
            format!("starving: has waited for {}, kept out by {by}", precise(*waited))
        }
        EventKind::Conflict { with, .. } => format!("conflict with {with}"),
        EventKind::ShortGap { after, missing } => {
            format!("{} too soon after {after}", precise(*missing))
        }
        EventKind::Paused { reason, .. }
        | EventKind::Resumed { reason }
        | EventKind::Revoking { reason } => format!("{name}: {reason}"),
        EventKind::Mode { mode } => format!("mode: {}", mode.name()),
        EventKind::Dropped { count: 1 } => "1 event was missed".into(),
        EventKind::Dropped { count } => format!("{count} events were missed"),
        // The name says it all; also that of an event that is new.
        _ => name,
    })
}

// What it shows.

impl View {
    /// Returns the modules, the highest priority first. Those that the roster does not name come last.
    pub(super) fn modules(&self) -> Vec<&ModuleStatus> {
        let mut modules: Vec<&ModuleStatus> = self.status.modules.iter().collect();
        let place = |module: &ModuleStatus| self.order.iter().position(|o| **o == *module.module);
        modules.sort_by_key(|module| place(module).unwrap_or(usize::MAX));
        modules
    }

    /// Returns the index of the chosen module.
    pub(super) fn chosen(&self) -> usize {
        let is_chosen = |m: &&ModuleStatus| Some(&m.module) == self.chosen.as_ref();
        self.modules().iter().position(is_chosen).unwrap_or(0)
    }

    /// Returns how many seconds the lanes show.
    pub(super) fn stretch(&self) -> u32 {
        STRETCHES[self.stretch]
    }

    pub(super) fn link(&self) -> Link<'_> {
        let silent = self.now.saturating_sub(self.polled);
        match &self.unreachable {
            Some(why) => Link::Gone(self.now.saturating_sub(self.answered), why),
            None if silent > SILENT_AFTER => Link::Silent(silent),
            None => Link::Live,
        }
    }

    pub(super) fn message(&self) -> Option<&Message> {
        self.message.as_ref().map(|(message, _)| message)
    }

    /// Returns how many requests of a module are waiting.
    pub(super) fn waiting(&self, module: &str) -> usize {
        self.status.waiters.iter().filter(|waiter| *waiter.module == *module).count()
    }
}

// Keys.

impl View {
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if control(key, 'c') {
            return Some(Action::Quit);
        }
        if control(key, 'z') {
            return Some(Action::Suspend);
        }
        if control(key, 'l') {
            return Some(Action::Redraw);
        }
        if let Some(prompt) = self.prompt.take() {
            return self.answer(prompt, key);
        }
        if self.help {
            self.help = false;
            return None;
        }
        if leaves(key) {
            return Some(Action::Quit);
        }
        self.message = None;
        match key.code {
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Up | KeyCode::Char('k') => self.choose(|at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.choose(|at, last| last.min(at + 1)),
            KeyCode::Home => self.choose(|_, _| 0),
            KeyCode::End => self.choose(|_, last| last),
            KeyCode::Char('+' | '=') => self.stretch = (self.stretch + 1).min(STRETCHES.len() - 1),
            KeyCode::Char('-') => self.stretch = self.stretch.saturating_sub(1),
            KeyCode::Char(letter) => return self.steer(letter),
            _ => {}
        }
        None
    }

    fn choose(&mut self, step: impl Fn(usize, usize) -> usize) {
        let modules = self.modules();
        let at = step(self.chosen(), modules.len().saturating_sub(1));
        self.chosen = modules.get(at).map(|module| module.module.clone());
    }

    /// Steers as the key says. What does harm is asked about first.
    fn steer(&mut self, letter: char) -> Option<Action> {
        let chosen = self.modules().get(self.chosen()).map(|m| (m.module.clone(), m.disabled));
        let reasons: Vec<_> = self.status.paused.iter().map(|pause| pause.reason.clone()).collect();
        let order = match (letter, chosen) {
            ('p', _) => Order::pause(),
            ('r', _) if reasons.is_empty() => {
                self.show_message("nothing is paused".into(), true);
                return None;
            }
            ('r', _) => Order::resume(&reasons),
            ('c', Some((module, _))) if self.waiting(&module) == 0 => {
                self.show_message(format!("{module} has no waiting requests"), true);
                return None;
            }
            ('c', Some((module, _))) => Order::cancel(module),
            ('d', Some((module, false))) => Order::disable(module),
            ('d' | 'e', Some((module, _))) => return Some(Action::Steer(Order::enable(module))),
            ('m', Some((module, _))) => {
                self.prompt = Some(Prompt::Mode(module));
                return None;
            }
            _ => return None,
        };
        match order.steps[..] {
            [Steer::Resume { .. }] => return Some(Action::Steer(order)),
            _ => self.prompt = Some(Prompt::Confirm(order)),
        }
        None
    }

    fn answer(&mut self, prompt: Prompt, key: KeyEvent) -> Option<Action> {
        match (prompt, key.code) {
            (Prompt::Confirm(order), KeyCode::Char('y' | 'Y')) => Some(Action::Steer(order)),
            (Prompt::Mode(module), KeyCode::Char(letter)) => {
                let mode = match letter {
                    'e' => Mode::Enforced,
                    'o' => Mode::Observed,
                    'x' => Mode::Off,
                    _ => return None,
                };
                Some(Action::Steer(Order::mode(module, mode)))
            }
            _ => None,
        }
    }

    /// Returns the question, and the keys that answer it.
    pub(super) fn question(&self) -> Option<(String, &'static str)> {
        Some(match self.prompt.as_ref()? {
            Prompt::Mode(module) => {
                let mut modules = self.status.modules.iter();
                let mode = modules.find(|m| m.module == *module).map_or("?", |m| m.mode.name());
                (format!("mode of {module}, now {mode}:"), "e enforced  o observed  x off")
            }
            Prompt::Confirm(order) => {
                (format!("{}: {}?", order.command, self.harm(order)), "y yes  n no")
            }
        })
    }

    /// Returns what an order would do now.
    fn harm(&self, order: &Order) -> String {
        match &order.steps[..] {
            [Steer::Cancel { module }] => match self.waiting(module) {
                1 => "end 1 waiting request".into(),
                waiting => format!("end {waiting} waiting requests"),
            },
            [Steer::Disable { .. }] => "refuse its new requests".into(),
            [Steer::Pause { .. }] => "hold back all but urgent requests".into(),
            [Steer::Resume { .. }, ..] => format!("end {} pauses", order.steps.len()),
            _ => "do it".into(),
        }
    }
}

/// Returns a time in few columns, and coarse enough not to flicker.
pub(super) fn rough(time: Duration) -> String {
    match time.as_secs() {
        0..100 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 100..6000 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        seconds => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

/// Returns a time in few columns, exact enough for short ones that stand still.
pub(super) fn precise(time: Duration) -> String {
    if time < Duration::from_micros(99_500) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        rough(time)
    }
}
