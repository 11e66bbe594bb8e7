//! Lengths of time, which Python gives in seconds.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::time::Duration;

/// Returns a length of time. One that is too long is left for the mutex to refuse.
///
/// # Errors
///
/// `ValueError` for a negative number and for what is not a number.
pub(crate) fn duration(seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(
            "a length of time must be a number of seconds, 0 or more",
        ));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// Returns a length of time if there is one.
///
/// # Errors
///
/// As [`duration`].
pub(crate) fn optional(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    seconds.map(duration).transpose()
}
