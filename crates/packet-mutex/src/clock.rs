//! The clocks from which a mutex takes its time.

use packet_mutex_arbiter::Time;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// A monotonic clock that can ring.
///
/// A mutex that is given a clock runs in that clock's time. [`ManualClock`] is such a clock, for tests.
pub trait Clock: Debug + Send + Sync {
    /// Returns the time now. It is never less than before.
    fn now(&self) -> Time;

    /// Wakes `waker` once, at `at` or soon after, never before. If that time has come already, it may do so from inside
    /// this call. A mutex holds no lock when it calls this.
    fn wake_at(&self, at: Time, waker: Waker) -> Alarm;

    /// Takes an alarm back. To take back one that has rung already does nothing.
    fn cancel(&self, alarm: Alarm);
}

/// An alarm that was set. [`Clock::cancel`] takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// When it rings.
    pub at: Time,
    /// A number that tells the alarms of one clock and instant apart.
    pub number: u64,
}

/// A clock's alarms in order of time.
#[derive(Debug, Default)]
struct Alarms {
    next_number: u64,
    wakers: BTreeMap<Alarm, Waker>,
}

impl Alarms {
    fn set(&mut self, at: Time, waker: Waker) -> Alarm {
        let alarm = Alarm { at, number: self.next_number };
        self.next_number += 1;
        self.wakers.insert(alarm, waker);
        alarm
    }

    fn next(&self) -> Option<Time> {
        self.wakers.first_key_value().map(|(alarm, _)| alarm.at)
    }

    /// Takes the first alarm, if it is due by `now`.
    fn take_due(&mut self, now: Time) -> Option<(Time, Waker)> {
        let due = self.wakers.first_entry().filter(|first| first.key().at <= now)?;
        let (alarm, waker) = due.remove_entry();
        Some((alarm.at, waker))
    }
}

/// The operating system's monotonic clock, counted from its first use in this process.
///
/// Its alarms ring on one thread for the whole process, which is started when the first alarm is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = origin().elapsed();
        Time::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn wake_at(&self, at: Time, waker: Waker) -> Alarm {
        timer::global().set(at, waker)
    }

    fn cancel(&self, alarm: Alarm) {
        timer::global().cancel(alarm);
    }
}

fn origin() -> std::time::Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(std::time::Instant::now)
}

mod timer {
    use super::{Alarm, Alarms, Clock, SystemClock, Time};
    use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
    use std::task::Waker;

    /// The process's alarms, and the thread that rings them.
    #[derive(Debug, Default)]
    pub(super) struct Timer {
        alarms: Mutex<Alarms>,
        sooner: Condvar,
    }

    pub(super) fn global() -> &'static Timer {
        static TIMER: OnceLock<&'static Timer> = OnceLock::new();
        TIMER.get_or_init(|| {
            // Leaked, since the thread uses it until the process ends.
            let timer: &'static Timer = Box::leak(Box::default());
            let thread = std::thread::Builder::new().name("packet-mutex-timer".into());
            thread.spawn(|| timer.run()).expect("the system has room for one timer thread");
            timer
        })
    }

    impl Timer {
        pub(super) fn set(&self, at: Time, waker: Waker) -> Alarm {
            let mut alarms = self.lock();
            // Only an alarm before all others changes how long the thread has to sleep.
            let is_first = alarms.next().is_none_or(|next| at < next);
            let alarm = alarms.set(at, waker);
            drop(alarms);
            if is_first {
                self.sooner.notify_one();
            }
            alarm
        }

        pub(super) fn cancel(&self, alarm: Alarm) {
            let waker = self.lock().wakers.remove(&alarm);
            // Dropped outside the lock, since dropping it runs other people's code.
            drop(waker);
        }

        fn run(&self) -> ! {
            let mut alarms = self.lock();
            loop {
                let now = SystemClock.now();
                if let Some((_, waker)) = alarms.take_due(now) {
                    // Unlocked, since a waker may set the next alarm.
                    drop(alarms);
                    // A waker that panics must not end the thread: no alarm of the process would ring again.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
                    alarms = self.lock();
                    continue;
                }
                alarms = match alarms.next() {
                    Some(at) => {
                        let woken = self.sooner.wait_timeout(alarms, at.since(now));
                        woken.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.sooner.wait(alarms).unwrap_or_else(PoisonError::into_inner),
                };
            }
        }

        fn lock(&self) -> MutexGuard<'_, Alarms> {
            self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

/// A clock that stands still until it is told to go on. It is for tests in virtual time.
///
/// ```
/// use packet_mutex::{Clock, ManualClock, PacketMutex, Roster, Time};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
/// drop(mutex.acquire("fisher")?);
/// // The handover delay runs in the clock's time: nobody waits for it.
/// assert!(mutex.try_acquire("eater").is_err());
/// clock.advance(Duration::from_secs(1));
/// assert!(mutex.try_acquire("eater").is_ok());
/// # Ok::<(), packet_mutex::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
}

#[derive(Debug, Default)]
struct ManualState {
    now: Time,
    alarms: Alarms,
}

impl ManualClock {
    /// Makes a clock that shows zero.
    #[must_use]
    pub fn new() -> Self {
        ManualClock::default()
    }

    /// Goes on by `by`. It stops at each alarm on the way and rings it.
    pub fn advance(&self, by: Duration) {
        let end = self.now() + by;
        self.advance_to(end);
    }

    /// Goes on to `end`. It stops at each alarm on the way and rings it. If `end` is in the past, it rings what is due by
    /// `end` and does not go back.
    pub fn advance_to(&self, end: Time) {
        // Taken one by one and rung outside the lock: what an alarm wakes may read this clock and set another alarm
        // on the way. The clock shows the alarm's time meanwhile, as a punctual clock would.
        while let Some(waker) = self.next_due(end) {
            waker.wake();
        }
        let mut state = self.lock();
        state.now = state.now.max(end);
    }

    /// Returns the time of the next alarm, if one is set.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Time> {
        self.lock().alarms.next()
    }

    /// Goes to the next alarm up to `end` and takes it.
    fn next_due(&self, end: Time) -> Option<Waker> {
        let mut state = self.lock();
        let (at, waker) = state.alarms.take_due(end)?;
        state.now = state.now.max(at);
        Some(waker)
    }

    fn lock(&self) -> MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        self.lock().now
    }

    fn wake_at(&self, at: Time, waker: Waker) -> Alarm {
        let mut state = self.lock();
        let alarm = state.alarms.set(at, waker);
        // Another thread may have moved the clock on since the caller looked at it, and may never move it again. So an alarm
        // that is due rings at once.
        let late = if at <= state.now { state.alarms.wakers.remove(&alarm) } else { None };
        drop(state);
        late.into_iter().for_each(Waker::wake);
        alarm
    }

    fn cancel(&self, alarm: Alarm) {
        let waker = self.lock().alarms.wakers.remove(&alarm);
        drop(waker);
    }
}
