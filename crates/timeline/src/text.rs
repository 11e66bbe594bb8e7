//! Renders a report as lanes of letters, for a terminal.

use std::fmt::Write as _;

use crate::cells::{self, Cell, Columns};
use crate::log::{self, MutexLog, is_bad_action};
use crate::report::{Lane, Report};
use crate::spans;

const NARROWEST: usize = 40;
const WIDEST: usize = 400;
const LONGEST_LABEL: usize = 16;

/// Renders a report as plain lines of at most `width` columns, without colour codes. Titles and notes are not wrapped. Control
/// characters of the input never reach the terminal.
#[must_use]
pub fn text(report: &Report, width: usize) -> String {
    let width = width.clamp(NARROWEST, WIDEST);
    let log = log::read(report);
    let longest = log.parts.iter().map(|part| part.end - part.start).fold(0.0, f64::max);
    let longest = if longest > 0.0 { longest } else { 1.0 };

    let mut out = String::new();
    for line in [&report.title, &report.subtitle] {
        if !line.is_empty() {
            let _ = writeln!(out, "{}", plain(line));
        }
    }
    if log.parts.is_empty() {
        out.push_str("Nothing was recorded.\n");
    }
    for part in &log.parts {
        out.push('\n');
        heading(&mut out, part);
        lanes(&mut out, part, &log.lanes, width, longest);
    }
    out
}

fn heading(out: &mut String, part: &MutexLog<'_>) {
    let _ = writeln!(out, "{}", plain(&part.title));
    if part.first {
        let run = part.run;
        if !run.note.is_empty() {
            let _ = writeln!(out, "{}", plain(&run.note));
        }
        let label = run.summary.iter().map(|count| plain(&count.label).chars().count()).max();
        let label = label.unwrap_or(0);
        for count in &run.summary {
            let bad = if count.bad { "  !" } else { "" };
            let (name, value) = (plain(&count.label), plain(&count.value));
            let _ = writeln!(out, "  {name:label$}  {value}{bad}");
        }
    }
    for note in &part.notes {
        let _ = writeln!(out, "  note: {}", plain(note));
    }
}

fn lanes(out: &mut String, part: &MutexLog<'_>, lanes: &[Lane], width: usize, longest: f64) {
    if lanes.is_empty() || (part.events.is_empty() && part.actions.is_empty()) {
        out.push_str("  Nothing was recorded.\n");
        return;
    }
    let names: Vec<String> = lanes
        .iter()
        .map(|lane| plain(&lane.module).chars().take(LONGEST_LABEL).collect())
        .collect();
    let label = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let columns = Columns { from: 0.0, to: longest, count: width - label - 2 };

    let mut grid = cells::grid(&spans::read(part, lanes), lanes, &columns);
    for action in &part.actions {
        let cell = match action.verdict.as_str() {
            _ if !is_bad_action(action) => Cell::Action,
            "ok" | "wrong_item" => Cell::Trouble,
            _ => Cell::Refused,
        };
        if let Some(lane) = lanes.iter().position(|lane| lane.module == action.module) {
            let t = action.t - part.start;
            columns.paint(&mut grid[lane], t, t, cell);
        }
    }

    for (name, row) in names.iter().zip(&grid) {
        let row: String = row.iter().map(|cell| cell.letter()).collect();
        let _ = writeln!(out, "{name:label$}  {}", row.trim_end());
    }
    let _ = writeln!(out, "{:label$}  {}", "", axis(columns.count, longest));
    let mut used: Vec<Cell> = grid.into_iter().flatten().filter(|&c| c != Cell::Nothing).collect();
    used.sort_unstable_by(|a, b| b.cmp(a));
    used.dedup();
    let legend: Vec<_> = used.iter().map(|c| format!("{} {}", c.letter(), c.meaning())).collect();
    let _ = writeln!(out, "{:label$}  {}", "", legend.join("  "));
}

/// Writes a time about every dozen columns, left-aligned at its place.
fn axis(columns: usize, longest: f64) -> String {
    let mut line = String::new();
    for column in (0..columns).step_by(12) {
        let seconds = column as f64 / columns as f64 * longest;
        let digits = if longest < 100.0 { 1 } else { 0 };
        let tick = format!("{seconds:.digits$}s");
        let used = line.chars().count();
        if used <= column && column + tick.len() <= columns {
            let _ = write!(line, "{:1$}{tick}", "", column - used);
        }
    }
    line
}

/// Replaces control characters, so that no log can control the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Action, Count, Run};

    #[test]
    fn lanes_as_lines() {
        let mut run = Run::new("with");
        run.summary.push(Count::should_be_zero("refusals", 2));
        run.read_events(
            r#"{"t":0,"event":"granted","module":"a","request":1,"token":"1","waited":0}
            {"t":1,"event":"requested","module":"b","request":2}
            {"t":5,"event":"released","module":"a","request":1,"token":"1","held":5,"depth":0}
            {"t":6,"event":"granted","module":"b","request":2,"token":"2","waited":5}
            {"t":9,"event":"abandoned","module":"b","request":2,"token":"2","held":3,"depth":0}
            {"t":10,"event":"closed"}"#,
        );
        let action =
            Action { t: 9.5, module: "a".into(), verdict: "exhausted".into(), ..Action::default() };
        run.actions.push(action);
        let report = Report { title: "T".into(), runs: vec![run], ..Report::default() };
        let expect = "\
T

with
  refusals  2  !
a  ███████████████████····            x
b     ░░░░░░░░░░░░░░░░░░░███████████!
   0.0s        3.2s        6.5s
   ! trouble  x refused  █ holds  ░ waits  · handover
";
        let got = text(&report, 40);
        assert_eq!(got, expect, "\n{got}");
    }

    #[test]
    fn empty_and_hostile_input() {
        assert_eq!(text(&Report::default(), 0), "Nothing was recorded.\n");
        let mut run = Run::new("\x1b[2J");
        run.read_events(r#"{"t":1e308,"event":"granted","module":"\u001b[31m","waited":-1e308}"#);
        run.read_events(r#"{"t":-1e308,"event":"released","held":1e308,"module":"x"}"#);
        let report = Report { runs: vec![run], ..Report::default() };
        assert!(!text(&report, usize::MAX).contains('\x1b'));
    }
}
