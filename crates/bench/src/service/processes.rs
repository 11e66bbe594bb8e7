//! Processes that are pinned to a core, and connections to them.

use super::ways::Socket;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

pub(crate) type Done<T = ()> = Result<T, Box<dyn Error>>;

/// Pins this thread, and those that it starts from now on, to one core.
pub(super) fn pin(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// A process of this program in another role. Dropping it ends it.
pub(super) struct Process {
    child: Child,
    /// The line that it printed first: where it listens, or that it has begun.
    pub(super) url: String,
}

impl Process {
    /// Starts one, and waits until it has printed where it listens or that it has begun.
    pub(super) fn start(role: &str, core: usize, url: &str, rest: &[&str]) -> Done<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--child", role, &core.to_string(), url])
            .args(rest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let url = line.trim_end().to_owned();
        let process = Process { child, url };
        if process.url.is_empty() {
            Err(format!("{role} did not start").into())
        } else {
            Ok(process)
        }
    }

    /// Returns its resident memory in kilobytes.
    pub(super) fn memory(&self) -> Done<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.and_then(|rest| rest.split_whitespace().next());
        Ok(line.ok_or("no VmRSS")?.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn connect(url: &str) -> io::Result<Box<dyn Socket>> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Box::new(UnixStream::connect(path)?));
    }
    let stream = TcpStream::connect(url.trim_start_matches("tcp://"))?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// A client that reads and writes lines, and parses as little as possible.
pub(super) struct Lines {
    writer: Box<dyn Socket>,
    reader: BufReader<Box<dyn Socket>>,
    reply: String,
}

impl Lines {
    pub(super) fn new(url: &str) -> io::Result<Self> {
        let writer = connect(url)?;
        Ok(Lines { reader: BufReader::new(writer.again()?), writer, reply: String::new() })
    }

    pub(super) fn greeted(url: &str) -> io::Result<Self> {
        let mut lines = Lines::new(url)?;
        lines.call("{\"id\":1,\"op\":\"hello\",\"version\":1}\n")?;
        Ok(lines)
    }

    pub(super) fn call(&mut self, line: &str) -> io::Result<&str> {
        self.writer.write_all(line.as_bytes())?;
        self.reply.clear();
        match self.reader.read_line(&mut self.reply)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(&self.reply),
        }
    }

    /// Asks for a turn and returns the number of its request.
    pub(super) fn acquire(&mut self) -> io::Result<u64> {
        let grant = self.call("{\"id\":1000,\"module\":\"fisher\",\"op\":\"acquire\"}\n")?;
        let number = grant.split("\"request\":").nth(1);
        let number = number.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
        let number: String = number.unwrap_or_default();
        number.parse().map_err(|_| io::Error::other(format!("no grant: {grant}")))
    }

    pub(super) fn release(&mut self, request: u64) -> io::Result<()> {
        self.call(&format!("{{\"id\":1001,\"op\":\"release\",\"request\":{request}}}\n")).map(drop)
    }
}
