//! Mutexes.

use crate::asking::{ask, was_granted};
use crate::clock::ManualClock;
use crate::events::Events;
use crate::modules::{resolve, text};
use crate::seconds::optional;
use crate::{default_mutex, errors, log, owners, process, settings};
use packet_mutex::raw::{self, Leave, Terms};
use packet_mutex::{Mode, PacketMutex, Roster, Steer, all_but_urgent, roster_toml, status_to_json};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A lock that modules share.
#[pyclass(frozen, subclass, module = "packet_mutex._packet_mutex")]
pub(crate) struct Mutex {
    pub(crate) mutex: PacketMutex,
}

#[pymethods]
impl Mutex {
    #[new]
    #[pyo3(signature = (name, *, clock=None, **settings))]
    fn new(
        py: Python<'_>,
        name: &str,
        clock: Option<&ManualClock>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        process::check(py)?;
        process::mark_in_use();
        let roster = settings::apply(settings, Roster::default())?;
        let mutex = match clock {
            // Without settings, whichever roster the mutex has will do.
            None => {
                default_mutex::named(py, name, settings::are_given(settings).then_some(roster))?
            }
            // A clock belongs to one test, and so does its mutex.
            Some(clock) => {
                PacketMutex::builder(roster).name(name).clock(clock.clock.clone()).build()
            }
        };
        Ok(Mutex { mutex })
    }

    /// The mutex's name.
    #[getter]
    fn name(&self) -> &str {
        self.mutex.name()
    }

    /// The roster in force, as TOML.
    #[getter]
    fn roster(&self, py: Python<'_>) -> PyResult<String> {
        process::check(py)?;
        Ok(roster_toml::to_toml(&self.mutex.roster()))
    }

    fn __repr__(&self) -> String {
        format!("<mutex {}>", self.mutex.name())
    }

    /// Waits for a turn of the module. Returns whether it was granted.
    #[pyo3(signature = (module, timeout=None))]
    fn acquire(
        &self,
        py: Python<'_>,
        module: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let timeout = optional(timeout)?;
        process::check(py)?;
        let module = resolve(py, &self.mutex, module)?;
        let outcome = log::writing(py, || {
            let place = raw::place(&self.mutex);
            let owner = owners::current(py, place)?;
            let terms = Terms { owner: Some(owner), timeout, ..Terms::default() };
            let outcome = ask(py, &self.mutex, &module, terms)?;
            // If a log handler raises, the caller does not learn of its turn and cannot end it.
            log::flush(py).inspect_err(|_| {
                if let Ok((hold, _)) = outcome {
                    place.leave(hold, Some(owner), Leave::Declined);
                }
            })?;
            Ok(outcome.map(drop))
        })?;
        was_granted(py, &self.mutex, &module, outcome, timeout)
    }

    /// Ends the caller's newest turn of the module. Returns whether there was one.
    fn release(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<bool> {
        process::check(py)?;
        let module = resolve(py, &self.mutex, module)?;
        let place = raw::place(&self.mutex);
        log::writing(py, || {
            let owner = owners::current(py, place)?;
            Ok(place.end_module(&(&module).into(), owner).is_ok())
        })
    }

    /// Returns the status as JSON.
    fn _status(&self, py: Python<'_>) -> PyResult<String> {
        process::check(py)?;
        log::writing(py, || Ok(status_to_json(self.mutex.name(), &self.mutex.status())))
    }

    /// Returns a reader of the events.
    #[pyo3(signature = (*, so_far=false))]
    fn _events(&self, py: Python<'_>, so_far: bool) -> PyResult<Events> {
        process::check(py)?;
        let events = if so_far { self.mutex.events_so_far() } else { self.mutex.events() };
        Ok(Events::new(events))
    }

    // Steering. Each method builds a `Steer`, and `steer` has it carried out.

    /// Changes settings. Those that are not given stay as they are.
    #[pyo3(signature = (**settings))]
    fn configure(&self, py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        process::check(py)?;
        let roster = settings::apply(settings, self.mutex.roster())?;
        self.steer(py, Steer::Reload(Box::new(roster)))
    }

    /// Ends the module's waiting asks with `Cancelled`.
    fn cancel(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<()> {
        self.steer(py, Steer::Cancel { module: text(module)? })
    }

    /// Refuses the module's new asks with `Disabled`.
    fn disable(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<()> {
        self.steer(py, Steer::Disable { module: text(module)? })
    }

    /// Accepts the module's asks again.
    fn enable(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<()> {
        self.steer(py, Steer::Enable { module: text(module)? })
    }

    /// Sets the module's mode: `enforced`, `observed` or `off`.
    fn set_mode(&self, py: Python<'_>, module: &Bound<'_, PyAny>, mode: &str) -> PyResult<()> {
        let mode = Mode::from_name(mode).ok_or_else(|| {
            PyValueError::new_err("the mode must be `enforced`, `observed` or `off`")
        })?;
        self.steer(py, Steer::Mode { module: text(module)?, mode })
    }

    /// Holds back asks of a lower priority than `below`, or all that are not urgent.
    #[pyo3(signature = (reason, *, below=None, seconds=None))]
    fn pause(
        &self,
        py: Python<'_>,
        reason: String,
        below: Option<u8>,
        seconds: Option<f64>,
    ) -> PyResult<()> {
        let below = below.map_or_else(all_but_urgent, packet_mutex::below);
        self.steer(py, Steer::Pause { reason, below, lasts: optional(seconds)? })
    }

    /// Ends the pause with this reason, or all pauses.
    #[pyo3(signature = (reason=None))]
    fn resume(&self, py: Python<'_>, reason: Option<String>) -> PyResult<()> {
        self.steer(py, Steer::Resume { reason })
    }

    /// Takes the open turn away from its holder.
    fn revoke(&self, py: Python<'_>, reason: String) -> PyResult<()> {
        self.steer(py, Steer::Revoke { reason })
    }

    /// Ends all waiting asks with `Closed`, lets the holder finish, and refuses all later asks.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.steer(py, Steer::Close)
    }

    /// For tests: ends the caller's own turn, cancels what waits, clears the counts and forgets the delay.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        process::check(py)?;
        let owner = owners::current(py, raw::place(&self.mutex))?;
        self.steer(py, Steer::Reset { owner: Some(owner) })
    }
}

impl Mutex {
    fn steer(&self, py: Python<'_>, steer: Steer<&str>) -> PyResult<()> {
        process::check(py)?;
        log::writing(py, || {
            // A mutex behind a server answers when the server does; other threads go on meanwhile.
            let done = py.detach(|| self.mutex.steer(steer));
            done.map_err(|error| errors::raise(py, error))
        })
    }
}
