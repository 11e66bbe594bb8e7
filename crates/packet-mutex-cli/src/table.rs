//! Tables in plain text.

use crate::printer::HEADING;
use std::fmt;

/// A table with a heading. Numbers are aligned to the right of their column, texts to the left.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn line<'a>(&self, cells: impl Fn(usize) -> &'a str) -> String {
        let mut line = String::new();
        for (at, (heading, align)) in self.columns.iter().enumerate() {
            let widths = self.rows.iter().filter_map(|row| row.get(at)).map(|c| width_of(c));
            let width = widths.fold(heading.chars().count(), usize::max);
            let gap = if at == 0 { "" } else { "  " };
            let cell = cells(at);
            let fill = " ".repeat(width - width_of(cell));
            line += &match align {
                Align::Left => format!("{gap}{cell}{fill}"),
                Align::Right => format!("{gap}{fill}{cell}"),
            };
        }
        line.trim_end().to_string()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = self.line(|at| self.columns[at].0);
        write!(f, "{HEADING}{heading}{HEADING:#}")?;
        for row in &self.rows {
            write!(f, "\n{}", self.line(|at| row.get(at).map_or("", String::as_str)))?;
        }
        Ok(())
    }
}

/// Returns how many columns a text takes. Its styles take none.
fn width_of(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_short_rows_are_filled() {
        let mut table = Table::new(&[("name", Align::Left), ("turns", Align::Right)]);
        table.row(["runemaker".into(), "7".into()]);
        table.row(["eater".into()]);
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, "name       turns\nrunemaker      7\neater");
    }
}
