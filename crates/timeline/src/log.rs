//! From what a caller gave to what is shown: read, sorted, split by mutex and bounded, with a note
//! for everything that was left out.

use std::collections::BTreeMap;

use packet_mutex_arbiter::EVENT_NAMES;
use serde_json::{Map, Value};

use crate::{Action, Lane, Report, Run};

/// The most events of a run that are shown one after another.
pub const MAX_EVENTS: usize = 20_000;
/// The most actions of a run that are shown one after another.
pub const MAX_ACTIONS: usize = 20_000;
/// The most lanes.
pub const MAX_LANES: usize = 64;

/// Of what is beyond the limits, troubles are shown all the same, up to this many.
const MAX_LATE_TROUBLES: usize = 2_000;
const MAX_FIELDS: usize = 24;
const MAX_TEXT: usize = 200;
const MAX_MUTEXES: usize = 16;

/// A report that is fit to be shown.
pub(crate) struct Log<'a> {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) runs: Vec<LogRun<'a>>,
}

/// One mutex of one run.
pub(crate) struct LogRun<'a> {
    pub(crate) run: &'a Run,
    pub(crate) title: String,
    /// Whether this is the run's first part, which the note and the summary belong to.
    pub(crate) first: bool,
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) events: Vec<Event>,
    /// How many of the events follow each other without a gap; only troubles come after these.
    pub(crate) whole: usize,
    pub(crate) actions: Vec<&'a Action>,
    /// What was left out, in sentences.
    pub(crate) notes: Vec<String>,
}

/// An event whose time and kind were readable. The fields hold these as well.
pub(crate) struct Event {
    pub(crate) t: f64,
    pub(crate) kind: String,
    pub(crate) fields: Map<String, Value>,
}

impl Event {
    /// `None` for what is no event: not an object, no kind, no finite time.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let kind = object.get("event")?.as_str()?;
        let t = object.get("t")?.as_f64().filter(|t| t.is_finite())?;
        let fields =
            object.iter().take(MAX_FIELDS).map(|(key, value)| (clip(key), slim(value))).collect();
        let mut event = Self { t, kind: clip(kind), fields };
        // Were these among the fields beyond the limit, the page could not place the event.
        for key in ["t", "event", "module", "mutex", "request", "token"] {
            if let Some(value) = object.get(key) {
                event.fields.insert(key.into(), slim(value));
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

    /// Requests are numbers and tokens are strings; either may be the other in a foreign log.
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

    fn is_trouble(&self) -> bool {
        is_trouble(&self.kind)
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
    let runs: Vec<_> = report.runs.iter().flat_map(split).collect();
    let mut log = Log { lanes: lanes(report, &runs), runs };
    for run in &mut log.runs {
        bound(run, &log.lanes);
    }
    log
}

/// A log of several mutexes has one part for each, since their turns say nothing of each other.
fn split(run: &Run) -> Vec<LogRun<'_>> {
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

    let mut notes = Vec::new();
    note(
        &mut notes,
        unreadable,
        "could not be read as an event and is left out",
        "could not be read as events and are left out",
    );
    note(&mut notes, beyond, "of a further mutex is left out", "of further mutexes are left out");

    let several = by_mutex.len() > 1;
    if by_mutex.is_empty() {
        by_mutex.insert(String::new(), Vec::new());
    }
    let mut parts: Vec<_> = by_mutex
        .into_iter()
        .map(|(mutex, mut events)| {
            // The sort is stable: events of one instant keep the order of the log.
            events.sort_by(|a, b| a.t.total_cmp(&b.t));
            LogRun {
                run,
                title: if several {
                    format!("{} · {mutex}", run.title)
                } else {
                    run.title.clone()
                },
                first: false,
                start: 0.0,
                end: 0.0,
                whole: 0,
                events,
                actions: Vec::new(),
                notes: Vec::new(),
            }
        })
        .collect();

    // Actions name no mutex; they go with the first.
    let first = &mut parts[0];
    first.first = true;
    first.actions = run.actions.iter().filter(|action| action.t.is_finite()).collect();
    first.actions.sort_by(|a, b| a.t.total_cmp(&b.t));
    let timeless = run.actions.len() - first.actions.len();
    if timeless > 0 {
        notes.push(format!("{timeless} actions without a finite time are left out."));
    }
    first.notes = notes;

    // One clock for all parts of a run.
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

fn note(notes: &mut Vec<String>, count: usize, one: &str, many: &str) {
    match count {
        0 => {}
        1 => notes.push(format!("1 line {one}.")),
        _ => notes.push(format!("{count} lines {many}.")),
    }
}

fn lanes(report: &Report, runs: &[LogRun<'_>]) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let from_log = runs.iter().flat_map(|run| {
        let events = run.events.iter().filter_map(|event| event.text("module"));
        events.chain(run.actions.iter().map(|action| action.module.as_str()))
    });
    let given = report.lanes.iter().cloned();
    let found = from_log.map(|module| Lane { module: module.into(), ..Lane::default() });
    for lane in given.chain(found) {
        if lanes.len() == MAX_LANES {
            break;
        }
        let module = clip(&lane.module);
        if lanes.iter().any(|known| known.module == module) {
            continue;
        }
        // A module without a group is a group of its own.
        let group = if lane.group.is_empty() { module.clone() } else { clip(&lane.group) };
        lanes.push(Lane { module, group, ..lane });
    }
    lanes
}

/// Cuts what is too long. Troubles stay, wherever they are, so that a long log can be searched.
fn bound(run: &mut LogRun<'_>, lanes: &[Lane]) {
    let has_lane = |module: &str| lanes.iter().any(|lane| lane.module == module);
    let before = run.events.len() + run.actions.len();
    run.events.retain(|event| event.text("module").is_none_or(has_lane));
    run.actions.retain(|action| has_lane(&clip(&action.module)));
    let without_lane = before - run.events.len() - run.actions.len();
    if without_lane > 0 {
        run.notes.push(format!(
            "{without_lane} events and actions of modules beyond the {MAX_LANES} shown are left out."
        ));
    }

    let events = run.events.len();
    run.whole = events.min(MAX_EVENTS);
    thin(&mut run.events, MAX_EVENTS, Event::is_trouble);
    let cut = (events > MAX_EVENTS).then(|| run.events[MAX_EVENTS - 1].t);
    if let Some(cut) = cut {
        let at = cut - run.start;
        let gone = events - run.events.len();
        run.notes.push(format!(
            "Thinned: after {at:.3} s only troubles are shown; {gone} of {events} events are left out."
        ));
    }

    let actions = run.actions.len();
    thin(&mut run.actions, MAX_ACTIONS, |action| is_bad_action(action));
    if actions > MAX_ACTIONS {
        let at = run.actions[MAX_ACTIONS - 1].t - run.start;
        let gone = actions - run.actions.len();
        run.notes.push(format!(
            "Thinned: after {at:.3} s only actions that went wrong are shown; {gone} of {actions} actions are left out."
        ));
    }
}

/// Keeps the first `limit` and, of the rest, the first few troubles.
fn thin<T>(items: &mut Vec<T>, limit: usize, is_trouble: impl Fn(&T) -> bool) {
    if items.len() > limit {
        let late = items.split_off(limit);
        items.extend(late.into_iter().filter(is_trouble).take(MAX_LATE_TROUBLES));
    }
}

/// A value that is short whatever it was; a cut shows as an ellipsis.
fn slim(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clip(text)),
        Value::Array(_) | Value::Object(_) => Value::String(clip(&value.to_string())),
        other => other.clone(),
    }
}

pub(crate) fn clip(text: &str) -> String {
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
        assert_eq!(log.runs[0].events.len(), 1);
        assert_eq!(log.runs[0].notes, ["4 lines could not be read as events and are left out."]);
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
        let run = &read(&report).runs[0];
        assert_eq!((run.events.len(), run.whole), (MAX_EVENTS + 1, MAX_EVENTS));
        assert_eq!(run.actions.len(), MAX_ACTIONS);
        assert!(run.notes[0].contains("9 of 20010 events"), "{:?}", run.notes);
        assert!(run.notes[1].contains("3 of 20003 actions"), "{:?}", run.notes);
    }

    #[test]
    fn each_mutex_has_its_own_part_on_one_clock() {
        let mut run = Run::new("trace");
        run.events.push(json!({"t": 5.0, "event": "requested", "mutex": "b", "module": "m"}));
        run.events.push(json!({"t": 3.0, "event": "requested", "mutex": "a", "module": "m"}));
        let report = report(run);
        let runs = read(&report).runs;
        assert_eq!(
            runs.iter().map(|run| run.title.as_str()).collect::<Vec<_>>(),
            ["trace · a", "trace · b"]
        );
        assert!(runs.iter().all(|run| (run.start, run.end) == (3.0, 5.0)));
        assert!(runs[0].first && !runs[1].first);
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
        assert!(log.runs[0].notes[0].starts_with("5 events and actions of modules beyond"));
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
        assert_eq!(event.kind.chars().count(), MAX_TEXT + 1);
    }
}
