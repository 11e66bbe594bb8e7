//! What commands need of the operating system, behind one small interface.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod here;

pub(crate) use here::{Shutdown, allow_many_connections, on_signal, suspend};

/// A signal to a program that draws in a terminal.
#[cfg_attr(not(unix), allow(dead_code, reason = "there are no signals elsewhere"))]
pub(crate) enum Signal {
    /// It is to end, with this exit code.
    End(u8),
    /// It is to stop until it is continued.
    Suspend,
    /// It was continued.
    Continue,
}
