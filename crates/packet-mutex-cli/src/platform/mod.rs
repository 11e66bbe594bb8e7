//! What commands need of the operating system, behind one small interface.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod here;

pub(crate) use here::{End, allow_many_connections, suspend, tell_signals};

/// What the operating system tells a program that draws in a terminal.
#[cfg_attr(not(unix), allow(dead_code, reason = "only signals tell it"))]
pub(crate) enum Told {
    /// To end, with this exit code.
    End(u8),
    /// To stop until it is told to go on.
    Suspend,
    /// That it goes on.
    GoOn,
}
