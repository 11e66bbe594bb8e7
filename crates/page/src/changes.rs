//! Wakes all pages of a mutex when something has happened there.

use packet_mutex::{Events, PacketMutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Pages are woken at most this often. Events of a busy moment are sent together.
pub(crate) const PACE: Duration = Duration::from_millis(50);

/// Wakes the pages of one mutex after its events.
///
/// A module that takes a turn wakes one reader, however many pages are open: a task here, which then wakes the pages. While
/// no page is open, the task does not run.
pub(crate) struct Changes {
    pages: watch::Sender<()>,
    /// Whether the task runs.
    runs: AtomicBool,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Changes { pages: watch::Sender::new(()), runs: AtomicBool::new(false) }
    }

    /// Returns a receiver that changes after events of this mutex.
    pub(crate) fn subscribe(self: &Arc<Self>, mutex: &PacketMutex) -> watch::Receiver<()> {
        let receiver = self.pages.subscribe();
        if !self.runs.swap(true, Ordering::Relaxed) {
            // The reader is made here, so that the task misses no event from now on.
            tokio::spawn(forward(self.clone(), mutex.events()));
        }
        receiver
    }
}

async fn forward(changes: Arc<Changes>, mut events: Events) {
    let Changes { pages, runs } = &*changes;
    loop {
        tokio::select! {
            _ = events.wait_async() => {
                let _ = pages.send(());
                tokio::time::sleep(PACE).await;
            }
            () = pages.closed() => {
                // Everything here runs on one thread, so nobody can subscribe between these two lines.
                if pages.receiver_count() == 0 {
                    runs.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}
