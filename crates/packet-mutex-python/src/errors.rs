//! Errors of the mutex as Python exceptions. The classes are in `packet_mutex/_errors.py`.

use packet_mutex::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict};
use std::time::Duration;

/// Returns the exception for an error of the mutex.
#[cold]
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    let text = error.to_string();
    details(py, &error)
        .and_then(|details| make(py, error.kind(), &text, &details))
        .unwrap_or_else(|why| why)
}

/// Returns the exception for a roster that cannot be read or is wrong.
#[cold]
pub(crate) fn invalid_roster(py: Python<'_>, text: &str) -> PyErr {
    make(py, "invalid_roster", text, &PyDict::new(py)).unwrap_or_else(|why| why)
}

/// Returns the exception for a name that is not valid Unicode, such as half of a surrogate pair.
#[cold]
pub(crate) fn invalid_unicode(py: Python<'_>) -> PyErr {
    let text = "the name is not valid Unicode";
    make(py, "invalid_name", text, &PyDict::new(py)).unwrap_or_else(|why| why)
}

fn make(py: Python<'_>, kind: &str, text: &str, details: &Bound<'_, PyDict>) -> PyResult<PyErr> {
    static BY_KIND: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let by_kind = BY_KIND.get_or_try_init(py, || {
        let by_kind = py.import("packet_mutex._errors")?.getattr("BY_KIND")?;
        Ok::<_, PyErr>(by_kind.cast_into::<PyDict>()?.unbind())
    })?;
    let class = by_kind.bind(py).as_any().get_item(kind)?;
    Ok(PyErr::from_value(class.call((text,), Some(details))?))
}

fn details<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyDict>> {
    let seconds = |time: Duration| time.as_secs_f64();
    match error {
        Error::Timeout(why) => {
            let details = PyDict::new(py);
            let (holder, held) = why.holder.as_ref().map(|(name, held)| (&**name, *held)).unzip();
            details.set_item("waited", seconds(why.waited))?;
            details.set_item("holder", holder)?;
            details.set_item("held", held.map(seconds))?;
            details.set_item("ahead", why.ahead)?;
            details.set_item("delay_left", seconds(why.delay_left))?;
            details.set_item("paused", why.paused.as_deref())?;
            Ok(details)
        }
        Error::WouldDeadlock { holds, asked } => {
            [("holds", &**holds), ("asked", &**asked)].into_py_dict(py)
        }
        Error::Disabled { module } => [("module", &**module)].into_py_dict(py),
        Error::NotHolder { holder } => [("holder", holder.as_deref())].into_py_dict(py),
        Error::QueueFull { limit } => [("limit", *limit)].into_py_dict(py),
        Error::RosterDiffers { fields } => [("fields", fields)].into_py_dict(py),
        _ => Ok(PyDict::new(py)),
    }
}
