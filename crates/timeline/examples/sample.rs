//! Writes a made-up comparison to a file, to look at: `cargo run -p timeline --example sample out.html`.
//!
//! A small loop plays three modules of importance against each other; no mutex is involved.

use serde_json::{Value, json};
use timeline::{Action, Count, Lane, Report, Run, render, text};

const SECONDS: f64 = 30.0;

/// A module: its period, and how many actions a cycle of its has at which distance.
struct Part {
    module: &'static str,
    group: &'static str,
    priority: u8,
    period: f64,
    actions: usize,
    step: f64,
}

const PARTS: [Part; 6] = [
    Part {
        module: "runemaker",
        group: "runes",
        priority: 100,
        period: 10.0,
        actions: 5,
        step: 0.34,
    },
    Part {
        module: "trainer",
        group: "training",
        priority: 80,
        period: 11.0,
        actions: 2,
        step: 0.5,
    },
    Part { module: "fisher", group: "fishing", priority: 60, period: 5.0, actions: 1, step: 0.3 },
    Part { module: "auto_loot", group: "loot", priority: 40, period: 10.5, actions: 4, step: 0.25 },
    Part { module: "stacker", group: "fishing", priority: 30, period: 15.0, actions: 1, step: 0.3 },
    Part { module: "eater", group: "loot", priority: 20, period: 9.0, actions: 1, step: 0.3 },
];

/// When each module wants to start a cycle, in order of time: (time, part).
fn wishes() -> Vec<(f64, usize)> {
    let mut wishes = Vec::new();
    let mut noise = 7_u32;
    for (i, part) in PARTS.iter().enumerate() {
        let mut t = 0.3 + 0.47 * i as f64;
        while t < SECONDS - 3.0 {
            wishes.push((t, i));
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            t += part.period * (0.8 + 0.4 * f64::from(noise >> 16) / 65_536.0);
        }
    }
    wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
    wishes
}

fn without() -> Run {
    let mut run = Run::new("without");
    run.note = "Every module sends when it likes.".into();
    let mut sent: Vec<(f64, usize, u64)> = Vec::new();
    for (cycle, (t, i)) in wishes().into_iter().enumerate() {
        for step in 0..PARTS[i].actions {
            sent.push((t + step as f64 * PARTS[i].step, i, cycle as u64));
        }
    }
    sent.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ends = |cycle| {
        sent.iter()
            .filter(|s| s.2 == cycle)
            .fold((f64::MAX, 0.0_f64), |e, s| (e.0.min(s.0), e.1.max(s.0)))
    };
    let (mut refusals, mut wrong, mut interleaved) = (0, 0, 0);
    for (n, &(t, i, cycle)) in sent.iter().enumerate() {
        let inside = sent.iter().any(|&(_, j, other)| {
            let (from, to) = ends(other);
            PARTS[i].group != PARTS[j].group && from < t && t < to
        });
        let soon = n > 0 && t - sent[n - 1].0 < 0.2;
        let verdict = match (soon, inside && n % 3 == 0) {
            (true, _) => "exhausted",
            (_, true) => "wrong_item",
            _ => "ok",
        };
        refusals += u64::from(verdict == "exhausted");
        wrong += u64::from(verdict == "wrong_item");
        interleaved += u64::from(inside);
        run.actions.push(Action {
            t,
            module: PARTS[i].module.into(),
            cycle: Some(cycle),
            token: None,
            verdict: verdict.into(),
            interleaved: inside && verdict == "ok",
        });
    }
    run.summary = summary(interleaved, refusals, wrong, None, 0);
    run
}

/// Plays the wishes under a mutex. `whole` turns last a cycle, the others one action.
fn with(title: &str, note: &str, whole: bool) -> Run {
    let mut run = Run::new(title);
    run.note = note.into();
    // What waits: (module, asked at, request, cycle, actions left).
    let mut waiting: Vec<(usize, f64, u64, u64, usize)> = Vec::new();
    let mut wishes = wishes().into_iter().enumerate().peekable();
    let (mut now, mut requests, mut token, mut wrong) = (0.0_f64, 0, 0, 0);
    let (mut turns, mut last_group, mut last_end) = (0, "", f64::MIN);
    let mut event = |t: f64, kind: &str, part: usize, request: u64, more: Value| {
        let mut e = json!({"t": (t * 1e6).round() / 1e6, "event": kind, "mutex": "main",
            "module": PARTS[part].module, "request": request});
        let fields = more.as_object().cloned().unwrap_or_default();
        e.as_object_mut().expect("an object").extend(fields);
        run.events.push(e);
    };
    loop {
        while let Some(&(cycle, (t, part))) = wishes.peek()
            && (t <= now || waiting.is_empty())
        {
            now = now.max(t);
            requests += 1;
            event(t, "requested", part, requests, json!({"priority": PARTS[part].priority}));
            waiting.push((part, t, requests, cycle as u64, PARTS[part].actions));
            wishes.next();
        }
        let Some(best) = (0..waiting.len()).min_by_key(|&i| waiting[i].0) else {
            break;
        };
        let group = PARTS[waiting[best].0].group;
        let free = if group == last_group { last_end } else { last_end + 1.0 };
        // Somebody better may come while the delay runs.
        if free > now {
            let next = wishes.peek().map_or(f64::MAX, |w| w.1.0);
            now = free.min(next);
            continue;
        }
        if now > SECONDS - 1.5 {
            break;
        }
        let (part, asked, request, cycle, left) = waiting.swap_remove(best);
        if now - asked > 9.0 {
            event(
                asked + 9.0,
                "timed_out",
                part,
                request,
                json!({"holder": "runemaker", "ahead": 2}),
            );
            continue;
        }
        token += 1;
        turns += 1;
        let waited = now - asked;
        event(
            now,
            "granted",
            part,
            request,
            json!({"token": token.to_string(), "waited": waited, "others": turns % 4}),
        );
        let sends = if whole { left } else { 1 };
        let stale = !whole && waited > 2.0 && token % 3 == 0;
        for n in 0..sends {
            wrong += u64::from(stale);
            run.actions.push(Action {
                t: now + 0.1 + n as f64 * PARTS[part].step,
                module: PARTS[part].module.into(),
                cycle: Some(cycle),
                token: Some(token.to_string()),
                verdict: if stale { "wrong_item" } else { "ok" }.into(),
                interleaved: false,
            });
        }
        let held = 0.2 + (sends - 1) as f64 * PARTS[part].step + 0.12;
        let end = if whole && token == 9 { "abandoned" } else { "released" };
        if whole && token == 1 {
            event(
                now + 1.2,
                "overrun",
                part,
                request,
                json!({"token": token.to_string(), "longest_turn": 1.2}),
            );
        }
        if whole && token == 6 {
            event(now + 0.2, "starving", 5, request + 1, json!({"because_of": PARTS[part].module}));
        }
        now += held;
        event(
            now,
            end,
            part,
            request,
            json!({"token": token.to_string(), "held": held, "depth": 0}),
        );
        (last_group, last_end) = (group, now);
        if sends < left {
            requests += 1;
            event(now, "requested", part, requests, json!({"priority": PARTS[part].priority}));
            waiting.push((part, now, requests, cycle, left - sends));
        }
    }
    run.events.push(
        json!({"t": SECONDS, "event": "paused", "mutex": "main", "reason": "the run is over"}),
    );
    run.events
        .sort_by(|a, b| a["t"].as_f64().unwrap_or(0.0).total_cmp(&b["t"].as_f64().unwrap_or(0.0)));
    for (seq, event) in run.events.iter_mut().enumerate() {
        event["seq"] = json!(seq + 1);
    }
    run.summary = summary(if whole { 0 } else { 9 }, 0, wrong, Some("1.000"), turns);
    run
}

fn summary(
    interleavings: u64,
    refusals: u64,
    wrong: u64,
    handover: Option<&str>,
    turns: u64,
) -> Vec<Count> {
    let mut counts = vec![
        Count::should_be_zero("interleavings", interleavings),
        Count::should_be_zero("refusals", refusals),
        Count::should_be_zero("wrong items", wrong),
    ];
    if let Some(handover) = handover {
        counts.push(Count::new("shortest handover, s", handover));
        counts.push(Count::new("turns", turns));
    }
    counts
}

#[allow(clippy::print_stdout)]
fn main() -> std::io::Result<()> {
    let report = Report {
        title: "Six modules, one channel".into(),
        subtitle: "The same thirty seconds of six modules, three times. Made-up data of the demo."
            .into(),
        lanes: PARTS.iter().map(|p| Lane::new(p.module, p.group, p.priority)).collect(),
        runs: vec![
            without(),
            with(
                "action_only",
                "The mutex around each single action; what was read before the wait is stale.",
                false,
            ),
            with("with", "The mutex around each whole cycle, as the guide says.", true),
        ],
    };
    match std::env::args().nth(1) {
        Some(file) => std::fs::write(file, render(&report)),
        None => {
            print!("{}", text(&report, 100));
            Ok(())
        }
    }
}
