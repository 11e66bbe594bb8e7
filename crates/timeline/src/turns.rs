//! What the events mean: who waited and who held, from when to when.
//!
//! `model.js` does the same for the page, which also takes events while it is open; a test in a
//! browser compares the two.

use std::collections::HashMap;

use packet_mutex_arbiter::{End, Unserved};

use crate::Lane;
use crate::log::{Event, LogRun, is_trouble};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Wait,
    Hold,
    Nested,
    Pass,
    Handover,
}

/// Something that lasted. Times count from the start of the run.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) module: String,
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// The event that ended it; `None` while it is open.
    pub(crate) outcome: Option<String>,
    pub(crate) request: Option<String>,
    pub(crate) token: Option<String>,
}

/// A moment that is worth a mark.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) module: String,
    pub(crate) t: f64,
}

#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) spans: Vec<Span>,
    pub(crate) troubles: Vec<Mark>,
    /// Indices into `spans`: waits by request, turns by token, passes by request.
    waits: HashMap<String, usize>,
    holds: HashMap<String, usize>,
    passes: HashMap<String, usize>,
    nested: HashMap<String, Vec<usize>>,
    last: Option<Last>,
}

/// How the last turn ended, for the handover that follows.
#[derive(Debug)]
struct Last {
    group: String,
    end: f64,
    /// After an abandoned or revoked turn the delay holds for the own group too.
    lost: bool,
}

pub(crate) fn read(run: &LogRun<'_>, lanes: &[Lane]) -> Turns {
    let mut turns = Turns::default();
    for (i, event) in run.events.iter().enumerate() {
        if i == run.whole {
            turns.forget_open(run.events[i - 1].t - run.start);
        }
        turns.push(event, run.start, lanes);
    }
    turns.forget_open(run.end - run.start);
    turns.spans.sort_by(|a, b| a.start.total_cmp(&b.start));
    turns
}

impl Turns {
    pub(crate) fn push(&mut self, event: &Event, origin: f64, lanes: &[Lane]) {
        let Some(module) = event.text("module") else {
            return;
        };
        let t = event.t - origin;
        if is_trouble(&event.kind) {
            self.troubles.push(Mark { module: module.to_owned(), t });
        }
        let request = event.id("request");
        let token = event.id("token");
        // A log that starts in the middle still tells when things began.
        let ago = |key| (t - event.number(key).unwrap_or(0.0)).clamp(0.0_f64.min(t), t);
        let span = |kind, start, end| Span {
            kind,
            module: module.to_owned(),
            start,
            end,
            outcome: None,
            request: request.clone(),
            token: token.clone(),
        };
        let key = request.clone().unwrap_or_default();

        match event.kind.as_str() {
            "requested" => {
                self.waits.insert(key, self.spans.len());
                self.spans.push(span(Kind::Wait, t, t));
            }
            "granted" if event.is_pass() => {
                self.end_wait(&key, t, &event.kind, span(Kind::Wait, ago("waited"), t));
                self.passes.insert(key, self.spans.len());
                self.spans.push(span(Kind::Pass, t, t));
            }
            "granted" => {
                let waited_since = ago("waited");
                self.end_wait(&key, t, &event.kind, span(Kind::Wait, waited_since, t));
                let group = group_of(lanes, module);
                if let Some(last) = &self.last
                    && (last.lost || last.group != group)
                    && waited_since < t
                    && last.end < t
                {
                    let mut handover = span(Kind::Handover, last.end, t);
                    handover.outcome = Some(event.kind.clone());
                    self.spans.push(handover);
                }
                self.holds.insert(token.clone().unwrap_or_default(), self.spans.len());
                self.spans.push(span(Kind::Hold, t, t));
            }
            "nested" => {
                if let Some(wait) = self.waits.remove(&key) {
                    self.end(Some(wait), t, &event.kind, span(Kind::Wait, t, t));
                }
                let open = self.nested.entry(token.clone().unwrap_or_default()).or_default();
                open.push(self.spans.len());
                self.spans.push(span(Kind::Nested, t, t));
            }
            name if ends_hold(name) => {
                let token = token.clone().unwrap_or_default();
                let depth = event.number("depth").unwrap_or(0.0);
                if event.is_pass() || event.id("token").is_none() {
                    let open = self.passes.remove(&key);
                    self.end(open, t, &event.kind, span(Kind::Pass, ago("held"), t));
                } else if depth > 0.0 {
                    let open = self.nested.get_mut(&token).and_then(|open| {
                        let own = open.iter().rposition(|&i| self.spans[i].request == request);
                        own.map(|at| open.remove(at))
                    });
                    // Nested turns may end in any order: the outermost part may end first, and
                    // then the bar goes on.
                    if open.is_some() {
                        self.end(open, t, &event.kind, span(Kind::Nested, t, t));
                    }
                } else {
                    for open in self.nested.remove(&token).unwrap_or_default() {
                        self.end(Some(open), t, &event.kind, span(Kind::Nested, t, t));
                    }
                    let open = self.holds.remove(&token);
                    self.end(open, t, &event.kind, span(Kind::Hold, ago("held"), t));
                    if event.kind != "declined" {
                        self.last = Some(Last {
                            group: group_of(lanes, module),
                            end: t,
                            lost: matches!(event.kind.as_str(), "abandoned" | "revoked"),
                        });
                    }
                }
            }
            name if ends_wait(name) => {
                self.end_wait(&key, t, &event.kind, span(Kind::Wait, ago("waited"), t));
            }
            _ => {}
        }
    }

    fn end_wait(&mut self, request: &str, t: f64, outcome: &str, unseen: Span) {
        let open = self.waits.remove(request);
        self.end(open, t, outcome, unseen);
    }

    /// Ends an open span, or adds the whole of one whose start the log does not have.
    fn end(&mut self, open: Option<usize>, t: f64, outcome: &str, unseen: Span) {
        let at = open.unwrap_or_else(|| {
            self.spans.push(unseen);
            self.spans.len() - 1
        });
        self.spans[at].end = t;
        self.spans[at].outcome = Some(outcome.to_owned());
    }

    /// What is still open lasts at least until `t`.
    pub(crate) fn last_until(&mut self, t: f64) {
        let open: Vec<usize> = self.open().map(|at| *at).collect();
        for at in open {
            self.spans[at].end = t.max(self.spans[at].start);
        }
    }

    /// What is still open lasts at least until `t`; no later event is taken for its end.
    pub(crate) fn forget_open(&mut self, t: f64) {
        self.last_until(t);
        self.nested.clear();
        for open in [&mut self.waits, &mut self.holds, &mut self.passes] {
            open.clear();
        }
        self.last = None;
    }

    /// The places of the spans that are open.
    fn open(&mut self) -> impl Iterator<Item = &mut usize> {
        let single = [&mut self.waits, &mut self.holds, &mut self.passes];
        let single = single.into_iter().flat_map(HashMap::values_mut);
        single.chain(self.nested.values_mut().flatten())
    }

    /// Makes room: of the older half of what is over, spans of one kind and module that are nearer than this become one.
    /// If that is not enough, the older half is forgotten.
    pub(crate) fn thin(&mut self, near: f64) {
        let half = self.spans.len() / 2;
        let mut keep: Vec<bool> = (0..self.spans.len()).map(|at| at >= half).collect();
        self.open().for_each(|at| keep[*at] = true);
        let mut before = HashMap::<(Kind, String), usize>::new();
        let mut joined = keep.clone();
        for at in (0..half).filter(|at| !keep[*at]) {
            let (start, end) = (self.spans[at].start, self.spans[at].end);
            let of = (self.spans[at].kind, self.spans[at].module.clone());
            match before.get(&of) {
                Some(before) if start - self.spans[*before].end <= near => {
                    self.spans[*before].end = end.max(self.spans[*before].end);
                }
                _ => {
                    joined[at] = true;
                    before.insert(of, at);
                }
            }
        }
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
        self.spans.retain(|_| keep.next() == Some(true));
        self.troubles.drain(..self.troubles.len() / 2);
    }
}

/// Returns whether an event of this name ends a hold or a pass.
pub(crate) fn ends_hold(name: &str) -> bool {
    End::from_name(name).is_some()
}

/// Returns whether an event of this name ends a wait without a grant.
pub(crate) fn ends_wait(name: &str) -> bool {
    name == "refused" || Unserved::from_name(name).is_some()
}

fn group_of(lanes: &[Lane], module: &str) -> String {
    let lane = lanes.iter().find(|lane| lane.module == module);
    lane.map_or_else(|| module.to_owned(), |lane| lane.group.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Report, Run, log};

    fn spans(lines: &str) -> Vec<(Kind, String, f64, f64, Option<String>)> {
        let mut run = Run::new("r");
        run.read_events(lines);
        let lanes = vec![Lane::new("a", "x", 2), Lane::new("b", "x", 1), Lane::new("c", "y", 0)];
        let report = Report { lanes, runs: vec![run], ..Report::default() };
        let log = log::read(&report);
        let turns = read(&log.runs[0], &log.lanes);
        turns.spans.into_iter().map(|s| (s.kind, s.module, s.start, s.end, s.outcome)).collect()
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
        let handovers: Vec<_> = spans.iter().filter(|span| span.0 == Kind::Handover).collect();
        assert_eq!(handovers, [&(Kind::Handover, "c".into(), 2.0, 3.0, some("granted"))]);
        assert_eq!(spans.last(), Some(&(Kind::Hold, "c".into(), 3.0, 3.0, None)));
    }

    #[test]
    fn nested_turns_end_inside_and_the_outer_goes_on() {
        let spans = spans(
            r#"{"t":0,"event":"granted","module":"a","request":1,"token":"1","waited":0}
            {"t":1,"event":"nested","module":"b","request":2,"token":"1","depth":2}
            {"t":2,"event":"released","module":"b","request":2,"token":"1","held":1,"depth":1}
            {"t":4,"event":"panicked","module":"a","request":1,"token":"1","held":4,"depth":0}"#,
        );
        assert!(spans.contains(&(Kind::Nested, "b".into(), 1.0, 2.0, some("released"))));
        assert!(spans.contains(&(Kind::Hold, "a".into(), 0.0, 4.0, some("panicked"))));
    }

    #[test]
    fn nested_turns_end_in_any_order() {
        let spans = spans(
            r#"{"t":0,"event":"granted","module":"a","request":1,"token":"1","waited":0}
            {"t":1,"event":"nested","module":"b","request":2,"token":"1","depth":2}
            {"t":2,"event":"released","module":"a","request":1,"token":"1","held":2,"depth":1}
            {"t":3,"event":"released","module":"b","request":2,"token":"1","held":2,"depth":0}"#,
        );
        assert!(spans.contains(&(Kind::Nested, "b".into(), 1.0, 3.0, some("released"))));
        assert!(spans.contains(&(Kind::Hold, "a".into(), 0.0, 3.0, some("released"))));
    }

    #[test]
    fn passes_and_given_up_waits() {
        let spans = spans(
            r#"{"t":0,"event":"requested","module":"a","request":1}
            {"t":1,"event":"granted","module":"b","request":2,"token":null,"pass":true,"waited":0}
            {"t":2,"event":"timed_out","module":"a","request":1}
            {"t":3,"event":"released","module":"b","request":2,"token":null,"pass":true,"held":2}"#,
        );
        assert!(spans.contains(&(Kind::Wait, "a".into(), 0.0, 2.0, some("timed_out"))));
        assert!(spans.contains(&(Kind::Pass, "b".into(), 1.0, 3.0, some("released"))));
    }

    #[test]
    fn a_log_that_starts_in_the_middle() {
        let spans = spans(
            r#"{"t":10,"event":"overrun","module":"a","token":"7"}
            {"t":12,"event":"released","module":"a","request":1,"token":"7","held":1.5,"depth":0}"#,
        );
        assert_eq!(spans, [(Kind::Hold, "a".into(), 0.5, 2.0, some("released"))]);
    }
}
