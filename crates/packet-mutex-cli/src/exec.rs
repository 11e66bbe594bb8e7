//! `packet-mutex exec`: a turn around a command.

use crate::connection::Connection;
use crate::duration::duration;
use crate::exit::{ExitStatus, Failure, finish};
use crate::printer::Printer;
use crate::trace::TraceFile;
use packet_mutex::net::let_inherit;
use packet_mutex::{Error, PacketMutex, Turn};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::stdio::stdin;
use rustix::termios::isatty;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often the turn is checked while the command runs.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Run a command inside a turn
///
/// The command's exit code is passed through (128 and the signal's number if a signal ended it), and so are signals. The
/// turn's token is in its environment as PACKET_MUTEX_TOKEN. Over a Unix socket the turn lasts while the command or a
/// child of it lives, even if this process is killed; over TCP the command is ended if the turn is lost. Exit code: 69 if
/// the mutex cannot be reached, 75 if the turn did not come in time, 126 or 127 if the command cannot be run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module that the turn is for
    #[arg(short, long)]
    module: String,

    #[command(flatten)]
    connection: Connection,

    /// How long to wait for the turn, such as 5, 5s or 1500ms; without it, as the roster says
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// Go ahead of all requests that are not urgent, and skip the handover delay
    #[arg(long)]
    urgent: bool,

    /// Write the mutex's events to this file, for `report`: those that it still keeps, and all until the turn ends
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn exec(args: &Args, printer: &mut Printer) -> ExitStatus {
    let done = run(args, printer);
    finish(done, printer)
}

fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus, Failure> {
    let mutex = args.connection.open()?;
    let trace = TraceFile::start(args.trace.as_deref(), [&mutex])?;
    let done = with_turn(args, &mutex, printer);
    trace.finish(printer);
    done
}

fn with_turn(
    args: &Args,
    mutex: &PacketMutex,
    printer: &mut Printer,
) -> Result<ExitStatus, Failure> {
    let mut ask = mutex.request(args.module.as_str());
    if let Some(timeout) = args.timeout {
        ask = ask.timeout(timeout);
    }
    if args.urgent {
        ask = ask.urgent();
    }
    let turn = ask.acquire()?;
    let status = run_inside(args, mutex, &turn, printer);
    turn.release();
    // The release was sent before this question, so the answer means that the server has it.
    let _ = mutex.try_status();
    status
}

/// Runs the command inside the turn.
fn run_inside(
    args: &Args,
    mutex: &PacketMutex,
    turn: &Turn,
    printer: &mut Printer,
) -> Result<ExitStatus, Failure> {
    let failed = |why: std::io::Error| Failure::new(ExitStatus::Command(126), why);
    // Signals are caught before the command runs, so that none is missed.
    let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let mut signals = Signals::new(signals).map_err(failed)?;
    let is_inherited = match let_inherit(mutex) {
        Ok(()) => true,
        // Over TCP there is nothing that a command could inherit.
        Err(Error::Unsupported(_)) => false,
        // The connection was lost meanwhile, and the turn with it.
        Err(error) => return Err(error.into()),
    };
    if !turn.is_held() {
        return Err(Error::Lost.into());
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::bad_input("no command"));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_remove("PACKET_MUTEX_TOKEN");
    if let Some(token) = turn.token() {
        command.env("PACKET_MUTEX_TOKEN", token.to_string());
    }
    let keeper = if is_inherited { None } else { Some(Keeper::new().map_err(failed)?) };
    if let Some(keeper) = &keeper {
        command.process_group(keeper.group.as_raw_nonzero().get());
    }
    let child = command.spawn().map_err(|error| {
        let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
        Failure::new(ExitStatus::Command(code), format!("{}: {error}", program.display()))
    })?;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let no_id = || Failure::new(ExitStatus::Command(126), "the command has no process id");
    let id = id.ok_or_else(no_id)?;
    let handle = signals.handle();
    let forwarding = std::thread::spawn(move || {
        // A terminal sends these to its whole foreground group, and the command is in it.
        let from_terminal = is_inherited && isatty(stdin());
        for number in signals.forever() {
            let both = from_terminal && matches!(number, SIGINT | SIGQUIT);
            if let Some(signal) = Signal::from_named_raw(number).filter(|_| !both) {
                // The command may just have ended.
                let _ = kill_process(id, signal);
            }
        }
    });
    let exit = wait_and_watch(&wait_in_thread(child), turn, keeper.as_ref(), printer);
    handle.close();
    // The panic hook has already reported a panic of the thread.
    let _ = forwarding.join();
    if let Some(keeper) = keeper {
        keeper.dismiss();
    }
    exit.map_err(failed)
}

fn wait_in_thread(mut child: Child) -> Receiver<std::io::Result<std::process::ExitStatus>> {
    let (ended, end) = channel();
    std::thread::spawn(move || {
        let _ = ended.send(child.wait());
    });
    end
}

/// Waits for the command's end, and checks the turn meanwhile.
fn wait_and_watch(
    end: &Receiver<std::io::Result<std::process::ExitStatus>>,
    turn: &Turn,
    keeper: Option<&Keeper>,
    printer: &mut Printer,
) -> std::io::Result<ExitStatus> {
    let mut lost = false;
    loop {
        let exit = match end.recv_timeout(CHECK_EVERY) {
            Ok(exit) => exit?,
            Err(RecvTimeoutError::Timeout) => {
                if !lost && !turn.is_held() {
                    lost = true;
                    printer.warning("the turn was lost while the command was running");
                    if let Some(keeper) = keeper {
                        // The command must not act on: soon the lease is over and others are let in (S8).
                        let _ = kill_process_group(keeper.group, Signal::KILL);
                    }
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(ExitStatus::Command(126)),
        };
        let code = exit.code().or_else(|| exit.signal().map(|signal| 128 + signal));
        return Ok(ExitStatus::Command(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(255)));
    }
}

/// The leader of the command's process group: a shell that starts before the command and waits for a word. If this process
/// dies without saying it, the shell kills the whole group.
struct Keeper {
    shell: Child,
    group: Pid,
}

impl Keeper {
    fn new() -> std::io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read -r done || kill -KILL 0"]).stdin(Stdio::piped());
        shell.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let shell = shell.spawn()?;
        let group = i32::try_from(shell.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or(ErrorKind::Other)?;
        Ok(Keeper { shell, group })
    }

    fn dismiss(mut self) {
        if let Some(mut input) = self.shell.stdin.take() {
            let _ = input.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}
