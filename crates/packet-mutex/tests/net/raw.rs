//! A server for one test, and a client that knows nothing but sockets and JSON.
#![allow(dead_code, reason = "each test file uses its part")]

use packet_mutex::net::{Address, Options, Running, Server};
use packet_mutex::{Event, Events, ManualClock, PacketMutex, Roster};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const SECRET: &str = "correct horse";

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A temporary directory, and the socket that a server makes in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// In a directory of its own, which the server makes private.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("run/socket")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }
}

/// A mutex behind a Unix socket.
pub(crate) struct Served {
    pub(crate) mutex: PacketMutex,
    pub(crate) url: String,
    pub(crate) place: Place,
    pub(crate) server: Option<Running>,
}

impl Served {
    pub(crate) fn new(mutex: PacketMutex) -> Self {
        let place = Place::new();
        let url = place.url();
        let server = Server::start(&url, [mutex.clone()], Options::default()).unwrap();
        Served { mutex, url, place, server: Some(server) }
    }

    pub(crate) fn on_manual_clock() -> (Self, ManualClock) {
        let clock = ManualClock::new();
        let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
        (Served::new(mutex), clock)
    }

    pub(crate) fn stream(&self) -> UnixStream {
        UnixStream::connect(self.place.socket()).unwrap()
    }

    pub(crate) fn client(&self) -> Client<UnixStream> {
        Client::greeted(self.stream())
    }
}

/// A mutex behind a TCP port, with this lease.
pub(crate) fn over_tcp(mutex: &PacketMutex, options: Options) -> (Running, String) {
    let server = Server::start("tcp://127.0.0.1:0", [mutex.clone()], options).unwrap();
    let Address::Tcp(address) = server.address().clone() else { panic!("no port") };
    (server, address)
}

/// What both kinds of streams can.
pub(crate) trait Stream: Read + Write {
    fn again(&self) -> Self;
    fn wait_at_most(&self, time: Duration);
}

impl Stream for UnixStream {
    fn again(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
    }
}

impl Stream for TcpStream {
    fn again(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
    }
}

pub(crate) struct Client<S> {
    pub(crate) stream: S,
    reader: BufReader<S>,
    next_id: u64,
    /// Replies and notices that came while another was waited for.
    early: VecDeque<Value>,
}

impl<S: Stream> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        stream.wait_at_most(secs(20));
        Client {
            reader: BufReader::new(stream.again()),
            stream,
            next_id: 1,
            early: VecDeque::new(),
        }
    }

    pub(crate) fn greeted(stream: S) -> Self {
        let mut client = Client::new(stream);
        let reply = client.call(json!({"op": "hello", "version": 1, "secret": SECRET}));
        assert_eq!(reply["ok"], true, "{reply}");
        client
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a frame; its number.
    pub(crate) fn send(&mut self, mut frame: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        frame["id"] = id.into();
        self.send_bytes(format!("{frame}\n").as_bytes());
        id
    }

    /// The next line; `None`: the server closed the connection.
    pub(crate) fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frame of this kind.
    pub(crate) fn find(&mut self, which: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.early.iter().position(&which) {
            return self.early.remove(at).unwrap();
        }
        loop {
            let frame = self.read().expect("the connection is open");
            if which(&frame) {
                return frame;
            }
            self.early.push_back(frame);
        }
    }

    pub(crate) fn reply(&mut self, id: u64) -> Value {
        self.find(|frame| frame["id"] == id)
    }

    pub(crate) fn call(&mut self, frame: Value) -> Value {
        let id = self.send(frame);
        self.reply(id)
    }

    pub(crate) fn notice(&mut self, kind: &str) -> Value {
        self.find(|frame| frame["notice"] == kind)
    }

    /// A turn that comes at once: its request.
    pub(crate) fn acquire(&mut self, module: &str) -> Value {
        let reply = self.call(json!({"op": "acquire", "module": module}));
        assert_eq!(reply["ok"], true, "{reply}");
        reply["request"].clone()
    }

    /// Makes a request that waits: the number of its frame, and the request.
    pub(crate) fn wait(&mut self, frame: Value) -> (u64, Value) {
        let id = self.send(frame);
        let reply = self.reply(id);
        assert_eq!(reply["waiting"], true, "{reply}");
        (id, reply["request"].clone())
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        self.early.is_empty() && self.read().is_none()
    }
}

/// Waits in real time until something is so.
pub(crate) fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + secs(20);
    while !what() {
        assert!(Instant::now() < end, "it never came to be");
        std::thread::sleep(ms(1));
    }
}

pub(crate) fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

/// The names of the new events.
pub(crate) fn kinds(events: &mut Events) -> Vec<&'static str> {
    names(&events.take())
}

/// The events until one of this name, that one included.
pub(crate) fn until_told(events: &mut Events, last: &str) -> Vec<Event> {
    let start = Instant::now();
    let mut seen: Vec<Event> = Vec::new();
    while seen.last().is_none_or(|event| event.kind.name() != last) {
        assert!(start.elapsed() < secs(20), "{seen:?}");
        seen.extend(events.wait(secs(1)));
    }
    seen
}
