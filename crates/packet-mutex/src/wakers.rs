//! The wakers of those that wait for something that concerns them all.

use std::collections::BTreeMap;
use std::task::Waker;

/// A waker for each that waits, under a key of its own.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    next_key: u64,
    by_key: BTreeMap<u64, Waker>,
}

impl Wakers {
    /// Returns a key that nobody has.
    pub(crate) fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Leaves a waker. Returns the one that was there before, to be dropped outside the lock.
    #[must_use]
    pub(crate) fn leave(&mut self, key: u64, waker: Waker) -> Option<Waker> {
        self.by_key.insert(key, waker)
    }

    /// Takes a waker back. It is to be dropped outside the lock.
    #[must_use]
    pub(crate) fn remove(&mut self, key: u64) -> Option<Waker> {
        self.by_key.remove(&key)
    }

    /// Moves all wakers. They are to be used once the lock is free.
    pub(crate) fn move_to(&mut self, others: &mut Vec<Waker>) {
        // Mostly there are none, and even an empty iterator costs something in every turn.
        if !self.by_key.is_empty() {
            others.extend(std::mem::take(&mut self.by_key).into_values());
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
