//! Mutexes, and the process's own one.

use crate::seconds::{duration, optional};
use crate::turn::{ask, was_granted, written};
use crate::{errors, log, owners, process};
use packet_mutex::net::Url;
use packet_mutex::raw::{self, Terms, fold_name};
use packet_mutex::{
    Below, Error, Mode, Module, ModuleSpec, PacketMutex, Roster, all_but_urgent, below, roster_toml,
};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;

/// The process's own mutex, once it is known which it is.
static DEFAULT: OnceLock<PacketMutex> = OnceLock::new();
/// Where the process's mutexes are, once that is decided; `None`: in this process.
static PLACE: OnceLock<Option<Url>> = OnceLock::new();
/// The mutexes with names that are elsewhere: the process connects once to each.
static CONNECTED: std::sync::Mutex<BTreeMap<String, PacketMutex>> =
    std::sync::Mutex::new(BTreeMap::new());

/// The process's own mutex: the one at `PACKET_MUTEX_URL` if that is set, else `main` in this process.
pub(crate) fn default_mutex(py: Python<'_>) -> PyResult<&'static PacketMutex> {
    if let Some(mutex) = DEFAULT.get() {
        return Ok(mutex);
    }
    process::mark_in_use();
    let mutex = match place(py)? {
        Some(url) => py.detach(|| PacketMutex::connect(&url.to_string())),
        None => PacketMutex::named("main"),
    };
    let mutex = mutex.map_err(|error| errors::raise(py, error))?;
    Ok(DEFAULT.get_or_init(|| mutex))
}

/// Where the process's mutexes are. From now on it stays so.
fn place(py: Python<'_>) -> PyResult<Option<&'static Url>> {
    if PLACE.get().is_none() {
        let url = std::env::var("PACKET_MUTEX_URL").ok().filter(|url| !url.is_empty());
        let url = url.map(|url| parse(py, &url)).transpose()?;
        let _ = PLACE.set(url);
    }
    Ok(PLACE.get().and_then(Option::as_ref))
}

fn parse(py: Python<'_>, url: &str) -> PyResult<Url> {
    url.parse().map_err(|why| errors::raise(py, Error::Unavailable(format!("{url}: {why}"))))
}

/// From now on the process's mutexes are those at this URL.
#[pyfunction]
pub(crate) fn connect(py: Python<'_>, url: &str) -> PyResult<()> {
    process::check(py)?;
    process::mark_in_use();
    let place = parse(py, url)?;
    let mutex = py.detach(|| PacketMutex::connect(url));
    let mutex = mutex.map_err(|error| errors::raise(py, error))?;
    PLACE.set(Some(place)).map_err(|_| in_use())?;
    DEFAULT.set(mutex).map_err(|_| in_use())
}

/// From now on this is the process's own mutex, and the others are in this process too.
pub(crate) fn be_default(mutex: PacketMutex) -> PyResult<()> {
    PLACE.set(None).map_err(|_| in_use())?;
    DEFAULT.set(mutex).map_err(|_| in_use())
}

/// Fails if it is decided already where the process's mutexes are.
pub(crate) fn refuse_in_use() -> PyResult<()> {
    if PLACE.get().is_some() { Err(in_use()) } else { Ok(()) }
}

fn in_use() -> PyErr {
    let why = "the process's mutex is in use already: `configure(url=...)` and `serve()` come before all else";
    PyRuntimeError::new_err(why)
}

/// The mutex of this name where the process's mutexes are. If a roster is given, it must have that one (S19).
fn named(py: Python<'_>, name: &str, roster: Option<Roster>) -> PyResult<PacketMutex> {
    let raise = |error| errors::raise(py, error);
    let Some(place) = place(py)? else {
        let mutex = match roster {
            None => PacketMutex::named(name),
            Some(roster) => PacketMutex::builder(roster).name(name).build_named(),
        };
        return mutex.map_err(raise);
    };
    // `main` is what the URL names.
    let own = name.eq_ignore_ascii_case("main").then(|| default_mutex(py).cloned()).transpose()?;
    let mutex = match own {
        Some(mutex) => mutex,
        None => py.detach(|| connected(place, name)).map_err(raise)?,
    };
    if let Some(roster) = roster {
        let fields = py.detach(|| mutex.roster()).differences(&roster);
        if !fields.is_empty() {
            return Err(raise(Error::RosterDiffers { fields }));
        }
    }
    Ok(mutex)
}

fn connected(place: &Url, name: &str) -> Result<PacketMutex, Error> {
    let mutex = fold_name(name).map_err(Error::InvalidName)?;
    let url = Url { mutex, ..place.clone() };
    let mut connected = CONNECTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mutex) = connected.get(&url.mutex) {
        return Ok(mutex.clone());
    }
    let mutex = PacketMutex::connect(&url.to_string())?;
    connected.insert(url.mutex, mutex.clone());
    Ok(mutex)
}

/// The mutex of a turn.
pub(crate) enum MutexRef {
    Default(&'static PacketMutex),
    Of(PacketMutex),
}

/// The module of a turn.
pub(crate) enum ModuleOf {
    Known(&'static Module),
    Own(Module),
}

impl MutexRef {
    #[inline]
    pub(crate) fn get(&self) -> &PacketMutex {
        match self {
            MutexRef::Default(mutex) => mutex,
            MutexRef::Of(mutex) => mutex,
        }
    }

    /// The mutex, or the process's own, and the module of this name.
    #[inline]
    pub(crate) fn with_module(
        py: Python<'_>,
        mutex: Option<&Bound<'_, Mutex>>,
        module: &Bound<'_, PyAny>,
    ) -> PyResult<(Self, ModuleOf)> {
        process::check(py)?;
        match mutex {
            None => Ok((
                MutexRef::Default(default_mutex(py)?),
                match known(module) {
                    Some(module) => ModuleOf::Known(module),
                    None => look_up(py, module)?,
                },
            )),
            Some(mutex) => {
                let mutex = mutex.get().mutex.clone();
                let module = resolve(py, &mutex, module)?;
                Ok((MutexRef::Of(mutex), ModuleOf::Own(module)))
            }
        }
    }
}

impl ModuleOf {
    #[inline]
    pub(crate) fn get(&self) -> &Module {
        match self {
            ModuleOf::Known(module) => module,
            ModuleOf::Own(module) => module,
        }
    }
}

/// Module names as programs write them, in `with PacketMutex("fisher")`, are the same few objects again and again. What
/// they stand for on the process's own mutex is kept here; the rest is looked up.
static KNOWN: [OnceLock<(Py<PyAny>, Module)>; 32] = [const { OnceLock::new() }; 32];

#[inline]
fn known(name: &Bound<'_, PyAny>) -> Option<&'static Module> {
    let mut known = KNOWN.iter().map_while(OnceLock::get);
    known.find(|(text, _)| text.as_ptr() == name.as_ptr()).map(|(_, module)| module)
}

#[cold]
fn look_up(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<ModuleOf> {
    let module = resolve(py, default_mutex(py)?, name)?;
    // A name in several objects, made anew each time, must not take all the room.
    let same = KNOWN.iter().map_while(OnceLock::get).filter(|(_, known)| *known == module);
    if same.count() < 2
        && let Some(free) = KNOWN.iter().find(|slot| slot.get().is_none())
    {
        let _ = free.set((name.clone().unbind(), module.clone()));
    }
    Ok(ModuleOf::Own(module))
}

fn resolve(py: Python<'_>, mutex: &PacketMutex, name: &Bound<'_, PyAny>) -> PyResult<Module> {
    let Ok(text) = name.cast::<PyString>() else {
        let kind = name.get_type().name()?;
        let why = format!("a module is named by a str, not by {kind}");
        return Err(PyTypeError::new_err(why));
    };
    let Ok(text) = text.to_cow() else { return Err(errors::no_text(py)) };
    log::begin(py)?;
    let module = mutex.module(&text).map_err(|error| errors::raise(py, error));
    written(py, module)
}

/// A lock that modules share.
#[pyclass(frozen, subclass, module = "packet_mutex._packet_mutex")]
pub(crate) struct Mutex {
    pub(crate) mutex: PacketMutex,
}

/// Settings as `configure` takes them.
#[derive(Default, FromPyObject)]
#[pyo3(from_item_all)]
struct Settings {
    roster: Option<PathBuf>,
    handover_delay: Option<f64>,
    timeout: Option<f64>,
    priorities: Option<BTreeMap<String, u8>>,
    groups: Option<BTreeMap<String, Vec<String>>>,
    aging: Option<f64>,
}

impl Settings {
    fn are_given(&self) -> bool {
        self.roster.is_some()
            || self.handover_delay.is_some()
            || self.timeout.is_some()
            || self.priorities.is_some()
            || self.groups.is_some()
            || self.aging.is_some()
    }

    /// The roster with these settings.
    fn over(self, py: Python<'_>, roster: Roster) -> PyResult<Roster> {
        let mut spec = match &self.roster {
            None => roster.into_spec(),
            Some(path) => {
                let file = roster_toml::RosterFile::open(path)
                    .map_err(|why| errors::invalid_roster(py, &why.to_string()))?;
                file.roster.into_spec()
            }
        };
        spec.handover_delay = optional(self.handover_delay)?.unwrap_or(spec.handover_delay);
        spec.timeout = optional(self.timeout)?.unwrap_or(spec.timeout);
        if let Some(aging) = optional(self.aging)? {
            spec.aging = (!aging.is_zero()).then_some(aging);
        }
        let mut module = |name: &str| {
            let folded = name.to_ascii_lowercase();
            let at = spec.modules.iter().position(|module| module.name == folded);
            at.unwrap_or_else(|| {
                spec.modules.push(ModuleSpec::new(&folded, 50));
                spec.modules.len() - 1
            })
        };
        let mut priorities = Vec::new();
        for (name, priority) in self.priorities.unwrap_or_default() {
            priorities.push((module(&name), priority));
        }
        let mut groups = Vec::new();
        for (group, names) in self.groups.unwrap_or_default() {
            for name in names {
                groups.push((module(&name), group.clone()));
            }
        }
        for (at, priority) in priorities {
            spec.modules[at].priority = priority;
        }
        for (at, group) in groups {
            spec.modules[at].group = Some(group);
        }
        Roster::new(spec).map_err(|why| errors::invalid_roster(py, &why.to_string()))
    }
}

impl Mutex {
    /// Does something that is not about a turn, and writes what it caused.
    fn steer<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&PacketMutex) -> Result<T, Error>,
    ) -> PyResult<T> {
        process::check(py)?;
        log::begin(py)?;
        let done = act(&self.mutex).map_err(|error| errors::raise(py, error));
        written(py, done)
    }
}

#[pymethods]
impl Mutex {
    #[new]
    #[pyo3(signature = (name, *, clock=None, settings=None))]
    fn new(
        py: Python<'_>,
        name: &str,
        clock: Option<&crate::clock::ManualClock>,
        settings: Option<Settings>,
    ) -> PyResult<Self> {
        process::check(py)?;
        process::mark_in_use();
        let settings = settings.unwrap_or_default();
        let given = clock.is_some() || settings.are_given();
        let roster = given.then(|| settings.over(py, Roster::default())).transpose()?;
        let mutex = match clock {
            None => named(py, name, roster)?,
            // A clock is of one test, and so is its mutex.
            Some(clock) => {
                let builder = PacketMutex::builder(roster.unwrap_or_default()).name(name);
                builder.clock(clock.hands.clone()).build()
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

    /// Changes settings of the roster in force.
    #[pyo3(signature = (settings))]
    fn _configure(&self, py: Python<'_>, settings: Settings) -> PyResult<()> {
        process::check(py)?;
        let roster = settings.over(py, self.mutex.roster())?;
        self.steer(py, |mutex| mutex.reload(roster))
    }

    /// Waits for a turn of the module; whether it was granted.
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
        log::begin(py)?;
        let owner = owners::current(py, &self.mutex)?;
        let terms = Terms { owner: Some(owner), timeout, ..Terms::default() };
        let asked = ask(py, &self.mutex, &module, terms);
        // What a log handler raises must not leave a turn behind that nobody knows of.
        let asked = asked.and_then(|asked| match log::flush(py) {
            Ok(()) => Ok(asked),
            Err(raised) => {
                if let Ok((hold, _)) = asked {
                    let _ = raw::end(&self.mutex, hold, Some(owner), raw::Leave::Declined);
                }
                Err(raised)
            }
        });
        let taken = written(py, asked)?.map(|_| ());
        was_granted(py, &self.mutex, &module, taken, timeout)
    }

    /// Ends the caller's newest turn of the module; whether there was one.
    fn release(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<bool> {
        process::check(py)?;
        let module = resolve(py, &self.mutex, module)?;
        log::begin(py)?;
        let owner = owners::current(py, &self.mutex)?;
        let ended = raw::end_module(&self.mutex, &module, owner);
        log::flush(py)?;
        Ok(ended.is_ok())
    }

    /// The status as JSON.
    fn _status(&self, py: Python<'_>) -> PyResult<String> {
        self.steer(py, |mutex| {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = mutex.status().write_json(mutex.name(), &mut text);
            Ok(text)
        })
    }

    /// A reader of the events.
    #[pyo3(signature = (*, so_far=false))]
    fn _events(&self, py: Python<'_>, so_far: bool) -> PyResult<crate::events::Events> {
        process::check(py)?;
        let events = if so_far { self.mutex.events_so_far() } else { self.mutex.events() };
        Ok(crate::events::Events::new(events))
    }

    /// Ends the module's waiting asks with `Cancelled`.
    fn cancel(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<()> {
        let module = resolve(py, &self.mutex, module)?;
        self.steer(py, |mutex| mutex.cancel(&module))
    }

    /// Refuses the module's new asks with `Disabled`.
    fn disable(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<()> {
        let module = resolve(py, &self.mutex, module)?;
        self.steer(py, |mutex| mutex.disable(&module))
    }

    /// Takes the module's asks again.
    fn enable(&self, py: Python<'_>, module: &Bound<'_, PyAny>) -> PyResult<()> {
        let module = resolve(py, &self.mutex, module)?;
        self.steer(py, |mutex| mutex.enable(&module))
    }

    /// Switches how far the mutex governs the module: `enforced`, `observed` or `off`.
    fn set_mode(&self, py: Python<'_>, module: &Bound<'_, PyAny>, mode: &str) -> PyResult<()> {
        let mode = Mode::from_name(mode).ok_or_else(|| {
            PyValueError::new_err("a mode is one of `enforced`, `observed`, `off`")
        })?;
        let module = resolve(py, &self.mutex, module)?;
        self.steer(py, |mutex| mutex.set_mode(&module, mode))
    }

    /// Holds back asks of a lower priority than `below`, or all that are not urgent.
    #[pyo3(signature = (reason, *, below=None, seconds=None))]
    fn pause(
        &self,
        py: Python<'_>,
        reason: &str,
        below: Option<u8>,
        seconds: Option<f64>,
    ) -> PyResult<()> {
        let level = level(below);
        let lasts: Option<Duration> = seconds.map(duration).transpose()?;
        self.steer(py, |mutex| match lasts {
            None => mutex.pause(level, reason),
            Some(lasts) => mutex.pause_for(lasts, level, reason),
        })
    }

    /// Ends the pause with this reason, or all.
    #[pyo3(signature = (reason=None))]
    fn resume(&self, py: Python<'_>, reason: Option<&str>) -> PyResult<()> {
        self.steer(py, |mutex| match reason {
            Some(reason) => mutex.resume(reason),
            None => {
                mutex.resume_all();
                Ok(())
            }
        })
    }

    /// Ends all waiters with `Closed`, lets the holder finish, and refuses what comes.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.steer(py, |mutex| {
            mutex.close();
            Ok(())
        })
    }

    /// For tests: ends the caller's own turn, cancels the waiters, clears the counts, forgets the delay.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        process::check(py)?;
        let owner = owners::current(py, &self.mutex)?;
        self.steer(py, |mutex| {
            raw::reset(mutex, owner);
            Ok(())
        })
    }
}

fn level(priority: Option<u8>) -> Below {
    priority.map_or_else(all_but_urgent, below)
}
