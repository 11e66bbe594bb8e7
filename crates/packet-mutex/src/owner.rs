//! Threads as owners (S5), and what becomes of their turns when they end (S7).

use crate::shared::Shared;
use crate::sync::thread_local;
use packet_mutex_arbiter::{Input, Owner};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

thread_local! {
    static THREAD: ThreadOwner = ThreadOwner::new();
}

/// A thread's number, and the mutexes that it has asked. When the thread ends, each of them learns it.
struct ThreadOwner {
    owner: Owner,
    asked: RefCell<Vec<Weak<Shared>>>,
}

/// An owner that nobody was before.
pub(crate) fn new_owner() -> Owner {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Owner(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The calling thread as an owner of turns of this mutex.
pub(crate) fn this_thread(shared: &Arc<Shared>) -> Owner {
    THREAD.try_with(|thread| thread.known_to(shared)).unwrap_or_else(|_| {
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

    fn known_to(&self, shared: &Arc<Shared>) -> Owner {
        let mut asked = self.asked.borrow_mut();
        if !asked.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(shared))) {
            asked.retain(|known| known.strong_count() > 0);
            asked.push(Arc::downgrade(shared));
        }
        self.owner
    }
}

impl Drop for ThreadOwner {
    fn drop(&mut self) {
        for shared in self.asked.take().iter().filter_map(Weak::upgrade) {
            // An owner that left nothing behind changes nothing.
            let lost = Input::OwnerLost { owner: self.owner };
            shared.try_with(|state, now| state.handle(now, lost).ok());
        }
    }
}
