//! Hosting the process's mutex for other processes.

use crate::seconds::duration;
use crate::{default_mutex, errors, process, settings};
use hosting::{Hosted, Hosting};
use pyo3::prelude::*;
use std::mem::forget;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Serves the process's mutex at a socket until it is closed.
#[pyclass(frozen, module = "packet_mutex._packet_mutex")]
pub(crate) struct Server {
    /// The URL at which it listens.
    #[pyo3(get)]
    url: String,
    /// The URL of the page, if there is one.
    #[pyo3(get)]
    page: Option<String>,
    hosted: Mutex<Option<Hosted>>,
}

impl Server {
    fn hosted(&self) -> MutexGuard<'_, Option<Hosted>> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut hosting = Hosting { state, http, lease: duration(lease)?, ..Hosting::default() };
        hosting.url = url.unwrap_or(hosting.url);
        if let Some(path) = roster {
            hosting.roster = settings::read_roster(py, path)?;
        }
        // Before anything is started, although it is checked again below: a server that comes too late must not be seen.
        default_mutex::refuse_in_use()?;
        let hosted = py.detach(|| hosting.start());
        let hosted = hosted.map_err(|error| errors::raise(py, error.into()))?;
        // A host of the default names has one mutex.
        default_mutex::set(hosted.mutexes()[0].clone(), None)?;
        let (url, page) = (hosted.address().to_string(), hosted.page_url());
        Ok(Server { url, page, hosted: Mutex::new(Some(hosted)) })
    }

    /// Closes all connections. The process's own threads and tasks keep the mutex.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        process::check(py)?;
        let hosted = self.hosted().take();
        // Detached, for this waits until the threads that serve have ended.
        py.detach(|| drop(hosted));
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
        // A forked child does not have the threads that serve, and would wait for them for ever.
        if process::is_forked() {
            forget(self.hosted().take());
        }
    }
}
