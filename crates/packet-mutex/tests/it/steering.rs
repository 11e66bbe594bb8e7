//! S10, S12, S19, S20: urgent, cancel, disable, pause, close, reload, reset.

use crate::common::{
    SECOND, block_on, in_thread, ms, no_delay, on_manual_clock, poll, ready, roster, secs, story,
    until, until_waiting, with_roster,
};
use packet_mutex::{Error, EventKind, Guarded, Refusal, Roster, Slept, all_but_urgent, below};
use std::mem::forget;
use std::thread;
use std::time::Duration;

#[test]
fn urgent_goes_first_and_skips_the_delay() {
    let roster = roster(|spec| crate::common::module(spec, "eater").urgent = false);
    let (mutex, clock) = with_roster(roster);
    drop(mutex.acquire("runemaker").unwrap());
    assert!(mutex.request("fisher").urgent().timeout(Duration::ZERO).acquire().is_ok());
    // After it, the delay holds for all others.
    assert!(mutex.try_acquire("runemaker").is_err());
    clock.advance(SECOND);
    let denied = mutex.request("eater").urgent().acquire();
    assert!(matches!(denied.err(), Some(Error::Refused(Refusal::UrgencyDenied { .. }))));

    let turn = mutex.acquire("runemaker").unwrap();
    let mut high = Box::pin(mutex.acquire_async("trainer"));
    let mut urgent = Box::pin(mutex.request("stacker").urgent().acquire_async());
    assert!(poll(&mut high).is_pending() && poll(&mut urgent).is_pending());
    drop(turn);
    assert!(ready(poll(&mut urgent)).is_ok());
}

#[test]
fn a_cancel_ends_the_waiters_of_one_module() {
    let (mutex, _clock) = with_roster(no_delay());
    let turn = mutex.acquire("fisher").unwrap();
    thread::scope(|s| {
        let eaters = [(); 2].map(|()| s.spawn(|| mutex.acquire("eater").err()));
        let trainer = s.spawn(|| mutex.acquire("trainer").map(drop));
        until_waiting(&mutex, 3);
        mutex.cancel("eater").unwrap();
        for eater in eaters {
            assert_eq!(eater.join().unwrap(), Some(Error::Cancelled));
        }
        drop(turn);
        assert_eq!(trainer.join().unwrap(), Ok(()));
    });
    assert!(matches!(mutex.cancel("no such name!"), Err(Error::InvalidName(_))));
}

#[test]
fn a_cancel_leaves_a_decided_grant() {
    let (mutex, _clock) = with_roster(no_delay());
    let turn = mutex.acquire("fisher").unwrap();
    let mut ask = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut ask).is_pending());
    drop(turn);
    mutex.cancel("eater").unwrap();
    assert!(ready(poll(&mut ask)).is_ok());
}

#[test]
fn a_disabled_module_is_refused_and_what_waits_stays() {
    let (mutex, _clock) = with_roster(no_delay());
    let turn = mutex.acquire("fisher").unwrap();
    let mut ask = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut ask).is_pending());
    mutex.disable("eater").unwrap();
    assert_eq!(
        in_thread(|| mutex.try_acquire("eater").err()),
        Some(Error::Disabled { module: "eater".into() })
    );
    drop(turn);
    drop(ready(poll(&mut ask)).unwrap());
    mutex.enable("eater").unwrap();
    assert!(mutex.try_acquire("eater").is_ok());
}

#[test]
fn a_pause_holds_back_all_below_it() {
    let (mutex, clock) = with_roster(no_delay());
    mutex.pause(below(60), "alarm").unwrap();
    let Err(Error::Timeout(why)) = mutex.try_acquire("eater") else { panic!() };
    assert_eq!(why.paused.as_deref(), Some("alarm"));
    assert!(mutex.try_acquire("fisher").is_ok());
    assert!(mutex.request("eater").urgent().acquire().is_ok());
    mutex.pause_for(secs(5), all_but_urgent(), "storm").unwrap();
    assert_eq!(mutex.status().paused.len(), 2);
    assert!(mutex.try_acquire("runemaker").is_err());
    thread::scope(|s| {
        let waits = s.spawn(|| mutex.acquire("runemaker").map(|turn| turn.waited()));
        until_waiting(&mutex, 1);
        clock.advance(secs(5));
        assert_eq!(waits.join().unwrap(), Ok(secs(5)));
    });
    assert_eq!(mutex.resume("storm"), Err(Error::Refused(Refusal::NoSuchPause)));
    mutex.resume("alarm").unwrap();
    assert!(mutex.try_acquire("eater").is_ok());
    for reason in ["", "two\nlines", &"x".repeat(201)] {
        let refused = mutex.pause(all_but_urgent(), reason);
        assert_eq!(refused, Err(Error::Refused(Refusal::BadReason)));
    }
    mutex.resume_all();
}

#[test]
fn an_operator_takes_a_turn_away() {
    let (mutex, clock) = on_manual_clock();
    let mut turn = mutex.acquire("fisher").unwrap();
    let token = turn.token();
    let mut log = mutex.events();
    clock.advance(secs(2));
    in_thread(|| mutex.revoke("the fisher hangs").unwrap());

    let told = log.take();
    let kinds: Vec<_> = told.iter().map(|event| event.kind.name()).collect();
    assert_eq!(kinds, ["revoking", "revoked"]);
    assert_eq!(told[0].kind, EventKind::Revoking { reason: "the fisher hangs".into() });
    for event in &told {
        assert_eq!((event.module.as_deref(), event.token), (Some("fisher"), token));
    }

    // The holder learns it, and can do nothing more with the turn.
    assert!(!turn.is_held() && turn.should_yield());
    assert_eq!(turn.sleep(SECOND), Slept::ShouldYield);
    let over = Error::NotHolder { holder: None };
    assert_eq!(turn.acknowledge(), Err(over.clone()));
    assert_eq!(turn.yield_now(), Err(over.clone()));
    assert_eq!(turn.nest("stacker").err(), Some(over.clone()));
    assert_eq!(mutex.release("fisher"), Err(over));

    // The delay holds for its own group too; the mark stays until somebody acknowledges it.
    clock.advance(ms(999));
    assert!(mutex.try_acquire("fisher").is_err());
    clock.advance(ms(1));
    let next = mutex.try_acquire("fisher").unwrap();
    assert!(next.token() > token && next.predecessor_abandoned());
    drop(turn);
    assert!(next.is_held(), "what comes late ends no turn of another");
    next.acknowledge().unwrap();
    drop(next);
    assert!(!mutex.try_acquire("fisher").unwrap().predecessor_abandoned());
}

#[test]
fn a_revocation_ends_nested_turns_and_wakes_who_sleeps_in_them() {
    let (mutex, _clock) = on_manual_clock();
    let mut log = mutex.events();
    thread::scope(|s| {
        let sleeps = s.spawn(|| {
            let outer = mutex.acquire("fisher").unwrap();
            let inner = outer.nest("stacker").unwrap();
            let slept = inner.sleep(secs(60));
            (slept, outer.is_held(), inner.is_held(), outer.should_yield(), inner.should_yield())
        });
        until(|| mutex.status().holder.is_some_and(|holder| holder.depth == 2));
        mutex.revoke("storm").unwrap();
        // The clock stands still.
        assert_eq!(sleeps.join().unwrap(), (Slept::ShouldYield, false, false, true, true));
    });
    let story = story(&mut log);
    let until_over = ["granted fisher", "nested stacker", "revoking fisher"];
    assert_eq!(story[..3], until_over);
    assert_eq!(story[3..5], ["revoked stacker", "revoked fisher"]);
    assert!(story[5..].iter().all(|line| line.starts_with("not_holder")), "{story:?}");
}

/// S12: a task that has not seen its grant yet is told that it is gone.
#[test]
fn a_grant_is_revoked_before_its_task_looks() {
    let (mutex, clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let mut ask = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut ask).is_pending());
    drop(turn);
    clock.advance(SECOND);
    assert_eq!(&*mutex.status().holder.unwrap().module, "eater");
    mutex.revoke("storm").unwrap();
    assert_eq!(ready(poll(&mut ask)).err(), Some(Error::Lost));
}

#[test]
fn a_revocation_needs_a_turn_a_reason_and_no_channel() {
    let (mutex, clock) = on_manual_clock();
    let nobody = Err(Error::NotHolder { holder: None });
    assert_eq!(mutex.revoke("storm"), nobody);
    let turn = mutex.acquire("fisher").unwrap();
    for reason in ["", "two\nlines", &"x".repeat(201)] {
        assert_eq!(mutex.revoke(reason), Err(Error::Refused(Refusal::BadReason)));
    }
    assert!(turn.is_held());
    mutex.revoke(&"x".repeat(200)).unwrap();
    // During the delay, with somebody waiting, nobody holds either.
    let mut waits = Box::pin(mutex.acquire_async("eater"));
    assert!(poll(&mut waits).is_pending());
    assert_eq!(mutex.revoke("storm"), nobody);
    drop(turn);

    let channel = Guarded::new(mutex.clone(), ());
    clock.advance(SECOND);
    drop(ready(poll(&mut waits)).unwrap());
    let turn = channel.request("eater").acquire().unwrap();
    assert!(matches!(mutex.revoke("storm"), Err(Error::Unsupported(_))));
    assert!(turn.turn().is_held());
}

#[test]
fn closing_ends_the_waiters_and_lets_the_holder_finish() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    thread::scope(|s| {
        let waits = s.spawn(|| mutex.acquire("eater").err());
        until_waiting(&mutex, 1);
        mutex.close();
        assert_eq!(waits.join().unwrap(), Some(Error::Closed));
    });
    assert!(mutex.status().closed && mutex.status().holder.is_some());
    drop(turn);
    assert_eq!(mutex.acquire("fisher").err(), Some(Error::Closed));
    assert_eq!(block_on(mutex.acquire_async("fisher")).err(), Some(Error::Closed));
}

#[test]
fn a_reload_keeps_waiters_and_delays() {
    let (mutex, clock) = on_manual_clock();
    drop(mutex.acquire("fisher").unwrap());
    let mut eater = Box::pin(mutex.acquire_async("eater"));
    let mut trainer = Box::pin(mutex.acquire_async("trainer"));
    assert!(poll(&mut eater).is_pending() && poll(&mut trainer).is_pending());
    let new = roster(|spec| {
        spec.handover_delay = Duration::ZERO;
        crate::common::module(spec, "eater").priority = 255;
    });
    mutex.reload(new.clone()).unwrap();
    assert_eq!(mutex.roster(), new);
    assert!(poll(&mut eater).is_pending());
    clock.advance(SECOND);
    drop(ready(poll(&mut eater)).unwrap());
    drop(ready(poll(&mut trainer)).unwrap());
    let small = roster(|spec| {
        spec.modules.truncate(1);
        spec.limits.modules = 1;
    });
    assert!(matches!(mutex.reload(small), Err(Error::Refused(Refusal::TooManyModules { .. }))));
}

#[test]
fn a_reset_ends_ones_own_turn_and_all_that_waits() {
    let (mutex, _clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    let token = turn.token();
    forget(mutex.acquire("stacker").unwrap());
    let mut events = mutex.events();
    thread::scope(|s| {
        let waits = s.spawn(|| mutex.acquire("eater").err());
        until_waiting(&mutex, 1);
        // Another thread's reset ends no turn.
        in_thread(|| mutex.reset());
        assert_eq!(waits.join().unwrap(), Some(Error::Cancelled));
        assert_eq!(mutex.status().holder.unwrap().depth, 2);
    });
    mutex.reset();
    assert_eq!(
        story(&mut events),
        ["cancelled eater", "reset", "released fisher", "released stacker", "reset"]
    );
    let status = mutex.status();
    assert!(status.last.is_none() && status.modules.iter().all(|module| module.turns == 0));
    // No delay, and no token a second time.
    let next = mutex.try_acquire("eater").unwrap();
    assert!(next.token() > token);
    drop(turn);
    assert_eq!(&*mutex.status().holder.unwrap().module, "eater");
}

#[test]
fn a_full_queue_is_an_error_of_its_own() {
    let roster = roster(|spec| spec.limits.waiters = 2);
    let (mutex, _clock) = with_roster(roster);
    let turn = mutex.acquire("fisher").unwrap();
    let mut asks = [(); 3].map(|()| Box::pin(mutex.acquire_async("eater")));
    let [one, two, three] = asks.each_mut().map(poll);
    assert!(one.is_pending() && two.is_pending());
    assert_eq!(ready(three).err(), Some(Error::QueueFull { limit: 2 }));
    drop(asks);
    assert!(mutex.status().waiters.is_empty());
    drop(turn);
}

#[test]
fn a_timeout_tells_why() {
    let (mutex, clock) = on_manual_clock();
    let turn = mutex.acquire("fisher").unwrap();
    clock.advance(ms(1500));
    let mut ahead = Box::pin(mutex.acquire_async("runemaker"));
    assert!(poll(&mut ahead).is_pending());
    let Err(Error::Timeout(why)) = in_thread(|| mutex.try_acquire("eater").map(drop)) else {
        panic!()
    };
    assert_eq!(why.holder, Some(("fisher".into(), ms(1500))));
    assert_eq!((why.ahead, why.delay_left, why.waited), (1, Duration::ZERO, Duration::ZERO));
    drop(ahead);
    drop(turn);
    clock.advance(ms(400));
    let Err(Error::Timeout(why)) = mutex.try_acquire("eater") else { panic!() };
    assert_eq!((why.holder.clone(), why.delay_left), (None, ms(600)));
    assert_eq!(
        packet_mutex::English(&why).to_string(),
        "timed out after 0.000 s; 0.600 s of the handover delay left"
    );
    assert_eq!(mutex.status().modules.iter().map(|m| m.timeouts).sum::<u64>(), 2);
}

#[test]
fn a_life_after_a_restart() {
    let (clock, roster) = (packet_mutex::ManualClock::new(), Roster::default());
    let builder = packet_mutex::PacketMutex::builder(roster).clock(clock.clone());
    let mutex = builder.after_restart(1000).build();
    assert!(mutex.try_acquire("fisher").is_err());
    clock.advance(SECOND);
    let turn = mutex.try_acquire("fisher").unwrap();
    assert!(turn.predecessor_abandoned());
    assert_eq!(turn.token(), Some(packet_mutex::Token(1000)));
}
