//! Threads as owners (S5), and the end of their turns when they end (S7).

use crate::place::{Place, unique_number};
use crate::sync::thread_local;
use packet_mutex_arbiter::Owner;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    // A thread-local's destructor is how a program learns that a thread ended, whether it returned or panicked. An
    // owner made for each ask would not do: nesting and release by name need the same one each time.
    static THREAD: ThreadOwner = ThreadOwner::new();
}

/// A thread's number, and the mutexes that it has asked. When the thread ends, each of them is told.
struct ThreadOwner {
    owner: Owner,
    asked: RefCell<Vec<Weak<dyn Place>>>,
}

/// Returns an owner whose number has not been used before.
#[must_use]
pub fn new_owner() -> Owner {
    Owner(unique_number())
}

/// Returns the calling thread as an owner of turns of this mutex. When the thread ends, the mutex is told (S7).
#[must_use]
pub fn this_thread(place: &Arc<dyn Place>) -> Owner {
    // A thread that is already ending gets a fresh owner. A turn that it leaks now cannot be recovered.
    THREAD.try_with(|thread| thread.known_to(place)).unwrap_or_else(|_| new_owner())
}

/// Forgets the mutexes that the calling thread asked, without telling them. This is for the only thread of a forked child:
/// the locks of those mutexes may never be free again.
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
            // Only when one is added, so that a thread that uses many short-lived mutexes keeps no endless list, and
            // an ordinary ask pays nothing.
            asked.retain(|known| known.strong_count() > 0);
            asked.push(Arc::downgrade(place));
        }
        self.owner
    }
}

impl Drop for ThreadOwner {
    fn drop(&mut self) {
        // Weak, since a sleeping thread must not keep a mutex alive that it once asked.
        for place in self.asked.take().iter().filter_map(Weak::upgrade) {
            place.owner_lost(self.owner);
        }
    }
}
