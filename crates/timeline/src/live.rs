//! The lanes of a log that goes on.

use serde_json::Value;

use crate::Lane;
use crate::cells::{Cell, Columns, grid};
use crate::log::{Event, MAX_LANES};
use crate::turns::Turns;

/// Most spans that are kept; beyond, the older ones are joined or forgotten.
const MAX_SPANS: usize = 16_384;
/// Spans that are nearer, in seconds, are not told apart when they are old.
const NEAR: f64 = 0.05;

/// The lanes of a log that goes on, for a view that draws them again and again. What is old is forgotten.
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
    turns: Turns,
    newest: f64,
    /// How many spans there may be until the next attempt to make room.
    room: usize,
}

impl Live {
    /// Says in which order the lanes stand and which modules belong together; modules that only occur in events come
    /// after these.
    pub fn set_lanes(&mut self, lanes: Vec<Lane>) {
        let known = std::mem::replace(&mut self.lanes, lanes);
        known.into_iter().for_each(|lane| self.add(lane));
    }

    /// The lanes, in their order.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Takes an event, in the order of the log, and returns its time; `None` if it could not be read.
    pub fn push(&mut self, event: &Value) -> Option<f64> {
        let event = Event::read(event)?;
        if let Some(module) = event.text("module") {
            self.add(Lane { module: module.into(), group: module.into(), priority: None });
        }
        self.turns.push(&event, 0.0, &self.lanes);
        self.turns.last_until(f64::INFINITY);
        self.newest = event.t;
        if self.turns.spans.len().max(self.turns.troubles.len()) > self.room.max(MAX_SPANS) {
            self.turns.thin(NEAR);
            // What is open stays, however much it is.
            self.room = self.turns.spans.len() + MAX_SPANS / 4;
        }
        Some(event.t)
    }

    /// Events are missing: nothing that comes later is the end of what is open.
    pub fn gap(&mut self) {
        self.turns.forget_open(self.newest);
    }

    /// The lanes from one time to another in so many cells, each with its module. What is open lasts to the end.
    pub fn rows(&self, from: f64, to: f64, columns: usize) -> Vec<(&str, Vec<Cell>)> {
        let count = columns.max(1);
        let rows = grid(&self.turns, &self.lanes, &Columns { from, to, count });
        self.lanes.iter().map(|lane| lane.module.as_str()).zip(rows).collect()
    }

    fn add(&mut self, lane: Lane) {
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
        assert!(live.turns.spans.len() <= MAX_SPANS && live.turns.troubles.len() <= MAX_SPANS);
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
        assert!(live.turns.spans.len() <= MAX_SPANS);
        assert_eq!(letters(&live, 0.0, 80.0), ["█".repeat(10)]);
    }
}
