//! Hosting the process's mutex for other processes.

use crate::seconds::duration;
use crate::{default_mutex, errors, process, settings};
use packet_mutex::net::{Options, Running, default_state, default_url};
use packet_mutex::{Error, PacketMutex, Roster};
use page::Page;
use pyo3::prelude::*;
use std::mem::forget;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The process's mutex behind a socket, until it is closed.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Server {
    /// Where it listens.
    #[pyo3(get)]
    url: String,
    /// Where the page is, if there is one.
    #[pyo3(get)]
    page: Option<String>,
    open: Mutex<Option<Open>>,
}

/// What serves until it is dropped.
struct Open {
    _server: Running,
    _page: Option<Page>,
}

impl Server {
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (url, roster, state, http, lease))]
    fn new(
        py: Python<'_>,
        url: Option<String>,
        roster: Option<PathBuf>,
        state: Option<PathBuf>,
        http: Option<String>,
        lease: f64,
    ) -> PyResult<Self> {
        process::check(py)?;
        process::mark_in_use();
        let raise = |error| errors::raise(py, error);
        let roster = match roster {
            None => Roster::default(),
            Some(path) => settings::read_roster(py, path)?,
        };
        let no_place = || {
            let why =
                "there is no directory of the user's to store tokens in; say where with `state`";
            raise(Error::Unavailable(why.into()))
        };
        let state = state.or_else(default_state).ok_or_else(no_place)?;
        let secret = std::env::var("PACKET_MUTEX_SECRET").ok().filter(|secret| !secret.is_empty());
        let options = Options { secret: secret.clone(), lease: duration(lease)? };
        default_mutex::refuse_in_use()?;
        let url = url.unwrap_or_else(default_url);
        let served = py.detach(|| {
            let mutex = PacketMutex::builder(roster).name("main").build_stored(&state)?;
            let server = packet_mutex::net::Server::start(&url, [mutex.clone()], options)?;
            let page = http.map(|at| Page::start(&at, [mutex.clone()], secret)).transpose()?;
            Ok((mutex, Open { _server: server, _page: page }))
        });
        let (served, open) = served.map_err(raise)?;
        default_mutex::set(served, None)?;
        let url = open._server.address().to_string();
        let page = open._page.as_ref().map(Page::url);
        Ok(Server { url, page, open: Mutex::new(Some(open)) })
    }

    /// Closes all connections. The process's own threads and tasks keep the mutex.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        process::check(py)?;
        let open = self.open().take();
        py.detach(|| drop(open));
        Ok(())
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its threads did not come along into a forked child, and cannot be waited for there.
        if process::is_forked() {
            forget(self.open().take());
        }
    }
}
