//! One character played over several connections: one world, one order, a verdict for who acted.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use practice::client::{Client, Sender};
use practice::judge::Frame;
use practice::server::{MAX_CHARACTERS, MAX_CONNECTIONS, Server};
use practice::wire::{Action, ClientMessage, ServerMessage, State, Verdict};
use practice::world::{ACTION_GAP, FISH, MEAT, SWORD};

use crate::server::{Line, start};
use crate::{move_some, pack, say};

impl Line {
    fn join(server: &Server, seed: u64, name: &str) -> Line {
        let mut line = Line::open(server);
        line.send(&ClientMessage::Join { seed, name: name.to_owned() });
        line
    }

    /// Joins, and has this number.
    fn joined(server: &Server, name: &str, number: u32) -> Line {
        let mut line = Line::join(server, 1, name);
        match line.next() {
            Some(ServerMessage::Joined { connection, .. }) => assert_eq!(connection, number),
            other => panic!("{other:?}"),
        }
        assert!(matches!(line.next(), Some(ServerMessage::State(_))));
        line
    }

    /// The state as it is now.
    fn look(&mut self) -> State {
        self.send(&ClientMessage::Ping);
        let mut last = None;
        loop {
            match self.next() {
                Some(ServerMessage::State(state)) => last = Some(state),
                Some(ServerMessage::Pong) => return last.expect("a state comes before the pong"),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Acts once the last action is no longer in the way.
    fn act_done(&mut self, action: &Action) {
        std::thread::sleep(ACTION_GAP + Duration::from_millis(5));
        assert_eq!(self.act(action.clone()), Verdict::Ok);
    }
}

/// Changes what lies at the front.
fn sword_to_front() -> Action {
    move_some(pack(1), SWORD, pack(0xFF), 1)
}

fn numbers(frames: &[Frame]) -> Vec<(Option<u32>, u32, Verdict)> {
    frames.iter().map(|frame| (frame.connection, frame.n, frame.verdict)).collect()
}

#[test]
fn the_connections_share_one_world_and_each_counts_its_own_frames() {
    let server = start();
    let mut first = Line::joined(&server, "alice", 0);
    let mut second = Line::joined(&server, "alice", 1);
    first.act_done(&say("one"));
    // Exhaustion is the character's, not the connection's.
    assert_eq!(second.act(say("too soon")), Verdict::Exhausted);
    second.act_done(&say("two"));
    first.act_done(&say("three"));
    let seen = server.frames("alice");
    use Verdict::{Exhausted, Ok};
    let expected = [(Some(0), 0, Ok), (Some(1), 0, Exhausted), (Some(1), 1, Ok), (Some(0), 1, Ok)];
    assert_eq!(numbers(&seen), expected);
    assert!(seen.is_sorted_by(|a, b| a.t <= b.t), "{seen:?}");
}

#[test]
fn who_looks_sees_what_the_others_did() {
    let server = start();
    let mut lines: Vec<_> = (0..3).map(|number| Line::joined(&server, "alice", number)).collect();
    for count in [9, 8, 7] {
        let before = lines[0].look();
        let meat = before.backpack.iter().position(|item| item.id == MEAT).unwrap();
        let action = Action::Use { from: pack(meat as u8), item: MEAT, window: 0 };
        lines[count % 3].act_done(&action);
        for line in &mut lines {
            // At once, not with the news of the next quarter of a second.
            assert_eq!(line.look().backpack[meat].count, count as u8);
        }
    }
}

#[test]
fn everybody_is_told_the_state_unasked() {
    let server = start();
    let mut first = Line::joined(&server, "alice", 0);
    let mut second = Line::joined(&server, "alice", 1);
    let front = |state: &State| state.backpack[0].id;
    assert_eq!(front(&first.look()), FISH);
    first.act_done(&sword_to_front());
    let begun = Instant::now();
    loop {
        match second.next() {
            Some(ServerMessage::State(state)) if front(&state) == SWORD => return,
            Some(ServerMessage::State(_)) => assert!(begun.elapsed() < Duration::from_secs(5)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_may_leave_while_others_go_on_and_come_back_under_a_new_number() {
    let server = start();
    let mut first = Line::joined(&server, "alice", 0);
    let mut second = Line::joined(&server, "alice", 1);
    first.act_done(&say("one"));
    drop(first);
    second.act_done(&say("two"));
    let mut third = Line::joined(&server, "alice", 2);
    third.act_done(&say("three"));
    second.act_done(&say("four"));
    use Verdict::Ok;
    let expected = [(Some(0), 0, Ok), (Some(1), 0, Ok), (Some(2), 0, Ok), (Some(1), 1, Ok)];
    assert_eq!(numbers(&server.frames("alice")), expected);
}

#[test]
fn a_connection_that_errs_ends_alone() {
    let server = start();
    let mut first = Line::joined(&server, "alice", 0);
    let mut second = Line::joined(&server, "alice", 1);
    first.bytes(&[1, 0, 0x99]);
    assert_eq!(first.error(), "client message: first byte cannot be 0x99");
    second.act_done(&say("still here"));
}

#[test]
fn when_all_have_left_the_next_one_begins_anew() {
    let server = start();
    let mut line = Line::joined(&server, "alice", 0);
    line.act_done(&sword_to_front());
    drop(line);
    // The server notices a moment later; until then it is the old world.
    let begun = Instant::now();
    loop {
        let mut line = Line::join(&server, 2, "alice");
        match line.next() {
            Some(ServerMessage::Joined { connection, .. }) => {
                assert_eq!(connection, 0);
                assert_eq!(line.look().backpack[0].id, FISH);
                return;
            }
            Some(ServerMessage::Error(_)) => assert!(begun.elapsed() < Duration::from_secs(5)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn all_name_the_same_seed() {
    let server = start();
    let _first = Line::joined(&server, "alice", 0);
    let mut second = Line::join(&server, 2, "alice");
    assert_eq!(second.error(), "join (0x0b): seed is 2, but `alice` plays with 1");
    Line::joined(&server, "bob", 0);
}

#[test]
fn a_character_that_was_entered_is_its_connections_alone() {
    let server = start();
    let mut alone = Line::entered(&server, "alice");
    let mut joined = Line::joined(&server, "alice", 0);
    let mut other = Line::entered(&server, "alice");
    alone.act_done(&sword_to_front());
    assert_eq!(joined.look().backpack[0].id, FISH);
    assert_eq!(other.look().backpack[0].id, FISH);
    assert_eq!(alone.look().backpack[0].id, SWORD);
}

#[test]
fn join_comes_first_and_once() {
    let server = start();
    let mut line = Line::open(&server);
    line.send(&ClientMessage::Ping);
    assert_eq!(line.error(), "enter (0x0a) or join (0x0b): must come first");
    let mut line = Line::joined(&server, "alice", 0);
    line.send(&ClientMessage::Join { seed: 1, name: "alice".to_owned() });
    assert_eq!(line.error(), "enter (0x0a) or join (0x0b): was sent before");
    let mut line = Line::entered(&server, "bob");
    line.send(&ClientMessage::Join { seed: 1, name: "alice".to_owned() });
    assert_eq!(line.error(), "enter (0x0a) or join (0x0b): was sent before");
}

#[test]
fn those_who_join_count_as_connections() {
    let server = start();
    let numbers = 0..MAX_CONNECTIONS as u32;
    let mut lines: Vec<_> = numbers.map(|number| Line::joined(&server, "alice", number)).collect();
    assert_eq!(Line::open(&server).error(), "too many connections");
    for line in &mut lines {
        line.look();
    }
}

#[test]
fn a_character_that_is_played_is_kept_when_many_come_and_go() {
    let server = start();
    let mut first = Line::joined(&server, "alice", 0);
    for number in 0..MAX_CHARACTERS + 8 {
        Line::entered(&server, &format!("passer-by {number}"));
    }
    let mut second = Line::joined(&server, "alice", 1);
    first.act_done(&say("one"));
    second.act_done(&say("two"));
    assert_eq!(server.frames("alice").len(), 2);
}

#[test]
fn the_logs_of_server_and_clients_fit_together() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let log = File::create(place.join("frames.jsonl")).unwrap();
    let server = Server::start_logging("127.0.0.1:0", Some(log)).unwrap();
    let join = |number: u32| {
        let log = File::create(place.join(format!("sends-{number}.jsonl"))).unwrap();
        Client::join(server.address(), "alice", 1, log).unwrap()
    };
    let clients = [join(0), join(1)];
    let send = |client: usize, cycle| {
        std::thread::sleep(ACTION_GAP + Duration::from_millis(5));
        let module = ["fisher", "eater"][client];
        let sender = Sender { module, cycle, token: None };
        assert_eq!(clients[client].act(sender, &say("x")).unwrap(), Verdict::Ok);
    };
    send(0, 1);
    send(1, 1);
    send(0, 1);
    let logs = practice::logs::Logs::read(place).unwrap();
    assert_eq!(logs.frames, server.frames("alice"));
    let findings = logs.judge(&packet_mutex::Roster::default());
    assert_eq!((findings.unexplained_frames, findings.unseen_sends), (0, 0));
    // The eater's frame is inside the fisher's cycle: the server's order says so, not the processes' clocks.
    assert_eq!(findings.counts.interleavings, 1);
    let first = fs::read_to_string(place.join("frames.jsonl")).unwrap();
    assert!(first.starts_with(r#"{"character":"alice","t":"#), "{first}");
}

#[test]
fn without_its_log_the_server_plays_no_further() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let read_only = File::open(log.path()).unwrap();
    let server = Server::start_logging("127.0.0.1:0", Some(read_only)).unwrap();
    let mut line = Line::joined(&server, "alice", 0);
    line.send(&ClientMessage::Act(say("one")));
    let reason = line.error();
    assert!(reason.starts_with("the log cannot be written: "), "{reason}");
}
