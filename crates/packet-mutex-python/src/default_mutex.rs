//! The process's own mutex, and where the mutexes with names are: in this process, or behind a server.

use crate::{errors, process};
use packet_mutex::net::Url;
use packet_mutex::raw::fold_name;
use packet_mutex::{Error, PacketMutex, Roster};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The process's own mutex, once one is used.
static DEFAULT: OnceLock<PacketMutex> = OnceLock::new();
/// The server of the process's mutexes, or `None` if they are in this process. Set once, at the first use.
static SERVER: OnceLock<Option<Url>> = OnceLock::new();
/// The mutexes behind the server by name. The process connects once to each.
static CONNECTED: Mutex<BTreeMap<String, PacketMutex>> = Mutex::new(BTreeMap::new());

/// Returns the process's own mutex: the one at `PACKET_MUTEX_URL` if that is set, else `main` in this process.
pub(crate) fn get(py: Python<'_>) -> PyResult<&'static PacketMutex> {
    if let Some(mutex) = DEFAULT.get() {
        return Ok(mutex);
    }
    process::mark_in_use();
    let mutex = match server(py)? {
        Some(url) => py.detach(|| PacketMutex::connect(&url.to_string())),
        None => PacketMutex::named("main"),
    };
    let mutex = mutex.map_err(|error| errors::raise(py, error))?;
    Ok(DEFAULT.get_or_init(|| mutex))
}

/// Returns the server of the process's mutexes. From now on it stays the same.
fn server(py: Python<'_>) -> PyResult<Option<&'static Url>> {
    if SERVER.get().is_none() {
        let url = std::env::var("PACKET_MUTEX_URL").ok().filter(|url| !url.is_empty());
        let url = url.map(|url| parse(py, &url)).transpose()?;
        let _ = SERVER.set(url);
    }
    Ok(SERVER.get().and_then(Option::as_ref))
}

fn parse(py: Python<'_>, url: &str) -> PyResult<Url> {
    url.parse().map_err(|why| errors::raise(py, Error::Unavailable(format!("{url}: {why}"))))
}

/// Uses the mutexes behind the server at this URL from now on.
#[pyfunction]
pub(crate) fn connect(py: Python<'_>, url: &str) -> PyResult<()> {
    process::check(py)?;
    process::mark_in_use();
    let server = parse(py, url)?;
    let mutex = py.detach(|| PacketMutex::connect(url));
    set(mutex.map_err(|error| errors::raise(py, error))?, Some(server))
}

/// Makes this the process's own mutex.
///
/// # Errors
///
/// `RuntimeError` if a mutex is in use already.
pub(crate) fn set(mutex: PacketMutex, server: Option<Url>) -> PyResult<()> {
    SERVER.set(server).map_err(|_| in_use())?;
    DEFAULT.set(mutex).map_err(|_| in_use())
}

/// Fails if a mutex is in use already.
pub(crate) fn refuse_in_use() -> PyResult<()> {
    if SERVER.get().is_some() { Err(in_use()) } else { Ok(()) }
}

fn in_use() -> PyErr {
    PyRuntimeError::new_err(
        "the process's mutex is in use already; call `configure(url=...)` or `serve()` before anything else",
    )
}

/// Returns the mutex of this name.
///
/// # Errors
///
/// `RosterDiffers` if a roster is given and the mutex has another one (S19); `InvalidName`; `Unavailable`.
pub(crate) fn named(py: Python<'_>, name: &str, roster: Option<Roster>) -> PyResult<PacketMutex> {
    let raise = |error| errors::raise(py, error);
    let Some(server) = server(py)? else {
        let mutex = match roster {
            None => PacketMutex::named(name),
            Some(roster) => PacketMutex::builder(roster).name(name).build_named(),
        };
        return mutex.map_err(raise);
    };
    // `main` is the mutex that the URL names.
    let mutex = if name.eq_ignore_ascii_case("main") {
        get(py)?.clone()
    } else {
        py.detach(|| connected(server, name)).map_err(raise)?
    };
    if let Some(roster) = roster {
        let fields = py.detach(|| mutex.roster()).differences(&roster);
        if !fields.is_empty() {
            return Err(raise(Error::RosterDiffers { fields }));
        }
    }
    Ok(mutex)
}

fn connected(server: &Url, name: &str) -> Result<PacketMutex, Error> {
    let mutex = fold_name(name).map_err(Error::InvalidName)?;
    let url = Url { mutex, ..server.clone() };
    let mut connected = CONNECTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mutex) = connected.get(&url.mutex) {
        return Ok(mutex.clone());
    }
    let mutex = PacketMutex::connect(&url.to_string())?;
    connected.insert(url.mutex, mutex.clone());
    Ok(mutex)
}
