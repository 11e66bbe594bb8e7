//! The logs of several processes on logs written by hand.

use packet_mutex::Roster;
use practice::judge::{Frame, Sent};
use practice::logs::{Findings, Grant, LogError, Logs};
use practice::wire::Verdict;

/// What the server saw, in its order, by connection and number.
fn frames(order: &[(u32, u32)]) -> Vec<Frame> {
    let frame = |(place, (connection, n)): (u32, &(u32, u32))| Frame {
        t: f64::from(place),
        connection: Some(*connection),
        n: *n,
        hex: "82".to_owned(),
        verdict: Verdict::Ok,
        effects: Vec::new(),
    };
    (0..).zip(order).map(frame).collect()
}

fn sent(connection: u32, n: u32, module: &str, cycle: u64, token: Option<&str>) -> Sent {
    let (module, token) = (module.to_owned(), token.map(str::to_owned));
    // The processes' clocks have nothing in common.
    let t = f64::from(100 - connection * 30);
    Sent { t, connection: Some(connection), n, module, cycle, token }
}

fn grant(module: &str, token: &str) -> Grant {
    Grant { module: module.to_owned(), token: Some(token.to_owned()), waited: 0.5 }
}

fn judge(order: &[(u32, u32)], sends: &[Sent], grants: Option<&[Grant]>) -> Findings {
    let grants = grants.map(<[Grant]>::to_vec);
    Logs { frames: frames(order), sends: sends.to_vec(), grants }.judge(&Roster::default())
}

/// Two turns of two frames, of which the server saw one after the other.
fn two_turns() -> ([(u32, u32); 4], [Sent; 4]) {
    let sends = [
        sent(1, 0, "trainer", 1, Some("2")),
        sent(1, 1, "trainer", 1, Some("2")),
        sent(0, 0, "runemaker", 1, Some("1")),
        sent(0, 1, "runemaker", 1, Some("1")),
    ];
    ([(0, 0), (0, 1), (1, 0), (1, 1)], sends)
}

#[test]
fn what_was_before_what_is_the_servers_order() {
    let (order, sends) = two_turns();
    let grants = [grant("runemaker", "1"), grant("trainer", "2")];
    let findings = judge(&order, &sends, Some(&grants));
    assert!(findings.clean(), "{findings:?}");
    assert_eq!(findings.counts.min_handover_s, Some(1.0));
    assert_eq!(findings.counts.modules["trainer"].turns, 1);
    assert_eq!(findings.counts.modules["trainer"].wait_max_s, 0.5);
    // The same sends, the trainer's first frame in the middle of the runemaker's cycle.
    let mixed = [(0, 0), (1, 0), (0, 1), (1, 1)];
    let findings = judge(&mixed, &sends, Some(&grants));
    assert_eq!((findings.counts.interleavings, findings.late), (2, 1));
    assert!(!findings.clean());
}

#[test]
fn frames_and_sends_must_fit_together() {
    let (order, sends) = two_turns();
    let findings = judge(&order, &sends[1..], None);
    assert_eq!((findings.unexplained_frames, findings.unseen_sends), (1, 0));
    assert!(!findings.clean());
    let findings = judge(&order[1..], &sends, None);
    assert_eq!((findings.unexplained_frames, findings.unseen_sends), (0, 1));
    assert!(!findings.clean());
    let twice = [&sends[..], &[sent(0, 0, "eater", 1, Some("1"))]].concat();
    assert_eq!(judge(&order, &twice, None).unexplained_frames, 1);
}

#[test]
fn a_token_must_be_the_modules_own_and_not_older_than_one_before() {
    let (order, sends) = two_turns();
    let grants = [grant("runemaker", "1"), grant("fisher", "2")];
    let findings = judge(&order, &sends, Some(&grants));
    assert_eq!(findings.not_granted, 2);
    assert!(!findings.clean());
    let findings = judge(&[(1, 0), (1, 1), (0, 0), (0, 1)], &sends, None);
    assert_eq!((findings.late, findings.counts.interleavings), (2, 0));
    assert!(!findings.clean());
}

#[test]
fn frames_without_a_turn_are_counted() {
    let (order, mut sends) = two_turns();
    sends[3].token = None;
    let findings = judge(&order, &sends, None);
    assert_eq!(findings.without_turn, 1);
    assert!(findings.clean(), "no fault by itself");
}

#[test]
fn a_bad_line_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let read = || Logs::read(place).unwrap_err();
    assert!(matches!(read(), LogError::Unreadable { .. }));
    std::fs::write(place.join("frames.jsonl"), "").unwrap();
    std::fs::write(place.join("sends-eater.jsonl"), "{}\n").unwrap();
    let why = read().to_string();
    assert!(why.contains("sends-eater.jsonl:1: missing field"), "{why}");
}
