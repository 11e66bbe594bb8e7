//! What the view knows and what its keys do. It is told what happens and when, and does nothing itself.

use crate::report::lanes_of;
use crate::terminal::{control, leaves};
use packet_mutex::{
    Entry, Error, Mode, ModuleStatus, PacketMutex, Roster, Status, Time, all_but_urgent,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use timeline::{Live, is_trouble};

/// Most lines of what happened lately that are kept.
const LATELY_MAX: usize = 100;
/// How long a message stays.
const TOLD_FOR: Duration = Duration::from_secs(10);
/// A server that is silent for longer is said to be.
const SILENT_AFTER: Duration = Duration::from_millis(2500);
/// How much time the lanes show, to choose from.
const STRETCHES: [u32; 6] = [10, 30, 60, 120, 300, 600];
/// The reason of the pauses that are made here.
const REASON: &str = "paused from the view";

/// The view of one mutex.
pub(super) struct View {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) colours: bool,
    pub(super) status: Status,
    pub(super) lanes: Live,
    /// The newest last.
    pub(super) lately: VecDeque<Happened>,
    pub(super) prompt: Option<Prompt>,
    pub(super) help: bool,
    order: Vec<String>,
    /// The module that keys are about; `None`: the first.
    chosen: Option<Arc<str>>,
    stretch: usize,
    told: Option<(Told, Duration)>,
    /// Why the mutex cannot be reached.
    gone: Option<String>,
    /// The time of the front, when the last look at the mutex ended, and when the last one that saw it did.
    now: Duration,
    looked: Duration,
    seen: Duration,
    /// The newest event.
    seq: u64,
}

/// Something that happened to the mutex.
pub(super) struct Happened {
    /// In seconds, on the mutex's clock.
    pub(super) t: f64,
    pub(super) module: String,
    pub(super) what: String,
    pub(super) is_trouble: bool,
}

/// A question; the next key answers it.
pub(super) enum Prompt {
    /// Is this really meant?
    Sure(Steering),
    /// Which mode of this module?
    Mode(Arc<str>),
}

/// A message, and whether it is bad news.
pub(super) struct Told {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

/// Whether what is shown is so.
pub(super) enum Link<'a> {
    Live,
    /// The mutex has not answered for so long.
    Silent(Duration),
    /// It cannot be reached, for this reason; what is known of it is so old.
    Gone(Duration, &'a str),
}

/// What a key asks the loop for.
#[derive(Debug, PartialEq)]
pub(super) enum Deed {
    Leave,
    /// Stop the process, as Ctrl-Z does.
    Suspend,
    Redraw,
    Steer(Steering),
}

/// Something to do to the mutex.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Steering {
    Cancel(Arc<str>),
    Disable(Arc<str>),
    Enable(Arc<str>),
    Mode(Arc<str>, Mode),
    Pause,
    /// Ends the pauses of these reasons.
    Resume(Vec<Arc<str>>),
}

/// The command that does the same.
impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steering::Cancel(module) => write!(f, "cancel {module}"),
            Steering::Disable(module) => write!(f, "disable {module}"),
            Steering::Enable(module) => write!(f, "enable {module}"),
            Steering::Mode(module, mode) => write!(f, "mode {module} {}", mode.name()),
            Steering::Pause => f.write_str("pause"),
            Steering::Resume(_) => f.write_str("resume"),
        }
    }
}

impl Steering {
    /// Does it, and waits for the answer.
    pub(super) fn carry_out(&self, mutex: &PacketMutex) -> Result<(), Error> {
        match self {
            Steering::Cancel(module) => mutex.cancel(&**module),
            Steering::Disable(module) => mutex.disable(&**module),
            Steering::Enable(module) => mutex.enable(&**module),
            Steering::Mode(module, mode) => mutex.set_mode(&**module, *mode),
            Steering::Pause => mutex.pause(all_but_urgent(), REASON),
            Steering::Resume(reasons) => reasons.iter().try_for_each(|reason| mutex.resume(reason)),
        }
    }
}

// What it is told.

impl View {
    pub(super) fn new(name: &str, url: &str, roster: &Roster, status: Status) -> Self {
        let mut view = View {
            name: name.into(),
            url: url.into(),
            colours: true,
            status,
            lanes: Live::default(),
            lately: VecDeque::new(),
            prompt: None,
            help: false,
            order: Vec::new(),
            chosen: None,
            stretch: 1,
            told: None,
            gone: None,
            now: Duration::ZERO,
            looked: Duration::ZERO,
            seen: Duration::ZERO,
            seq: 0,
        };
        view.take_roster(roster);
        view
    }

    /// The roster says in which order the modules stand and which belong together.
    pub(super) fn take_roster(&mut self, roster: &Roster) {
        let lanes = lanes_of(roster);
        self.order = lanes.iter().map(|lane| lane.module.clone()).collect();
        self.lanes.set_lanes(lanes);
    }

    /// The time goes on.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        self.told = self.told.take().filter(|(_, since)| now < *since + TOLD_FOR);
    }

    /// The mutex was looked at: what happened since the last look, and how it is now or why it cannot be reached.
    pub(super) fn looked(&mut self, entries: &[Entry], status: Result<Status, String>) {
        self.looked = self.now;
        for entry in entries {
            // An event that is not JSON has nothing to show.
            if let Ok(event) = serde_json::from_str(&entry.to_string()) {
                self.happened(&event);
            }
        }
        match status {
            Ok(status) => {
                self.gone = None;
                self.seen = self.now;
                // Events may be a little newer than the status before; a clock that goes back is another server's.
                if status.now + Duration::from_secs(1) < self.status.now {
                    self.begin_anew();
                }
                self.status = status;
            }
            Err(why) => self.gone = Some(why),
        }
    }

    fn happened(&mut self, event: &Value) {
        let seq = event["seq"].as_u64().unwrap_or(0);
        if event["event"] == "dropped" {
            self.lanes.gap();
        } else if seq <= self.seq {
            self.begin_anew();
        }
        self.seq = self.seq.max(seq);
        let Some(t) = self.lanes.push(event) else { return };
        let Some(what) = in_words(event) else { return };
        if self.lately.len() == LATELY_MAX {
            self.lately.pop_front();
        }
        self.lately.push_back(Happened {
            t,
            module: event["module"].as_str().unwrap_or_default().into(),
            what,
            is_trouble: is_trouble(event["event"].as_str().unwrap_or_default()),
        });
    }

    /// The server is another than before: its clock and its events begin anew.
    fn begin_anew(&mut self) {
        let mut lanes = Live::default();
        lanes.set_lanes(self.lanes.lanes().to_vec());
        self.lanes = lanes;
        self.lately.clear();
        self.seq = 0;
        self.status.now = Time::ZERO;
    }

    /// What was asked for was done, or not.
    pub(super) fn done(&mut self, steering: &Steering, result: Result<(), String>) {
        match result {
            Ok(()) => self.tell(format!("done: {steering}"), false),
            Err(why) => self.tell(format!("not done: {steering}: {why}"), true),
        }
    }

    fn tell(&mut self, text: String, is_bad: bool) {
        self.told = Some((Told { text, is_bad }, self.now));
    }
}

/// What happened, for a line of its own; `None` for what the lanes and the queue show.
fn in_words(event: &Value) -> Option<String> {
    let time = |key: &str| {
        let seconds = event[key].as_f64().unwrap_or(0.0);
        precise(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    };
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let name = event["event"].as_str()?;
    Some(match name {
        "requested" | "nested" => return None,
        "granted" if event["pass"] == true => "passes".into(),
        "granted" => format!("granted after {}", time("waited")),
        "released" | "panicked" | "yielded" | "declined" | "abandoned" | "revoked" => {
            if event["depth"].as_u64().unwrap_or(0) > 0 {
                return None;
            }
            format!("{name} after {}", time("held"))
        }
        "timed_out" | "cancelled" | "withdrawn" | "closed" | "lost" => {
            format!("{} after {}", name.replace('_', " "), time("waited"))
        }
        "refused" => format!("refused: {}", text("error").replace('_', " ")),
        "overrun" => format!("overrun: holds for {}", time("held")),
        "starving" if event["by"].is_null() => format!("starving: waits for {}", time("waited")),
        "starving" => format!("starving: waits for {}, kept out by {}", time("waited"), text("by")),
        "conflict" => format!("conflict with {}", text("with")),
        "short_gap" => format!("{} too soon after {}", time("missing"), text("after")),
        "paused" | "resumed" => format!("{name}: {}", text("reason")),
        "mode" => format!("mode: {}", text("mode")),
        "dropped" => format!("{} events were missed", event["count"]),
        other => other.replace('_', " "),
    })
}

// What it shows.

impl View {
    /// The modules, the highest priority first; those that the roster does not name are last.
    pub(super) fn modules(&self) -> Vec<&ModuleStatus> {
        let mut modules: Vec<&ModuleStatus> = self.status.modules.iter().collect();
        let place = |module: &ModuleStatus| self.order.iter().position(|o| **o == *module.module);
        modules.sort_by_key(|module| place(module).unwrap_or(usize::MAX));
        modules
    }

    /// The index of the chosen module.
    pub(super) fn chosen(&self) -> usize {
        let is_chosen = |m: &&ModuleStatus| Some(&m.module) == self.chosen.as_ref();
        self.modules().iter().position(is_chosen).unwrap_or(0)
    }

    /// How many seconds the lanes show.
    pub(super) fn stretch(&self) -> u32 {
        STRETCHES[self.stretch]
    }

    pub(super) fn link(&self) -> Link<'_> {
        let silent = self.now.saturating_sub(self.looked);
        match &self.gone {
            Some(why) => Link::Gone(self.now.saturating_sub(self.seen), why),
            None if silent > SILENT_AFTER => Link::Silent(silent),
            None => Link::Live,
        }
    }

    pub(super) fn told(&self) -> Option<&Told> {
        self.told.as_ref().map(|(told, _)| told)
    }

    /// How many requests of a module wait.
    pub(super) fn waiting(&self, module: &str) -> usize {
        self.status.waiters.iter().filter(|waiter| *waiter.module == *module).count()
    }
}

// Keys.

impl View {
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Deed> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if control(key, 'c') {
            return Some(Deed::Leave);
        }
        if control(key, 'z') {
            return Some(Deed::Suspend);
        }
        if control(key, 'l') {
            return Some(Deed::Redraw);
        }
        if let Some(prompt) = self.prompt.take() {
            return self.answer(prompt, key);
        }
        if self.help {
            self.help = false;
            return None;
        }
        if leaves(key) {
            return Some(Deed::Leave);
        }
        self.told = None;
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

    /// What does harm is asked about before it is done.
    fn steer(&mut self, letter: char) -> Option<Deed> {
        let chosen = self.modules().get(self.chosen()).map(|m| (m.module.clone(), m.disabled));
        let reasons: Vec<_> = self.status.paused.iter().map(|pause| pause.reason.clone()).collect();
        let steering = match (letter, chosen) {
            ('p', _) => Steering::Pause,
            ('r', _) if reasons.is_empty() => {
                self.tell("nothing is paused".into(), true);
                return None;
            }
            ('r', _) => Steering::Resume(reasons),
            ('c', Some((module, _))) if self.waiting(&module) == 0 => {
                self.tell(format!("nothing of {module} waits"), true);
                return None;
            }
            ('c', Some((module, _))) => Steering::Cancel(module),
            ('d', Some((module, false))) => Steering::Disable(module),
            ('d' | 'e', Some((module, _))) => return Some(Deed::Steer(Steering::Enable(module))),
            ('m', Some((module, _))) => {
                self.prompt = Some(Prompt::Mode(module));
                return None;
            }
            _ => return None,
        };
        match &steering {
            Steering::Resume(reasons) if reasons.len() == 1 => return Some(Deed::Steer(steering)),
            _ => self.prompt = Some(Prompt::Sure(steering)),
        }
        None
    }

    fn answer(&mut self, prompt: Prompt, key: KeyEvent) -> Option<Deed> {
        match (prompt, key.code) {
            (Prompt::Sure(steering), KeyCode::Char('y' | 'Y')) => Some(Deed::Steer(steering)),
            (Prompt::Mode(module), KeyCode::Char(letter)) => {
                let mode = match letter {
                    'e' => Mode::Enforced,
                    'o' => Mode::Observed,
                    'x' => Mode::Off,
                    _ => return None,
                };
                Some(Deed::Steer(Steering::Mode(module, mode)))
            }
            _ => None,
        }
    }

    /// The question, and the keys that answer it.
    pub(super) fn question(&self) -> Option<(String, &'static str)> {
        let many = |n: usize| if n == 1 { "request" } else { "requests" };
        Some(match self.prompt.as_ref()? {
            Prompt::Mode(module) => {
                let mut modules = self.status.modules.iter();
                let mode = modules.find(|m| m.module == *module).map_or("?", |m| m.mode.name());
                (format!("mode of {module}, now {mode}:"), "e enforced  o observed  x off")
            }
            Prompt::Sure(steering) => {
                let harm = match steering {
                    Steering::Cancel(module) => {
                        let waiting = self.waiting(module);
                        format!("end {waiting} waiting {}", many(waiting))
                    }
                    Steering::Disable(_) => "refuse its new requests".into(),
                    Steering::Pause => "hold back all but urgent requests".into(),
                    Steering::Resume(reasons) => format!("end {} pauses", reasons.len()),
                    Steering::Enable(_) | Steering::Mode(..) => String::new(),
                };
                (format!("{steering}: {harm}?"), "y yes  n no")
            }
        })
    }
}

/// A time for people, that takes few columns and does not flicker.
pub(super) fn rough(time: Duration) -> String {
    match time.as_secs() {
        0..100 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 100..6000 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        seconds => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

/// The same, for what does not move and may be short.
pub(super) fn precise(time: Duration) -> String {
    if time < Duration::from_micros(99_500) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        rough(time)
    }
}
