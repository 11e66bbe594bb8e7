//! A client that is nothing but a socket and JSON, and so can be stopped at any frame and in the middle of one.

use crate::log::What;
use crate::step::{NESTED, Step};
use crate::subject::{ACTIONS, Own, Subject, Trouble, persist};
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

/// A reply that does not come for so long never will.
const REPLY_WITHIN: Duration = Duration::from_secs(15);

pub(crate) struct Raw {
    own: Own,
    url: String,
    wire: Option<Wire>,
    /// What is left to write of a frame that was half written, and what it was.
    rest: Option<(Vec<u8>, Half)>,
    next: u64,
    /// Frames that were sent whole, each of which is due a reply.
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
enum Half {
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
    pub(crate) fn new(own: Own, url: &str) -> Raw {
        Raw {
            own,
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
    fn send_half(&mut self, frame: Value, what: Half) -> Result<u64, Trouble> {
        let (id, mut text) = self.frame(frame);
        let rest = text.split_off(text.len() / 2);
        self.wire()?.file.write_all(&text)?;
        self.rest = Some((rest, what));
        Ok(id)
    }

    /// Waits until something has come, and reads none of it.
    fn until_answered(&mut self) -> Result<(), Trouble> {
        if self.wire()?.is_readable(REPLY_WITHIN)? {
            return Ok(());
        }
        Err(Trouble("no reply came".into()))
    }

    /// The next frame. A lease is kept alive while it waits.
    fn read(&mut self) -> Result<Value, Trouble> {
        let end = Instant::now() + REPLY_WITHIN;
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
        self.own.log.write(What::Renews);
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
            self.own.log.write(What::Asks);
            let frame = ask(&self.own.module);
            self.ask = Some(self.send(frame)?);
        }
        Ok(())
    }

    /// Reads one answer to the ask. Whether the turn is there.
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
        self.own.log.write(What::Granted { token, abandoned });
        self.hold = Some(Hold { request, token, nested: None, acted: 0 });
        if abandoned {
            // Its answer is of no interest: if the turn is lost, its end will show it.
            self.send(json!({"op": "acknowledge", "request": request}))?;
            self.own.log.write(What::Acknowledged);
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
        self.own.act(token)
    }

    /// From wherever it is to the end of the turn.
    fn play(&mut self) -> Result<(), Trouble> {
        if let Some((rest, what)) = self.rest.take() {
            match (what, &self.hold) {
                (Half::Ask, _) => self.own.log.write(What::Asks),
                (Half::Heartbeat, _) => self.own.log.write(What::Renews),
                (Half::Release, Some(hold)) => {
                    let token = hold.token;
                    self.own.log.write(What::Releases { token });
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
            self.own.log.write(What::Releases { token });
            self.release = Some(self.send(json!({"op": "release", "request": request}))?);
        }
        let release = self.release.unwrap_or_default();
        let reply = self.reply(release)?;
        let token = self.held()?.token;
        if reply["ok"] != true {
            return Err(Trouble(reply.to_string()));
        }
        self.own.log.write(What::Released { token });
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
                self.hello = Some(self.send_half(hello(), Half::Hello)?);
            }
            Step::HelloSent => {
                self.connect()?;
                self.hello = Some(self.send(hello())?);
                self.until_answered()?;
            }
            Step::Greeted => self.greet()?,
            Step::AskHalf => {
                self.greet()?;
                let frame = ask(&self.own.module);
                self.ask = Some(self.send_half(frame, Half::Ask)?);
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
                    self.release = Some(self.send_half(frame, Half::Release)?);
                } else if step == Step::Idle {
                    self.play()?;
                } else {
                    self.own.log.write(What::Releases { token });
                    self.release = Some(self.send(frame)?);
                    self.until_answered()?;
                }
            }
            Step::YieldSent => {
                self.acquire()?;
                let Hold { request, token, .. } = *self.held()?;
                self.own.log.write(What::Yields { token });
                self.own.log.write(What::Asks);
                self.hold = None;
                self.ask = Some(self.send(json!({"op": "yield", "request": request}))?);
                self.until_answered()?;
            }
            Step::WithdrawSent => {
                self.greet()?;
                self.ask()?;
                if let Some(Hold { token, .. }) = self.hold.take() {
                    self.own.log.write(What::Releases { token });
                }
                let ask = self.ask;
                self.withdrawal = Some(self.send(json!({"op": "withdraw", "ask": ask}))?);
                self.until_answered()?;
            }
            Step::HeartbeatHalf => {
                self.acquire()?;
                self.send_half(json!({"op": "heartbeat"}), Half::Heartbeat)?;
            }
            Step::HeartbeatSent => {
                self.acquire()?;
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
        // What comes of it is in the log; whoever is too late reads on, and has to be told or to find the connection closed.
        if self.play().is_err() && had {
            self.own.log.write(What::Lost);
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
            self.own.log.write(What::Lost);
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
        self.own.log.write(What::Heard { replies, due });
        self.wire = None;
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Trouble> {
        let is_half = self.rest.is_some();
        let wire = self.wire()?;
        if !is_half {
            wire.file.write_all(br#"{"id":99,"op":"rel"#)?;
        }
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
    /// The numbers of the frames that were answered, if only with `waiting`.
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

    /// The next frame of those that were read.
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

    /// Reads what has come.
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
