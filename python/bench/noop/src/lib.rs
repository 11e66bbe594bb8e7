//! A class that is used like `PacketMutex` and does nothing: what entering and leaving extension code costs by itself.

use pyo3::prelude::*;

#[pyclass(frozen, subclass)]
struct Noop;

#[pymethods]
impl Noop {
    #[new]
    #[pyo3(signature = (module, timeout=None))]
    fn new(module: &str, timeout: Option<f64>) -> Self {
        let _ = (module, timeout);
        Noop
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> bool {
        false
    }
}

#[pymodule(gil_used = false)]
mod noop {
    #[pymodule_export]
    use super::Noop;
}
