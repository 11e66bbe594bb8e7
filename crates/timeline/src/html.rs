//! Renders a report as an HTML page. Everything in it is inline, and its content policy forbids loading anything else.

use std::collections::HashMap;
use std::fmt::Write as _;

use packet_mutex_arbiter::EVENT_NAMES;
use serde_json::{Value, json};

use crate::log::{self, Log, MutexLog};
use crate::report::{Action, Lane, Report, Run};
use crate::spans::{self, SpanKind};

/// Draws the events. It defines `timeline`, and expects `EVENTS` before it.
const SCRIPT: &str =
    concat!(include_str!("model.js"), include_str!("draw.js"), include_str!("view.js"));
const STYLE: &str = include_str!("style.css");

/// The most rows of the table of turns.
const MAX_ROWS: usize = 500;

/// Renders a report as one HTML document that needs nothing else, neither a network nor a file.
#[must_use]
pub fn render(report: &Report) -> String {
    page(report, None)
}

/// What a program adds to a live page. All of it becomes part of the page as it is: it must come from the program, never from
/// input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inserts<'a> {
    /// CSS after the timeline's.
    pub style: &'a str,
    /// HTML in the upper right corner.
    pub corner: &'a str,
    /// HTML before the timeline.
    pub above: &'a str,
    /// HTML after the timeline.
    pub below: &'a str,
    /// JavaScript that runs after the first drawing.
    pub script: &'a str,
}

/// Renders a page that takes more events while it is open. The inserted script may connect to the page's own server, and calls
///
/// - `timeline.push(event, run)` and `timeline.pushAction(action, run)`; `run` counts from 0 and may be left out; an empty run
///   starts at the first time that it is given;
/// - `timeline.now(t)` to say what time it is on the events' clock, so that the page moves on between events;
/// - `timeline.wall(epoch)` to say which second of the wall clock was zero on the events' clock;
/// - `timeline.forget()` when events were missed;
/// - `timeline.restart(lanes)` when a new log begins.
///
/// The page follows the newest event until its reader looks elsewhere.
#[must_use]
pub fn render_live(report: &Report, inserts: &Inserts<'_>) -> String {
    page(report, Some(inserts))
}

fn page(report: &Report, inserts: Option<&Inserts<'_>>) -> String {
    let is_live = inserts.is_some();
    let connect = if is_live { "connect-src 'self'" } else { "connect-src 'none'" };
    let inserts = inserts.copied().unwrap_or_default();
    let log = log::read(report);
    let title = if report.title.is_empty() { "Timeline" } else { &report.title };
    let mut page = String::new();
    let _ = write!(
        page,
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; {connect}; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{STYLE}{style}</style>
</head>
<body>
<header>
<div>
<h1>{title}</h1>
{subtitle}</div>
<div class="corner">{corner}<button type="button" id="theme" hidden></button></div>
</header>
<main>
{above}"##,
        style = inserts.style,
        corner = inserts.corner,
        above = inserts.above,
        title = escape(title),
        subtitle = paragraph("subtitle", &report.subtitle),
    );
    page.push_str(&summary_table(&report.runs));
    page.push_str(TOOLS);
    if log.parts.is_empty() {
        page.push_str("<p class=\"note\">Nothing was recorded.</p>\n");
    }
    for (i, part) in log.parts.iter().enumerate() {
        page.push_str(&chart(part, i));
    }
    for part in &log.parts {
        page.push_str(&turns_table(part, &log.lanes));
    }
    let script = match inserts.script {
        "" => String::new(),
        script => format!("<script>\n{script}\n</script>\n"),
    };
    let _ = write!(
        page,
        r#"{below}</main>
<div id="tip" role="tooltip" hidden></div>
<div id="announcement" class="visually-hidden" aria-live="polite"></div>
<script type="application/json" id="timeline-data">{data}</script>
<script>
"use strict";
const EVENTS = {events};
{SCRIPT}</script>
{script}</body>
</html>
"#,
        below = inserts.below,
        events = event_names(),
        data = embed(&page_data(&log, is_live)),
    );
    page
}

/// The toolbar. The script shows it, because without the script there is nothing to zoom.
const TOOLS: &str = r#"<noscript><p class="note">The picture needs JavaScript. The tables of turns do not.</p></noscript>
<div class="tools" id="tools" role="toolbar" aria-label="Timeline" hidden>
<span class="joined"><button type="button" id="zoom-out" aria-label="Zoom out">−</button><button type="button" id="zoom-in" aria-label="Zoom in">+</button><button type="button" id="zoom-fit">Fit</button></span>
<button type="button" id="live" hidden>Live</button>
<span class="joined" id="troubles" hidden><button type="button" id="trouble-back" aria-label="Previous trouble">‹</button><button type="button" id="trouble-next">Next trouble ›</button></span>
<label id="linked-label" hidden><input type="checkbox" id="linked" checked> Zoom together</label>
<details class="help"><summary>Keys</summary>
<dl>
<dt>drag, <kbd>←</kbd> <kbd>→</kbd></dt><dd>move through time</dd>
<dt><kbd>Ctrl</kbd> + wheel, pinch, <kbd>+</kbd> <kbd>−</kbd></dt><dd>zoom; in a chart that has the focus, the wheel alone is enough</dd>
<dt><kbd>0</kbd></dt><dd>show everything</dd>
<dt><kbd>↑</kbd> <kbd>↓</kbd></dt><dd>choose a lane</dd>
<dt><kbd>n</kbd> <kbd>p</kbd></dt><dd>next, previous item in the lane</dd>
<dt><kbd>t</kbd></dt><dd>next trouble (<kbd>Shift</kbd>: previous)</dd>
<dt><kbd>Esc</kbd></dt><dd>deselect</dd>
<dt class="live" hidden><kbd>l</kbd></dt><dd class="live" hidden>follow the newest events, or stop</dd>
</dl>
</details>
</div>
<ul id="legend" aria-label="Legend" hidden></ul>
"#;

/// Makes a table with a column for each run, so that runs can be compared.
fn summary_table(runs: &[Run]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for count in runs.iter().flat_map(|run| &run.summary) {
        if !labels.contains(&count.label.as_str()) {
            labels.push(&count.label);
        }
    }
    if labels.is_empty() {
        return String::new();
    }
    let compared: Vec<&Run> = runs.iter().filter(|run| !run.summary.is_empty()).collect();
    let mut out = String::from(
        "<div class=\"scroll\"><table class=\"summary\">\n<caption class=\"visually-hidden\">Summary</caption>\n",
    );
    if runs.len() > 1 {
        out.push_str("<thead><tr><td></td>");
        for run in &compared {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&run.title));
        }
        out.push_str("</tr></thead>\n");
    }
    out.push_str("<tbody>\n");
    for label in labels {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(label));
        for run in &compared {
            let _ = match run.summary.iter().find(|count| count.label == label) {
                Some(count) if count.bad => write!(
                    out,
                    "<td class=\"bad\"><span aria-hidden=\"true\">✕ </span>{}<span class=\"visually-hidden\"> (bad)</span></td>",
                    escape(&count.value)
                ),
                Some(count) => write!(out, "<td>{}</td>", escape(&count.value)),
                None => write!(out, "<td class=\"none\">–</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    out
}

/// Makes the heading, the notes and the empty box in which the script draws.
fn chart(part: &MutexLog<'_>, i: usize) -> String {
    let mut out = format!(
        "<section aria-labelledby=\"run-{i}\">\n<h2 id=\"run-{i}\">{}</h2>\n",
        escape(&part.title)
    );
    if part.first {
        out.push_str(&paragraph("about", &part.run.note));
    }
    for note in &part.notes {
        out.push_str(&paragraph("note", note));
    }
    let _ = write!(out, "<div class=\"chart\" data-run=\"{i}\"></div>\n</section>\n");
    out
}

/// Makes a table of all requests and what became of them, for readers who cannot use the picture.
fn turns_table(part: &MutexLog<'_>, lanes: &[Lane]) -> String {
    let spans = spans::read(part, lanes).all;
    let waits: HashMap<_, _> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Wait && span.outcome.as_deref() == Some("granted"))
        .map(|span| (span.request.as_deref(), span.end - span.start))
        .collect();
    // A granted wait is in the row of its turn.
    let is_row = |kind, outcome: Option<&str>| match kind {
        SpanKind::Handover => false,
        SpanKind::Wait => !matches!(outcome, Some("granted" | "nested")),
        _ => true,
    };
    let rows: Vec<_> =
        spans.iter().filter(|span| is_row(span.kind, span.outcome.as_deref())).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<details class=\"turns\"><summary>Turns as a table: {}</summary>\n",
        escape(&part.title)
    );
    if rows.len() > MAX_ROWS {
        let left_out = rows.len() - MAX_ROWS;
        let text = format!("These are the first {MAX_ROWS} rows; {left_out} more are left out.");
        out.push_str(&paragraph("note", &text));
    }
    out.push_str("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">module</th><th scope=\"col\">kind</th><th scope=\"col\">start, s</th><th scope=\"col\">waited, s</th><th scope=\"col\">held, s</th><th scope=\"col\">end</th><th scope=\"col\">token</th></tr></thead>\n<tbody>\n");
    for span in rows.into_iter().take(MAX_ROWS) {
        let lasted = span.end - span.start;
        let seconds = |s: f64| format!("{s:.3}");
        let (kind, waited, held) = match span.kind {
            SpanKind::Wait => ("wait", seconds(lasted), String::new()),
            SpanKind::Nested => ("nested", String::new(), seconds(lasted)),
            kind => {
                let waited = waits.get(&span.request.as_deref()).copied().unwrap_or(0.0);
                (
                    if kind == SpanKind::Pass { "pass" } else { "turn" },
                    seconds(waited),
                    seconds(lasted),
                )
            }
        };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{kind}</td><td>{:.3}</td><td>{waited}</td><td>{held}</td><td>{}</td><td>{}</td></tr>",
            escape(&span.module),
            span.start,
            escape(span.outcome.as_deref().unwrap_or("still open")),
            escape(span.token.as_deref().unwrap_or("")),
        );
    }
    out.push_str("</tbody>\n</table></div>\n</details>\n");
    out
}

/// The events and lanes for the script.
fn page_data(log: &Log<'_>, is_live: bool) -> Value {
    let action = |a: &&Action| {
        let token = a.token.as_deref().map(log::truncate);
        json!({"t": a.t, "module": log::truncate(&a.module), "cycle": a.cycle, "token": token,
            "verdict": log::truncate(&a.verdict), "interleaved": a.interleaved})
    };
    let lane = |lane: &Lane| json!({"module": lane.module, "group": lane.group, "priority": lane.priority});
    let run = |part: &MutexLog<'_>| {
        json!({
            "title": part.title,
            "start": part.start,
            "end": part.end,
            "contiguous": part.contiguous,
            "events": part.events.iter().map(|event| &event.fields).collect::<Vec<_>>(),
            "actions": part.actions.iter().map(action).collect::<Vec<_>>(),
        })
    };
    json!({
        "live": is_live,
        "maxLanes": log::MAX_LANES,
        "lanes": log.lanes.iter().map(lane).collect::<Vec<_>>(),
        "runs": log.parts.iter().map(run).collect::<Vec<_>>(),
    })
}

/// The lists of event names that the script goes by, so that a new event needs no change in it.
fn event_names() -> Value {
    let list = |is_listed: fn(&str) -> bool| -> Vec<&str> {
        EVENT_NAMES.iter().map(|(name, _)| *name).filter(|name| is_listed(name)).collect()
    };
    json!({
        "troubles": list(log::is_trouble),
        "endHold": list(spans::ends_hold),
        "endWait": list(spans::ends_wait),
    })
}

/// Writes JSON that can stand in a script element: nothing in it ends the element or, where it is read as a script, a line.
/// JSON has the escaped characters only inside strings.
fn embed(data: &Value) -> String {
    let mut out = String::new();
    for c in data.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out
}

fn paragraph(class: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("<p class=\"{class}\">{}</p>\n", escape(text))
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Count;

    #[test]
    fn nothing_of_the_input_becomes_markup() {
        let evil = "</script><script>alert(1)</script>\u{2028}\u{2029}<img src=x>&\"'";
        let mut run = Run::new(evil);
        run.note = evil.into();
        run.summary.push(Count { label: evil.into(), value: evil.into(), bad: true });
        run.events
            .push(json!({"t": 0, "event": "granted", "module": evil, "token": evil, evil: evil}));
        run.events.push(json!({"t": 1, "event": evil, "module": evil, "token": evil}));
        let action = Action { module: evil.into(), verdict: evil.into(), ..Action::default() };
        run.actions.push(action);
        let report = Report {
            title: evil.into(),
            subtitle: evil.into(),
            lanes: vec![Lane::new(evil, evil, 1)],
            runs: vec![run.clone(), run],
        };
        let page = render(&report);
        assert!(!page.contains("<script>alert") && !page.contains("<img"));
        assert_eq!(page.matches("</script>").count(), 2);
        // In text the separators are harmless; in the data they are escaped.
        let data =
            page.split("id=\"timeline-data\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert!(!data.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
        let back: Value = serde_json::from_str(data).unwrap();
        assert_eq!(back["lanes"][0]["module"], evil);
    }

    #[test]
    fn an_empty_report_is_a_page() {
        let page = render(&Report::default());
        assert!(page.contains("Nothing was recorded.") && page.ends_with("</html>\n"));
        let page = render(&Report { runs: vec![Run::new("r")], ..Report::default() });
        assert!(page.contains("data-run=\"0\""));
    }

    #[test]
    fn runs_are_compared_by_label() {
        let mut a = Run::new("a");
        a.summary = vec![Count::should_be_zero("refusals", 3), Count::new("fish", 7)];
        let mut b = Run::new("b");
        b.summary = vec![Count::should_be_zero("refusals", 0)];
        let table = summary_table(&[a, b]);
        assert!(table.contains("✕ </span>3"), "{table}");
        assert!(table.contains("<td>0</td></tr>"), "{table}");
        assert!(table.contains("<td>7</td><td class=\"none\">–</td>"), "{table}");
    }

    #[test]
    fn a_long_table_says_what_is_left_out() {
        let mut run = Run::new("r");
        for i in 0..MAX_ROWS + 2 {
            run.events.push(json!({"t": i, "event": "timed_out", "module": "a", "request": i}));
        }
        let page = render(&Report { runs: vec![run], ..Report::default() });
        assert!(page.contains("the first 500 rows; 2 more are left out."));
    }

    #[test]
    fn loads_nothing_from_elsewhere() {
        let page = render(&Report::default());
        for word in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
