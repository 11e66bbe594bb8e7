//! The same spans in the trace format that Perfetto and Chrome's tracing open.

use crate::Report;
use crate::log::{self, LogRun};
use crate::turns::{self, Kind, Span};
use serde_json::{Value, json};

/// Renders a report in the JSON trace format: a process for each run, a thread for each module, microseconds.
///
/// Perfetto's page, `ui.perfetto.dev`, opens it from a file.
#[must_use]
pub fn perfetto(report: &Report) -> String {
    let log = log::read(report);
    let mut events = Vec::new();
    for (at, run) in log.runs.iter().enumerate() {
        let process = at + 1;
        events.push(json!({
            "ph": "M", "pid": process, "name": "process_name", "args": {"name": run.title},
        }));
        for (at, lane) in log.lanes.iter().enumerate() {
            events.push(json!({
                "ph": "M", "pid": process, "tid": at + 1, "name": "thread_name",
                "args": {"name": lane.module},
            }));
            events.push(json!({
                "ph": "M", "pid": process, "tid": at + 1, "name": "thread_sort_index",
                "args": {"sort_index": at},
            }));
        }
        let thread = |module: &str| {
            log.lanes.iter().position(|lane| lane.module == module).map_or(0, |at| at + 1)
        };
        let turns = turns::read(run, &log.lanes);
        // Waiting and what follows it share a lane: a span that begins where another ends comes after it.
        events.extend(turns.spans.iter().map(|span| event(span, process, thread(&span.module))));
        events.extend(marks(run).map(|(t, name, module)| {
            json!({
                "ph": "i", "s": "t", "name": name, "cat": "trouble", "pid": process, "tid": thread(module),
                "ts": micros(t),
            })
        }));
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string()
}

fn event(span: &Span, process: usize, thread: usize) -> Value {
    let name = match span.kind {
        Kind::Wait => "waits",
        Kind::Hold => "holds",
        Kind::Nested => "nested",
        Kind::Pass => "observed",
        Kind::Handover => "handover",
    };
    json!({
        "ph": "X", "name": name, "cat": name, "pid": process, "tid": thread, "ts": micros(span.start),
        "dur": micros(span.end) - micros(span.start),
        "args": {"outcome": span.outcome, "request": span.request, "token": span.token},
    })
}

/// What went wrong, as moments.
fn marks<'a>(run: &'a LogRun<'_>) -> impl Iterator<Item = (f64, &'a str, &'a str)> {
    let troubles = run.events.iter().filter(|event| log::is_trouble(&event.kind));
    troubles.filter_map(|event| Some((event.t - run.start, &*event.kind, event.text("module")?)))
}

fn micros(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lane, Run};

    #[test]
    fn spans_become_events_of_their_lanes() {
        let mut run = Run::new("a run");
        run.read_events(
            r#"{"seq":1,"t":1.0,"event":"requested","module":"fisher","request":1}
               {"seq":2,"t":1.5,"event":"granted","module":"fisher","request":1,"token":"7","waited":0.5}
               {"seq":3,"t":3.5,"event":"abandoned","module":"fisher","request":1,"token":"7","held":2.0,"depth":0}"#,
        );
        let lanes = vec![Lane::new("fisher", "fishing", 60)];
        let report = Report { lanes, runs: vec![run], ..Report::default() };
        let trace: Value = serde_json::from_str(&perfetto(&report)).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let spans: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        let of = |at: usize| {
            (spans[at]["name"].clone(), spans[at]["ts"].clone(), spans[at]["dur"].clone())
        };
        assert_eq!(of(0), (json!("waits"), json!(0.0), json!(500_000.0)));
        assert_eq!(of(1), (json!("holds"), json!(500_000.0), json!(2_000_000.0)));
        assert_eq!(spans[1]["args"]["outcome"], "abandoned");
        let mark = events.iter().find(|event| event["ph"] == "i").unwrap();
        assert_eq!((&mark["name"], &mark["ts"]), (&json!("abandoned"), &json!(2_500_000.0)));
    }

    #[test]
    fn nothing_is_a_trace_too() {
        let trace: Value = serde_json::from_str(&perfetto(&Report::default())).unwrap();
        assert_eq!(trace["traceEvents"], json!([]));
    }
}
