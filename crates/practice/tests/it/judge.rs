//! The judge on logs written by hand.

use practice::judge::{Counts, Frame, Sent, Waited, judge};
use practice::wire::{Effect, Verdict};

fn sent(n: u32, module: &str, cycle: u64, token: Option<&str>) -> Sent {
    let (module, token) = (module.to_owned(), token.map(str::to_owned));
    Sent { t: f64::from(n), connection: None, n, module, cycle, token }
}

fn seen(n: u32, t: f64, hex: &str, verdict: Verdict, effects: &[Effect]) -> Frame {
    Frame { t, connection: None, n, hex: hex.to_owned(), verdict, effects: effects.to_vec() }
}

fn group(module: &str) -> String {
    match module {
        "stacker" => "fisher".to_owned(),
        other => other.to_owned(),
    }
}

fn of_sends(sends: &[Sent]) -> Counts {
    judge(&[], sends, &[], group)
}

#[test]
fn nothing_is_clean() {
    let counts = of_sends(&[]);
    assert!(counts.clean());
    assert_eq!(counts.modules.len(), 6, "each module is there, served or not");
    assert_eq!(counts.min_handover_s, None);
}

#[test]
fn a_frame_inside_another_modules_cycle_is_interleaved_once() {
    let counts = of_sends(&[
        sent(0, "runemaker", 1, None),
        sent(1, "fisher", 1, None),
        sent(2, "trainer", 1, None),
        sent(3, "runemaker", 1, None),
        sent(4, "trainer", 1, None),
    ]);
    // Frames 1 and 2 are inside the runemaker's, frame 3 inside the trainer's.
    assert_eq!(counts.interleavings, 3);
}

#[test]
fn cycles_one_after_the_other_are_not_interleaved() {
    let counts = of_sends(&[
        sent(0, "runemaker", 1, None),
        sent(1, "runemaker", 1, None),
        sent(2, "fisher", 1, None),
        sent(3, "runemaker", 2, None),
        sent(4, "runemaker", 2, None),
    ]);
    assert_eq!(counts.interleavings, 0);
}

#[test]
fn verdicts_and_effects_are_counted() {
    let spell = "96010a0061647572612076697461";
    let frames = [
        seen(0, 0.0, "82", Verdict::Ok, &[Effect::Meal]),
        seen(1, 1.0, "83", Verdict::Exhausted, &[]),
        seen(2, 2.0, "78", Verdict::NotPossible, &[]),
        seen(3, 3.0, "78", Verdict::WrongItem, &[Effect::WeaponLost]),
        seen(4, 4.0, spell, Verdict::Ok, &[Effect::Rune]),
        seen(5, 5.0, spell, Verdict::NotPossible, &[]),
        seen(6, 6.0, spell, Verdict::Exhausted, &[]),
        seen(7, 7.0, "83", Verdict::Ok, &[Effect::Fish]),
        seen(8, 8.0, "78", Verdict::Ok, &[Effect::Loot]),
        seen(9, 9.0, "96010a0065786f7269206d6f7274", Verdict::Ok, &[]),
    ];
    let counts = judge(&frames, &[], &[], group);
    let expected = Counts {
        refusals: 4,
        wrong_items: 1,
        weapons_lost: 1,
        runes_made: 1,
        runes_failed: 2,
        fish: 1,
        meals: 1,
        loot: 1,
        modules: counts.modules.clone(),
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    assert!(!counts.clean());
}

#[test]
fn the_handover_is_between_turns_of_different_groups() {
    let times = [0.0, 0.3, 1.4, 1.7, 2.8];
    let frames: Vec<_> =
        (0..).zip(times).map(|(n, t)| seen(n, t, "78", Verdict::Ok, &[])).collect();
    let sends = [
        sent(0, "runemaker", 1, Some("1")),
        sent(1, "runemaker", 1, Some("1")),
        sent(2, "fisher", 1, Some("2")),
        sent(3, "stacker", 1, Some("3")),
        sent(4, "trainer", 1, Some("4")),
    ];
    assert_eq!(judge(&frames, &sends, &[], group).min_handover_s, Some(1.1));
    let without: Vec<_> = sends.iter().map(|s| Sent { token: None, ..s.clone() }).collect();
    assert_eq!(judge(&frames, &without, &[], group).min_handover_s, None);
}

#[test]
fn service_is_turns_and_waits() {
    let sends = [
        sent(0, "runemaker", 1, Some("1")),
        sent(1, "runemaker", 1, Some("1")),
        sent(2, "runemaker", 2, Some("5")),
    ];
    let wait = |seconds| Waited { module: "runemaker", seconds };
    let counts = judge(&[], &sends, &[wait(3.0), wait(1.0), wait(2.0)], group);
    let service = &counts.modules["runemaker"];
    assert_eq!((service.turns, service.wait_p50_s, service.wait_max_s), (2, 2.0, 3.0));
    assert_eq!(
        of_sends(&[sent(0, "eater", 1, None), sent(1, "eater", 2, None)]).modules["eater"].turns,
        2
    );
}

#[test]
fn log_lines_have_the_fields_that_readers_know() {
    let frame = seen(3, 1.25, "9601", Verdict::NotPossible, &[]);
    let line = serde_json::to_string(&frame).unwrap();
    assert_eq!(line, r#"{"t":1.25,"n":3,"hex":"9601","verdict":"not_possible"}"#);
    assert_eq!(serde_json::from_str::<Frame>(&line).unwrap(), frame);
    let line = serde_json::to_string(&sent(3, "eater", 2, Some("9"))).unwrap();
    assert_eq!(line, r#"{"t":3.0,"n":3,"module":"eater","cycle":2,"token":"9"}"#);
    let line = serde_json::to_string(&sent(3, "eater", 2, None)).unwrap();
    assert_eq!(line, r#"{"t":3.0,"n":3,"module":"eater","cycle":2,"token":null}"#);
}
