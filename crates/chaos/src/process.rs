//! The processes of a run. Dropping a value ends its process.

use crate::step::{LEASE, Transport};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A process that does not answer for this long hangs. It is longer than a client's own limit for a turn, so that a client can
/// say what it waits for.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The server: `packet-mutex serve`.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    /// The server's stderr. It is kept open, so that the server can write to it.
    _notes: BufReader<ChildStderr>,
}

impl Server {
    /// Starts a server whose files are in `place`, at the URL of the server before, if there was one.
    pub(crate) fn start(
        program: &Path,
        place: &Path,
        transport: Transport,
        url: Option<&str>,
    ) -> Result<Server, String> {
        let told = |error: std::io::Error| format!("the server: {error}");
        let url = match (url, transport) {
            (Some(url), _) => url.to_owned(),
            (None, Transport::Unix) => format!("unix:{}/run/socket", place.display()),
            (None, Transport::Tcp) => "tcp://127.0.0.1:0".to_owned(),
        };
        let mut command = Command::new(program);
        command.args(["serve", &url, "--lease", &LEASE.as_secs_f64().to_string()]);
        command.arg("--roster").arg(place.join("roster.toml"));
        command.arg("--state").arg(place.join("state"));
        command.env_remove("PACKET_MUTEX_SECRET").env("RUST_LOG", "error");
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(told)?;
        let mut notes = BufReader::new(child.stderr.take().ok_or("the server has no stderr")?);
        let mut line = String::new();
        notes.read_line(&mut line).map_err(told)?;
        match line.trim().rsplit_once(" at ") {
            Some((_, url)) => Ok(Server { child, url: url.to_owned(), _notes: notes }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("the server says {line:?}"))
            }
        }
    }

    pub(crate) fn stop(&self) -> Result<(), String> {
        stop(&self.child)
    }

    pub(crate) fn go_on(&self) -> Result<(), String> {
        go_on(&self.child)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client that is driven over pipes.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    name: &'static str,
    commands: ChildStdin,
    answers: Receiver<String>,
    /// The number of commands without an answer.
    open: usize,
}

impl Client {
    pub(crate) fn start(
        program: &Path,
        name: &'static str,
        args: &[&str],
    ) -> Result<Client, String> {
        let told = |error: std::io::Error| format!("{name}: {error}");
        let mut command = Command::new(program);
        command.arg("client").args(args).env_remove("PACKET_MUTEX_SECRET");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(told)?;
        let commands = child.stdin.take().ok_or("a client has no stdin")?;
        let lines = BufReader::new(child.stdout.take().ok_or("a client has no stdout")?).lines();
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut client = Client { child, name, commands, answers, open: 1 };
        client.settle()?;
        Ok(client)
    }

    /// Sends a command.
    pub(crate) fn tell(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.commands, "{command}").map_err(|why| format!("{}: {why}", self.name))?;
        self.open += 1;
        Ok(())
    }

    /// Waits until all commands are answered. The error says which ones failed.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let end = Instant::now() + ANSWER_WITHIN;
        let mut troubles = Vec::new();
        while self.open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left);
            match answer {
                Ok(answer) => {
                    self.open -= 1;
                    if answer != "done" && answer != "ready" {
                        troubles.push(answer);
                    }
                }
                Err(_) => return Err(format!("{} hangs or is gone: {troubles:?}", self.name)),
            }
        }
        if troubles.is_empty() { Ok(()) } else { Err(format!("{}: {troubles:?}", self.name)) }
    }

    /// Sends a command and waits until it is done.
    pub(crate) fn does(&mut self, command: &str) -> Result<(), String> {
        self.tell(command)?;
        self.settle()
    }

    pub(crate) fn kill(mut self) {
        self.end();
    }

    pub(crate) fn stop(&self) -> Result<(), String> {
        stop(&self.child)
    }

    pub(crate) fn go_on(&self) -> Result<(), String> {
        go_on(&self.child)
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

/// Stops a process, and waits until it has stopped.
fn stop(child: &Child) -> Result<(), String> {
    let told = |error| format!("a process cannot be stopped: {error}");
    kill_process(pid(child)?, Signal::STOP).map_err(told)?;
    // The signal is only a request: without this, the process could act on for a moment.
    waitpid(Some(pid(child)?), WaitOptions::UNTRACED).map_err(told)?;
    Ok(())
}

fn go_on(child: &Child) -> Result<(), String> {
    let told = |error| format!("a process cannot go on: {error}");
    kill_process(pid(child)?, Signal::CONT).map_err(told)
}

fn pid(child: &Child) -> Result<Pid, String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| "a process without a number".into())
}
