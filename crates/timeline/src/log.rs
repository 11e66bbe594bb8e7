//! Prepares a caller's report for all renderers: parses the events, sorts them, splits them by mutex and limits them. Notes
//! say what is left out.

use std::collections::BTreeMap;

use packet_mutex_arbiter::EVENT_NAMES;
use serde_json::{Map, Value};

use crate::report::{Action, Lane, Report, Run};

/// The most events of a run that are shown without a gap.
pub const MAX_EVENTS: usize = 20_000;
/// The most actions of a run that are shown without a gap.
pub const MAX_ACTIONS: usize = 20_000;
/// The most lanes.
pub const MAX_LANES: usize = 64;

/// The most troubles that are shown after the last event or action without a gap.
const MAX_LATE_TROUBLES: usize = 2_000;
const MAX_FIELDS: usize = 24;
const MAX_TEXT: usize = 200;
const MAX_MUTEXES: usize = 16;

/// A report that is ready to be shown.
pub(crate) struct Log<'a> {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) parts: Vec<MutexLog<'a>>,
}

/// The log of one mutex in one run.
pub(crate) struct MutexLog<'a> {
    pub(crate) run: &'a Run,
    pub(crate) title: String,
    /// Whether this is the run's first part. The run's note and summary are shown with it.
    pub(crate) first: bool,
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) events: Vec<Event>,
    /// How many events come before the first gap. Only troubles come after it.
    pub(crate) contiguous: usize,
    pub(crate) actions: Vec<&'a Action>,
    /// Sentences that say what was left out.
    pub(crate) notes: Vec<String>,
}

/// An event whose time and name are readable. The fields hold these as well.
pub(crate) struct Event {
    pub(crate) t: f64,
    pub(crate) name: String,
    pub(crate) fields: Map<String, Value>,
}

impl Event {
    /// Returns `None` for what is not an event: no object, no name or no finite time.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let name = object.get("event")?.as_str()?;
        let t = object.get("t")?.as_f64().filter(|t| t.is_finite())?;
        let short = object.iter().take(MAX_FIELDS);
        let fields = short.map(|(key, value)| (truncate(key), shorten(value))).collect();
        let mut event = Self { t, name: truncate(name), fields };
        // Without these the page could not place the event, so they are kept even beyond the limit.
        for key in ["t", "event", "module", "mutex", "request", "token"] {
            if let Some(value) = object.get(key) {
                event.fields.insert(key.into(), shorten(value));
            }
        }
        Some(event)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str()
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.fields.get(key)?.as_f64().filter(|number| number.is_finite())
    }

    /// Returns a request or a token. Requests are numbers and tokens are strings, but a foreign log may have either.
    pub(crate) fn id(&self, key: &str) -> Option<String> {
        match self.fields.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    pub(crate) fn is_pass(&self) -> bool {
        self.fields.get("pass").and_then(Value::as_bool) == Some(true)
    }

    pub(crate) fn is_trouble(&self) -> bool {
        is_trouble(&self.name)
    }
}

/// Returns whether an event of this name is a trouble: something that a person looks for in a long log.
#[must_use]
pub fn is_trouble(name: &str) -> bool {
    EVENT_NAMES.contains(&(name, true))
}

pub(crate) fn is_bad_action(action: &Action) -> bool {
    action.interleaved || action.verdict != "ok"
}

pub(crate) fn read(report: &Report) -> Log<'_> {
    let parts: Vec<_> = report.runs.iter().flat_map(split).collect();
    let mut log = Log { lanes: lanes(report, &parts), parts };
    for part in &mut log.parts {
        apply_limits(part, &log.lanes);
    }
    log
}

/// Makes a part for each mutex, because the turns of one say nothing about those of another.
fn split(run: &Run) -> Vec<MutexLog<'_>> {
    let mut by_mutex = BTreeMap::<String, Vec<Event>>::new();
    let (mut unreadable, mut beyond) = (0, 0);
    for value in &run.events {
        let Some(event) = Event::read(value) else {
            unreadable += 1;
            continue;
        };
        let mutex = event.text("mutex").unwrap_or_default().to_owned();
        if by_mutex.len() == MAX_MUTEXES && !by_mutex.contains_key(&mutex) {
            beyond += 1;
            continue;
        }
        by_mutex.entry(mutex).or_default().push(event);
    }

    let several = by_mutex.len() > 1;
    if by_mutex.is_empty() {
        by_mutex.insert(String::new(), Vec::new());
    }
    let part = |(mutex, mut events): (String, Vec<Event>)| {
        // Threads may write to a foreign log out of order. The sort is stable: events of the same moment keep their order.
        events.sort_by(|a, b| a.t.total_cmp(&b.t));
        let title = if several { format!("{} · {mutex}", run.title) } else { run.title.clone() };
        MutexLog {
            run,
            title,
            first: false,
            start: 0.0,
            end: 0.0,
            contiguous: 0,
            events,
            actions: Vec::new(),
            notes: Vec::new(),
        }
    };
    let mut parts: Vec<_> = by_mutex.into_iter().map(part).collect();

    // Actions do not name a mutex. They are shown with the first.
    let first = &mut parts[0];
    first.first = true;
    first.actions = run.actions.iter().filter(|action| action.t.is_finite()).collect();
    first.actions.sort_by(|a, b| a.t.total_cmp(&b.t));
    let timeless = run.actions.len() - first.actions.len();
    let line = |count| if count == 1 { "line" } else { "lines" };
    let notes = [
        (unreadable, line(unreadable), "not readable as events"),
        (beyond, line(beyond), "of further mutexes"),
        (timeless, if timeless == 1 { "action" } else { "actions" }, "without a finite time"),
    ];
    let notes = notes.iter().filter(|(count, ..)| *count > 0);
    first.notes =
        notes.map(|(count, what, why)| format!("Left out: {count} {what} {why}.")).collect();

    // All parts of a run share a clock, so that they can be compared.
    let times = || {
        let events = parts.iter().flat_map(|part| part.events.iter().map(|event| event.t));
        events.chain(parts[0].actions.iter().map(|action| action.t))
    };
    let start = times().reduce(f64::min).unwrap_or(0.0);
    let end = times().reduce(f64::max).unwrap_or(0.0);
    for part in &mut parts {
        (part.start, part.end) = (start, end);
    }
    parts
}

fn lanes(report: &Report, parts: &[MutexLog<'_>]) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let from_log = parts.iter().flat_map(|part| {
        let events = part.events.iter().filter_map(|event| event.text("module"));
        events.chain(part.actions.iter().map(|action| action.module.as_str()))
    });
    let given = report.lanes.iter().cloned();
    let found = from_log.map(|module| Lane { module: module.into(), ..Lane::default() });
    for lane in given.chain(found) {
        if lanes.len() == MAX_LANES {
            break;
        }
        let module = truncate(&lane.module);
        if lanes.iter().any(|known| known.module == module) {
            continue;
        }
        // A module without a group is a group of its own.
        let group = if lane.group.is_empty() { module.clone() } else { truncate(&lane.group) };
        lanes.push(Lane { module, group, ..lane });
    }
    lanes
}

/// Leaves out what is too much. Troubles stay wherever they are, so that a long log can be searched for them.
fn apply_limits(part: &mut MutexLog<'_>, lanes: &[Lane]) {
    let has_lane = |module: &str| lanes.iter().any(|lane| lane.module == module);
    let before = part.events.len() + part.actions.len();
    part.events.retain(|event| event.text("module").is_none_or(has_lane));
    part.actions.retain(|action| has_lane(&truncate(&action.module)));
    let without_lane = before - part.events.len() - part.actions.len();
    if without_lane > 0 {
        part.notes.push(format!(
            "Left out: {without_lane} events and actions of modules beyond the first {MAX_LANES}."
        ));
    }

    part.contiguous = part.events.len().min(MAX_EVENTS);
    let left_out = thin(&mut part.events, MAX_EVENTS, Event::is_trouble);
    if left_out > 0 {
        let after = part.events[MAX_EVENTS - 1].t - part.start;
        part.notes.push(format!(
            "Only troubles are shown after {after:.3} s; {left_out} other events are left out."
        ));
    }
    let left_out = thin(&mut part.actions, MAX_ACTIONS, |action| is_bad_action(action));
    if left_out > 0 {
        let after = part.actions[MAX_ACTIONS - 1].t - part.start;
        part.notes.push(format!(
            "Only actions that went wrong are shown after {after:.3} s; {left_out} others are left out."
        ));
    }
}

/// Keeps the first `limit` items and, of the rest, the first few troubles. Returns how many are left out.
fn thin<T>(items: &mut Vec<T>, limit: usize, is_trouble: impl Fn(&T) -> bool) -> usize {
    let before = items.len();
    if before > limit {
        let late = items.split_off(limit);
        items.extend(late.into_iter().filter(is_trouble).take(MAX_LATE_TROUBLES));
    }
    before - items.len()
}

/// Returns a short value whatever it was: a page with foreign input must not grow without bounds.
fn shorten(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(truncate(text)),
        Value::Array(_) | Value::Object(_) => Value::String(truncate(&value.to_string())),
        other => other.clone(),
    }
}

/// Cuts a long text. An ellipsis shows the cut.
pub(crate) fn truncate(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(run: Run) -> Report {
        Report { runs: vec![run], ..Report::default() }
    }

    #[test]
    fn malformed_events_are_skipped_and_noted() {
        let mut run = Run::new("r");
        run.read_events("not json\n\n{\"event\":\"granted\"}\n[1]\n{\"t\":1,\"event\":7}\n{\"t\":2,\"event\":\"closed\"}");
        let report = report(run);
        let log = read(&report);
        assert_eq!(log.parts[0].events.len(), 1);
        assert_eq!(log.parts[0].notes, ["Left out: 4 lines not readable as events."]);
    }

    #[test]
    fn a_long_log_keeps_its_troubles_and_says_what_is_gone() {
        let mut run = Run::new("r");
        for i in 0..MAX_EVENTS + 10 {
            let event = if i == MAX_EVENTS + 5 { "conflict" } else { "requested" };
            run.events.push(json!({"t": i, "event": event, "module": "a", "request": i}));
        }
        for i in 0..MAX_ACTIONS + 3 {
            let action = Action {
                t: i as f64,
                module: "a".into(),
                verdict: "ok".into(),
                ..Action::default()
            };
            run.actions.push(action);
        }
        let report = report(run);
        let run = &read(&report).parts[0];
        assert_eq!((run.events.len(), run.contiguous), (MAX_EVENTS + 1, MAX_EVENTS));
        assert_eq!(run.actions.len(), MAX_ACTIONS);
        assert!(run.notes[0].contains("; 9 other events"), "{:?}", run.notes);
        assert!(run.notes[1].contains("; 3 others"), "{:?}", run.notes);
    }

    #[test]
    fn each_mutex_has_its_own_part_on_one_clock() {
        let mut run = Run::new("trace");
        run.events.push(json!({"t": 5.0, "event": "requested", "mutex": "b", "module": "m"}));
        run.events.push(json!({"t": 3.0, "event": "requested", "mutex": "a", "module": "m"}));
        let report = report(run);
        let parts = read(&report).parts;
        assert_eq!(
            parts.iter().map(|run| run.title.as_str()).collect::<Vec<_>>(),
            ["trace · a", "trace · b"]
        );
        assert!(parts.iter().all(|run| (run.start, run.end) == (3.0, 5.0)));
        assert!(parts[0].first && !parts[1].first);
    }

    #[test]
    fn lanes_keep_the_given_order_and_are_bounded() {
        let mut run = Run::new("r");
        for i in 0..MAX_LANES + 5 {
            run.events.push(json!({"t": i, "event": "requested", "module": format!("m{i}")}));
        }
        let report =
            Report { lanes: vec![Lane::new("m7", "g", 9)], runs: vec![run], ..Report::default() };
        let log = read(&report);
        assert_eq!((log.lanes.len(), log.lanes[0].module.as_str()), (MAX_LANES, "m7"));
        assert!(log.parts[0].notes[0].contains("5 events and actions of modules beyond"));
    }

    #[test]
    fn long_texts_and_many_fields_are_cut() {
        let mut fields = Map::new();
        for i in 0..1000 {
            fields.insert(format!("a{i}"), json!([1, 2]));
        }
        fields.insert("t".into(), json!(1));
        fields.insert("event".into(), json!("é".repeat(9999)));
        let event = Event::read(&Value::Object(fields)).unwrap();
        assert!(event.fields.len() <= MAX_FIELDS + 6 && event.fields.contains_key("t"));
        assert_eq!(event.name.chars().count(), MAX_TEXT + 1);
    }
}
