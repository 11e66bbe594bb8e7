//! The place of a mutex in this process: the arbiter under a lock.

mod events;
mod mutex;
mod place;
mod tokens;

pub(crate) use mutex::LocalMutex;
pub(crate) use tokens::Tokens;

#[cfg(feature = "net")]
pub(crate) use {events::Reader, tokens::make_private};
