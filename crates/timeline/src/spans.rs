//! Interprets events as spans: who waited and who held, from when to when.
//!
//! `model.js` does the same for the page, which takes more events while it is open. A test in a browser compares the two.

use std::collections::HashMap;

use packet_mutex_arbiter::{End, Unserved};

use crate::log::{Event, MutexLog};
use crate::report::Lane;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SpanKind {
    Wait,
    Hold,
    Nested,
    Pass,
    Handover,
}

/// Something that lasted. Times count from the start of the run.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) kind: SpanKind,
    pub(crate) module: String,
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// The event that ended it; `None` while it is open.
    pub(crate) outcome: Option<String>,
    pub(crate) request: Option<String>,
    pub(crate) token: Option<String>,
}

impl Span {
    /// Returns whether there is something to draw. A request that is granted at once has a wait of no length.
    pub(crate) fn is_visible(&self) -> bool {
        self.kind != SpanKind::Wait || self.start < self.end
    }
}

/// The moment at which something went wrong.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) name: String,
    pub(crate) module: String,
    pub(crate) t: f64,
}

#[derive(Debug, Default)]
pub(crate) struct Spans {
    pub(crate) all: Vec<Span>,
    pub(crate) troubles: Vec<Trouble>,
    /// Indices of open spans in `all`: waits by request, turns by token, passes by request, nested turns by token.
    waits: HashMap<String, usize>,
    holds: HashMap<String, usize>,
    passes: HashMap<String, usize>,
    nested: HashMap<String, Vec<usize>>,
    last_turn: Option<LastTurn>,
}

/// How the last turn ended. The handover after it depends on that.
#[derive(Debug)]
struct LastTurn {
    group: String,
    end: f64,
    /// The turn was abandoned or revoked. Then its own group waits for the delay too.
    lost: bool,
}

pub(crate) fn read(log: &MutexLog<'_>, lanes: &[Lane]) -> Spans {
    let mut spans = Spans::default();
    for (i, event) in log.events.iter().enumerate() {
        if i == log.contiguous {
            spans.forget_open(log.events[i - 1].t - log.start);
        }
        spans.push(event, log.start, lanes);
    }
    spans.forget_open(log.end - log.start);
    spans.all.sort_by(|a, b| a.start.total_cmp(&b.start));
    spans
}

/// Returns whether an event of this name ends a hold or a pass.
pub(crate) fn ends_hold(name: &str) -> bool {
    End::from_name(name).is_some()
}

/// Returns whether an event of this name ends a wait without a grant.
pub(crate) fn ends_wait(name: &str) -> bool {
    name == "refused" || Unserved::from_name(name).is_some()
}

impl Spans {
    pub(crate) fn push(&mut self, event: &Event, origin: f64, lanes: &[Lane]) {
        let Some(module) = event.text("module") else {
            return;
        };
        let t = event.t - origin;
        if event.is_trouble() {
            let (name, module) = (event.name.clone(), module.to_owned());
            self.troubles.push(Trouble { name, module, t });
        }
        let request = event.id("request");
        let token = event.id("token");
        // Where the log begins in the middle, an end still says how long it lasted. A foreign log may say nonsense, hence the
        // limits: not before the start of the run, not in the future.
        let ago = |key| (t - event.number(key).unwrap_or(0.0)).clamp(0.0_f64.min(t), t);
        let span = |kind, start| Span {
            kind,
            module: module.to_owned(),
            start,
            end: t,
            outcome: None,
            request: request.clone(),
            token: token.clone(),
        };
        let by_request = request.clone().unwrap_or_default();
        let by_token = token.clone().unwrap_or_default();

        match event.name.as_str() {
            "requested" => {
                let wait = self.begin(span(SpanKind::Wait, t));
                self.waits.insert(by_request, wait);
            }
            "granted" => {
                let asked = ago("waited");
                let wait = self.waits.remove(&by_request);
                self.end(wait, event, span(SpanKind::Wait, asked));
                if event.is_pass() {
                    let pass = self.begin(span(SpanKind::Pass, t));
                    self.passes.insert(by_request, pass);
                    return;
                }
                let group = group_of(lanes, module);
                // Nobody sees a handover that nobody waited for.
                if let Some(last) = &self.last_turn
                    && (last.lost || last.group != group)
                    && asked < t
                    && last.end < t
                {
                    let handover = span(SpanKind::Handover, last.end);
                    self.end(None, event, handover);
                }
                let hold = self.begin(span(SpanKind::Hold, t));
                self.holds.insert(by_token, hold);
            }
            "nested" => {
                if let Some(wait) = self.waits.remove(&by_request) {
                    self.end(Some(wait), event, span(SpanKind::Wait, t));
                }
                let nested = self.begin(span(SpanKind::Nested, t));
                self.nested.entry(by_token).or_default().push(nested);
            }
            name if ends_hold(name) => {
                if event.is_pass() || token.is_none() {
                    let pass = self.passes.remove(&by_request);
                    self.end(pass, event, span(SpanKind::Pass, ago("held")));
                } else if event.number("depth").unwrap_or(0.0) > 0.0 {
                    let own = self.nested.get_mut(&by_token).and_then(|open| {
                        let own = open.iter().rposition(|&i| self.all[i].request == request);
                        own.map(|at| open.remove(at))
                    });
                    // Nested turns may end in any order. If the outermost hold ends first, its bar goes on: the turn does.
                    if own.is_some() {
                        self.end(own, event, span(SpanKind::Nested, t));
                    }
                } else {
                    for nested in self.nested.remove(&by_token).unwrap_or_default() {
                        self.end(Some(nested), event, span(SpanKind::Nested, t));
                    }
                    let hold = self.holds.remove(&by_token);
                    self.end(hold, event, span(SpanKind::Hold, ago("held")));
                    // Nothing was sent in a declined turn, so the delay still counts from the turn before it.
                    if name != End::Declined.name() {
                        let lost = [End::Abandoned, End::Revoked].map(End::name).contains(&name);
                        self.last_turn =
                            Some(LastTurn { group: group_of(lanes, module), end: t, lost });
                    }
                }
            }
            name if ends_wait(name) => {
                let wait = self.waits.remove(&by_request);
                self.end(wait, event, span(SpanKind::Wait, ago("waited")));
            }
            _ => {}
        }
    }

    /// Adds a span and returns its index.
    fn begin(&mut self, span: Span) -> usize {
        self.all.push(span);
        self.all.len() - 1
    }

    /// Ends an open span. If the log does not have its start, the whole span is added.
    fn end(&mut self, open: Option<usize>, event: &Event, whole: Span) {
        let end = whole.end;
        let at = open.unwrap_or_else(|| self.begin(whole));
        self.all[at].end = end;
        self.all[at].outcome = Some(event.name.clone());
    }

    /// Makes every open span last until `t` at least.
    pub(crate) fn extend_open(&mut self, t: f64) {
        let open: Vec<usize> = self.open().map(|at| *at).collect();
        for at in open {
            self.all[at].end = t.max(self.all[at].start);
        }
    }

    /// Makes every open span last until `t` at least. No later event is taken for its end.
    pub(crate) fn forget_open(&mut self, t: f64) {
        self.extend_open(t);
        self.nested.clear();
        for open in [&mut self.waits, &mut self.holds, &mut self.passes] {
            open.clear();
        }
        self.last_turn = None;
    }

    /// The indices of the open spans.
    fn open(&mut self) -> impl Iterator<Item = &mut usize> {
        let single = [&mut self.waits, &mut self.holds, &mut self.passes];
        let single = single.into_iter().flat_map(HashMap::values_mut);
        single.chain(self.nested.values_mut().flatten())
    }

    /// Makes room in the older half of what is over: spans of one kind and module with a gap of at most `near` between them
    /// become one. If that does not remove enough, the older half is removed.
    pub(crate) fn thin(&mut self, near: f64) {
        let half = self.all.len() / 2;
        let mut keep: Vec<bool> = (0..self.all.len()).map(|at| at >= half).collect();
        self.open().for_each(|at| keep[*at] = true);
        let mut before = HashMap::<(SpanKind, String), usize>::new();
        let mut joined = keep.clone();
        for at in (0..half).filter(|at| !keep[*at]) {
            let (start, end) = (self.all[at].start, self.all[at].end);
            let of = (self.all[at].kind, self.all[at].module.clone());
            match before.get(&of) {
                Some(before) if start - self.all[*before].end <= near => {
                    self.all[*before].end = end.max(self.all[*before].end);
                }
                _ => {
                    joined[at] = true;
                    before.insert(of, at);
                }
            }
        }
        // Unless a quarter of all goes, joining would soon be tried again: it would cost more than it saves.
        if joined.iter().filter(|keep| **keep).count() < half + half / 2 {
            keep = joined;
        }
        let mut kept = 0;
        let places: Vec<usize> = keep
            .iter()
            .map(|keep| {
                kept += usize::from(*keep);
                kept.saturating_sub(1)
            })
            .collect();
        self.open().for_each(|at| *at = places[*at]);
        let mut keep = keep.into_iter();
        self.all.retain(|_| keep.next() == Some(true));
        self.troubles.drain(..self.troubles.len() / 2);
    }
}

fn group_of(lanes: &[Lane], module: &str) -> String {
    let lane = lanes.iter().find(|lane| lane.module == module);
    lane.map_or_else(|| module.to_owned(), |lane| lane.group.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log;
    use crate::report::{Report, Run};

    fn spans(lines: &str) -> Vec<(SpanKind, String, f64, f64, Option<String>)> {
        let mut run = Run::new("r");
        run.read_events(lines);
        let lanes = vec![Lane::new("a", "x", 2), Lane::new("b", "x", 1), Lane::new("c", "y", 0)];
        let report = Report { lanes, runs: vec![run], ..Report::default() };
        let log = log::read(&report);
        let spans = read(&log.parts[0], &log.lanes);
        spans.all.into_iter().map(|s| (s.kind, s.module, s.start, s.end, s.outcome)).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_handover_lies_between_groups_and_not_within_one() {
        let spans = spans(
            r#"{"t":0,"event":"granted","module":"a","request":1,"token":"1","waited":0}
            {"t":1,"event":"released","module":"a","request":1,"token":"1","held":1,"depth":0}
            {"t":1,"event":"granted","module":"b","request":2,"token":"2","waited":0.5}
            {"t":2,"event":"released","module":"b","request":2,"token":"2","held":1,"depth":0}
            {"t":3,"event":"granted","module":"c","request":3,"token":"3","waited":0.5}"#,
        );
        let handovers: Vec<_> = spans.iter().filter(|span| span.0 == SpanKind::Handover).collect();
        assert_eq!(handovers, [&(SpanKind::Handover, "c".into(), 2.0, 3.0, some("granted"))]);
        assert_eq!(spans.last(), Some(&(SpanKind::Hold, "c".into(), 3.0, 3.0, None)));
    }

    #[test]
    fn nested_turns_end_inside_and_the_outer_goes_on() {
        let spans = spans(
            r#"{"t":0,"event":"granted","module":"a","request":1,"token":"1","waited":0}
            {"t":1,"event":"nested","module":"b","request":2,"token":"1","depth":2}
            {"t":2,"event":"released","module":"b","request":2,"token":"1","held":1,"depth":1}
            {"t":4,"event":"panicked","module":"a","request":1,"token":"1","held":4,"depth":0}"#,
        );
        assert!(spans.contains(&(SpanKind::Nested, "b".into(), 1.0, 2.0, some("released"))));
        assert!(spans.contains(&(SpanKind::Hold, "a".into(), 0.0, 4.0, some("panicked"))));
    }

    #[test]
    fn nested_turns_end_in_any_order() {
        let spans = spans(
            r#"{"t":0,"event":"granted","module":"a","request":1,"token":"1","waited":0}
            {"t":1,"event":"nested","module":"b","request":2,"token":"1","depth":2}
            {"t":2,"event":"released","module":"a","request":1,"token":"1","held":2,"depth":1}
            {"t":3,"event":"released","module":"b","request":2,"token":"1","held":2,"depth":0}"#,
        );
        assert!(spans.contains(&(SpanKind::Nested, "b".into(), 1.0, 3.0, some("released"))));
        assert!(spans.contains(&(SpanKind::Hold, "a".into(), 0.0, 3.0, some("released"))));
    }

    #[test]
    fn passes_and_given_up_waits() {
        let spans = spans(
            r#"{"t":0,"event":"requested","module":"a","request":1}
            {"t":1,"event":"granted","module":"b","request":2,"token":null,"pass":true,"waited":0}
            {"t":2,"event":"timed_out","module":"a","request":1}
            {"t":3,"event":"released","module":"b","request":2,"token":null,"pass":true,"held":2}"#,
        );
        assert!(spans.contains(&(SpanKind::Wait, "a".into(), 0.0, 2.0, some("timed_out"))));
        assert!(spans.contains(&(SpanKind::Pass, "b".into(), 1.0, 3.0, some("released"))));
    }

    #[test]
    fn a_log_that_starts_in_the_middle() {
        let spans = spans(
            r#"{"t":10,"event":"overrun","module":"a","token":"7"}
            {"t":12,"event":"released","module":"a","request":1,"token":"7","held":1.5,"depth":0}"#,
        );
        assert_eq!(spans, [(SpanKind::Hold, "a".into(), 0.5, 2.0, some("released"))]);
    }
}
