//! Sleeps inside a turn (S11).

use crate::clock::Alarm;
use crate::place::{Nap, Place, Slept};
use crate::sync::park_until;
use packet_mutex_arbiter::RequestId;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Sleeps as a thread, in the mutex's time.
pub(crate) fn sleep_as_thread(
    place: &Arc<dyn Place>,
    hold: RequestId,
    is_pass: bool,
    length: Duration,
) -> Slept {
    let sleep = Sleep::new(place, hold, is_pass, length);
    let clock = &*place.identity().clock;
    let poll = |waker: &Waker| place.poll_nap(&sleep.nap, waker);
    // It parks with the plain parker and not with `Place::park`, which may read from the server: others do that meanwhile.
    park_until(clock, Some(sleep.nap.end), crate::sync::Parker::park, poll).unwrap_or(Slept::Whole)
}

/// A sleep by polling. Dropping it ends the sleep and nothing else.
#[derive(Debug)]
pub struct Sleep {
    place: Arc<dyn Place>,
    nap: Nap,
    alarm: Option<Alarm>,
}

impl Sleep {
    /// Begins a sleep of this length inside this hold or pass.
    #[must_use]
    pub fn new(place: &Arc<dyn Place>, hold: RequestId, is_pass: bool, length: Duration) -> Self {
        let end = place.identity().clock.now() + length;
        let nap = Nap { hold, is_pass, end, key: place.new_key() };
        Sleep { place: place.clone(), nap, alarm: None }
    }

    /// Returns how it ended, if it has. Otherwise it leaves the waker.
    #[must_use]
    pub fn poll(&mut self, waker: &Waker) -> Option<Slept> {
        let slept = self.place.poll_nap(&self.nap, waker);
        // The alarm that is set has the waker of the poll before, which may be that of another task.
        self.cancel();
        if slept.is_none() {
            let clock = &self.place.identity().clock;
            self.alarm = Some(clock.wake_at(self.nap.end, waker.clone()));
        }
        slept
    }

    fn cancel(&mut self) {
        let clock = &self.place.identity().clock;
        self.alarm.take().into_iter().for_each(|alarm| clock.cancel(alarm));
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
        self.place.forget_key(self.nap.key);
    }
}
