//! A client of a socket and JSON only. It can be stopped at any frame and in the middle of one.

use crate::log::What;
use crate::step::{NESTED, Step};
use crate::subject::{ACTIONS, Actor, Subject, Trouble, persist};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A reply that does not come within this time will not come.
const REPLY_WITHIN: Duration = Duration::from_secs(15);

pub(crate) struct Raw {
    actor: Actor,
    url: String,
    wire: Option<Wire>,
    /// The rest of a half-written frame, and which frame it is.
    rest: Option<(Vec<u8>, HalfFrame)>,
    next: u64,
    /// The number of frames that were sent whole. Each is due a reply.
    due: u64,
    lease: Option<Duration>,
    hello: Option<u64>,
    is_greeted: bool,
    ask: Option<u64>,
    hold: Option<Hold>,
    release: Option<u64>,
    withdrawal: Option<u64>,
}

#[derive(Clone, Copy)]
enum HalfFrame {
    Hello,
    Ask,
    Release,
    Heartbeat,
}

#[derive(Clone)]
struct Hold {
    request: u64,
    token: u64,
    nested: Option<u64>,
    acted: usize,
}

impl Raw {
    pub(crate) fn new(actor: Actor, url: &str) -> Raw {
        Raw {
            actor,
            url: url.to_owned(),
            wire: None,
            rest: None,
            next: 1,
            due: 0,
            lease: None,
            hello: None,
            is_greeted: false,
            ask: None,
            hold: None,
            release: None,
            withdrawal: None,
        }
    }

    fn connect(&mut self) -> Result<(), Trouble> {
        (self.rest, self.lease, self.due) = (None, None, 0);
        (self.hello, self.is_greeted) = (None, false);
        (self.ask, self.hold, self.release, self.withdrawal) = (None, None, None, None);
        self.wire = None;
        self.wire = Some(Wire::connect(&self.url)?);
        Ok(())
    }

    fn wire(&mut self) -> Result<&mut Wire, Trouble> {
        self.wire.as_mut().ok_or_else(|| Trouble("not connected".into()))
    }

    fn frame(&mut self, mut frame: Value) -> (u64, Vec<u8>) {
        let id = self.next;
        self.next += 1;
        frame["id"] = id.into();
        (id, format!("{frame}\n").into_bytes())
    }

    fn send(&mut self, frame: Value) -> Result<u64, Trouble> {
        let (id, text) = self.frame(frame);
        self.wire()?.file.write_all(&text)?;
        self.due += 1;
        Ok(id)
    }

    /// Writes the first half of a frame.
    fn send_half(&mut self, frame: Value, what: HalfFrame) -> Result<u64, Trouble> {
        let (id, mut text) = self.frame(frame);
        let rest = text.split_off(text.len() / 2);
        self.wire()?.file.write_all(&text)?;
        self.rest = Some((rest, what));
        Ok(id)
    }

    /// Waits until a reply has come, without reading it.
    fn until_answered(&mut self) -> Result<(), Trouble> {
        if self.wire()?.is_readable(REPLY_WITHIN)? {
            return Ok(());
        }
        Err(Trouble("no reply came".into()))
    }

    /// Reads the next frame, and keeps the lease alive meanwhile.
    fn read(&mut self) -> Result<Value, Trouble> {
        let end = Instant::now() + REPLY_WITHIN;
        // Four heartbeats a lease: one or two may come late on a busy machine.
        let pause = self.lease.map_or(REPLY_WITHIN, |lease| lease / 4);
        loop {
            if let Some(frame) = self.wire()?.next()? {
                return Ok(frame);
            }
            if self.wire()?.is_readable(pause)? {
                self.wire()?.fill()?;
            } else if end <= Instant::now() {
                return Err(Trouble("no reply came".into()));
            } else if self.lease.is_some() && self.is_greeted {
                self.renew()?;
            }
        }
    }

    fn reply(&mut self, id: u64) -> Result<Value, Trouble> {
        loop {
            let frame = self.read()?;
            if frame["id"] == id {
                return Ok(frame);
            }
        }
    }

    fn renew(&mut self) -> Result<u64, Trouble> {
        self.actor.log.write(What::Renews);
        self.send(json!({"op": "heartbeat"}))
    }

    // The parts of a turn.

    fn greet(&mut self) -> Result<(), Trouble> {
        if self.wire.is_none() {
            self.connect()?;
        }
        if self.is_greeted {
            return Ok(());
        }
        let hello = match self.hello {
            Some(hello) => hello,
            None => self.send(hello())?,
        };
        self.hello = Some(hello);
        let reply = self.reply(hello)?;
        self.lease = reply["lease"].as_f64().map(Duration::from_secs_f64);
        self.is_greeted = reply["ok"] == true;
        if self.is_greeted { Ok(()) } else { Err(Trouble(reply.to_string())) }
    }

    fn ask(&mut self) -> Result<(), Trouble> {
        if self.ask.is_none() {
            self.actor.log.write(What::Asks);
            let frame = ask(&self.actor.module);
            self.ask = Some(self.send(frame)?);
        }
        Ok(())
    }

    /// Reads one answer to the ask and returns whether it is the grant.
    fn hear(&mut self) -> Result<bool, Trouble> {
        let ask = self.ask.ok_or_else(|| Trouble("nothing was asked".into()))?;
        let reply = self.reply(ask)?;
        if reply["waiting"] == true {
            return Ok(false);
        }
        let token = reply["token"].as_str().and_then(|token| token.parse().ok());
        let (Some(token), Some(request)) = (token, reply["request"].as_u64()) else {
            return Err(Trouble(reply.to_string()));
        };
        let abandoned = reply["predecessor_abandoned"] == true;
        self.actor.log.write(What::Granted { token, abandoned });
        self.hold = Some(Hold { request, token, nested: None, acted: 0 });
        if abandoned {
            // Its answer is not read: if the turn is lost, the release will show it.
            self.send(json!({"op": "acknowledge", "request": request}))?;
            self.actor.log.write(What::Acknowledged);
        }
        Ok(true)
    }

    fn acquire(&mut self) -> Result<(), Trouble> {
        self.greet()?;
        self.ask()?;
        while self.hold.is_none() && !self.hear()? {}
        Ok(())
    }

    fn held(&mut self) -> Result<&mut Hold, Trouble> {
        self.hold.as_mut().ok_or_else(|| Trouble("no turn".into()))
    }

    fn act(&mut self) -> Result<bool, Trouble> {
        let hold = self.held()?;
        hold.acted += 1;
        let token = hold.token;
        self.actor.act(token)
    }

    /// Plays on from the present step to the end of the turn.
    fn play(&mut self) -> Result<(), Trouble> {
        if let Some((rest, what)) = self.rest.take() {
            match (what, &self.hold) {
                (HalfFrame::Ask, _) => self.actor.log.write(What::Asks),
                (HalfFrame::Heartbeat, _) => self.actor.log.write(What::Renews),
                (HalfFrame::Release, Some(hold)) => {
                    let token = hold.token;
                    self.actor.log.write(What::Releases { token });
                }
                _ => {}
            }
            self.wire()?.file.write_all(&rest)?;
            self.due += 1;
        }
        if let Some(withdrawal) = self.withdrawal {
            self.reply(withdrawal)?;
            return Ok(());
        }
        self.acquire()?;
        if self.release.is_none() {
            if let Some(request) = self.held()?.nested.take() {
                self.send(json!({"op": "release", "request": request}))?;
            }
            while self.held()?.acted < ACTIONS {
                if !self.act()? {
                    return Err(Trouble("too late".into()));
                }
            }
            let Hold { request, token, .. } = *self.held()?;
            self.actor.log.write(What::Releases { token });
            self.release = Some(self.send(json!({"op": "release", "request": request}))?);
        }
        let release = self.release.unwrap_or_default();
        let reply = self.reply(release)?;
        let token = self.held()?.token;
        if reply["ok"] != true {
            return Err(Trouble(reply.to_string()));
        }
        self.actor.log.write(What::Released { token });
        // The next ask is another turn's.
        (self.ask, self.hold, self.release) = (None, None, None);
        Ok(())
    }
}

impl Subject for Raw {
    fn reach(&mut self, step: Step) -> Result<(), Trouble> {
        match step {
            Step::Connected => self.connect()?,
            Step::HelloHalf => {
                self.connect()?;
                self.hello = Some(self.send_half(hello(), HalfFrame::Hello)?);
            }
            Step::HelloSent => {
                self.connect()?;
                self.hello = Some(self.send(hello())?);
                self.until_answered()?;
            }
            Step::Greeted => self.greet()?,
            Step::AskHalf => {
                self.greet()?;
                let frame = ask(&self.actor.module);
                self.ask = Some(self.send_half(frame, HalfFrame::Ask)?);
            }
            Step::Waiting => {
                self.greet()?;
                self.ask()?;
                self.hear()?;
            }
            Step::Granted => {
                self.greet()?;
                self.ask()?;
                self.until_answered()?;
            }
            Step::Holding => self.acquire()?,
            Step::Acting => {
                self.acquire()?;
                self.act()?;
            }
            Step::Nested => {
                self.acquire()?;
                let within = self.held()?.request;
                let nested = json!({"op": "acquire", "module": NESTED, "within": within});
                let id = self.send(nested)?;
                let reply = self.reply(id)?;
                self.held()?.nested = reply["request"].as_u64();
            }
            Step::ReleaseHalf | Step::ReleaseSent | Step::Idle => {
                self.acquire()?;
                while self.held()?.acted < ACTIONS {
                    self.act()?;
                }
                let Hold { request, token, .. } = *self.held()?;
                let frame = json!({"op": "release", "request": request});
                if step == Step::ReleaseHalf {
                    self.release = Some(self.send_half(frame, HalfFrame::Release)?);
                } else if step == Step::Idle {
                    self.play()?;
                } else {
                    self.actor.log.write(What::Releases { token });
                    self.release = Some(self.send(frame)?);
                    self.until_answered()?;
                }
            }
            Step::YieldSent => {
                self.acquire()?;
                let Hold { request, token, .. } = *self.held()?;
                self.actor.log.write(What::Yields { token });
                self.actor.log.write(What::Asks);
                self.hold = None;
                self.ask = Some(self.send(json!({"op": "yield", "request": request}))?);
                self.until_answered()?;
            }
            Step::WithdrawSent => {
                self.greet()?;
                self.ask()?;
                if let Some(Hold { token, .. }) = self.hold.take() {
                    self.actor.log.write(What::Releases { token });
                }
                let ask = self.ask;
                self.withdrawal = Some(self.send(json!({"op": "withdraw", "ask": ask}))?);
                self.until_answered()?;
            }
            Step::HeartbeatHalf => {
                self.acquire()?;
                self.send_half(json!({"op": "heartbeat"}), HalfFrame::Heartbeat)?;
            }
            Step::HeartbeatSent => {
                self.acquire()?;
                // Four thirds of a lease, so that the turn is over unless the heartbeats count.
                let pause = self.lease.unwrap_or_default() / 3;
                for _ in 0..4 {
                    std::thread::sleep(pause);
                    let id = self.renew()?;
                    self.reply(id)?;
                }
                self.renew()?;
                self.until_answered()?;
            }
            Step::Events => {
                self.acquire()?;
                self.send(json!({"op": "events", "so_far": true}))?;
                self.until_answered()?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Trouble> {
        // A release that was only half written ends nothing.
        if self.hold.is_some() && (self.release.is_none() || self.rest.is_some()) {
            self.act()?;
        }
        let had = self.hold.is_some() || self.ask.is_some();
        // The log has the result. A subject that is too late reads on, until it is told or finds the connection closed.
        if self.play().is_err() && had {
            self.actor.log.write(What::Lost);
        }
        Ok(())
    }

    fn notice_loss(&mut self) -> Result<(), Trouble> {
        let had = self.hold.is_some() || self.ask.is_some();
        let end = Instant::now() + REPLY_WITHIN;
        while self.read().is_ok() {}
        if end <= Instant::now() {
            return Err(Trouble("the connection is not closed".into()));
        }
        if had {
            self.actor.log.write(What::Lost);
        }
        self.wire = None;
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Trouble> {
        persist(|| {
            self.connect()?;
            self.play()
        })
    }

    fn half_close(&mut self) -> Result<(), Trouble> {
        if self.is_greeted && self.rest.is_none() {
            self.send(json!({"op": "ping"}))?;
        }
        let due = self.due;
        let wire = self.wire()?;
        rustix::net::shutdown(&wire.file, Shutdown::Write)?;
        let end = Instant::now() + REPLY_WITHIN;
        loop {
            while wire.next()?.is_some() {}
            if !wire.is_readable(end.saturating_duration_since(Instant::now()))? {
                return Err(Trouble("the connection is not closed".into()));
            }
            if wire.fill().is_err() {
                break;
            }
        }
        let replies = wire.answered.len() as u64;
        self.actor.log.write(What::Heard { replies, due });
        self.wire = None;
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Trouble> {
        let is_half = self.rest.is_some();
        let wire = self.wire()?;
        if !is_half {
            wire.file.write_all(br#"{"id":99,"op":"rel"#)?;
        }
        // With no linger time, closing the socket sends a reset instead of an orderly end.
        if wire.is_tcp {
            rustix::net::sockopt::set_socket_linger(&wire.file, Some(Duration::ZERO))?;
        }
        self.wire = None;
        Ok(())
    }
}

fn hello() -> Value {
    json!({"op": "hello", "version": 1})
}

fn ask(module: &str) -> Value {
    json!({"op": "acquire", "module": module, "timeout": 20})
}

/// A connection, and what was read from it.
struct Wire {
    file: File,
    is_tcp: bool,
    bytes: VecDeque<u8>,
    /// The numbers of the frames that were answered, even if only with `waiting`.
    answered: BTreeSet<u64>,
}

impl Wire {
    fn connect(url: &str) -> Result<Wire, Trouble> {
        let (socket, is_tcp) = match url.strip_prefix("unix:") {
            Some(path) => (OwnedFd::from(UnixStream::connect(path)?), false),
            None => {
                let stream = TcpStream::connect(url.trim_start_matches("tcp://"))?;
                stream.set_nodelay(true)?;
                (stream.into(), true)
            }
        };
        let (bytes, answered) = (VecDeque::new(), BTreeSet::new());
        Ok(Wire { file: socket.into(), is_tcp, bytes, answered })
    }

    /// Returns the next whole frame of the bytes that were read.
    fn next(&mut self) -> Result<Option<Value>, Trouble> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        let frame: Value = serde_json::from_slice(&line)?;
        self.answered.extend(frame["id"].as_u64());
        Ok(Some(frame))
    }

    fn is_readable(&self, within: Duration) -> Result<bool, Trouble> {
        let within = Timespec::try_from(within)?;
        let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
        Ok(poll(&mut polled, Some(&within))? > 0)
    }

    /// Reads the bytes that have come.
    fn fill(&mut self) -> Result<(), Trouble> {
        let mut chunk = [0; 4096];
        match self.file.read(&mut chunk)? {
            0 => Err(Trouble(ErrorKind::UnexpectedEof.to_string())),
            n => {
                self.bytes.extend(&chunk[..n]);
                Ok(())
            }
        }
    }
}
