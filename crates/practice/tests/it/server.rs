//! The server over TCP: what it answers, and how it ends a connection that misbehaves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use practice::server::{MAX_CONNECTIONS, Server};
use practice::wire::{
    Action, ClientMessage, Frames, MAX_SERVER_FRAME, ServerMessage, Verdict, frame,
};

use crate::say;

pub(crate) struct Line {
    stream: TcpStream,
    frames: Frames,
}

impl Line {
    pub(crate) fn open(server: &Server) -> Line {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Line { stream, frames: Frames::new(MAX_SERVER_FRAME) }
    }

    pub(crate) fn entered(server: &Server, name: &str) -> Line {
        let mut line = Line::open(server);
        line.send(&ClientMessage::Enter { seed: 1, name: name.to_owned() });
        assert!(matches!(line.next(), Some(ServerMessage::Hello { .. })));
        assert!(matches!(line.next(), Some(ServerMessage::State(_))));
        line
    }

    pub(crate) fn send(&mut self, message: &ClientMessage) {
        self.bytes(&frame(&message.encode()));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn act(&mut self, action: Action) -> Verdict {
        self.send(&ClientMessage::Act(action));
        loop {
            match self.next() {
                Some(ServerMessage::Verdict(judged)) => return judged.verdict,
                Some(ServerMessage::State(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn next(&mut self) -> Option<ServerMessage> {
        loop {
            if let Some(frame) = self.frames.next().unwrap() {
                return Some(ServerMessage::decode(&frame).unwrap());
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).unwrap() {
                0 => return None,
                count => self.frames.push(&bytes[..count]),
            }
        }
    }

    /// The reason that the server gives, after which it closes.
    pub(crate) fn error(&mut self) -> String {
        loop {
            match self.next() {
                Some(ServerMessage::Error(reason)) => {
                    assert_eq!(self.next(), None);
                    return reason;
                }
                Some(_) => {}
                None => panic!("closed without a reason"),
            }
        }
    }
}

pub(crate) fn start() -> Server {
    Server::start("127.0.0.1:0").unwrap()
}

#[test]
fn answers_in_order_and_keeps_what_it_saw() {
    let server = start();
    let mut line = Line::entered(&server, "alice");
    assert_eq!(line.act(say("hello")), Verdict::Ok);
    assert_eq!(line.act(say("again")), Verdict::Exhausted);
    let seen = server.frames("alice");
    assert_eq!(seen.iter().map(|frame| frame.n).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(seen[1].hex, "96010500616761696e");
    assert!(seen[0].t <= seen[1].t);
    assert!(server.frames("bob").is_empty());
}

#[test]
fn sends_news_unasked() {
    let server = start();
    let mut line = Line::entered(&server, "alice");
    assert!(matches!(line.next(), Some(ServerMessage::State(_))));
}

#[test]
fn a_bad_frame_gets_a_reason_and_harms_nobody_else() {
    let server = start();
    let mut other = Line::entered(&server, "bob");
    let cases: [(&[u8], &str); 4] = [
        (&[1, 0, 0x99], "client message: first byte cannot be 0x99"),
        (&[0, 0], "frame: length is 0 bytes long, not 1 to 300"),
        (&[0xFF, 0xFF], "frame: length is 65535 bytes long, not 1 to 300"),
        (&[2, 0, 0x96, 1], "say (0x96): text is cut off"),
    ];
    for (bytes, reason) in cases {
        let mut line = Line::entered(&server, "alice");
        line.stream.write_all(bytes).unwrap();
        // Bytes behind the bad frame do not cut the reason off.
        let _ = line.stream.write_all(&[7; 500]);
        assert_eq!(line.error(), reason);
    }
    assert_eq!(other.act(say("still here")), Verdict::Ok);
}

#[test]
fn enter_comes_first_and_once() {
    let server = start();
    let mut line = Line::open(&server);
    line.send(&ClientMessage::Act(say("hello")));
    assert_eq!(line.error(), "enter (0x0a) or join (0x0b): must come first");
    let mut line = Line::entered(&server, "alice");
    line.send(&ClientMessage::Enter { seed: 1, name: "alice".to_owned() });
    assert_eq!(line.error(), "enter (0x0a) or join (0x0b): was sent before");
}

#[test]
fn connections_are_limited() {
    let server = start();
    let mut lines: Vec<_> = (0..MAX_CONNECTIONS).map(|_| Line::entered(&server, "x")).collect();
    assert_eq!(Line::open(&server).error(), "too many connections");
    lines.pop();
    // The place is free once the server has noticed.
    let freed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut line = Line::open(&server);
        line.send(&ClientMessage::Enter { seed: 1, name: "y".to_owned() });
        matches!(line.next(), Some(ServerMessage::Hello { .. }))
    });
    assert!(freed);
}

#[test]
fn stopping_tells_everybody() {
    let server = start();
    let mut line = Line::entered(&server, "alice");
    drop(server);
    assert_eq!(line.error(), "the server stops");
}
