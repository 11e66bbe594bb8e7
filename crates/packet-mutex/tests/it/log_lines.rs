//! The lines that a mutex writes through `tracing`.

use crate::common::{
    SECOND, block_on, in_thread, ms, on_manual_clock, poll, ready, roster, secs, with_roster,
};
use packet_mutex::{PacketMutex, all_but_urgent};
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, OnceLock};
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Subscriber, subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "message" {
                    write!(self.0, "{value:?}").unwrap();
                }
            }
        }
        assert_eq!(event.metadata().target(), "packet_mutex");
        let mut text = Text(format!("{} ", event.metadata().level()));
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
}

/// As long as a process has had but one subscriber, `tracing` takes the view of whatever thread comes first to a line for
/// that of all; other tests have threads without any.
fn always_listen() {
    static LISTENERS: OnceLock<[Dispatch; 2]> = OnceLock::new();
    LISTENERS.get_or_init(|| [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry())));
}

/// The lines that this thread's calls write, down to INFO.
fn lines_of(work: impl FnOnce()) -> Vec<String> {
    all_lines_of(work).into_iter().filter(|line| !line.starts_with("DEBUG")).collect()
}

/// The lines that this thread's calls write.
fn all_lines_of(work: impl FnOnce()) -> Vec<String> {
    always_listen();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    subscriber::with_default(subscriber, work);
    lines.0.lock().unwrap().drain(..).collect()
}

#[test]
fn turns() {
    let (mutex, clock) = on_manual_clock();
    let lines = lines_of(|| {
        let turn = mutex.acquire("fisher").unwrap();
        clock.advance(ms(1500));
        drop(turn.nest("stacker").unwrap());
        drop(turn);
        drop(mutex.request("eater").urgent().acquire().unwrap());
    });
    assert_eq!(
        lines,
        [
            "INFO fisher acquired after 0.000 s",
            "INFO stacker nested",
            "INFO stacker released after holding 0.000 s (1 still open)",
            "INFO fisher released after holding 1.500 s",
            "INFO eater acquired after 0.000 s, urgent",
            "INFO eater released after holding 0.000 s",
        ]
    );
}

#[test]
fn who_would_not_wait_is_no_news() {
    let (mutex, _clock) = on_manual_clock();
    drop(mutex.acquire("fisher").unwrap());
    let lines = all_lines_of(|| {
        assert!(mutex.try_acquire("eater").is_err());
        assert!(block_on(mutex.request("eater").timeout(ms(0)).acquire_async()).is_err());
    });
    let told = lines.iter().filter(|line| !line.ends_with("requested"));
    let why = "DEBUG eater timed out after 0.000 s; 1.000 s of the handover delay left";
    assert_eq!(told.collect::<Vec<_>>(), [why; 2]);
}

#[test]
fn who_waited_in_vain_hears_why() {
    let (mutex, clock) = on_manual_clock();
    drop(mutex.acquire("fisher").unwrap());
    let mut waits = Box::pin(mutex.request("eater").timeout(ms(400)).acquire_async());
    assert!(poll(&mut waits).is_pending());
    let lines = lines_of(|| {
        clock.advance(ms(400));
        assert!(ready(poll(&mut waits)).is_err());
    });
    assert_eq!(lines, ["WARN eater timed out after 0.400 s; 0.600 s of the handover delay left"]);
}

#[test]
fn a_yield_that_times_out() {
    let (mutex, _clock) = on_manual_clock();
    let mut turn = mutex.acquire("fisher").unwrap();
    let mut other = Box::pin(mutex.request("eater").urgent().acquire_async());
    assert!(poll(&mut other).is_pending());
    let lines = all_lines_of(|| assert!(turn.yield_within(ms(0)).is_err()));
    assert_eq!(
        lines.last().unwrap(),
        "DEBUG fisher timed out after 0.000 s; `eater` has held the turn for 0.000 s"
    );
    drop(ready(poll(&mut other)));
}

#[test]
fn troubles() {
    let roster = roster(|spec| {
        crate::common::module(spec, "fisher").longest_turn = Some(secs(3));
        spec.starving_after = Some(secs(5));
    });
    let (mutex, clock) = with_roster(roster);
    let lines = lines_of(|| {
        let turn = mutex.acquire("fisher").unwrap();
        let mut waits = Box::pin(mutex.acquire_async("eater"));
        assert!(poll(&mut waits).is_pending());
        clock.advance(secs(6));
        drop(waits);
        assert!(mutex.release("trainer").is_err());
        assert!(mutex.acquire("eater").is_err());
        drop(turn);
        mutex.pause(all_but_urgent(), "alarm").unwrap();
        mutex.resume_all();
        mutex.disable("eater").unwrap();
        assert!(mutex.acquire("eater").is_err());
        mutex.acquire("fisher").unwrap().decline();
    });
    assert_eq!(
        lines,
        [
            "INFO fisher acquired after 0.000 s",
            "WARN fisher overruns its longest turn: it has held for 3.000 s",
            "WARN eater is starving: it has waited for 5.000 s, kept out by fisher",
            "INFO eater withdrawn after waiting 6.000 s",
            "WARN refused a release of trainer: the caller does not hold that turn",
            "WARN eater refused: would_deadlock",
            "INFO fisher released after holding 6.000 s",
            "INFO paused: alarm",
            "INFO resumed: alarm",
            "INFO eater disabled",
            "WARN eater refused: disabled",
            "INFO fisher acquired after 0.000 s",
            "INFO fisher declined after holding 0.000 s",
        ]
    );
}

#[test]
fn abandoned_and_panicked_turns() {
    let (mutex, clock) = on_manual_clock();
    // The thread's end writes its line where the thread has no subscriber of its own any more.
    in_thread(|| std::mem::forget(mutex.acquire("fisher").unwrap()));
    clock.advance(SECOND);
    let lines = lines_of(|| {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = mutex.acquire("eater").unwrap();
            std::panic::resume_unwind(Box::new(()));
        }));
    });
    assert_eq!(
        lines,
        [
            "INFO eater acquired after 0.000 s; an earlier turn was abandoned",
            "WARN eater panicked after holding 0.000 s",
        ]
    );
}

#[test]
fn an_unknown_module_is_told_once() {
    let (mutex, _clock) = on_manual_clock();
    let lines = lines_of(|| {
        mutex.acquire("fishre").unwrap().decline();
        mutex.acquire("FISHRE").unwrap().decline();
        mutex.module("qqqqqqqq").unwrap();
        mutex.module("qqqqqqqq").unwrap();
    });
    let warnings: Vec<_> = lines.iter().filter(|line| line.starts_with("WARN")).collect();
    assert_eq!(
        warnings,
        [
            "WARN the roster does not name fishre, so it has priority 50; did you mean fisher?",
            "WARN the roster does not name qqqqqqqq, so it has priority 50"
        ]
    );
}

#[test]
fn nothing_is_written_below_the_level_that_is_listened_to() {
    let mutex = PacketMutex::new(crate::common::no_delay());
    always_listen();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::from_level(Level::WARN))
        .with(lines.clone());
    subscriber::with_default(subscriber, || {
        drop(mutex.acquire("fisher").unwrap());
        let _turn = mutex.acquire("fisher").unwrap();
        assert!(mutex.acquire("eater").is_err());
    });
    assert_eq!(*lines.0.lock().unwrap(), ["WARN eater refused: would_deadlock"]);
}
