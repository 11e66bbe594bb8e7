//! Renders spans in the JSON trace format, which Perfetto and Chrome's tracing open.

use crate::log;
use crate::report::Report;
use crate::spans::{self, Span, SpanKind};
use serde_json::{Value, json};

/// Renders a report in the JSON trace format: a process for each run, a thread for each module, microseconds.
///
/// In this format the spans of a thread may nest but not overlap. A module of which several threads wait or hold at once has
/// several rows.
///
/// Perfetto's page, `ui.perfetto.dev`, opens the trace from a file.
#[must_use]
pub fn perfetto(report: &Report) -> String {
    let log = log::read(report);
    let mut events = Vec::new();
    for (process, part) in (1..).zip(&log.parts) {
        events.push(json!({
            "ph": "M", "pid": process, "name": "process_name", "args": {"name": part.title},
        }));
        let spans = spans::read(part, &log.lanes);
        let mut thread = 0;
        for lane in &log.lanes {
            let visible = spans.all.iter().filter(|span| span.is_visible());
            let rows = rows(visible.filter(|span| span.module == lane.module).collect());
            for (row, row_spans) in rows.iter().enumerate() {
                thread += 1;
                let name = match row {
                    0 => lane.module.clone(),
                    row => format!("{} ({})", lane.module, row + 1),
                };
                for (what, key, value) in [
                    ("thread_name", "name", json!(name)),
                    ("thread_sort_index", "sort_index", json!(thread)),
                ] {
                    events.push(json!({
                        "ph": "M", "pid": process, "tid": thread, "name": what, "args": {key: value},
                    }));
                }
                events.extend(row_spans.iter().map(|span| event(span, process, thread)));
                if row == 0 {
                    let own = spans.troubles.iter().filter(|trouble| trouble.module == lane.module);
                    events.extend(own.map(|trouble| {
                        json!({
                            "ph": "i", "s": "t", "name": trouble.name, "cat": "trouble", "pid": process,
                            "tid": thread, "ts": micros(trouble.t),
                        })
                    }));
                }
            }
        }
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string()
}

/// Puts a module's spans into rows so that none overlap in a row; only nested turns lie inside others. There is at least one
/// row.
fn rows(mut spans: Vec<&Span>) -> Vec<Vec<&Span>> {
    // Of spans that begin together the longest comes first: it encloses the others.
    spans.sort_by_key(|span| (micros(span.start), std::cmp::Reverse(micros(span.end))));
    let mut rows: Vec<(Vec<u64>, Vec<&Span>)> = vec![(Vec::new(), Vec::new())];
    for span in spans {
        let (start, end) = (micros(span.start), micros(span.end));
        let has_room = |open: &mut Vec<u64>| {
            while open.pop_if(|end| *end <= start).is_some() {}
            let around = open.last();
            around.is_none_or(|around| span.kind == SpanKind::Nested && end <= *around)
        };
        let free = rows.iter_mut().position(|(open, _)| has_room(open)).unwrap_or_else(|| {
            rows.push((Vec::new(), Vec::new()));
            rows.len() - 1
        });
        rows[free].0.push(end);
        rows[free].1.push(span);
    }
    rows.into_iter().map(|(_, spans)| spans).collect()
}

fn event(span: &Span, process: usize, thread: usize) -> Value {
    let name = match span.kind {
        SpanKind::Wait => "waits",
        SpanKind::Hold => "holds",
        SpanKind::Nested => "nested",
        SpanKind::Pass => "observed",
        SpanKind::Handover => "handover",
    };
    json!({
        "ph": "X", "name": name, "cat": name, "pid": process, "tid": thread, "ts": micros(span.start),
        "dur": micros(span.end) - micros(span.start),
        "args": {"outcome": span.outcome, "request": span.request, "token": span.token},
    })
}

/// Returns whole microseconds. Viewers round fractions, and spans that only touch would then overlap.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at the ends")]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Lane, Run};

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
        assert_eq!(of(0), (json!("waits"), json!(0), json!(500_000)));
        assert_eq!(of(1), (json!("holds"), json!(500_000), json!(2_000_000)));
        assert_eq!(spans[1]["args"]["outcome"], "abandoned");
        let mark = events.iter().find(|event| event["ph"] == "i").unwrap();
        assert_eq!((&mark["name"], &mark["ts"]), (&json!("abandoned"), &json!(2_500_000)));
    }

    /// Two threads of the fisher: one waits while the other holds.
    #[test]
    fn what_overlaps_is_in_rows_of_its_own_and_what_is_nested_is_not() {
        let mut run = Run::new("a run");
        run.read_events(
            r#"{"seq":1,"t":0.0,"event":"requested","module":"fisher","request":1}
               {"seq":2,"t":0.0,"event":"granted","module":"fisher","request":1,"token":"7","waited":0.0}
               {"seq":3,"t":1.0,"event":"requested","module":"fisher","request":2}
               {"seq":4,"t":1.5,"event":"nested","module":"fisher","request":3,"token":"7","depth":1}
               {"seq":5,"t":2.0,"event":"released","module":"fisher","request":3,"token":"7","held":0.5,"depth":1}
               {"seq":6,"t":3.0,"event":"released","module":"fisher","request":1,"token":"7","held":3.0,"depth":0}
               {"seq":7,"t":3.0,"event":"granted","module":"fisher","request":2,"token":"8","waited":2.0}
               {"seq":8,"t":4.0,"event":"released","module":"fisher","request":2,"token":"8","held":1.0,"depth":0}"#,
        );
        let trace = perfetto(&Report { runs: vec![run], ..Report::default() });
        let trace: Value = serde_json::from_str(&trace).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let spans = events.iter().filter(|event| event["ph"] == "X");
        let spans: Vec<_> = spans
            .map(|s| {
                let text = |key: &str| s[key].as_str().unwrap();
                let number = |key: &str| s[key].as_u64().unwrap();
                (number("tid"), text("name"), number("ts") / 1000, number("dur") / 1000)
            })
            .collect();
        assert_eq!(
            spans,
            [
                (1, "holds", 0, 3000),
                (1, "nested", 1500, 500),
                (1, "holds", 3000, 1000),
                (2, "waits", 1000, 2000)
            ]
        );
        let names = events.iter().filter(|event| event["name"] == "thread_name");
        let names: Vec<_> = names.map(|event| event["args"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["fisher", "fisher (2)"]);
    }

    #[test]
    fn nothing_is_a_trace_too() {
        let trace: Value = serde_json::from_str(&perfetto(&Report::default())).unwrap();
        assert_eq!(trace["traceEvents"], json!([]));
    }
}
