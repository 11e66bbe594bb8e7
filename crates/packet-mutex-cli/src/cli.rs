//! The commands, and which code carries each out.

#[cfg(unix)]
use crate::exec;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::{check, practice, report, serve, simulate, status, steer, watch};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::stderr;
use tracing_subscriber::EnvFilter;

/// Runs the command with these arguments, the first of which is its own name.
///
/// What was asked for goes to stdout; errors, warnings and logs go to stderr.
pub fn run<A>(args: impl IntoIterator<Item = A>) -> ExitStatus
where
    A: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut printer = Printer::new(cli.color.into());
    // A log would be written across the view that `watch` draws.
    if !matches!(cli.command, Command::Watch(_)) {
        log_to_stderr(&printer);
    }
    match &cli.command {
        Command::Practice(args) => practice::practice(args, &mut printer),
        Command::Check(args) => check::check(args, &mut printer),
        Command::Simulate(args) => simulate::simulate(args, &mut printer),
        Command::Serve(args) => serve::serve(args, &mut printer),
        #[cfg(unix)]
        Command::Exec(args) => exec::exec(args, &mut printer),
        Command::Status(args) => status::status(args, &mut printer),
        Command::Watch(args) => watch::watch(args, &mut printer),
        Command::Steer(command) => steer::steer(command, &mut printer),
        Command::Report(args) => report::report(args, &mut printer),
    }
}

/// One shared action channel, one module at a time.
#[derive(Debug, Parser)]
#[command(name = "packet-mutex", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// When to use colours; `auto` also respects NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Command {
    Practice(practice::Args),
    Check(check::Args),
    Simulate(simulate::Args),
    Serve(serve::Args),
    #[cfg(unix)]
    Exec(exec::Args),
    Status(status::Args),
    Watch(watch::Args),
    #[command(flatten)]
    Steer(steer::SteerCommand),
    Report(report::Args),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
    }
}

/// Prints what clap returns instead of a command: help, the version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitStatus {
    let mut printer = Printer::new(anstream::ColorChoice::Auto);
    let text = error.render().ansi().to_string();
    if error.use_stderr() {
        printer.note(text.trim_end());
        ExitStatus::BadInput
    } else {
        printer.data(text.trim_end());
        ExitStatus::Done
    }
}

fn log_to_stderr(printer: &Printer) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        // A server goes on when its terminal is gone. Reporting a line that cannot be written would panic.
        .log_internal_errors(false)
        .with_ansi(printer.colours_stderr());
    // A program that calls `run` and has its own subscriber keeps it.
    let _ = logs.try_init();
}

/// Returns the command's definition, for the reference.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}
