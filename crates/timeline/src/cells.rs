//! Lanes in cells: a column is a stretch of time, a cell is the most notable thing in it.

use crate::Lane;
use crate::turns::{Kind, Turns};

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
    /// The letter that stands for it where there are no colours.
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

    /// A word for it.
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
    /// Shows the cell from one time to another where nothing more notable is shown.
    pub(crate) fn raise(&self, row: &mut [Cell], from: f64, to: f64, cell: Cell) {
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

/// A row for each lane.
pub(crate) fn grid(turns: &Turns, lanes: &[Lane], columns: &Columns) -> Vec<Vec<Cell>> {
    let mut grid = vec![vec![Cell::Nothing; columns.count]; lanes.len()];
    let lane_of = |module: &str| lanes.iter().position(|lane| lane.module == module);
    for span in &turns.spans {
        let cell = match span.kind {
            Kind::Handover => {
                let rows = grid.iter_mut();
                rows.for_each(|row| columns.raise(row, span.start, span.end, Cell::Handover));
                continue;
            }
            // A request that was granted at once did not wait.
            Kind::Wait if span.start == span.end => continue,
            Kind::Wait => Cell::Wait,
            Kind::Hold | Kind::Nested => Cell::Hold,
            Kind::Pass => Cell::Pass,
        };
        if let Some(lane) = lane_of(&span.module) {
            columns.raise(&mut grid[lane], span.start, span.end, cell);
        }
    }
    for mark in &turns.troubles {
        if let Some(lane) = lane_of(&mark.module) {
            columns.raise(&mut grid[lane], mark.t, mark.t, Cell::Trouble);
        }
    }
    grid
}
