//! Threads as owners (S5), and what becomes of their turns when they end (S7).

use crate::backend::{Backend, WeakBackend};
use crate::sync::thread_local;
use packet_mutex_arbiter::Owner;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static THREAD: ThreadOwner = ThreadOwner::new();
}

/// A thread's number, and the mutexes that it has asked. When the thread ends, each of them learns it.
struct ThreadOwner {
    owner: Owner,
    asked: RefCell<Vec<WeakBackend>>,
}

/// An owner that nobody was before.
pub(crate) fn new_owner() -> Owner {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Owner(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The calling thread as an owner of turns of this mutex.
pub(crate) fn this_thread(backend: &Backend) -> Owner {
    THREAD.try_with(|thread| thread.known_to(backend)).unwrap_or_else(|_| {
        // The thread is already ending; a turn that it leaks now cannot be recovered.
        new_owner()
    })
}

/// Lets go of the mutexes that the calling thread asked, without telling them.
#[cfg_attr(pm_loom, expect(dead_code, reason = "only bindings fork"))]
pub(crate) fn forget_this_thread() {
    // A thread that is already ending has nothing to forget.
    let _ = THREAD.try_with(|thread| thread.asked.take());
}

impl ThreadOwner {
    fn new() -> Self {
        ThreadOwner { owner: new_owner(), asked: RefCell::new(Vec::new()) }
    }

    fn known_to(&self, backend: &Backend) -> Owner {
        let mut asked = self.asked.borrow_mut();
        if !asked.iter().any(|known| known.is(backend)) {
            asked.retain(|known| !known.is_gone());
            asked.push(backend.downgrade());
        }
        self.owner
    }
}

impl Drop for ThreadOwner {
    fn drop(&mut self) {
        for backend in self.asked.take().iter().filter_map(WeakBackend::upgrade) {
            backend.owner_lost(self.owner);
        }
    }
}
