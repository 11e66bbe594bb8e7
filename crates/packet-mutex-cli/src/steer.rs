//! The commands that steer a running mutex.

use crate::ExitStatus;
use crate::elsewhere::{At, ended, status_of};
use crate::printer::Printer;
use clap::ValueEnum;
use packet_mutex::{Error, Mode, PacketMutex, all_but_urgent, below};
use std::time::Duration;

/// Exit code of each: 69 if the mutex cannot be reached, 2 if it refuses.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Steer {
    /// End all waiting requests of a module of a running mutex
    Cancel(OfModule),
    /// Refuse new requests of a module
    Disable(OfModule),
    /// Take requests of a module again
    Enable(OfModule),
    /// Hold requests back, and ask a lower holder to yield
    Pause(Pause),
    /// End a pause, or all
    Resume(Resume),
    /// Switch how far the mutex governs a module
    Mode(SetMode),
}

#[derive(Debug, clap::Args)]
pub(crate) struct OfModule {
    /// The module
    module: String,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// Why, for people; a pause with the same reason is replaced
    reason: String,
    /// Holds back modules of a lower priority only; without it, all but urgent requests
    #[arg(long, value_name = "PRIORITY")]
    below: Option<u8>,
    /// For how long; without it, until `resume`
    #[arg(long = "for", value_name = "SECONDS")]
    lasts: Option<f64>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The reason of the pause; without it, all pauses end
    reason: Option<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetMode {
    /// The module
    module: String,
    /// The mode
    mode: ModeName,
    #[command(flatten)]
    at: At,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    Enforced,
    Observed,
    Off,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Enforced => Mode::Enforced,
            ModeName::Observed => Mode::Observed,
            ModeName::Off => Mode::Off,
        }
    }
}

pub(crate) fn steer(steer: &Steer, printer: &mut Printer) -> ExitStatus {
    let done = match steer {
        Steer::Cancel(of) => on(&of.at, |mutex| mutex.cancel(&of.module)),
        Steer::Disable(of) => on(&of.at, |mutex| mutex.disable(&of.module)),
        Steer::Enable(of) => on(&of.at, |mutex| mutex.enable(&of.module)),
        Steer::Pause(pause) => set_pause(pause),
        Steer::Resume(resume) => on(&resume.at, |mutex| match &resume.reason {
            Some(reason) => mutex.resume(reason),
            None => {
                mutex.resume_all();
                Ok(())
            }
        }),
        Steer::Mode(set) => on(&set.at, |mutex| mutex.set_mode(&set.module, set.mode.into())),
    };
    ended(done.map(|()| ExitStatus::Done), printer)
}

fn set_pause(pause: &Pause) -> Result<(), (ExitStatus, String)> {
    let level = pause.below.map_or_else(all_but_urgent, below);
    let lasts = pause.lasts.map(Duration::try_from_secs_f64).transpose();
    let lasts = lasts.map_err(|why| (ExitStatus::BadInput, format!("--for: {why}")))?;
    on(&pause.at, |mutex| match lasts {
        None => mutex.pause(level, &pause.reason),
        Some(lasts) => mutex.pause_for(lasts, level, &pause.reason),
    })
}

fn on(
    at: &At,
    act: impl FnOnce(&PacketMutex) -> Result<(), Error>,
) -> Result<(), (ExitStatus, String)> {
    let mutex = at.connect()?;
    act(&mutex).map_err(|error| (status_of(&error), error.to_string()))
}
