//! What the view shows, as text, and what its keys ask for.

use super::draw::draw;
use super::screen::Screen;
use super::view::{Action, Order, View};
use packet_mutex::{
    Below, Event, HolderStatus, Mode, ModuleStatus, PauseStatus, Percentiles, Roster, Status,
    Steer, Time, Token, WaiterStatus, all_but_urgent,
};
use packet_mutex_arbiter::RequestId;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use std::sync::Arc;
use std::time::Duration;

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn module(name: &str, turns: u64, timeouts: u64) -> ModuleStatus {
    let times = Percentiles { p50: secs(0.05), p99: secs(2.25), max: secs(130.0) };
    ModuleStatus {
        module: name.into(),
        mode: Mode::Enforced,
        disabled: false,
        turns,
        passes: 0,
        timeouts,
        wait: times,
        hold: times,
    }
}

fn waiter(name: &str, priority: u8, waited: f64) -> WaiterStatus {
    WaiterStatus {
        request: RequestId(1),
        module: name.into(),
        priority,
        effective: f64::from(priority),
        waited: secs(waited),
        deadline: secs(30.0 - waited),
        urgent: false,
        paused: None,
    }
}

/// The mutex of the default roster, with nobody at it.
fn idle() -> Status {
    let names = ["auto_loot", "eater", "fisher", "runemaker", "stacker", "trainer"];
    Status {
        now: Time::from_nanos(30_000_000_000),
        holder: None,
        waiters: Vec::new(),
        last: None,
        next: None,
        paused: Vec::new(),
        modules: names.map(|name| module(name, 0, 0)).into(),
        closed: false,
        abandoned: false,
    }
}

fn busy() -> Status {
    Status {
        holder: Some(HolderStatus {
            module: "fisher".into(),
            token: Token(42),
            held: secs(1.26),
            depth: 2,
        }),
        waiters: vec![waiter("runemaker", 100, 0.4), waiter("eater", 20, 12.0)],
        last: Some(("trainer".into(), secs(2.0))),
        next: Some(("runemaker".into(), secs(1.0))),
        modules: vec![
            module("fisher", 12, 0),
            module("runemaker", 3, 0),
            module("eater", 0, 1),
            ModuleStatus { mode: Mode::Observed, ..module("bystander", 2, 0) },
        ],
        ..idle()
    }
}

fn view(status: Status) -> View {
    View::new("main", "unix:/run/user/1000/packet-mutex.sock", &Roster::default(), status)
}

fn events(lines: &str) -> Vec<Event> {
    lines.lines().map(|line| serde_json::from_str(line.trim()).unwrap()).collect()
}

/// A busy mutex and how it came to that.
fn busy_view() -> View {
    let mut view = view(busy());
    let log = events(
        r#"{"seq":1,"t":2,"event":"granted","module":"runemaker","request":1,"token":"40","waited":0,"others":0}
        {"seq":2,"t":8,"event":"released","module":"runemaker","request":1,"token":"40","held":6,"depth":0}
        {"seq":3,"t":10,"event":"granted","module":"bystander","request":2,"token":null,"pass":true,"waited":0,"others":0}
        {"seq":4,"t":12,"event":"released","module":"bystander","request":2,"token":null,"pass":true,"held":2,"depth":0}
        {"seq":5,"t":12,"event":"timed_out","module":"eater","request":3,"waited":10}
        {"seq":6,"t":18,"event":"requested","module":"eater","request":4,"timeout":30}
        {"seq":7,"t":28.74,"event":"granted","module":"fisher","request":5,"token":"42","waited":0,"others":0}
        {"seq":8,"t":29.6,"event":"requested","module":"runemaker","request":6,"timeout":30}"#,
    );
    view.update(&log, Ok(busy()));
    view
}

fn terminal(view: &View, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(view, frame)).unwrap();
    terminal
}

/// The rows of the screen without what is empty at their ends.
fn screen(view: &View, width: u16, height: u16) -> String {
    let terminal = terminal(view, width, height);
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(width));
    let row = |row: &[ratatui::buffer::Cell]| {
        row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
    };
    rows.map(row).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn shows(view: &View, (width, height): (u16, u16), expect: &str) {
    let got = screen(view, width, height);
    let expect = expect.trim_matches('\n');
    assert!(got.trim_end() == expect, "{width} x {height}:\n{got}\n\nexpected:\n{expect}");
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn press(view: &mut View, keys: &str) -> Option<Action> {
    keys.chars().map(|letter| view.key(key(KeyCode::Char(letter)))).last().flatten()
}

/// What a key asks for that is done in one step.
fn order(command: &str, step: Steer<Arc<str>>) -> Option<Action> {
    Some(Action::Steer(Order { command: command.into(), steps: vec![step] }))
}

fn resume(reasons: &[&str]) -> Option<Action> {
    let step = |reason: &&str| Steer::Resume { reason: Some((*reason).to_owned()) };
    let steps = reasons.iter().map(step).collect();
    Some(Action::Steer(Order { command: "resume".into(), steps }))
}

#[test]
fn a_busy_mutex() {
    shows(
        &busy_view(),
        (80, 24),
        r#"
 main  unix:/run/user/1000/packet-mutex.sock                             ● live

 ● fisher has held for 1.3 s, token 42, 2 turns deep
   next runemaker, 1.0 s after the turn, if it ended now

   2 waiting  prio       for  why
 ○ runemaker   100     0.4 s  for fisher's turn to end, then 1.0 s for the han…
 ○ eater        20    12.0 s  behind runemaker






     module             last 30 s                       turns timeouts wait p50
 ▸ ○ runemaker           ███████                    ░       3        ·    50 ms
   ● fisher                                        ██      12        ·    50 ms
   ○ eater               ░░░░░░░░░░!     ░░░░░░░░░░░░       ·        1        ·
     bystander observed          ▒▒▒                        2        ·    50 ms
                                  -20 s           now



 ? help  q quit  ↑↓ choose  c cancel  d disable  p pause  m mode  +- time
"#,
    );
}

#[test]
fn a_small_terminal() {
    shows(
        &busy_view(),
        (60, 15),
        r#"
 main  unix:/run/user/1000/packet-mutex.sock         ● live
 ● fisher has held for 1.3 s, token 42, 2 turns deep
   next runemaker, 1.0 s after the turn, if it ended now
   2 waiting  prio       for  why
 ○ runemaker   100     0.4 s  for fisher's turn to end, th…
 ○ eater        20    12.0 s  behind runemaker


     module             last 30 s            turns timeouts
 ▸ ○ runemaker           ████            ░       3        ·
   ● fisher                              █      12        ·
   ○ eater               ░░░░░░!  ░░░░░░░░       ·        1
     bystander observed       ▒▒                 2        ·
                              -20 s    now
 ? help  q quit  ↑↓ choose  c cancel  d disable  p pause
"#,
    );
}

#[test]
fn a_large_terminal() {
    shows(
        &busy_view(),
        (140, 30),
        r#"
 main  unix:/run/user/1000/packet-mutex.sock                                                                                         ● live

 ● fisher has held for 1.3 s, token 42, 2 turns deep
   next runemaker, 1.0 s after the turn, if it ended now

   2 waiting  prio       for    at most  why
 ○ runemaker   100     0.4 s     29.6 s  for fisher's turn to end, then 1.0 s for the handover
 ○ eater        20    12.0 s     18.0 s  behind runemaker






     module             last 30 s  █ holds  ░ waits  · handover                          turns timeouts wait p50      max hold p50      max
 ▸ ○ runemaker              █████████████                                            ░       3        ·    50 ms 2:10 min    50 ms 2:10 min
   ● fisher                                                                        ███      12        ·    50 ms 2:10 min    50 ms 2:10 min
   ○ eater                  ░░░░░░░░░░░░░░░░░░░░!            ░░░░░░░░░░░░░░░░░░░░░░░░░       ·        1        ·        ·        ·        ·
     bystander observed                     ▒▒▒▒▒                                            2        ·    50 ms 2:10 min    50 ms 2:10 min
                        -30 s                -20 s                -10 s            now

 recently
        8.000  runemaker  released after 6.0 s
       10.000  bystander  passes
       12.000  bystander  released after 2.0 s
 !     12.000  eater      timed out after 10.0 s
       28.740  fisher     granted after 0 ms


 ? help  q quit  ↑↓ choose  c cancel  d disable  p pause  m mode  +- time
"#,
    );
}

#[test]
fn nobody_at_it() {
    shows(
        &view(idle()),
        (80, 20),
        r#"
 main  unix:/run/user/1000/packet-mutex.sock                             ● live

 ○ free


   nobody is waiting



     module    last 30 s                                turns timeouts wait p50
 ▸   runemaker                                              ·        ·        ·
     trainer                                                ·        ·        ·
     fisher                                                 ·        ·        ·
     auto_loot                                              ·        ·        ·
     stacker                                                ·        ·        ·
     eater                                                  ·        ·        ·
               -30 s        -20 s        -10 s    now


 ? help  q quit  ↑↓ choose  c cancel  d disable  p pause  m mode  +- time
"#,
    );
}

#[test]
fn what_is_out_of_the_ordinary() {
    let mut status = busy();
    status.holder = None;
    status.next = None;
    let pause = |reason: &str, below, left: Option<f64>| PauseStatus {
        reason: reason.into(),
        below,
        left: left.map(secs),
    };
    status.paused = vec![
        pause("réparations", Below::Urgent, Some(75.0)),
        pause("lunch", Below::Priority(60), None),
    ];
    status.closed = true;
    status.abandoned = true;
    status.waiters[0].urgent = true;
    status.waiters[1].paused = Some("lunch".into());
    status.waiters[1].effective = 44.0;
    status.modules[0].disabled = true;
    shows(
        &view(status),
        (80, 24),
        r#"
 main  unix:/run/user/1000/packet-mutex.sock                             ● live

 ○ free, last trainer, ended 2.0 s ago
   nobody is next

 ! closed: it accepts no more requests
 ‖ paused: réparations (all but urgent, 75.0 s more)
 ‖ paused: lunch (all below 60)
 ! a turn was abandoned or revoked and nobody has acknowledged it
   2 waiting  prio   aged       for  why
 ! runemaker   100  100.0     0.4 s  urgent, for the handover from trainer
 ‖ eater        20   44.0    12.0 s  until the pause "lunch" ends


     module             last 30 s                       turns timeouts wait p50
 ▸ ○ runemaker                                              3        ·    50 ms
     fisher    disabled                                    12        ·    50 ms
   ○ eater                                                  ·        1        ·
     bystander observed                                     2        ·    50 ms
                                  -20 s           now



 ? help  q quit  ↑↓ choose  c cancel  d disable  r resume  m mode  +- time
"#,
    );
}

#[test]
fn a_server_that_is_gone() {
    let mut view = busy_view();
    view.tick(secs(1.0));
    view.update(&[], Err("unavailable: unix:/run/x cannot be reached".into()));
    view.tick(secs(13.0));
    shows(
        &view,
        (80, 20),
        r#"
 main  unix:/run/user/1000/packet-mutex.sock                     ! reconnecting

 ● fisher has held for 1.3 s, token 42, 2 turns deep
   next runemaker, 1.0 s after the turn, if it ended now

 ! not connected; this is 13.0 s old: unavailable: unix:/run/x cannot be reach…
   2 waiting  prio       for  why
 ○ runemaker   100     0.4 s  for fisher's turn to end, then 1.0 s for the han…
 ○ eater        20    12.0 s  behind runemaker


     module             last 30 s                       turns timeouts wait p50
 ▸ ○ runemaker           ███████                    ░       3        ·    50 ms
   ● fisher                                        ██      12        ·    50 ms
   ○ eater               ░░░░░░░░░░!     ░░░░░░░░░░░░       ·        1        ·
     bystander observed          ▒▒▒                        2        ·    50 ms
                                  -20 s           now


 ? help  q quit  ↑↓ choose  c cancel  d disable  p pause  m mode  +- time
"#,
    );
    view.update(&[], Ok(idle()));
    assert!(screen(&view, 80, 20).contains("● live"));
}

#[test]
fn long_names_many_waiters_and_modules() {
    let mut status = busy();
    let name =
        |n: usize| format!("{n}-{}", "a-very-long-name".repeat(4)).chars().take(64).collect();
    let names: Vec<String> = (0..30).map(name).collect();
    status.waiters = names.iter().map(|name| waiter(name, 50, 3.0)).collect();
    status.modules = names.iter().map(|name| module(name, 1_234_567, 3)).collect();
    let mut view = view(status);
    view.url = format!("unix:/{}", "long/".repeat(40));
    (0..9).for_each(|_| drop(view.key(key(KeyCode::Down))));
    shows(
        &view,
        (80, 24),
        r#"
 main  …ong/long/long/long/long/long/long/long/long/long/long/long/long/ ● live

 ● fisher has held for 1.3 s, token 42, 2 turns deep
   next runemaker, 1.0 s after the turn, if it ended now

   30 waiting            prio       for  why
 ○ 0-a-very-long-namea…    50     3.0 s  for fisher's turn to end
 ○ 1-a-very-long-namea…    50     3.0 s  behind 0-a-very-long-namea-very-long-…
   … and 28 more

     module ↑1 ↓20        last 30 s                     turns timeouts wait p50
   ○ 1-a-very-long-namea…                             1234567        3    50 ms
   ○ 2-a-very-long-namea…                             1234567        3    50 ms
   ○ 3-a-very-long-namea…                             1234567        3    50 ms
   ○ 4-a-very-long-namea…                             1234567        3    50 ms
   ○ 5-a-very-long-namea…                             1234567        3    50 ms
   ○ 6-a-very-long-namea…                             1234567        3    50 ms
   ○ 7-a-very-long-namea…                             1234567        3    50 ms
   ○ 8-a-very-long-namea…                             1234567        3    50 ms
 ▸ ○ 9-a-very-long-namea…                             1234567        3    50 ms
                                   -20 s          now


 ? help  q quit  ↑↓ choose  c cancel  d disable  p pause  m mode  +- time
"#,
    );
}

#[test]
fn the_help() {
    let mut view = busy_view();
    press(&mut view, "?");
    shows(
        &view,
        (60, 15),
        r#"
 main  unix:/run/user/1000/packet-mutex.sock         ● live
 ┌ keys and marks ───────────────────────────────────────┐
 │ ↑ ↓      choose a module                              │
 │ c        cancel its waiting requests                  │
 │ d, e     disable it, enable it                        │…
 │ m        switch its mode                              │
 │ p, r     pause all but urgent requests, resume        │
 │ +, -     show a longer, a shorter time                │
 │ Ctrl-Z   suspend; Ctrl-L redraws                      │s
 │ q        quit, as do Esc and Ctrl-C                   │·
 │                                                       │·
 │ █ holds  ░ waits  · handover  ▒ observed  ! trouble   │1
 │ ● holds  ○ waits  ! urgent  ‖ held back by a pause    │·
 └───────────────────────────────────────────────────────┘
 ? help  q quit  ↑↓ choose  c cancel  d disable  p pause
"#,
    );
    assert_eq!(press(&mut view, "q"), None, "it closes the help");
    assert_eq!(press(&mut view, "q"), Some(Action::Quit));
}

/// What does harm is done after a `y` and nothing else.
#[test]
fn keys_ask_for_what_they_do() {
    let mut view = busy_view();
    let runemaker = || "runemaker".into();
    assert_eq!(press(&mut view, "cn"), None);
    assert_eq!(press(&mut view, "c"), None);
    assert!(screen(&view, 80, 24).contains("? cancel runemaker: end 1 waiting request?"));
    assert_eq!(
        press(&mut view, "y"),
        order("cancel runemaker", Steer::Cancel { module: runemaker() })
    );
    assert_eq!(
        press(&mut view, "dy"),
        order("disable runemaker", Steer::Disable { module: runemaker() })
    );
    assert_eq!(
        press(&mut view, "mo"),
        order("mode runemaker observed", Steer::Mode { module: runemaker(), mode: Mode::Observed })
    );
    assert_eq!(press(&mut view, "mq"), None, "an answer, not the key to leave");
    let reason = "paused from the view".to_owned();
    let pause = Steer::Pause { reason, below: all_but_urgent(), lasts: None };
    assert_eq!(press(&mut view, "py"), order("pause", pause));
    assert_eq!(press(&mut view, "r"), None);
    assert!(screen(&view, 80, 24).contains("nothing is paused"));
    view.key(key(KeyCode::End));
    view.key(key(KeyCode::Up));
    view.key(key(KeyCode::Up));
    assert_eq!(press(&mut view, "c"), None);
    assert!(screen(&view, 80, 24).contains("fisher has no waiting requests"));
    assert_eq!(view.key(key(KeyCode::Esc)), Some(Action::Quit));
    let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    press(&mut view, "d");
    assert_eq!(view.key(control('c')), Some(Action::Quit), "even while it asks");
    assert_eq!(view.key(control('z')), Some(Action::Suspend));
}

#[test]
fn what_was_done_is_told_for_a_while() {
    let mut view = busy_view();
    let module = "fisher".into();
    let order = Order { command: "disable fisher".into(), steps: vec![Steer::Disable { module }] };
    view.steered(&order, Err("unavailable: it is gone".into()));
    assert!(screen(&view, 80, 24).contains("! not done: disable fisher: unavailable"));
    view.steered(&order, Ok(()));
    assert!(screen(&view, 60, 15).contains("✓ done: disable fisher"));
    view.tick(secs(9.0));
    assert!(view.message().is_some());
    view.tick(secs(11.0));
    assert!(view.message().is_none());
}

#[test]
fn one_pause_is_ended_at_once_and_several_after_a_question() {
    let pause =
        |reason: &str| PauseStatus { reason: reason.into(), below: Below::Urgent, left: None };
    let mut status = busy();
    status.paused = vec![pause("a")];
    let mut view = view(status.clone());
    assert_eq!(press(&mut view, "r"), resume(&["a"]));
    status.paused.push(pause("b"));
    view.update(&[], Ok(status));
    assert_eq!(press(&mut view, "r"), None);
    assert_eq!(press(&mut view, "y"), resume(&["a", "b"]));
}

/// Another server has another clock and numbers its events anew.
#[test]
fn a_new_server_begins_a_new_picture() {
    let mut view = busy_view();
    assert!(screen(&view, 100, 30).contains("timed out after 10.0 s"));
    let first = r#"{"seq":1,"t":0.5,"event":"granted","module":"eater","request":1,"token":"90","waited":0,"others":0}"#;
    view.update(&events(first), Err("not yet".into()));
    let status = Status { now: Time::from_nanos(1_000_000_000), ..idle() };
    view.update(&[], Ok(status));
    let shown = screen(&view, 100, 30);
    assert!(shown.contains("granted after 0 ms") && !shown.contains("timed out"), "{shown}");
    assert!(shown.contains('█'), "{shown}");
    // One that has had no events yet is known by its clock.
    let mut view = busy_view();
    let status = Status { now: Time::from_nanos(1_000_000_000), ..idle() };
    view.update(&[], Ok(status));
    assert!(!screen(&view, 100, 30).contains("timed out"));
}

#[test]
fn a_silent_server_is_said_to_be() {
    let mut view = busy_view();
    view.tick(secs(2.0));
    assert!(screen(&view, 80, 24).contains("● live"));
    view.tick(secs(4.0));
    assert!(screen(&view, 80, 24).contains("○ no answer for 4.0 s"));
}

/// Without colours the text is the same and no cell has one.
#[test]
fn without_colours_everything_is_there() {
    let coloured = |view: &View| {
        let terminal = terminal(view, 140, 30);
        let cells = terminal.backend().buffer().content.iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    let mut view = busy_view();
    let with = screen(&view, 140, 30);
    assert!(coloured(&view) > 50);
    view.colours = false;
    assert_eq!(coloured(&view), 0);
    assert_eq!(screen(&view, 140, 30), with);
}

#[test]
fn any_size_is_drawn() {
    for view in [busy_view(), view(idle())] {
        for (width, height) in (1..30).flat_map(|w| (1..30).map(move |h| (w * 3, h))) {
            assert_eq!(screen(&view, width, height).split('\n').count(), usize::from(height));
        }
    }
}

/// Nothing that a log or a server says steers the terminal.
#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut status = busy();
    status.paused =
        vec![PauseStatus { reason: "\u{1b}[2J\u{7}".into(), below: Below::Urgent, left: None }];
    let mut view = view(status);
    let line = r#"{"seq":1,"t":1,"event":"resumed","module":"\u001b[31m","reason":"\u001b]0;x"}"#;
    view.update(&events(line), Err("\u{1b}c".into()));
    let shown = screen(&view, 100, 40);
    assert!(shown.contains("resumed: ]0;x") && shown.contains("[2J"), "{shown}");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
}

#[cfg(unix)]
#[path = "../../tests/tmux/mod.rs"]
mod tmux;

/// A panic is told on the screen that was there before.
#[cfg(unix)]
#[test]
fn a_panic_gives_the_terminal_back() {
    for (test, code) in [("panics_in_its_view", "101"), ("panics_beside_its_view", "0")] {
        let Some(tmux) = tmux::Tmux::new(80, 24) else { return };
        let tests = std::env::current_exe().unwrap();
        let tests = tests.display();
        tmux.line(&format!(
            "RUST_BACKTRACE=0 {tests} --ignored --exact watch::tests::{test} --nocapture; echo code $?"
        ));
        let screen = tmux.is_as_before(code);
        assert!(screen.contains("provoked"), "{screen}");
    }
}

#[test]
#[ignore = "another test runs it, in a terminal"]
fn panics_in_its_view() {
    let mut screen = Screen::new().unwrap();
    screen.terminal().unwrap().draw(|_| panic!("provoked")).unwrap();
}

#[test]
#[ignore = "another test runs it, in a terminal"]
fn panics_beside_its_view() {
    let mut screen = Screen::new().unwrap();
    screen.terminal().unwrap().draw(|_| {}).unwrap();
    std::thread::spawn(|| panic!("provoked")).join().unwrap_err();
    assert!(screen.terminal().is_err());
}
