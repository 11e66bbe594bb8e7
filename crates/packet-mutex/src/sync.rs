//! What threads are made of: the standard library's, or loom's when its checker runs the models in `tests/loom.rs`.
//!
//! The switch is not called `loom`, for other crates have one of that name.

use std::sync::Arc;
use std::task::{Wake, Waker};

#[cfg(not(pm_loom))]
pub(crate) use std::{sync::Mutex, thread_local};

#[cfg(pm_loom)]
pub(crate) use loom::{sync::Mutex, thread_local};

/// A thread that waits. [`park`](Self::park) may return early; a wake before it is kept.
pub(crate) struct Parker(Arc<Thread>);

#[cfg(not(pm_loom))]
struct Thread(std::thread::Thread);

#[cfg(not(pm_loom))]
impl Parker {
    pub(crate) fn new() -> Self {
        Parker(Arc::new(Thread(std::thread::current())))
    }

    pub(crate) fn park(&self) {
        std::thread::park();
    }
}

#[cfg(not(pm_loom))]
impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Loom's own `park` never wakes early and panics on a stray unpark (loom issue 249); its `Notify` does both well.
#[cfg(pm_loom)]
struct Thread(loom::sync::Notify);

#[cfg(pm_loom)]
impl Parker {
    pub(crate) fn new() -> Self {
        Parker(Arc::new(Thread(loom::sync::Notify::new())))
    }

    pub(crate) fn park(&self) {
        self.0.0.wait();
    }
}

#[cfg(pm_loom)]
impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

impl Parker {
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }
}
