//! Tells all pages of a mutex that something happened there.

use crate::Shown;
use packet_mutex::Events;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Pages hear of events at most so often, of those of a busy moment together.
pub(crate) const PACE: Duration = Duration::from_millis(50);

/// However many pages look, whoever asks for the mutex has one of them to wake: the pulse, which then wakes all pages. While
/// nobody looks, there is none.
pub(crate) struct Pulse {
    beat: watch::Sender<()>,
    beats: AtomicBool,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Pulse { beat: watch::Sender::new(()), beats: AtomicBool::new(false) }
    }

    /// Changes after each event of the mutex.
    pub(crate) fn listen(shown: &Arc<Shown>) -> watch::Receiver<()> {
        let listener = shown.pulse.beat.subscribe();
        if !shown.pulse.beats.swap(true, Ordering::Relaxed) {
            // From here on nothing is missed.
            let events = shown.mutex.events();
            tokio::spawn(beat(shown.clone(), events));
        }
        listener
    }
}

async fn beat(shown: Arc<Shown>, mut events: Events) {
    let Pulse { beat, beats } = &shown.pulse;
    loop {
        tokio::select! {
            _ = events.wait_async() => {
                let _ = beat.send(());
                tokio::time::sleep(PACE).await;
            }
            () = beat.closed() => {
                // All of it is on one thread: nobody comes to listen between these two.
                if beat.receiver_count() == 0 {
                    beats.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}
