//! One connection to the practice server, for all modules of a character or for one.
//!
//! This is what a bot has already: it writes each frame whole, and a reader keeps the state that the server sent last. Nothing
//! here keeps two modules apart. That is the mutex's part.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use crate::clock;
use crate::judge::{Frame, Sent, seconds, write_line};
use crate::server::is_timeout;
use crate::wire::{self, Action, ClientMessage, Frames, ServerMessage, State, Verdict, WireError};

/// How long the server may take to answer. It sends the state four times a second, so a longer silence means that it is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the connection has failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The network failed.
    #[error("practice server at {address}: {source}")]
    Io {
        /// The server's address.
        address: SocketAddr,
        /// What failed.
        source: io::Error,
    },
    /// The server closed the connection, with its reason if it gave one.
    #[error("the practice server closed the connection: {0}")]
    Closed(String),
    /// The log of what is sent could not be written, so nothing was sent.
    #[error("the log of what is sent cannot be written: {0}")]
    Log(io::Error),
    /// The server did not answer.
    #[error("no answer from the practice server within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
}

/// The sender of an action.
#[derive(Debug, Clone)]
pub struct Sender<'a> {
    /// The module.
    pub module: &'a str,
    /// The number of the module's cycle.
    pub cycle: u64,
    /// The turn's token, if it has one.
    pub token: Option<String>,
}

/// A character's connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    /// The connection's number, if the character was joined.
    connection: Option<u32>,
    out: Mutex<Outbox>,
    known: Arc<Known>,
    reader: Option<JoinHandle<()>>,
}

/// What is sent. The lock makes one order of the frames and of their numbers.
#[derive(Debug)]
struct Outbox {
    stream: TcpStream,
    sends: Vec<Sent>,
    pings: u64,
    /// Each action is written here before it is sent.
    log: Option<File>,
}

/// What the server has reported.
#[derive(Debug, Default)]
struct Known {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    frames: Vec<Frame>,
    pongs: u64,
    closed: Option<String>,
}

impl Client {
    /// Connects and enters the world of this seed.
    ///
    /// A server that is `embedded` in this process has the same clock. The times of any other server are mapped to this
    /// process's clock with an offset that is measured here. Its error is half a round trip at most, and the same for all
    /// frames.
    pub fn enter(
        address: SocketAddr,
        name: &str,
        seed: u64,
        embedded: bool,
    ) -> Result<Client, ClientError> {
        let enter = ClientMessage::Enter { seed, name: name.to_owned() };
        Client::open(address, &enter, embedded)
    }

    /// Connects and joins the character of this name and seed, which other processes may play too.
    ///
    /// Each action is written to `log` before it is sent, as a line of `sends.jsonl`.
    pub fn join(
        address: SocketAddr,
        name: &str,
        seed: u64,
        log: File,
    ) -> Result<Client, ClientError> {
        let join = ClientMessage::Join { seed, name: name.to_owned() };
        let mut client = Client::open(address, &join, false)?;
        client.out.get_mut().unwrap_or_else(PoisonError::into_inner).log = Some(log);
        Ok(client)
    }

    fn open(
        address: SocketAddr,
        first: &ClientMessage,
        embedded: bool,
    ) -> Result<Client, ClientError> {
        let failed = |source| ClientError::Io { address, source };
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;

        let before = clock::now();
        stream.write_all(&wire::frame(&first.encode())).map_err(failed)?;
        let mut incoming = Incoming {
            stream: stream.try_clone().map_err(failed)?,
            frames: Frames::new(wire::MAX_SERVER_FRAME),
        };
        let (time_us, connection) = match incoming.next()? {
            ServerMessage::Hello { time_us } => (time_us, None),
            ServerMessage::Joined { time_us, connection } => (time_us, Some(connection)),
            _ => {
                return Err(ClientError::Closed("the server did not answer with hello".to_owned()));
            }
        };
        // Half-way between sending and reading is the best guess of when the server read its clock.
        let middle = micros((before + clock::now()) / 2);
        let offset_us = if embedded { 0 } else { middle - i64::try_from(time_us).unwrap_or(0) };
        let ServerMessage::State(state) = incoming.next()? else {
            return Err(ClientError::Closed("the server did not send the state".to_owned()));
        };

        let inner = Inner { state, ..Inner::default() };
        let known = Arc::new(Known { inner: Mutex::new(inner), ..Known::default() });
        let told = Arc::clone(&known);
        let reader = std::thread::Builder::new()
            .name("practice-client".to_owned())
            .spawn(move || listen(incoming, &told, connection, offset_us))
            .map_err(failed)?;
        let out = Mutex::new(Outbox { stream, sends: Vec::new(), pings: 0, log: None });
        Ok(Client { address, connection, out, known, reader: Some(reader) })
    }

    /// Returns the state that the server sent last.
    pub fn state(&self) -> State {
        self.known.lock().state.clone()
    }

    /// Asks the server for the state. When this returns, [`Client::state`] is not older than the call, even if other processes
    /// play the character too.
    pub fn look(&self) -> Result<(), ClientError> {
        let pinged = {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            out.pings += 1;
            let pings = out.pings;
            out.stream.write_all(&wire::frame(&ClientMessage::Ping.encode())).map(|()| pings)
        };
        let pings = pinged.map_err(|source| self.reason(source))?;
        let inner = self.known.wait_while(|inner| inner.closed.is_none() && inner.pongs < pings);
        match &inner.closed {
            // The answer counts even if the connection closed after it.
            _ if inner.pongs >= pings => Ok(()),
            Some(reason) => Err(ClientError::Closed(reason.clone())),
            None => Err(ClientError::Silent),
        }
    }

    /// Sends an action and waits for the server's verdict. When this returns, [`Client::state`] shows the action's result.
    pub fn act(&self, sender: Sender<'_>, action: &Action) -> Result<Verdict, ClientError> {
        let n = self.send(sender, action)?;
        // The server answers in order, so the n-th answer is this frame's.
        let inner =
            self.known.wait_while(|inner| inner.closed.is_none() && inner.frames.len() <= n);
        match (inner.frames.get(n), &inner.closed) {
            (Some(frame), _) => Ok(frame.verdict),
            (None, Some(reason)) => Err(ClientError::Closed(reason.clone())),
            (None, None) => Err(ClientError::Silent),
        }
    }

    /// Writes one whole frame and returns its number.
    fn send(&self, sender: Sender<'_>, action: &Action) -> Result<usize, ClientError> {
        let bytes = wire::frame(&action.encode());
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let n = out.sends.len();
        let Sender { module, cycle, token } = sender;
        let sent = Sent {
            t: seconds(micros(clock::now())),
            connection: self.connection,
            // The server closes the connection long before a number does not fit; see `MAX_FRAMES`.
            n: u32::try_from(n).unwrap_or(u32::MAX),
            module: module.to_owned(),
            cycle,
            token,
        };
        // Before it is sent: the judge must be able to explain every frame that the server saw.
        if let Some(log) = &mut out.log {
            write_line(log, &sent).map_err(ClientError::Log)?;
        }
        out.stream.write_all(&bytes).map_err(|source| self.reason(source))?;
        out.sends.push(sent);
        Ok(n)
    }

    /// Returns why nothing can be sent any more. The reader knows the server's reason, or will soon.
    fn reason(&self, source: io::Error) -> ClientError {
        let inner = self.known.wait_while(|inner| inner.closed.is_none());
        match &inner.closed {
            Some(reason) => ClientError::Closed(reason.clone()),
            None => ClientError::Io { address: self.address, source },
        }
    }

    /// Leaves, and returns the logs: what was sent, and what the server saw.
    pub fn leave(mut self) -> (Vec<Sent>, Vec<Frame>) {
        self.hang_up();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut out.sends), std::mem::take(&mut self.known.lock().frames))
    }

    fn hang_up(&mut self) {
        let out = self.out.get_mut().unwrap_or_else(PoisonError::into_inner);
        // This ends the reader. A stream that cannot be shut down is closed already.
        let _ = out.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this no longer holds, for as long as the server may take to answer.
    fn wait_while(&self, mut holds: impl FnMut(&Inner) -> bool) -> MutexGuard<'_, Inner> {
        let waited =
            self.changed.wait_timeout_while(self.lock(), ANSWER_TIMEOUT, |inner| holds(inner));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Keeps what the server reports, until the connection closes.
fn listen(mut incoming: Incoming, known: &Known, connection: Option<u32>, offset_us: i64) {
    loop {
        let message = incoming.next();
        let mut inner = known.lock();
        match message {
            Ok(ServerMessage::State(state)) => inner.state = state,
            Ok(ServerMessage::Verdict(judged)) => {
                inner.frames.push(Frame::new(&judged, connection, offset_us));
            }
            Ok(ServerMessage::Pong) => inner.pongs += 1,
            Ok(
                ServerMessage::Hello { .. }
                | ServerMessage::Joined { .. }
                | ServerMessage::Error(_),
            ) => {}
            Err(ClientError::Closed(reason)) => inner.closed = Some(reason),
            Err(error) => inner.closed = Some(error.to_string()),
        }
        let closed = inner.closed.is_some();
        drop(inner);
        known.changed.notify_all();
        if closed {
            return;
        }
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// The server's messages.
struct Incoming {
    stream: TcpStream,
    frames: Frames,
}

impl Incoming {
    /// Reads the next message. If the server refuses the client, the error has its reason.
    fn next(&mut self) -> Result<ServerMessage, ClientError> {
        let closed = |reason: &str| ClientError::Closed(reason.to_owned());
        let garbled = |error: WireError| ClientError::Closed(format!("garbled message: {error}"));
        loop {
            if let Some(frame) = self.frames.next().map_err(garbled)? {
                return match ServerMessage::decode(&frame).map_err(garbled)? {
                    ServerMessage::Error(reason) => Err(ClientError::Closed(reason)),
                    message => Ok(message),
                };
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(closed("no reason given")),
                Ok(count) => self.frames.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(ClientError::Silent),
                Err(error) => return Err(closed(&error.to_string())),
            }
        }
    }
}
