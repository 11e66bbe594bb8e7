//! Modules as Python names them.

use crate::{default_mutex, errors, log};
use packet_mutex::{Module, PacketMutex};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::ops::Deref;
use std::sync::OnceLock;

/// A value of its own, or one that lives as long as the process and costs no reference count.
pub(crate) enum OrStatic<T: 'static> {
    Static(&'static T),
    Own(T),
}

impl<T> Deref for OrStatic<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            OrStatic::Static(value) => value,
            OrStatic::Own(value) => value,
        }
    }
}

/// Modules of the process's own mutex by the `str` object that named them. The name in `with PacketMutex("fisher")` is a
/// constant of the program, so the same few objects come again and again; comparing addresses is quicker than a lookup.
static KNOWN: [OnceLock<(Py<PyAny>, Module)>; 32] = [const { OnceLock::new() }; 32];
/// The most objects with one name in [`KNOWN`]. A program that makes its names anew each time must not fill it.
const OBJECTS_MAX: usize = 2;

/// Returns the module of this name on the process's own mutex.
#[inline]
pub(crate) fn of_default(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<OrStatic<Module>> {
    let mut known = KNOWN.iter().map_while(OnceLock::get);
    match known.find(|(object, _)| object.as_ptr() == name.as_ptr()) {
        Some((_, module)) => Ok(OrStatic::Static(module)),
        None => look_up(py, name),
    }
}

#[cold]
fn look_up(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<OrStatic<Module>> {
    let module = resolve(py, default_mutex::get(py)?, name)?;
    let same = KNOWN.iter().map_while(OnceLock::get).filter(|(_, known)| *known == module);
    if same.count() < OBJECTS_MAX
        && let Some(free) = KNOWN.iter().find(|slot| slot.get().is_none())
    {
        // Another thread may have taken the slot. Then the name is looked up once more next time.
        let _ = free.set((name.clone().unbind(), module.clone()));
    }
    Ok(OrStatic::Own(module))
}

/// Returns the module of this name.
///
/// # Errors
///
/// `TypeError`, `InvalidName`, `UnknownModule`.
pub(crate) fn resolve(
    py: Python<'_>,
    mutex: &PacketMutex,
    name: &Bound<'_, PyAny>,
) -> PyResult<Module> {
    let name = text(name)?;
    log::writing(py, || mutex.module(name).map_err(|error| errors::raise(py, error)))
}

/// Returns a module's name as text.
///
/// # Errors
///
/// `TypeError`, `InvalidName`.
pub(crate) fn text<'a>(name: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let Ok(text) = name.cast::<PyString>() else {
        let kind = name.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a module's name must be a str, not {kind}")));
    };
    // Half of a surrogate pair is a `str` in Python and no text anywhere else.
    text.to_str().map_err(|_| errors::invalid_unicode(name.py()))
}
