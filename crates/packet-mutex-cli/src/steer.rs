//! The commands that steer a running mutex. Each parses its arguments to a [`Steer`] and hands it to the mutex.

use crate::connection::Connection;
use crate::duration::duration;
use crate::exit::{ExitStatus, Failure, finish};
use crate::printer::Printer;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use packet_mutex::roster_toml::RosterFile;
use packet_mutex::{Mode, Steer, all_but_urgent, below};
use std::path::PathBuf;
use std::time::Duration;

/// Exit code of each: 69 if the mutex cannot be reached, 2 if it refuses.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SteerCommand {
    /// End all waiting requests of a module
    Cancel(ModuleArgs),
    /// Refuse a module's new requests until it is enabled
    Disable(ModuleArgs),
    /// Accept a module's requests again
    Enable(ModuleArgs),
    /// Hold requests back, and ask a lower holder to yield
    Pause(PauseArgs),
    /// End one pause, or all
    Resume(ResumeArgs),
    /// Switch how far the mutex governs a module
    Mode(ModeArgs),
    /// Take the open turn away from its holder
    ///
    /// The holder may still be acting. The next turns are warned, and the holder's token shows which packets are late.
    Revoke(RevokeArgs),
    /// Replace the roster, without a restart
    ///
    /// Waiting requests keep their time of arrival, and no running delay is shortened.
    Reload(ReloadArgs),
    /// End all waiting requests, let the holder finish, and refuse new requests
    ///
    /// Only a restart of the server opens the mutex again.
    Close(CloseArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModuleArgs {
    /// The module
    module: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// Why, for people; it replaces a pause with the same reason
    reason: String,
    /// Hold back only modules of a lower priority; without it, all but urgent requests
    #[arg(long, value_name = "PRIORITY")]
    below: Option<u8>,
    /// How long it lasts, such as 90, 90s or 1500ms; without it, until `resume`
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<Duration>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// The reason of the pause; without it, all pauses end
    reason: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModeArgs {
    /// The module
    module: String,
    /// The mode
    #[arg(value_parser = mode_parser())]
    mode: Mode,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// Why, for people; the log has it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReloadArgs {
    /// The new roster, a TOML file
    roster: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CloseArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Accepts the names of all modes.
fn mode_parser() -> impl TypedValueParser<Value = Mode> {
    let names = Mode::ALL.iter().map(|mode| mode.name());
    PossibleValuesParser::new(names).try_map(|name| Mode::from_name(&name).ok_or("no such mode"))
}

pub(crate) fn steer(command: &SteerCommand, printer: &mut Printer) -> ExitStatus {
    let done = command.parse().and_then(|(steer, connection)| {
        connection.open()?.steer(steer)?;
        Ok(ExitStatus::Done)
    });
    finish(done, printer)
}

impl SteerCommand {
    /// Returns what is to be done, and to which mutex.
    fn parse(&self) -> Result<(Steer<&str>, &Connection), Failure> {
        Ok(match self {
            SteerCommand::Cancel(args) => {
                (Steer::Cancel { module: &args.module }, &args.connection)
            }
            SteerCommand::Disable(args) => {
                (Steer::Disable { module: &args.module }, &args.connection)
            }
            SteerCommand::Enable(args) => {
                (Steer::Enable { module: &args.module }, &args.connection)
            }
            SteerCommand::Pause(PauseArgs { reason, below: level, lasts, connection }) => {
                let below = level.map_or_else(all_but_urgent, below);
                (Steer::Pause { reason: reason.clone(), below, lasts: *lasts }, connection)
            }
            SteerCommand::Resume(args) => {
                (Steer::Resume { reason: args.reason.clone() }, &args.connection)
            }
            SteerCommand::Mode(args) => {
                (Steer::Mode { module: &args.module, mode: args.mode }, &args.connection)
            }
            SteerCommand::Revoke(args) => {
                (Steer::Revoke { reason: args.reason.clone() }, &args.connection)
            }
            SteerCommand::Reload(args) => {
                let file = RosterFile::open(&args.roster).map_err(Failure::bad_input)?;
                (Steer::Reload(Box::new(file.roster)), &args.connection)
            }
            SteerCommand::Close(args) => (Steer::Close, &args.connection),
        })
    }
}
