//! The page in a real browser: `cargo test -p timeline -- --ignored`, with Chromium installed
//! (or named in `CHROMIUM`).

use std::time::Duration;

use chromium::Browser;
use packet_mutex_arbiter::EVENT_NAMES;
use serde_json::{Value, json};
use timeline::{Action, Inserts, Lane, Report, Run, is_trouble, render_live};

/// Longer than a page takes to be drawn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens the report's page, lets `script` fill in `out`, and returns that.
fn open(report: &Report, script: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("page.html");
    std::fs::write(&file, render_live(report, &Inserts::default())).unwrap();
    let mut browser = Browser::start().unwrap();
    browser.resize(1200, 900, false).unwrap();
    browser.open(&format!("file://{}", file.display())).unwrap();
    browser.wait(PATIENCE, "document.querySelector('canvas')?.height > 0").unwrap();
    let out = browser.eval(&format!("(() => {{ const out = {{}}; {script}\n return out; }})()"));
    assert_eq!(browser.complaints().unwrap(), [""; 0]);
    out.unwrap()
}

fn report(lines: &str) -> Report {
    let mut run = Run::new("run");
    run.read_events(lines);
    let lanes = vec![Lane::new("a", "x", 2), Lane::new("b", "y", 1)];
    Report { title: "T".into(), lanes, runs: vec![run], ..Report::default() }
}

const TURNS: &str = r#"
    {"seq":1,"t":1,"event":"requested","module":"a","request":1}
    {"seq":2,"t":1,"event":"granted","module":"a","request":1,"token":"1","waited":0}
    {"seq":3,"t":1.2,"event":"requested","module":"b","request":2}
    {"seq":4,"t":1.3,"event":"requested","module":"b","request":3}
    {"seq":5,"t":1.5,"event":"requested","module":"a","request":4}
    {"seq":5,"t":1.5,"event":"nested","module":"a","request":4,"token":"1","depth":2}
    {"seq":6,"t":1.8,"event":"released","module":"a","request":4,"token":"1","held":0.8,"depth":1}
    {"seq":7,"t":2,"event":"abandoned","module":"a","request":1,"token":"1","held":1,"depth":0}
    {"seq":8,"t":3,"event":"granted","module":"b","request":2,"token":"2","waited":1.8}
    {"seq":9,"t":3.1,"event":"timed_out","module":"b","request":3,"waited":1.8}
    {"seq":10,"t":3.2,"event":"granted","module":"a","request":9,"token":null,"pass":true,"waited":0}
    {"seq":11,"t":3.3,"event":"conflict","module":"a","request":9,"token":null,"with":"b"}
    {"seq":12,"t":3.4,"event":"released","module":"a","request":9,"token":null,"pass":true,"held":0.2}
    {"seq":13,"t":4,"event":"released","module":"b","request":2,"token":"2","held":1,"depth":0}"#;

#[test]
#[ignore = "needs Chromium"]
fn the_page_and_the_table_agree() {
    let got = open(
        &report(TURNS),
        "const rows = [...document.querySelectorAll('.turns tbody tr')].map((row) => row.cells[1].textContent);
         for (const kind of ['hold', 'wait', 'nested', 'pass', 'handover', 'mark']) out[kind] = timeline.runs[0].count(kind);
         out.rows = rows.join(' ');
         out.handover = timeline.runs[0].things.filter((t) => t.kind === 'handover').map((t) => [t.from, t.to]);
         out.label = document.querySelector('canvas[tabindex]').getAttribute('aria-label').slice(0, 40);",
    );
    let expect = json!({"hold": 2, "wait": 5, "nested": 1, "pass": 1, "handover": 1, "mark": 3,
        "rows": "turn wait nested turn pass", "handover": [[1, 2]],
        "label": "Timeline run: 3.000 s, 2 turns, 2 waits,"});
    assert_eq!(got, expect);
}

#[test]
#[ignore = "needs Chromium"]
fn keys_move_and_tell() {
    let got = open(
        &report(TURNS),
        "const canvas = document.querySelector('canvas[tabindex]');
         const key = (key) => canvas.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
         canvas.focus();
         key('n');
         out.first = document.getElementById('tip').querySelector('b').textContent;
         key('ArrowDown');
         out.lane = document.getElementById('announcement').textContent.slice(0, 8);
         key('t'); key('t');
         const next = document.getElementById('trouble-next');
         next.focus();
         next.click();
         out.trouble = document.getElementById('tip').querySelector('b').textContent;
         key('Escape');
         out.hidden = document.getElementById('tip').hidden;",
    );
    let expect = json!({"first": "a held the mutex", "lane": "b waited", "trouble": "a: conflict",
        "hidden": true});
    assert_eq!(got, expect);
}

#[test]
#[ignore = "needs Chromium"]
fn a_live_page_takes_more_events() {
    let report = Report { runs: vec![Run::new("live")], ..Report::default() };
    let got = open(
        &report,
        "out.bad = [timeline.push(null), timeline.push({ event: 'x' }), timeline.push({ t: 1, event: 'granted', module: 'a' }, 7)];
         for (let i = 0; i < 100; i += 1) timeline.push({ t: 5000 + i, event: 'requested', module: 'm' + (i % 70), request: i });
         timeline.push({ t: 5100, event: 'granted', module: 'm1', request: 1, token: '1', waited: 99 });
         timeline.now(5103);
         const run = timeline.runs[0];
         out.end = run.end;
         out.waits = run.count('wait');
         out.lanes = document.querySelectorAll('.names li').length;",
    );
    assert_eq!(got, json!({"bad": [false, false, false], "end": 103, "waits": 100, "lanes": 64}));
}

#[test]
#[ignore = "needs Chromium"]
fn a_live_page_forgets_and_starts_again() {
    let report = Report { runs: vec![Run::new("live")], ..Report::default() };
    let got = open(
        &report,
        "const turn = (n, t) => {
           timeline.push({ t, event: 'granted', module: 'a', request: n, token: String(n), waited: 0 });
           timeline.push({ t: t + 0.5, event: 'released', module: 'a', request: n, token: String(n), held: 0.5, depth: 0 });
         };
         timeline.push({ t: 0, event: 'requested', module: 'b', request: 1e6 });
         for (let n = 0; n < 40000; n += 1) turn(n, n);
         const run = timeline.runs[0];
         out.bounded = run.things.length <= 30000 && run.dropped > 10000;
         out.from = run.from > 10000;
         out.open = run.things.filter((thing) => thing.open).length;
         out.following = timeline.following;
         timeline.zoom(0, 1);
         out.elsewhere = timeline.following;
         timeline.forget();
         turn(7e6, 50000);
         out.forgotten = run.things.filter((thing) => thing.open).length;
         timeline.restart([{ module: 'c', group: 'c', priority: 1 }]);
         turn(1, 3);
         out.again = [timeline.runs[0].things.length, timeline.runs[0].end, timeline.following];
         timeline.wall(86400 * 365 + 3600);
         out.lanes = [...document.querySelectorAll('.names span')].map((name) => name.textContent).join();",
    );
    let expect = json!({"bounded": true, "from": true, "open": 1, "following": true, "elsewhere": false, "forgotten": 0,
        "again": [2, 0.5, true], "lanes": "c,a"});
    assert_eq!(got, expect);
}

#[test]
#[ignore = "needs Chromium"]
fn what_no_bar_shows_has_a_mark_even_if_it_is_new() {
    let report = Report { runs: vec![Run::new("live")], ..Report::default() };
    let names: Vec<&str> = EVENT_NAMES.iter().map(|(name, _)| *name).collect();
    let troubles: Vec<&str> = names.iter().copied().filter(|name| is_trouble(name)).collect();
    let got = open(
        &report,
        &format!(
            "for (const event of [...{names:?}, 'unheard_of', 'constructor']) timeline.push({{ t: 1, event, module: 'a' }});
             const marks = timeline.runs[0].things.filter((thing) => thing.kind === 'mark');
             const marked = new Set(marks.map((thing) => thing.name));
             out.without = {names:?}.filter((name) => !marked.has(name));
             out.marks = marks.length;
             out.troubles = marks.filter((thing) => thing.tone).map((thing) => thing.name);"
        ),
    );
    let without = ["requested", "granted", "nested", "released"];
    let marks = names.len() + 2 - without.len();
    assert_eq!(got, json!({"without": without, "marks": marks, "troubles": troubles}));
}

#[test]
#[ignore = "needs Chromium"]
fn hostile_and_odd_input_draws() {
    let evil = "</script><img src=x onerror=\"document.body.remove()\">\u{2028}";
    let mut run = Run::new(evil);
    run.events.push(
        json!({"t": -1e300, "event": "granted", "module": evil, "token": evil, "waited": "x"}),
    );
    run.events
        .push(json!({"t": 1e300, "event": "released", "module": evil, "token": evil, "held": -1}));
    run.events.push(json!({"t": 0, "event": "__proto__", "module": "constructor", "__proto__": 1}));
    run.actions.push(Action { module: evil.into(), verdict: evil.into(), ..Action::default() });
    let report =
        Report { title: evil.into(), runs: vec![run, Run::new("empty")], ..Report::default() };
    let got = open(
        &report,
        "timeline.zoom(0, 1);
         for (const canvas of document.querySelectorAll('canvas[tabindex]')) canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'n' }));
         out.images = document.images.length;
         out.name = document.querySelector('.names span').textContent.slice(0, 9);
         out.canvases = document.querySelectorAll('canvas[tabindex]').length;",
    );
    assert_eq!(got, json!({"images": 0, "name": "</script>", "canvases": 2}));
}
