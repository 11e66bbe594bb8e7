//! Lanes of a log that goes on, for a view that is drawn again and again.

use serde_json::Value;

use crate::cells::{Cell, Columns, grid};
use crate::log::{Event, MAX_LANES};
use crate::report::Lane;
use crate::spans::Spans;

/// The most spans that are kept. Beyond that, older ones are joined or forgotten.
const MAX_SPANS: usize = 16_384;
/// Old spans with a gap of at most so many seconds between them are joined.
const NEAR: f64 = 0.05;

/// The lanes of a log that goes on. Old events are forgotten, so it takes bounded room.
///
/// ```
/// use serde_json::json;
/// use timeline::{Cell, Live};
///
/// let mut live = Live::default();
/// live.push(&json!({"t": 5, "event": "granted", "module": "fisher", "token": "1", "waited": 1}));
/// let rows = live.rows(0.0, 10.0, 5);
/// let letters: String = rows[0].1.iter().map(|cell| cell.letter()).collect();
/// assert_eq!((rows[0].0, letters.as_str()), ("fisher", "  ███"));
/// ```
#[derive(Debug, Default)]
pub struct Live {
    lanes: Vec<Lane>,
    spans: Spans,
    newest: f64,
    /// How many spans there may be before room is made again.
    room: usize,
}

impl Live {
    /// Sets the order of the lanes and the groups of their modules. Modules that only occur in events come after these.
    pub fn set_lanes(&mut self, lanes: Vec<Lane>) {
        let known = std::mem::replace(&mut self.lanes, lanes);
        known.into_iter().for_each(|lane| self.add_lane(lane));
    }

    /// Returns the lanes in their order.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Takes the next event of the log. Returns its time, or `None` if it is not readable.
    pub fn push(&mut self, event: &Value) -> Option<f64> {
        let event = Event::read(event)?;
        if let Some(module) = event.text("module") {
            self.add_lane(Lane { module: module.into(), group: module.into(), priority: None });
        }
        self.spans.push(&event, 0.0, &self.lanes);
        self.spans.extend_open(f64::INFINITY);
        self.newest = event.t;
        if self.spans.all.len().max(self.spans.troubles.len()) > self.room.max(MAX_SPANS) {
            self.spans.thin(NEAR);
            // Open spans stay, however many there are. Were they not counted, each event would try to make room again.
            self.room = self.spans.all.len() + MAX_SPANS / 4;
        }
        Some(event.t)
    }

    /// Says that events are missing. No later event is taken for the end of what is open now.
    pub fn gap(&mut self) {
        self.spans.forget_open(self.newest);
    }

    /// Returns each module with its lane from one time to another, in so many cells. Open spans last to the end.
    #[must_use]
    pub fn rows(&self, from: f64, to: f64, columns: usize) -> Vec<(&str, Vec<Cell>)> {
        let count = columns.max(1);
        let rows = grid(&self.spans, &self.lanes, &Columns { from, to, count });
        self.lanes.iter().map(|lane| lane.module.as_str()).zip(rows).collect()
    }

    fn add_lane(&mut self, lane: Lane) {
        let is_new = self.lanes.iter().all(|known| known.module != lane.module);
        if is_new && self.lanes.len() < MAX_LANES {
            self.lanes.push(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letters(live: &Live, from: f64, to: f64) -> Vec<String> {
        let rows = live.rows(from, to, 10);
        rows.into_iter().map(|(_, row)| row.into_iter().map(Cell::letter).collect()).collect()
    }

    fn push(live: &mut Live, t: f64, event: &str, module: &str, request: u64) {
        let event = json!({"t": t, "event": event, "module": module, "request": request,
            "token": request.to_string(), "waited": 0, "held": 0, "depth": 0});
        assert_eq!(live.push(&event), Some(t));
    }

    #[test]
    fn a_window_slides_over_what_is_over_and_what_is_open() {
        let mut live = Live::default();
        live.set_lanes(vec![Lane::new("a", "a", 2), Lane::new("b", "b", 1)]);
        push(&mut live, 0.0, "granted", "a", 1);
        push(&mut live, 3.0, "requested", "b", 2);
        push(&mut live, 4.0, "released", "a", 1);
        assert_eq!(letters(&live, 0.0, 10.0), ["████      ", "   ░░░░░░░"]);
        push(&mut live, 6.0, "granted", "b", 2);
        assert_eq!(letters(&live, 0.0, 10.0), ["████      ", "   ░░░████"]);
        assert_eq!(letters(&live, 4.0, 14.0), ["          ", "░░████████"]);
        push(&mut live, 7.0, "abandoned", "b", 2);
        assert_eq!(letters(&live, 5.0, 15.0), ["          ", "░█!       "]);
        assert_eq!(letters(&live, -20.0, -10.0), [" ".repeat(10), " ".repeat(10)]);
    }

    #[test]
    fn after_a_gap_nothing_is_open() {
        let mut live = Live::default();
        push(&mut live, 0.0, "granted", "a", 1);
        push(&mut live, 2.0, "requested", "b", 2);
        live.gap();
        assert_eq!(letters(&live, 0.0, 10.0), ["██        ", " ".repeat(10).as_str()]);
    }

    #[test]
    fn a_log_without_end_takes_bounded_room_and_keeps_what_is_open() {
        let mut live = Live::default();
        push(&mut live, 0.0, "requested", "patient", 0);
        for turn in 1..2 * MAX_SPANS as u64 {
            push(&mut live, turn as f64, "granted", "a", turn);
            push(&mut live, turn as f64 + 0.5, "panicked", "a", turn);
        }
        assert!(live.spans.all.len() <= MAX_SPANS && live.spans.troubles.len() <= MAX_SPANS);
        let end = 2.0 * MAX_SPANS as f64;
        assert_eq!(letters(&live, end - 10.0, end), ["░".repeat(10), "!".repeat(10)]);
        push(&mut live, end - 5.0, "timed_out", "patient", 0);
        assert_eq!(letters(&live, end - 10.0, end)[0], "░░░░░!    ");
    }

    #[test]
    fn what_is_old_and_near_is_joined() {
        let mut live = Live::default();
        for turn in 0..5 * MAX_SPANS as u64 {
            let t = turn as f64 / 1000.0;
            push(&mut live, t, "granted", "a", turn);
            push(&mut live, t + 0.0005, "released", "a", turn);
        }
        assert!(live.spans.all.len() <= MAX_SPANS);
        assert_eq!(letters(&live, 0.0, 80.0), ["█".repeat(10)]);
    }
}
