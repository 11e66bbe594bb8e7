//! The `packet-mutex` command as a library: [`run`] is all of it, the binary only passes its arguments.
//!
//! ```
//! use packet_mutex_cli::{ExitStatus, run};
//! assert_eq!(run(["packet-mutex", "check", "no-such-file.toml"]), ExitStatus::BadInput);
//! ```

mod check;
mod cli;
mod connection;
mod duration;
#[cfg(unix)]
mod exec;
mod exit;
mod platform;
mod practice;
mod printer;
mod reference;
mod report;
mod serve;
mod simulate;
mod status;
mod steer;
mod table;
mod terminal;
mod trace;
mod watch;

pub use cli::run;
pub use exit::ExitStatus;
pub use reference::{cli_reference, event_reference, roster_reference};
