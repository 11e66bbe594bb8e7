//! Ten ways to misuse a connection. The tests see how each ends; `cargo xtask bench --service`, which takes this file in
//! too, measures what each costs the others.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What the protocol says: a frame's limit, its end included.
const FRAME_MAX: usize = 64 * 1024;
const HELLO: &[u8] = b"{\"id\":1,\"op\":\"hello\",\"version\":1}\n";

/// A connection of either kind.
pub(crate) trait Socket: Read + Write + Send {
    fn again(&self) -> io::Result<Box<dyn Socket>>;
    /// Most that a read and a write wait.
    fn wait_at_most(&self, read: Duration, write: Duration) -> io::Result<()>;
}

macro_rules! socket {
    ($of:ty) => {
        impl Socket for $of {
            fn again(&self) -> io::Result<Box<dyn Socket>> {
                Ok(Box::new(self.try_clone()?))
            }
            fn wait_at_most(&self, read: Duration, write: Duration) -> io::Result<()> {
                self.set_read_timeout(Some(read))?;
                self.set_write_timeout(Some(write))
            }
        }
    };
}
socket!(UnixStream);
socket!(TcpStream);

/// Opens a connection.
pub(crate) type Door<'a> = &'a dyn Fn() -> io::Result<Box<dyn Socket>>;
/// Connections on which the abuse is under way.
pub(crate) type Abused = Vec<Box<dyn Socket>>;

/// How the server lets it end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// With this error, and the connection is over.
    Refused(&'static str),
    /// It is nothing bad: so many replies that say `ok` come, and the connection goes on until the client closes it.
    Served(usize),
    /// The server closes the connection after a time that is bounded.
    Dropped,
    /// Not at all: the connections stay.
    Stays,
}

pub(crate) struct Abuse {
    pub(crate) name: &'static str,
    pub(crate) ends: Ends,
    pub(crate) begin: fn(Door<'_>) -> io::Result<Abused>,
}

pub(crate) const TINY_FRAMES: usize = 1_000_000;
pub(crate) const IDLE: usize = 5_000;
const DRIPPING: usize = 100;

pub(crate) const ABUSES: [Abuse; 10] = [
    Abuse {
        name: "oversized frames",
        ends: Ends::Refused("frame_too_long"),
        begin: |door| after_hello(door, &[b'x'; FRAME_MAX]),
    },
    Abuse {
        name: "truncated frames",
        ends: Ends::Refused("bad_frame"),
        begin: |door| after_hello(door, b"{\"id\":2,\"op\":\"acquire\",\"module\":\"fis\n"),
    },
    Abuse {
        name: "binary",
        ends: Ends::Refused("bad_frame"),
        begin: |door| {
            let noise = |n: usize| (n.wrapping_mul(2_654_435_761) >> 13) as u8;
            let mut bytes: Vec<u8> = (0..FRAME_MAX - 1).map(noise).collect();
            bytes.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = 0);
            bytes.push(b'\n');
            after_hello(door, &bytes)
        },
    },
    Abuse {
        name: "deep JSON",
        ends: Ends::Refused("bad_frame"),
        begin: |door| {
            let mut deep = b"{\"id\":2,\"op\":\"ping\",\"x\":".to_vec();
            deep.resize(FRAME_MAX - 1, b'[');
            deep.push(b'\n');
            after_hello(door, &deep)
        },
    },
    Abuse {
        name: "wrong version",
        ends: Ends::Refused("unsupported"),
        begin: |door| {
            let mut socket = open(door)?;
            socket.write_all(b"{\"id\":1,\"op\":\"hello\",\"version\":99}\n")?;
            Ok(vec![socket])
        },
    },
    Abuse {
        name: "unknown fields",
        ends: Ends::Served(100),
        begin: |door| {
            let mut frame = "{\"id\":2,\"op\":\"ping\"".to_owned();
            for n in 0_u32.. {
                let field = format!(",\"{n:x}\":{n}");
                if frame.len() + field.len() + 2 > FRAME_MAX {
                    break;
                }
                frame.push_str(&field);
            }
            frame.push_str("}\n");
            let mut socket = greeted(door)?;
            for _ in 0..100 {
                socket.write_all(frame.as_bytes())?;
            }
            Ok(vec![socket])
        },
    },
    Abuse {
        name: "a million tiny frames",
        ends: Ends::Served(TINY_FRAMES / 4),
        begin: |door| {
            let mut socket = greeted(door)?;
            let frames = "\n\n\n{\"id\":1,\"op\":\"ping\"}\n".repeat(1000);
            let mut writer = socket.again()?;
            std::thread::spawn(move || {
                // If it fails, the replies are missing.
                (0..TINY_FRAMES / 4000).try_for_each(|_| writer.write_all(frames.as_bytes()))
            });
            socket.flush()?;
            Ok(vec![socket])
        },
    },
    Abuse {
        name: "one byte a second",
        ends: Ends::Dropped,
        begin: |door| {
            let sockets: Abused = (0..DRIPPING).map(|_| open(door)).collect::<io::Result<_>>()?;
            let mut dripping: Abused =
                sockets.iter().map(|socket| socket.again()).collect::<io::Result<_>>()?;
            std::thread::spawn(move || {
                while dripping.iter_mut().all(|socket| socket.write_all(b"{").is_ok()) {
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
            Ok(sockets)
        },
    },
    Abuse {
        name: "a client that never reads",
        ends: Ends::Dropped,
        begin: |door| {
            let mut socket = greeted(door)?;
            socket.wait_at_most(Duration::from_secs(30), Duration::from_millis(100))?;
            let frames = "{\"id\":1,\"op\":\"status\"}\n".repeat(1000);
            // Until neither the socket nor the server takes any more.
            while socket.write_all(frames.as_bytes()).is_ok() {}
            socket.wait_at_most(Duration::from_secs(30), Duration::from_secs(30))?;
            Ok(vec![socket])
        },
    },
    Abuse {
        name: "5,000 idle connections",
        ends: Ends::Stays,
        begin: |door| (0..IDLE).map(|_| greeted(door)).collect(),
    },
];

fn open(door: Door<'_>) -> io::Result<Box<dyn Socket>> {
    let socket = door()?;
    socket.wait_at_most(Duration::from_secs(30), Duration::from_secs(30))?;
    Ok(socket)
}

fn greeted(door: Door<'_>) -> io::Result<Box<dyn Socket>> {
    let mut socket = open(door)?;
    socket.write_all(HELLO)?;
    let mut byte = [0];
    while byte != *b"\n" {
        socket.read_exact(&mut byte)?;
    }
    Ok(socket)
}

fn after_hello(door: Door<'_>, bytes: &[u8]) -> io::Result<Abused> {
    let mut socket = greeted(door)?;
    socket.write_all(bytes)?;
    Ok(vec![socket])
}

impl Ends {
    /// Waits until it has ended, and says what is not as it should be.
    pub(crate) fn see(self, socket: Box<dyn Socket>) -> Result<(), String> {
        match self {
            Ends::Refused(kind) => {
                let mut reader = BufReader::new(socket);
                let mut line = String::new();
                reader.read_line(&mut line).map_err(|error| error.to_string())?;
                if !line.contains(&format!("\"error\":\"{kind}\"")) {
                    return Err(format!("{kind} was due, not {line}"));
                }
                // What it sent and the server did not read makes the end a reset.
                match reader.read_line(&mut line) {
                    Ok(0) => Ok(()),
                    Ok(_) => Err(format!("more came: {line}")),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Ends::Served(replies) => {
                let mut lines = BufReader::new(socket).lines();
                for n in 0..replies {
                    match lines.next() {
                        Some(Ok(line)) if line.contains("\"ok\":true") => {}
                        other => return Err(format!("reply {n} is {other:?}")),
                    }
                }
                Ok(())
            }
            Ends::Dropped => {
                let (mut socket, end) = (socket, Instant::now() + Duration::from_secs(30));
                while socket.write_all(b" ").is_ok() {
                    if end < Instant::now() {
                        return Err("the connection goes on and on".into());
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            }
            Ends::Stays => Ok(()),
        }
    }
}
