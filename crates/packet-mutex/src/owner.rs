//! Threads as owners (S5), and what becomes of their turns when they end (S7).

use crate::place::{Place, unique_number};
use crate::sync::thread_local;
use packet_mutex_arbiter::Owner;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    static THREAD: ThreadOwner = ThreadOwner::new();
}

/// A thread's number, and the mutexes that it has asked. When the thread ends, each of them learns it.
struct ThreadOwner {
    owner: Owner,
    asked: RefCell<Vec<Weak<dyn Place>>>,
}

/// An owner that nobody was before.
#[must_use]
pub fn new_owner() -> Owner {
    Owner(unique_number())
}

/// The calling thread as an owner of turns of this mutex. When it ends, the mutex learns it (S7).
#[must_use]
pub fn this_thread(place: &Arc<dyn Place>) -> Owner {
    // A thread that is already ending gets a fresh owner; a turn that it leaks now cannot be recovered.
    THREAD.try_with(|thread| thread.known_to(place)).unwrap_or_else(|_| new_owner())
}

/// Lets go of the mutexes that the calling thread asked, without telling them: the thread is the only one of a forked
/// child, and the locks of those mutexes may never be free again.
#[cfg_attr(pm_loom, expect(dead_code, reason = "only bindings fork"))]
pub fn forget_this_thread() {
    // A thread that is already ending has nothing to forget.
    let _ = THREAD.try_with(|thread| thread.asked.take());
}

impl ThreadOwner {
    fn new() -> Self {
        ThreadOwner { owner: new_owner(), asked: RefCell::new(Vec::new()) }
    }

    fn known_to(&self, place: &Arc<dyn Place>) -> Owner {
        let mut asked = self.asked.borrow_mut();
        let is_same =
            |known: &Weak<dyn Place>| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(place));
        if !asked.iter().any(is_same) {
            asked.retain(|known| known.strong_count() > 0);
            asked.push(Arc::downgrade(place));
        }
        self.owner
    }
}

impl Drop for ThreadOwner {
    fn drop(&mut self) {
        for place in self.asked.take().iter().filter_map(Weak::upgrade) {
            place.owner_lost(self.owner);
        }
    }
}
