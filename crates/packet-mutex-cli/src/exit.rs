//! How the command ends, and why.

use crate::printer::Printer;
use packet_mutex::Error;
use std::path::Path;
use std::process::ExitCode;

/// How the command ended. Scripts rely on the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: done.
    Done,
    /// 1: the thing asked about is not so, such as a run without conflicts.
    NotSo,
    /// 2: bad input or usage.
    BadInput,
    /// 69: the mutex cannot be reached.
    Unreachable,
    /// 75: timed out.
    TimedOut,
    /// The code of the command that was run; 128 and the signal's number if a signal ended it.
    Command(u8),
}

impl ExitStatus {
    /// Returns the exit code.
    ///
    /// ```
    /// assert_eq!(packet_mutex_cli::ExitStatus::BadInput.code(), 2);
    /// ```
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            ExitStatus::Done => 0,
            ExitStatus::NotSo => 1,
            ExitStatus::BadInput => 2,
            ExitStatus::Unreachable => 69,
            ExitStatus::TimedOut => 75,
            ExitStatus::Command(code) => code,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(status.code())
    }
}

/// Why a command could not do what was asked, and the status with which it ends.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: ExitStatus,
    /// For people; each line is an error of its own.
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(status: ExitStatus, why: impl ToString) -> Self {
        Failure { status, why: why.to_string() }
    }

    pub(crate) fn bad_input(why: impl ToString) -> Self {
        Failure::new(ExitStatus::BadInput, why)
    }

    /// A file that was asked for cannot be written.
    pub(crate) fn unwritten(path: &Path, error: std::io::Error) -> Self {
        Failure::bad_input(format!("{} cannot be written: {error}", path.display()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Timeout(_) => ExitStatus::TimedOut,
            Error::Unavailable(_) | Error::Unauthorized | Error::Lost => ExitStatus::Unreachable,
            // The mutex was reached and understood, and it said no: `disable` or `close` may have been meant that way.
            Error::Disabled { .. } | Error::Cancelled | Error::Closed | Error::QueueFull { .. } => {
                ExitStatus::NotSo
            }
            _ => ExitStatus::BadInput,
        };
        Failure::new(status, error)
    }
}

/// Prints why the command failed, if it did, and returns its status.
pub(crate) fn finish(result: Result<ExitStatus, Failure>, printer: &mut Printer) -> ExitStatus {
    result.unwrap_or_else(|Failure { status, why }| {
        why.lines().for_each(|line| printer.error(line));
        status
    })
}
