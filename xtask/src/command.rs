//! Running other programs from the repository's root.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(Path::to_path_buf).unwrap_or_default()
}

/// A program with its arguments, to be run in the root.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Cargo, the one that runs this.
pub(crate) fn cargo(args: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), args)
}

/// A program of the workspace, which `cargo run` finds with these options, and the program's own arguments.
pub(crate) fn program(options: &[&str], args: &[&str]) -> Command {
    let mut command = cargo(&["run"]);
    command.args(options).arg("--").args(args);
    command
}

/// The command line of the release build.
pub(crate) fn packet_mutex(args: &[&str]) -> Command {
    program(&["--quiet", "--release", "--package", "packet-mutex-cli"], args)
}

/// Shows the command, runs it and says why it failed, if so.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    announce(command);
    let status = command.status().map_err(|why| cannot(command, &why))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(command))) }
}

/// Runs the command and returns its output; what it writes to stderr is shown.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|why| cannot(command, &why))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{} ended with {}", shown(command), output.status))
    }
}

/// What cargo knows of the packages of the workspace.
pub(crate) fn packages() -> Result<Vec<Value>, String> {
    let text = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let mut known: Value = serde_json::from_str(&text).map_err(|why| why.to_string())?;
    serde_json::from_value(known["packages"].take()).map_err(|why| why.to_string())
}

/// Runs the command, shows its output line by line, and hands each line to `look`. Returns whether it succeeded.
pub(crate) fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<bool, String> {
    announce(command);
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|why| cannot(command, &why))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            look(&line);
        }
    }
    Ok(child.wait().map_err(|why| cannot(command, &why))?.success())
}

fn announce(command: &Command) {
    println!("$ {}", shown(command));
}

/// Why the command could not be started.
pub(crate) fn cannot(command: &Command, why: &std::io::Error) -> String {
    format!("{}: {why}", command.get_program().to_string_lossy())
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={:?} ", name.to_string_lossy(), value?)));
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let args = command.get_args().map(|arg| format!(" {}", arg.to_string_lossy()));
    variables.chain([program.into_owned()]).chain(args).collect()
}
