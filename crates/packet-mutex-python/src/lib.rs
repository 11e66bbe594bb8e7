//! The extension module behind the Python package `packet_mutex`.
//!
//! No rule is decided here. What is here is who asks, how a Python thread or task waits, and how answers look in Python.

mod asking;
mod clock;
mod courier;
mod default_mutex;
mod errors;
mod events;
mod log;
mod modules;
mod mutex;
mod owners;
mod process;
mod seconds;
mod server;
mod settings;
mod subscriber;
mod trace;
mod turn;
mod wait;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Runs the command `packet-mutex` with these arguments. Returns its exit code.
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
        default_mutex::connect,
        events::Events,
        mutex::Mutex,
        process::{after_fork_in_child, at_exit},
        run_command,
        server::Server,
        trace::Trace,
        turn::{Request, Sleep, Turn},
    };

    use pyo3::types::PyModuleMethods;

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        super::process::refuse_other_interpreters(super::Python::import(module.py(), "sys")?)?;
        let settings = super::PyTuple::new(module.py(), super::settings::names())?;
        module.add("SETTINGS", settings)?;
        super::subscriber::install();
        Ok(())
    }
}
