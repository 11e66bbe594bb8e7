//! Lanes as a grid: a column is a stretch of time, a cell shows the most notable thing in it.

use crate::report::Lane;
use crate::spans::{SpanKind, Spans};

/// What a cell shows, from the least notable to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Nothing happened.
    Nothing,
    /// The mutex was being handed over.
    Handover,
    /// The module waited.
    Wait,
    /// The module acted.
    Action,
    /// The module had a pass (S15).
    Pass,
    /// The module held the mutex.
    Hold,
    /// An action was refused.
    Refused,
    /// Something went wrong.
    Trouble,
}

impl Cell {
    /// Returns the letter that stands for it where there are no colours.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Nothing => ' ',
            Self::Handover => '·',
            Self::Wait => '░',
            Self::Action => 'o',
            Self::Pass => '▒',
            Self::Hold => '█',
            Self::Refused => 'x',
            Self::Trouble => '!',
        }
    }

    /// Returns a word for it that goes on after the name of a module.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Handover => "handover",
            Self::Wait => "waits",
            Self::Action => "acts",
            Self::Pass => "observed",
            Self::Hold => "holds",
            Self::Refused => "refused",
            Self::Trouble => "trouble",
        }
    }
}

/// A stretch of time, in columns.
pub(crate) struct Columns {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) count: usize,
}

impl Columns {
    /// Paints the cell from one time to another, but not over anything more notable.
    pub(crate) fn paint(&self, row: &mut [Cell], from: f64, to: f64, cell: Cell) {
        let over_before = to < self.from || (to == self.from && from < to);
        if over_before || from > self.to {
            return;
        }
        let length = self.to - self.from;
        let count = self.count as f64;
        let column = |t: f64| (((t - self.from) / length * count) as usize).min(self.count - 1);
        let (first, last) = (column(from), column(to));
        // A span that ends where a column begins has no part in that column.
        let ends_before = last > first && to - self.from <= last as f64 / count * length;
        for shown in &mut row[first..=if ends_before { last - 1 } else { last }] {
            *shown = cell.max(*shown);
        }
    }
}

/// Returns a row for each lane.
pub(crate) fn grid(spans: &Spans, lanes: &[Lane], columns: &Columns) -> Vec<Vec<Cell>> {
    let mut grid = vec![vec![Cell::Nothing; columns.count]; lanes.len()];
    let lane_of = |module: &str| lanes.iter().position(|lane| lane.module == module);
    for span in spans.all.iter().filter(|span| span.is_visible()) {
        let cell = match span.kind {
            SpanKind::Handover => {
                let rows = grid.iter_mut();
                rows.for_each(|row| columns.paint(row, span.start, span.end, Cell::Handover));
                continue;
            }
            SpanKind::Wait => Cell::Wait,
            SpanKind::Hold | SpanKind::Nested => Cell::Hold,
            SpanKind::Pass => Cell::Pass,
        };
        if let Some(lane) = lane_of(&span.module) {
            columns.paint(&mut grid[lane], span.start, span.end, cell);
        }
    }
    for trouble in &spans.troubles {
        if let Some(lane) = lane_of(&trouble.module) {
            columns.paint(&mut grid[lane], trouble.t, trouble.t, Cell::Trouble);
        }
    }
    grid
}
