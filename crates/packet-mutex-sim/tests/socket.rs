//! Every scenario through a Unix socket: each owner is a client with a connection of its own, which speaks the protocol as
//! `docs/PROTOCOL.md` says, and the log must be the same as that of the bare arbiter.
#![cfg(unix)]

mod common;

use common::StepClock;
use packet_mutex::net::{Options, Running, Server};
use packet_mutex::{PacketMutex, roster_toml::to_toml};
use packet_mutex_arbiter::{
    Answer, Below, Failure, Grant, ModuleId, Refusal, Steer, TimedOut, Token,
};
use packet_mutex_sim::{
    Action, Entry, Front, Name, Nanos, Query, Scenario, Value, read_all, run, words,
};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// One client.
struct Connection {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    next: u64,
    /// Replies and notices that nobody has asked for yet.
    early: Vec<Json>,
}

impl Connection {
    fn new(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        let mut connection = Connection { stream, reader, next: 1, early: Vec::new() };
        let reply = connection.call("hello", json!({"version": 1}));
        assert_eq!(reply["ok"], true, "{reply}");
        connection
    }

    fn send(&mut self, op: &str, mut frame: Json) -> u64 {
        let id = self.next;
        self.next += 1;
        frame["id"] = id.into();
        frame["op"] = op.into();
        self.stream.write_all(format!("{frame}\n").as_bytes()).unwrap();
        id
    }

    fn call(&mut self, op: &str, frame: Json) -> Json {
        let id = self.send(op, frame);
        loop {
            let frame = self.read().expect("the server answers");
            if frame["id"] == id {
                return frame;
            }
            self.early.push(frame);
        }
    }

    fn read(&mut self) -> Option<Json> {
        let mut line = String::new();
        let n = self.reader.read_line(&mut line).unwrap();
        (n > 0).then(|| serde_json::from_str(&line).unwrap())
    }
}

/// A mutex behind a socket as something to run scenarios on.
struct SocketFront {
    clock: StepClock,
    socket: PathBuf,
    /// By owner; one without a name stands for who has no owner.
    connections: BTreeMap<Option<Name>, Connection>,
    /// Reads the events; steers.
    looker: Connection,
    /// Looks at the status, through the client library.
    client: PacketMutex,
    /// The server's number of each request, and whose it is.
    requests: BTreeMap<Name, (u64, Option<Name>)>,
    names: BTreeMap<u64, Name>,
    /// Requests by their owner and the frame that made them.
    asked: BTreeMap<(Option<Name>, u64), Name>,
    answers: BTreeMap<Name, Answer>,
    told_to_yield: BTreeMap<u64, bool>,
    last_frame: u64,
    _server: Running,
    _directory: TempDir,
}

impl SocketFront {
    fn new(scenario: &Scenario) -> Self {
        let clock = StepClock::default();
        let mut builder = PacketMutex::builder(scenario.roster.clone()).clock(clock.clone());
        if scenario.restarted {
            builder = builder.after_restart(scenario.first_token);
        }
        let mutex = builder.build();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/socket");
        let url = format!("unix:{}", socket.display());
        let server = Server::start(&url, [mutex], Options::default()).unwrap();
        let mut looker = Connection::new(&socket);
        looker.call("events", json!({"so_far": true}));
        SocketFront {
            clock,
            connections: BTreeMap::new(),
            looker,
            client: PacketMutex::connect(&url).unwrap(),
            socket,
            requests: BTreeMap::new(),
            names: BTreeMap::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            told_to_yield: BTreeMap::new(),
            last_frame: 0,
            _server: server,
            _directory: directory,
        }
    }

    fn connection(&mut self, owner: Option<&Name>) -> &mut Connection {
        let socket = &self.socket;
        self.connections.entry(owner.cloned()).or_insert_with(|| Connection::new(socket))
    }

    /// A frame of an owner, who is number 1 on its own connection.
    fn call(&mut self, owner: Option<&Name>, op: &str, mut frame: Json) -> Json {
        if owner.is_some() {
            frame["owner"] = 1.into();
        }
        let connection = self.connection(owner);
        let reply = connection.call(op, frame);
        self.last_frame = connection.next - 1;
        reply
    }

    /// A frame about a request, from whoever made it.
    fn call_about(&mut self, request: &Name, op: &str) -> Result<(), String> {
        let (number, owner) = self.request(request);
        done(&self.call(owner.as_ref(), op, json!({"request": number})))
    }

    fn steer(&mut self, op: &str, frame: Json) -> Result<(), String> {
        done(&self.looker.call(op, frame))
    }

    /// A request's number; one that nobody has, if it was never made.
    fn request(&self, name: &Name) -> (u64, Option<Name>) {
        self.requests.get(name).cloned().unwrap_or((999_999, None))
    }

    /// Takes the first reply to a request.
    fn asked(&mut self, name: &Name, owner: Option<&Name>, reply: &Json) -> Result<(), String> {
        let Some(number) = reply["request"].as_u64() else {
            // It made no request: its name is bad, which is told by its kind alone, or it may not be given away.
            let kind = reply["error"].as_str().unwrap().to_owned();
            return if reply["still_held"] == true { done(reply) } else { Err(kind) };
        };
        self.requests.insert(name.clone(), (number, owner.cloned()));
        self.names.insert(number, name.clone());
        if reply["waiting"] == true {
            self.asked.insert((owner.cloned(), self.last_frame), name.clone());
        } else {
            self.answers.insert(name.clone(), answer(reply));
        }
        Ok(())
    }

    /// Takes all that the clients have been told until now.
    fn listen(&mut self) {
        let owners: Vec<Option<Name>> = self.connections.keys().cloned().collect();
        for owner in owners {
            let connection = self.connection(owner.as_ref());
            connection.call("ping", json!({}));
            let early = std::mem::take(&mut connection.early);
            for frame in early {
                self.told(owner.as_ref(), &frame);
            }
        }
    }

    fn told(&mut self, owner: Option<&Name>, frame: &Json) {
        if frame["notice"] == "should_yield" {
            let request = frame["request"].as_u64().unwrap();
            self.told_to_yield.insert(request, frame["should_yield"] == true);
        } else if let Some(id) = frame["id"].as_u64() {
            let name = self.asked.remove(&(owner.cloned(), id)).unwrap();
            let before = self.answers.insert(name.clone(), answer(frame));
            assert!(before.is_none(), "{name} was answered twice");
        }
    }

    /// The client goes: what it is told until the connection is closed is all that it hears.
    fn lose(&mut self, owner: &Name) {
        let Some(mut connection) = self.connections.remove(&Some(owner.clone())) else { return };
        connection.stream.shutdown(Shutdown::Write).unwrap();
        for frame in std::mem::take(&mut connection.early) {
            self.told(Some(owner), &frame);
        }
        while let Some(frame) = connection.read() {
            self.told(Some(owner), &frame);
        }
        let lost: Vec<(Option<Name>, u64)> =
            self.asked.keys().filter(|(of, _)| of.as_ref() == Some(owner)).cloned().collect();
        for key in lost {
            let name = self.asked.remove(&key).unwrap();
            self.answers.insert(name, Answer::Failed(Failure::Lost));
        }
    }

    fn name(&self, request: u64) -> Name {
        self.names.get(&request).cloned().unwrap_or_else(|| format!("#{request}").into())
    }
}

impl Front for SocketFront {
    fn can(&self, _ability: &str) -> bool {
        true
    }

    fn advance(&mut self, to: Nanos) {
        while self.clock.ring_before(to) {}
    }

    fn act(&mut self, at: Nanos, action: &Action) -> Result<(), String> {
        self.clock.set(at);
        let lengths = |t: &Option<Nanos>| t.map(|t| t as f64 / 1e9);
        let done = match action {
            // Whatever looks counts what is due.
            Action::Tick => self.steer("status", json!({})),
            Action::Ask(ask) => {
                let within = ask.within.as_ref().map(|hold| self.request(hold).0);
                let frame = json!({
                    "module": &*ask.module, "within": within, "urgent": ask.urgent, "claim": ask.claim, "requeued": ask.requeued,
                    "timeout": lengths(&ask.timeout), "lease": lengths(&ask.lease),
                });
                // Nesting through a turn is for who has it.
                let through = ask.within.as_ref().filter(|_| ask.owner.is_none());
                let owner = through.map_or(ask.owner.clone(), |hold| self.request(hold).1);
                let reply = match through {
                    Some(_) => {
                        let connection = self.connection(owner.as_ref());
                        let reply = connection.call("acquire", frame);
                        self.last_frame = connection.next - 1;
                        reply
                    }
                    None => self.call(owner.as_ref(), "acquire", frame),
                };
                self.asked(&ask.request, owner.as_ref(), &reply)
            }
            Action::End { hold, owner, how } => {
                let frame = json!({"request": self.request(hold).0, "how": how.name()});
                done(&self.call(owner.as_ref(), "release", frame))
            }
            Action::EndModule { module, owner } => {
                done(&self.call(Some(owner), "release_module", json!({"module": &**module})))
            }
            Action::Yield { hold, owner, request, timeout } => {
                let frame = json!({"request": self.request(hold).0, "timeout": lengths(timeout)});
                let reply = self.call(owner.as_ref(), "yield", frame);
                self.asked(request, owner.as_ref(), &reply)
            }
            Action::Withdraw(name) => self.call_about(name, "withdraw"),
            Action::Claim(name) => self.call_about(name, "claim"),
            Action::Acknowledge(name) => self.call_about(name, "acknowledge"),
            Action::Heartbeat(name) => self.call_about(name, "heartbeat"),
            Action::OwnerLost(owner) => {
                self.lose(owner);
                Ok(())
            }
            Action::Steer(steer) => {
                let (op, frame) = steer_frame(steer);
                self.steer(op, frame)
            }
            Action::Reset(owner) => done(&self.call(owner.as_ref(), "reset", json!({}))),
        };
        self.listen();
        done
    }

    fn log(&mut self) -> Vec<Entry> {
        self.looker.call("ping", json!({}));
        let notices = std::mem::take(&mut self.looker.early);
        let events = notices.iter().filter(|frame| frame["notice"] == "event");
        let events = events.map(|frame| frame["event"].as_object().unwrap());
        let events = events.filter(|event| event["event"] != "dropped");
        events.map(|event| self.entry(event)).collect()
    }

    fn ask(&mut self, at: Nanos, query: &Query) -> String {
        self.clock.set(at);
        // Counts what is due.
        self.looker.call("status", json!({}));
        self.listen();
        match query {
            Query::Told(request) => self.answers.get(request).map_or("nothing".into(), words::told),
            Query::ShouldYield(request) => {
                let (number, owner) = self.request(request);
                let reply = self.call(owner.as_ref(), "should_yield", json!({"request": number}));
                let told = self.told_to_yield.get(&number).copied().unwrap_or(false);
                match (reply["should_yield"] == true, told) {
                    (true, true) => "yes".into(),
                    (false, _) => "no".into(),
                    (true, false) => "yes, but the holder was not told".into(),
                }
            }
            Query::Missed => {
                let mut reader = Connection::new(&self.socket);
                reader.call("events", json!({"so_far": true}));
                reader.call("ping", json!({}));
                let mut events = reader.early.iter().map(|frame| &frame["event"]);
                let dropped = events.find(|event| event["event"] == "dropped");
                dropped.map_or(0, |event| event["count"].as_u64().unwrap()).to_string()
            }
            Query::Name(name) => {
                let reply = self.looker.call("module", json!({"module": name}));
                if let Some(kind) = reply["error"].as_str() {
                    return format!("{kind}: {}", reply["message"].as_str().unwrap());
                }
                let mut text = reply["module"].as_str().unwrap().to_owned();
                if reply["first_unknown"] == true {
                    text.push_str(" unknown");
                }
                if let Some(nearest) = reply["nearest"].as_str() {
                    text.push_str(" nearest ");
                    text.push_str(nearest);
                }
                text
            }
            _ => {
                let status = self.client.try_status().unwrap();
                words::status(&status, query, |request| self.name(request.0))
            }
        }
    }
}

impl SocketFront {
    fn entry(&self, event: &Map<String, Json>) -> Entry {
        let text = |key: &str| event.get(key).and_then(Json::as_str);
        let count = |key: &str| event.get(key).and_then(Json::as_u64);
        let nanos = |key: &str| event.get(key).and_then(Json::as_f64).map(nanos);
        let flag = |key: &str| event.get(key) == Some(&Json::Bool(true));
        let mut details = Vec::new();
        for key in DETAILS {
            let value = match key {
                "timeout" | "waited" | "held" | "missing" => nanos(key).map(Value::For),
                "until" => nanos(key).map(Value::At),
                "others" | "depth" => {
                    // Nothing to say: no others, nothing left open. A nested turn is never at 0.
                    count(key).filter(|count| *count > 0).map(Value::Count)
                }
                "pass" | "urgent" | "predecessor_abandoned" => flag(key).then_some(Value::Yes),
                "with_request" => count(key).map(|number| Value::Word(self.name(number))),
                "below" => count(key)
                    .map(Value::Count)
                    .or_else(|| text(key).map(|word| Value::Word(word.into()))),
                "reason" => text(key).map(|reason| Value::Text(reason.into())),
                _ => text(key).map(|word| Value::Word(word.into())),
            };
            details.extend(value.map(|value| (key, value)));
        }
        Entry {
            seq: count("seq").unwrap(),
            at: nanos("t").unwrap(),
            event: Box::leak(text("event").unwrap().to_owned().into_boxed_str()),
            request: count("request").map(|number| self.name(number)),
            module: text("module").map(Name::from),
            token: text("token").map(|token| token.parse().unwrap()),
            details,
        }
    }
}

/// How the protocol says what an operator does, as its documentation has it.
fn steer_frame(steer: &Steer<Name>) -> (&'static str, Json) {
    match steer {
        Steer::Cancel { module } => ("cancel", json!({"module": &**module})),
        Steer::Disable { module } => ("disable", json!({"module": &**module})),
        Steer::Enable { module } => ("enable", json!({"module": &**module})),
        Steer::Mode { module, mode } => ("mode", json!({"module": &**module, "mode": mode.name()})),
        Steer::Pause { reason, below, lasts } => {
            let below = match below {
                Below::Priority(level) => json!(level),
                Below::Urgent => json!("urgent"),
            };
            let lasts = lasts.map(|lasts| lasts.as_secs_f64());
            ("pause", json!({"reason": reason, "below": below, "lasts": lasts}))
        }
        Steer::Resume { reason } => ("resume", json!({"reason": reason})),
        Steer::Close => ("close", json!({})),
        Steer::Reload(roster) => ("reload", json!({"roster": to_toml(roster)})),
        Steer::Revoke { reason } => ("revoke", json!({"reason": reason})),
        Steer::Reset { .. } => ("reset", json!({})),
    }
}

/// The details of events, in the order in which a log has them.
const DETAILS: [&str; 19] = [
    "timeout",
    "waited",
    "held",
    "others",
    "depth",
    "pass",
    "urgent",
    "predecessor_abandoned",
    "error",
    "by",
    "with",
    "with_request",
    "after",
    "missing",
    "reason",
    "below",
    "until",
    "mode",
    "count",
];

fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9).round() as Nanos
}

/// Whether a frame was obeyed, in the words of scenarios.
fn done(reply: &Json) -> Result<(), String> {
    let Some(kind) = reply["error"].as_str() else { return Ok(()) };
    match failure(reply) {
        Some(failure) => Err(words::failure(&failure)),
        None => Err(kind.to_owned()),
    }
}

fn answer(reply: &Json) -> Answer {
    if let Some(failure) = failure(reply) {
        return Answer::Failed(failure);
    }
    let token = reply["token"].as_str().map(|token| Token(token.parse().unwrap()));
    // Which module it is of does not matter for what is told.
    let module = ModuleId::NONE;
    let grant = Grant {
        module,
        token,
        waited: Duration::from_nanos(nanos(reply["waited"].as_f64().unwrap())),
        others_since_request: reply["others"].as_u64().unwrap(),
        predecessor_abandoned: reply["predecessor_abandoned"] == true,
        depth: reply["depth"].as_u64().unwrap() as usize,
    };
    if token.is_some() { Answer::Turn(grant) } else { Answer::Pass(grant) }
}

fn failure(reply: &Json) -> Option<Failure> {
    let text = |key: &str| reply[key].as_str().map(Arc::<str>::from);
    let length = |key: &str| Duration::from_nanos(nanos(reply[key].as_f64().unwrap_or(0.0)));
    Some(match reply["error"].as_str()? {
        "timeout" => Failure::TimedOut(TimedOut {
            waited: length("waited"),
            holder: text("holder").map(|holder| (holder, length("held"))),
            ahead: reply["ahead"].as_u64().unwrap() as usize,
            delay_left: length("delay_left"),
            paused: text("paused"),
        }),
        "would_deadlock" => Failure::WouldDeadlock { holds: text("holds")?, asked: text("asked")? },
        "refused" => Failure::Refused(Refusal::Other(text("message")?.to_string())),
        "cancelled" => Failure::Cancelled,
        "withdrawn" => Failure::Withdrawn,
        "disabled" => Failure::Disabled { module: text("module")? },
        "closed" => Failure::Closed,
        "not_holder" => Failure::NotHolder { holder: text("holder") },
        "queue_full" => Failure::QueueFull { limit: reply["limit"].as_u64()? as usize },
        "lost" => Failure::Lost,
        _ => return None,
    })
}

#[test]
fn scenarios_hold_through_a_socket() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let scenarios = read_all(&folder).unwrap_or_else(|why| panic!("{why}"));
    let (mut wrong, mut ran) = (Vec::new(), 0);
    for scenario in &scenarios {
        if scenario.first_token != 1 && !scenario.restarted {
            // Only a restart lets tokens begin elsewhere.
            continue;
        }
        let mut front = SocketFront::new(scenario);
        ran += 1;
        if let Err(mismatch) = run(scenario, &mut front) {
            wrong.push(mismatch.to_string());
        }
    }
    assert!(wrong.is_empty(), "{} of {ran} scenarios differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(ran > 150, "{ran} scenarios ran");
}
