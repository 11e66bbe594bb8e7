//! `packet-mutex exec`: a turn around a command.

use crate::ExitStatus;
use crate::elsewhere::{At, end_trace, ended, start_trace, status_of};
use crate::printer::Printer;
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

/// How often the turn is looked at while the command runs.
const LOOK: Duration = Duration::from_millis(20);

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
    at: At,

    /// How long to wait for the turn; without it, as the roster says
    #[arg(long, value_name = "S")]
    timeout: Option<f64>,

    /// Ahead of all that are not urgent, and without the handover delay
    #[arg(long)]
    urgent: bool,

    /// Write the mutex's events, from those that it still keeps to the end of the turn, to this file, for `report`
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn exec(args: &Args, printer: &mut Printer) -> ExitStatus {
    let done = run(args, printer);
    ended(done, printer)
}

fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus, (ExitStatus, String)> {
    let mutex = args.at.connect()?;
    let trace = start_trace(args.trace.as_deref(), [&mutex])?;
    let ended = with_turn(args, &mutex, printer);
    end_trace(trace, printer);
    ended
}

fn with_turn(
    args: &Args,
    mutex: &PacketMutex,
    printer: &mut Printer,
) -> Result<ExitStatus, (ExitStatus, String)> {
    let mut ask = mutex.request(args.module.as_str());
    if let Some(seconds) = args.timeout {
        let timeout = Duration::try_from_secs_f64(seconds);
        let bad = |why| (ExitStatus::BadInput, format!("--timeout {seconds}: {why}"));
        ask = ask.timeout(timeout.map_err(bad)?);
    }
    if args.urgent {
        ask = ask.urgent();
    }
    let turn = ask.acquire().map_err(|error| (status_of(&error), error.to_string()))?;
    let status = inside(args, mutex, &turn, printer);
    turn.release();
    // The release is on its way before this process ends, for it waits for this answer.
    let _ = mutex.try_status();
    status
}

/// Runs the command inside the turn.
fn inside(
    args: &Args,
    mutex: &PacketMutex,
    turn: &Turn,
    printer: &mut Printer,
) -> Result<ExitStatus, (ExitStatus, String)> {
    let failed = |why: std::io::Error| (ExitStatus::Command(126), why.to_string());
    // Before the command runs, so that none is missed.
    let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let mut signals = Signals::new(signals).map_err(failed)?;
    let is_inherited = match let_inherit(mutex) {
        Ok(()) => true,
        // Over TCP there is nothing that a command could inherit.
        Err(Error::Unsupported(_)) => false,
        // The connection was lost meanwhile, and the turn with it.
        Err(error) => return Err((status_of(&error), error.to_string())),
    };
    if !turn.is_held() {
        return Err((status_of(&Error::Lost), Error::Lost.to_string()));
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return Err((ExitStatus::BadInput, "no command".into()));
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
        (ExitStatus::Command(code), format!("{}: {error}", program.display()))
    })?;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let id = id.ok_or((ExitStatus::Command(126), "the command has no number".to_string()))?;
    let handle = signals.handle();
    let forwarding = std::thread::spawn(move || {
        // From a terminal a command of the same group has it already.
        let from_terminal = is_inherited && isatty(stdin());
        for number in signals.forever() {
            let both = from_terminal && matches!(number, SIGINT | SIGQUIT);
            if let Some(signal) = Signal::from_named_raw(number).filter(|_| !both) {
                // One that has just ended is no mistake.
                let _ = kill_process(id, signal);
            }
        }
    });
    let exit = watch(&wait(child), turn, keeper.as_ref(), printer);
    handle.close();
    // A panic in there was told by the panic hook.
    let _ = forwarding.join();
    if let Some(keeper) = keeper {
        keeper.dismiss();
    }
    exit.map_err(failed)
}

fn wait(mut child: Child) -> Receiver<std::io::Result<std::process::ExitStatus>> {
    let (ended, end) = channel();
    std::thread::spawn(move || {
        let _ = ended.send(child.wait());
    });
    end
}

/// Waits for the command's end, and looks at the turn meanwhile.
fn watch(
    end: &Receiver<std::io::Result<std::process::ExitStatus>>,
    turn: &Turn,
    keeper: Option<&Keeper>,
    printer: &mut Printer,
) -> std::io::Result<ExitStatus> {
    let mut lost = false;
    loop {
        let exit = match end.recv_timeout(LOOK) {
            Ok(exit) => exit?,
            Err(RecvTimeoutError::Timeout) => {
                if !lost && !turn.is_held() {
                    lost = true;
                    printer.warning("the turn is lost while the command runs");
                    if let Some(keeper) = keeper {
                        // S8: nobody else is let in before this.
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

/// The leader of the command's process group, there before the command is: a shell that waits for a word, and ends the
/// whole group if this process dies without saying it.
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
