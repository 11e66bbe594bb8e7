//! The extension module behind the Python package `packet_mutex`.
//!
//! It decides nothing: who asks, how Python waits, and how answers look to it is all that is here.

mod clock;
mod courier;
mod errors;
mod events;
mod log;
mod mutex;
mod owners;
mod process;
mod seconds;
mod server;
mod trace;
mod turn;
mod wait;

use pyo3::prelude::*;

/// Runs the command `packet-mutex` with these arguments and gives its exit code.
#[pyfunction]
fn run_command(py: Python<'_>, args: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| packet_mutex_cli::run(args).code())
}

/// The extension module; use `packet_mutex`.
#[pymodule(gil_used = false)]
mod _packet_mutex {
    #[pymodule_export]
    use super::{
        clock::ManualClock,
        courier::EventLoop,
        events::Events,
        mutex::{Mutex, connect},
        process::{after_fork_in_child, at_exit},
        run_command,
        server::Server,
        trace::Trace,
        turn::{Request, Sleep, Turn},
    };

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        super::process::refuse_other_interpreters(super::Python::import(module.py(), "sys")?)?;
        super::log::install();
        Ok(())
    }
}
