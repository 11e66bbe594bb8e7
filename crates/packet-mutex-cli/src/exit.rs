//! How the command ends.

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
    /// The exit code.
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
