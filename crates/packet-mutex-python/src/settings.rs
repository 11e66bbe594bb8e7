//! Settings of a mutex, as `configure` and `Mutex` take them.

use crate::errors;
use crate::seconds::duration;
use packet_mutex::raw::DEFAULT_PRIORITY;
use packet_mutex::{English, ModuleSpec, Roster, RosterSpec, roster_toml};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};
use std::path::PathBuf;

/// Applies one setting to a roster.
type Apply = fn(&mut RosterSpec, &Bound<'_, PyAny>) -> PyResult<()>;

/// All settings, in the order in which they are applied. `Settings` in `packet_mutex/_settings.py` has their types; a test
/// compares the two, and both with the keys of the roster.
const SETTINGS: [(&str, Apply); 6] = [
    // First, for the others are applied on top of the file.
    ("roster", |spec, path| {
        *spec = read_roster(path.py(), path.extract()?)?.into_spec();
        Ok(())
    }),
    ("handover_delay", |spec, seconds| {
        spec.handover_delay = duration(seconds.extract()?)?;
        Ok(())
    }),
    ("timeout", |spec, seconds| {
        spec.timeout = duration(seconds.extract()?)?;
        Ok(())
    }),
    ("aging", |spec, seconds| {
        let aging = duration(seconds.extract()?)?;
        spec.aging = (!aging.is_zero()).then_some(aging);
        Ok(())
    }),
    ("priorities", |spec, priorities| {
        for (name, priority) in pairs(priorities)? {
            module(spec, &name).priority = priority.extract()?;
        }
        Ok(())
    }),
    ("groups", |spec, groups| {
        for (group, names) in pairs(groups)? {
            // A `str` is a sequence of names too, each a letter long. Nobody means that.
            if names.is_instance_of::<PyString>() {
                let why = format!("the group `{group}` must be a list of names, not a str");
                return Err(PyTypeError::new_err(why));
            }
            for name in names.try_iter()? {
                let name: String = name?.extract()?;
                module(spec, &name).group = Some(group.clone());
            }
        }
        Ok(())
    }),
];

/// Returns the names of all settings.
pub(crate) fn names() -> [&'static str; SETTINGS.len()] {
    SETTINGS.map(|(name, _)| name)
}

/// Returns whether any setting is given. `None` stands for one that is not.
pub(crate) fn are_given(settings: Option<&Bound<'_, PyDict>>) -> bool {
    settings.is_some_and(|settings| settings.values().iter().any(|value| !value.is_none()))
}

/// Returns the roster with these settings.
///
/// # Errors
///
/// `InvalidRoster`; `TypeError` for a setting that does not exist or has the wrong type; `ValueError` for a length of time
/// that is none.
pub(crate) fn apply(settings: Option<&Bound<'_, PyDict>>, roster: Roster) -> PyResult<Roster> {
    let Some(settings) = settings else { return Ok(roster) };
    for name in settings.keys() {
        let name: String = name.extract()?;
        if !names().contains(&&*name) {
            let why = format!("there is no setting `{name}`; there are {}", names().join(", "));
            return Err(PyTypeError::new_err(why));
        }
    }
    let mut spec = roster.into_spec();
    for (name, apply) in SETTINGS {
        if let Some(value) = settings.get_item(name)?.filter(|value| !value.is_none()) {
            apply(&mut spec, &value)?;
        }
    }
    Roster::new(spec)
        .map_err(|why| errors::invalid_roster(settings.py(), &English(&why).to_string()))
}

/// Reads a roster from a file.
///
/// # Errors
///
/// `InvalidRoster`.
pub(crate) fn read_roster(py: Python<'_>, path: PathBuf) -> PyResult<Roster> {
    let file = roster_toml::RosterFile::open(&path);
    Ok(file.map_err(|why| errors::invalid_roster(py, &why.to_string()))?.roster)
}

fn pairs<'py>(mapping: &Bound<'py, PyAny>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    mapping.cast::<PyMapping>()?.items()?.extract()
}

/// Returns the module of this name, which is added if the roster does not have it.
fn module<'a>(spec: &'a mut RosterSpec, name: &str) -> &'a mut ModuleSpec {
    let name = name.to_ascii_lowercase();
    let at = spec.modules.iter().position(|module| module.name == name);
    let at = at.unwrap_or_else(|| {
        spec.modules.push(ModuleSpec::new(&name, DEFAULT_PRIORITY));
        spec.modules.len() - 1
    });
    &mut spec.modules[at]
}
