//! The page in a real browser: `cargo test -p page -- --ignored`, with Chromium installed (or named in `CHROMIUM`).

use chromium::Browser;
use packet_mutex::{Limits, ModuleSpec, PacketMutex, Roster, RosterSpec, below};
use page::Page;
use serde_json::json;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(mutex: &PacketMutex, secret: Option<&str>) -> Page {
    Page::start("127.0.0.1:0", [mutex.clone()], secret.map(String::from)).unwrap()
}

fn is(browser: &mut Browser, expression: &str) {
    browser.wait(PATIENCE, expression).unwrap();
}

/// The text of the element with this id is so.
fn shows(browser: &mut Browser, id: &str, text: &str) {
    is(browser, &format!("document.getElementById({}).textContent === {}", json!(id), json!(text)));
}

fn live(browser: &mut Browser, page: &Page) {
    browser.open(&page.url()).unwrap();
    is(browser, "document.getElementById('link')?.dataset.state === 'live'");
}

#[test]
#[ignore = "needs Chromium"]
fn it_shows_who_holds_and_who_waits() {
    let mutex = PacketMutex::new(Roster::default());
    let page = start(&mutex, None);
    let mut browser = Browser::start().unwrap();
    live(&mut browser, &page);
    shows(&mut browser, "holder-name", "Free");
    let turn = mutex.acquire("fisher").unwrap();
    shows(&mut browser, "holder-name", "fisher");
    is(&mut browser, "document.getElementById('holder-facts').textContent.startsWith('token ')");
    is(&mut browser, "timeline.runs[0].things.some((t) => t.kind === 'hold' && t.open)");
    // It ticks without any event.
    is(&mut browser, "parseFloat(document.getElementById('holder-time').textContent) > 0.5");

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| mutex.acquire("eater").map(drop));
        is(&mut browser, "document.querySelector('#queue .name b')?.textContent === 'eater'");
        let why = "document.querySelector('#queue .why').textContent";
        is(
            &mut browser,
            &format!("{why} === \"waits for fisher's turn to end, then 1.0 s for the handover\""),
        );
        drop(turn);
        is(&mut browser, "document.getElementById('holder').dataset.state === 'handover'");
        is(&mut browser, &format!("/waits 0\\.\\d s for the handover from fisher/.test({why})"));
        waiting.join().unwrap().unwrap();
    });
    is(&mut browser, "document.getElementById('queue').children.length === 0");
    shows(&mut browser, "figure-turns", "2");
    is(&mut browser, "document.querySelectorAll('#modules tr').length === 6");
    shows(&mut browser, "key", "Read only");

    assert_eq!(browser.complaints().unwrap(), [""; 0]);
    let requests = browser.requests().unwrap();
    let elsewhere: Vec<_> = requests
        .iter()
        .filter(|url| !url.starts_with(&page.url()) && !url.starts_with("data:"))
        .collect();
    assert!(!requests.is_empty() && elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
#[ignore = "needs Chromium"]
fn it_follows_until_one_looks_elsewhere() {
    let mutex = PacketMutex::new(Roster::default());
    let page = start(&mutex, None);
    let mut browser = Browser::start().unwrap();
    live(&mut browser, &page);
    for _ in 0..3 {
        drop(mutex.acquire("fisher").unwrap());
    }
    let button = "document.getElementById('live').getAttribute('aria-pressed')";
    let pressed = format!("{button} === 'true'");
    let let_go = format!("{button} === 'false'");
    is(&mut browser, "timeline.runs[0].count('hold') === 3 && timeline.runs[0].end > 1.2");
    is(&mut browser, &pressed);
    // Zooming with the keys keeps the right edge; zooming to the past does not.
    browser.eval("document.querySelector('canvas[tabindex]').focus()").unwrap();
    browser.key("+").unwrap();
    is(&mut browser, "timeline.following");
    browser.eval("timeline.zoom(0, 0.5)").unwrap();
    is(&mut browser, &let_go);
    let end = browser.eval("timeline.runs[0].end").unwrap().as_f64().unwrap();
    is(&mut browser, &format!("timeline.runs[0].end > {end} + 0.3 && !timeline.following"));
    browser.key("l").unwrap();
    is(&mut browser, &pressed);
    // Dragging to the right looks at what was.
    let box_ = browser
        .eval("(() => { const b = document.querySelector('canvas[tabindex]').getBoundingClientRect(); return [b.left + b.width / 2, b.top + 60]; })()")
        .unwrap();
    let (x, y) = (box_[0].as_f64().unwrap(), box_[1].as_f64().unwrap());
    browser.eval("timeline.zoom(timeline.runs[0].end - 0.4, timeline.runs[0].end)").unwrap();
    for (kind, by) in [
        ("mousePressed", 0.0),
        ("mouseMoved", 150.0),
        ("mouseMoved", 200.0),
        ("mouseReleased", 200.0),
    ] {
        let at = json!({"type": kind, "x": x + by, "y": y, "button": "left", "buttons": 1, "clickCount": 1});
        browser.call("Input.dispatchMouseEvent", at).unwrap();
    }
    is(&mut browser, &let_go);
    browser.eval("document.getElementById('live').click()").unwrap();
    is(&mut browser, &pressed);
    // Whoever sees all goes on seeing all.
    browser.eval("document.getElementById('zoom-fit').click()").unwrap();
    is(&mut browser, &pressed);
    assert_eq!(browser.complaints().unwrap(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium"]
fn it_comes_back_after_a_restart() {
    let mutex = PacketMutex::new(Roster::default());
    let page = start(&mutex, None);
    let address = page.address().to_string();
    let mut browser = Browser::start().unwrap();
    live(&mut browser, &page);
    for _ in 0..5 {
        drop(mutex.acquire("fisher").unwrap());
    }
    shows(&mut browser, "figure-turns", "5");
    drop(page);
    is(&mut browser, "document.getElementById('link').dataset.state === 'lost'");

    let other = PacketMutex::new(Roster::default());
    let _page = Page::start(&address, [other.clone()], None).unwrap();
    let turn = other.acquire("runemaker").unwrap();
    shows(&mut browser, "holder-name", "runemaker");
    shows(&mut browser, "figure-turns", "1");
    is(&mut browser, "timeline.runs[0].count('hold') === 1");
    is(&mut browser, "document.getElementById('link').dataset.state === 'live'");
    drop(turn);
    assert!(only_lost_connections(&mut browser));
}

/// Nothing else is in the browser's own log.
fn only_lost_connections(browser: &mut Browser) -> bool {
    browser.complaints().unwrap().iter().all(|it| it.contains("net::ERR_"))
}

/// Passes connections on to the page, until they are cut.
struct Wire {
    address: String,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(page: &Page) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (ends, to) = (Arc::new(Mutex::new(Vec::new())), page.address());
        let kept = ends.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(to) else { return };
                for (mut from, mut to) in [(&near, &far), (&far, &near)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                kept.lock().unwrap().extend([near, far]);
            }
        });
        Wire { address, ends }
    }

    fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

#[test]
#[ignore = "needs Chromium"]
fn after_a_cut_nothing_is_missing_and_nothing_twice() {
    let mutex = PacketMutex::new(Roster::default());
    let page = start(&mutex, None);
    let wire = Wire::to(&page);
    let mut browser = Browser::start().unwrap();
    browser.open(&format!("http://{}/", wire.address)).unwrap();
    is(&mut browser, "document.getElementById('link')?.dataset.state === 'live'");
    // It goes on with what it has.
    browser.eval("window.before = timeline.runs[0]; 0").unwrap();
    let mut last = mutex.acquire("fisher").unwrap();
    for turns in 2..6 {
        wire.cut();
        drop(last);
        last = mutex.acquire("fisher").unwrap();
        shows(&mut browser, "figure-turns", &turns.to_string());
        is(&mut browser, &format!("timeline.runs[0].count('hold') === {turns}"));
        is(&mut browser, "timeline.runs[0].things.filter((t) => t.open).length === 1");
        is(&mut browser, "timeline.runs[0] === before");
    }
    assert!(only_lost_connections(&mut browser));
}

#[test]
#[ignore = "needs Chromium"]
fn missed_events_are_told() {
    let limits = Limits { events: 16, ..Limits::default() };
    let roster = Roster::new(RosterSpec { limits, ..Roster::default().into_spec() }).unwrap();
    let mutex = PacketMutex::new(roster);
    for _ in 0..10 {
        drop(mutex.acquire("fisher").unwrap());
    }
    let page = start(&mutex, None);
    let mut browser = Browser::start().unwrap();
    live(&mut browser, &page);
    shows(&mut browser, "figure-missed", "14");
    is(&mut browser, "!document.getElementById('missed').hidden");
}

#[test]
#[ignore = "needs Chromium"]
fn a_phone_never_scrolls_sideways() {
    let mut spec = Roster::default().into_spec();
    spec.modules.push(ModuleSpec::new(&"long_name.".repeat(6), 255));
    let mutex = PacketMutex::new(Roster::new(spec).unwrap());
    let long = "a".repeat(190);
    mutex.pause(below(10), &long).unwrap();
    let page = start(&mutex, Some("s"));
    let _turn = mutex.acquire("long_name.".repeat(6).as_str()).unwrap();
    let mut browser = Browser::start().unwrap();
    browser.resize(360, 740, true).unwrap();
    browser
        .prefer(&[("prefers-color-scheme", "dark"), ("prefers-reduced-motion", "reduce")])
        .unwrap();
    live(&mut browser, &page);
    let fits = "document.documentElement.scrollWidth <= 360 && innerWidth === 360";
    is(&mut browser, fits);
    browser.eval("sessionStorage.setItem('packet-mutex-secret', 's')").unwrap();
    browser.reload().unwrap();
    is(&mut browser, "document.body?.classList.contains('unlocked') === true");
    is(&mut browser, "document.querySelectorAll('#modules tr').length === 7");
    std::thread::scope(|scope| {
        for module in ["eater", "trainer", "stacker"] {
            let mutex = &mutex;
            scope.spawn(move || {
                mutex.request(module).timeout(Duration::from_secs(5)).acquire().is_ok()
            });
        }
        is(&mut browser, "document.querySelectorAll('#queue li').length === 3");
        is(&mut browser, fits);
        browser.eval("document.getElementById('pause').elements.level.value = 'below'; document.getElementById('pause-below').hidden = false").unwrap();
        is(&mut browser, fits);
        // What is touched is large enough to be hit.
        is(
            &mut browser,
            "[...document.querySelectorAll('button, select')].filter((b) => b.checkVisibility()).every((b) => b.getBoundingClientRect().height >= 32)",
        );
        for module in ["eater", "trainer", "stacker"] {
            mutex.cancel(module).unwrap();
        }
    });
    let dark = "getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 27)'";
    is(&mut browser, dark);
    browser.prefer(&[("prefers-color-scheme", "light")]).unwrap();
    is(&mut browser, &format!("!({dark})"));
    assert_eq!(browser.complaints().unwrap(), [""; 0]);
}

#[test]
#[ignore = "needs Chromium"]
fn the_keyboard_reaches_all_of_it() {
    let mutex = PacketMutex::new(Roster::default());
    mutex.pause(below(10), "alarm").unwrap();
    let page = start(&mutex, Some("s"));
    let mut browser = Browser::start().unwrap();
    browser.open(&page.url()).unwrap();
    browser.eval("sessionStorage.setItem('packet-mutex-secret', 's')").unwrap();
    browser.reload().unwrap();
    is(&mut browser, "document.querySelectorAll('#modules tr').length === 6");
    is(&mut browser, "document.body.classList.contains('unlocked')");
    let all = "[...document.querySelectorAll('button, select, input, summary, canvas[tabindex], [tabindex=\"0\"]')].filter((e) => e.checkVisibility() && !e.disabled)";
    browser
        .eval(&format!(
            "window.unseen = new Set({all}); window.blind = []; window.count = unseen.size; 0"
        ))
        .unwrap();
    assert!(browser.eval("count").unwrap().as_u64().unwrap() > 25);
    for _ in 0..60 {
        browser.key("Tab").unwrap();
        browser
            .eval(
                "(() => { const e = document.activeElement; unseen.delete(e);
                 const box = e.matches('canvas') ? e.closest('.chart') : e;
                 if (e !== document.body && getComputedStyle(box).outlineStyle === 'none') blind.push(e.id || e.textContent); })()",
            )
            .unwrap();
    }
    let left = browser.eval("[...unseen].map((e) => e.id || e.textContent)").unwrap();
    assert_eq!(left, json!([]), "cannot be reached");
    assert_eq!(browser.eval("blind").unwrap(), json!([]), "the focus cannot be seen");
}

#[test]
#[ignore = "needs Chromium"]
fn steering_needs_the_secret() {
    let mutex = PacketMutex::new(Roster::default());
    let secret = "ein geheimer Schlüssel ✓";
    let page = start(&mutex, Some(secret));
    let mut browser = Browser::start().unwrap();
    live(&mut browser, &page);
    shows(&mut browser, "key", "Steer…");
    is(
        &mut browser,
        "[...document.querySelectorAll('.steers')].every((e) => !e.checkVisibility())",
    );

    browser.eval("document.getElementById('key').focus()").unwrap();
    browser.key("Enter").unwrap();
    is(&mut browser, "document.activeElement.id === 'secret'");
    browser.text("wrong").unwrap();
    browser.key("Enter").unwrap();
    is(
        &mut browser,
        "document.getElementById('unlock-why').textContent.startsWith('unauthorized')",
    );
    is(&mut browser, "!document.body.classList.contains('unlocked')");
    // The refusal is also in the browser's own log, which is right.
    let complaints = browser.complaints().unwrap();
    assert!(complaints.iter().all(|it| it.contains("401")), "{complaints:?}");
    browser.text(secret).unwrap();
    browser.key("Enter").unwrap();
    is(
        &mut browser,
        "document.body.classList.contains('unlocked') && !document.getElementById('unlock').open",
    );

    let press = |browser: &mut Browser, label: &str| {
        let button = format!("document.querySelector('[aria-label={}]')", json!(label));
        browser.eval(&format!("{button}.focus()")).unwrap();
        browser.key("Enter").unwrap();
    };
    press(&mut browser, "Disable or enable fisher");
    shows(&mut browser, "outcome", "fisher is disabled");
    assert!(mutex.try_acquire("fisher").is_err());
    is(
        &mut browser,
        "[...document.querySelectorAll('#modules .chip')].some((c) => c.textContent === 'disabled' && !c.hidden)",
    );
    press(&mut browser, "Disable or enable fisher");
    shows(&mut browser, "outcome", "fisher is enabled");
    browser
        .eval("(() => { const s = document.querySelector('[aria-label=\"Mode of eater\"]'); s.value = 'observed'; s.dispatchEvent(new Event('change')); })()")
        .unwrap();
    shows(&mut browser, "outcome", "eater is observed");

    browser.eval("document.getElementById('pause').elements.reason.focus()").unwrap();
    browser.text("alarm").unwrap();
    browser.key("Enter").unwrap();
    is(
        &mut browser,
        "document.getElementById('signs').textContent.startsWith('Paused: alarm, all but urgent')",
    );
    assert_eq!(mutex.status().paused.len(), 1);
    browser.eval("document.querySelector('#signs button').focus()").unwrap();
    browser.key("Enter").unwrap();
    is(&mut browser, "document.getElementById('signs').children.length === 0");
    assert!(mutex.status().paused.is_empty());

    // It is kept over a reload, and forgotten on demand.
    browser.reload().unwrap();
    is(&mut browser, "document.body?.classList.contains('unlocked') === true");
    browser.eval("document.getElementById('key').click()").unwrap();
    is(
        &mut browser,
        "!document.body.classList.contains('unlocked') && sessionStorage.length === 0",
    );
    assert_eq!(browser.complaints().unwrap(), [""; 0]);
}
