//! `PacketMutex::connect`: a mutex behind a socket is used like one in the process.

use crate::raw::{SECRET, Served, kinds, ms, names, over_tcp, secs, until, until_told};
use packet_mutex::net::Options;
use packet_mutex::{
    Clock, Error, EventKind, Guarded, ManualClock, Mode, ModuleSpec, PacketMutex, Roster,
    RosterSpec, Slept, all_but_urgent, below,
};
use std::thread;
use std::time::{Duration, Instant};

/// The default roster without delays, behind a socket in real time, and a client's handle of it.
fn connected() -> (Served, PacketMutex) {
    let mut spec = Roster::default().into_spec();
    spec.handover_delay = Duration::ZERO;
    let served = Served::new(PacketMutex::new(Roster::new(spec).unwrap()));
    let client = PacketMutex::connect(&served.url).unwrap();
    (served, client)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn a_turn_and_its_release() {
    let (served, client) = connected();
    let turn = client.acquire("Fisher").unwrap();
    let token = turn.token().unwrap();
    assert_eq!(&**turn.module().name(), "fisher");
    assert_eq!(served.mutex.status().holder.unwrap().token, token);
    drop(turn);
    // The same thread asks after its release, in this order.
    let again = client.acquire("eater").unwrap();
    assert!(again.token().unwrap() > token);
    again.decline();
    until(|| served.mutex.status().holder.is_none());
}

#[test]
fn errors_are_the_same_as_in_the_process() {
    let (served, client) = connected();
    let local = served.mutex.clone();
    thread::scope(|scope| {
        let turn = local.acquire("fisher").unwrap();
        let asking = scope.spawn(|| {
            let Err(Error::Timeout(why)) = client.try_acquire("eater") else { panic!("granted") };
            assert_eq!(&*why.holder.unwrap().0, "fisher");
            let waited = Instant::now();
            let asked = client.request("eater").timeout(ms(50)).acquire();
            assert!(matches!(asked, Err(Error::Timeout(_))) && waited.elapsed() >= ms(50));
        });
        asking.join().unwrap();
        drop(turn);
    });
    for name in ["", "auto-loot", "a b", "\u{1b}"] {
        let (theirs, ours) = (client.acquire(name).unwrap_err(), local.acquire(name).unwrap_err());
        assert_eq!(theirs, ours, "{name:?}");
    }
    let turn = client.acquire("fisher").unwrap();
    let Err(Error::WouldDeadlock { holds, asked }) = client.acquire("eater") else { panic!() };
    assert_eq!((&*holds, &*asked), ("fisher", "eater"));
    assert_eq!(client.release("eater").unwrap_err().kind(), "not_holder");
    std::mem::forget(turn);
    client.release("fisher").unwrap();
    client.disable("trainer").unwrap();
    assert_eq!(
        client.acquire("trainer").unwrap_err(),
        Error::Disabled { module: "trainer".into() }
    );
    client.close();
    assert_eq!(client.acquire("fisher").unwrap_err(), Error::Closed);
}

#[test]
fn threads_nest_and_tasks_nest_through_the_turn() {
    let (_served, client) = connected();
    let outer = client.acquire("fisher").unwrap();
    let inner = client.acquire("stacker").unwrap();
    assert_eq!(inner.token(), outer.token());
    drop(outer);
    assert!(thread::scope(|scope| scope
        .spawn(|| client.try_acquire("fisher").is_err())
        .join()
        .unwrap()));
    drop(inner);
    block_on(async {
        let outer = client.acquire_async("fisher").await.unwrap();
        let inner = outer.nest("stacker").await.unwrap();
        assert_eq!(inner.token(), outer.token());
        assert_eq!(outer.nest("eater").await.unwrap_err().kind(), "would_deadlock");
        drop(outer);
        drop(inner);
        assert!(client.acquire_async("eater").await.is_ok());
    });
}

#[test]
fn a_holder_is_told_to_yield_and_gives_its_turn_away() {
    let (served, client) = connected();
    let mut turn = client.acquire("eater").unwrap();
    assert_eq!(turn.sleep(ms(10)), Slept::Whole);
    assert!(!turn.should_yield());
    thread::scope(|scope| {
        let urgent = scope.spawn(|| {
            let turn = client.request("runemaker").acquire().unwrap();
            turn.token().unwrap()
        });
        // The sleep ends early because the runemaker waits.
        let start = Instant::now();
        assert_eq!(turn.sleep(secs(20)), Slept::ShouldYield);
        assert!(start.elapsed() < secs(10) && turn.should_yield());
        let before = turn.token().unwrap();
        turn.yield_now().unwrap();
        let theirs = urgent.join().unwrap();
        assert!(before < theirs && theirs < turn.token().unwrap());
    });
    let nested = client.acquire("auto_loot").unwrap();
    let refused = turn.yield_now().unwrap_err();
    assert_eq!(refused.kind(), "refused");
    drop(nested);
    // The refusal left the turn as it was.
    assert_eq!(served.mutex.status().holder.unwrap().token, turn.token().unwrap());
    block_on(async {
        drop(turn);
        let mut turn = client.acquire_async("eater").await.unwrap();
        let before = turn.token();
        turn.yield_now().await.unwrap();
        assert!(turn.token() > before);
        assert_eq!(turn.sleep(ms(5)).await, Slept::Whole);
    });
}

/// Whoever waits reads what the server says to all.
#[test]
fn all_that_wait_hear_from_the_server_whoever_reads() {
    let (served, client) = connected();
    for round in 0..50 {
        // Many turns one after the other, so that their thread reads by itself.
        (0..20).for_each(|_| drop(client.acquire("eater").unwrap()));
        let held = served.mutex.acquire("fisher").unwrap();
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..3).map(|_| scope.spawn(|| drop(client.acquire("eater").unwrap()))).collect();
            let task = scope.spawn(|| {
                block_on(async { drop(client.acquire_async("stacker").await.unwrap()) });
            });
            until(|| served.mutex.status().waiters.len() == 4);
            // A call, while one of them reads.
            assert_eq!(client.status().waiters.len(), 4);
            drop(held);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            task.join().unwrap();
        });
        // A task alone, right after threads.
        block_on(async { drop(client.acquire_async("stacker").await.unwrap()) });
        // A notice, for which nobody waits.
        let turn = client.acquire("eater").unwrap();
        let urgent = (round % 10 == 0).then(|| {
            let mutex = served.mutex.clone();
            thread::spawn(move || drop(mutex.request("runemaker").urgent().acquire().unwrap()))
        });
        until(|| urgent.is_none() || turn.should_yield());
        drop(turn);
        urgent.into_iter().for_each(|urgent| urgent.join().unwrap());
    }
}

/// S12: a future that is dropped withdraws its ask, wherever it was.
#[test]
fn a_dropped_future_leaves_nothing_behind() {
    let (served, client) = connected();
    let held = served.mutex.acquire("fisher").unwrap();
    block_on(async {
        let asked = tokio::time::timeout(ms(30), client.acquire_async("eater")).await;
        assert!(asked.is_err());
    });
    until(|| served.mutex.status().waiters.is_empty());
    drop(held);
    let never_polled_again = {
        let mut asked = Box::pin(client.acquire_async("eater"));
        let waker = std::task::Waker::noop();
        assert!(asked.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
        until(|| served.mutex.status().holder.is_some());
        asked
    };
    drop(never_polled_again);
    until(|| served.mutex.status().holder.is_none());
    let mut seen = kinds(&mut served.mutex.events_so_far());
    assert_eq!(seen.pop(), Some("declined"));
}

/// S7: a thread that ends is told to the server.
#[test]
fn a_thread_that_leaks_its_turn_abandons_it() {
    let (served, client) = connected();
    thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(client.acquire("fisher").unwrap()));
    });
    until(|| served.mutex.status().holder.is_none());
    let turn = client.acquire("eater").unwrap();
    assert!(turn.predecessor_abandoned());
    turn.acknowledge().unwrap();
    assert!(!served.mutex.status().abandoned);
}

#[test]
fn a_panic_ends_the_turn_and_a_check_can_decline_it() {
    let (served, client) = connected();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _turn = client.acquire("fisher").unwrap();
        std::panic::resume_unwind(Box::new("a module's own trouble"));
    }));
    assert!(panicked.is_err());
    let refused = client.request("fisher").valid_if(|| false).acquire();
    assert_eq!(refused.unwrap_err(), Error::NoLongerValid);
    until(|| served.mutex.status().holder.is_none());
    let seen = kinds(&mut served.mutex.events_so_far());
    assert!(seen.contains(&"panicked") && seen.contains(&"declined"), "{seen:?}");
}

#[test]
fn looking_and_steering() {
    let (served, client) = connected();
    let mut events = client.events_so_far();
    client.pause(below(60), "alarm").unwrap();
    client.pause_for(secs(60), all_but_urgent(), "lunch").unwrap();
    client.set_mode("eater", Mode::Observed).unwrap();
    let status = client.status();
    assert_eq!(status.paused.len(), 2);
    assert_eq!((&*status.paused[0].reason, status.paused[0].below), ("alarm", below(60)));
    assert!(status.paused[1].left.unwrap() <= secs(60));
    let module = |name: &str| status.modules.iter().find(|m| &*m.module == name).unwrap().clone();
    assert_eq!((module("eater").mode, module("fisher").mode), (Mode::Observed, Mode::Enforced));
    let pass = client.acquire("eater").unwrap();
    assert!(pass.is_pass());
    drop(pass);
    client.resume("lunch").unwrap();
    assert_eq!(client.resume("never").unwrap_err().kind(), "refused");
    client.resume_all();
    let turn = client.acquire("fisher").unwrap();
    let holder = client.try_status().unwrap().holder.unwrap();
    assert_eq!((&*holder.module, holder.token, holder.depth), ("fisher", turn.token().unwrap(), 1));
    client.reset();
    until(|| served.mutex.status().holder.is_none());
    assert_eq!(client.roster(), served.mutex.roster());
    let mut spec = client.roster().into_spec();
    spec.modules.push(ModuleSpec::new("healer", 200));
    client.reload(Roster::new(spec).unwrap()).unwrap();
    assert!(served.mutex.roster().module("healer").is_some());

    let seen = until_told(&mut events, "reloaded");
    assert_eq!(&names(&seen)[..3], ["paused", "paused", "mode"]);
    // As values and as lines, they are what a reader in the server's process gets.
    let local = served.mutex.events_so_far().take();
    assert_eq!(seen, local);
    for (theirs, ours) in seen.iter().zip(&local) {
        assert!(theirs.to_string().contains(r#""mutex":"main""#));
        assert_eq!(theirs.to_string(), ours.to_string());
    }
}

/// S12: an operator takes the turn away, and its holder is told, whoever the operator is.
#[test]
fn a_revoked_turn_is_told_to_its_holder() {
    let (served, client) = connected();
    let mut events = served.mutex.events();
    let operator = PacketMutex::connect(&served.url).unwrap();
    for operator in [&operator, &client, &served.mutex] {
        let turn = client.acquire("fisher").unwrap();
        assert!(turn.is_held() && !turn.should_yield());
        thread::scope(|scope| {
            scope.spawn(|| operator.revoke("the fisher hangs").unwrap());
            assert_eq!(turn.sleep(secs(20)), Slept::ShouldYield);
        });
        assert!(!turn.is_held() && turn.should_yield());
        assert_eq!(turn.acknowledge().unwrap_err(), Error::Lost);
        assert_eq!(turn.nest("stacker").unwrap_err(), Error::Lost);
        let token = turn.token();
        drop(turn);
        let told = events.take();
        assert_eq!(names(&told), ["requested", "granted", "revoking", "revoked"]);
        let reason = EventKind::Revoking { reason: "the fisher hangs".into() };
        assert_eq!((&told[2].kind, told[2].token), (&reason, token));
        // The next one is told too.
        let next = client.acquire("eater").unwrap();
        assert!(next.predecessor_abandoned());
        next.acknowledge().unwrap();
        next.release();
        until_told(&mut events, "released");
    }
    let nobody = operator.revoke("the fisher hangs").unwrap_err();
    assert_eq!(nobody, Error::NotHolder { holder: None });
    let turn = client.acquire("fisher").unwrap();
    assert_eq!(operator.revoke("").unwrap_err().kind(), "refused");
    assert!(turn.is_held());
}

/// A status and the events of a server are on one clock, which is not the client's.
#[test]
fn a_status_is_on_the_servers_clock() {
    let clock = ManualClock::new();
    clock.advance(secs(1000));
    let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
    let served = Served::new(mutex);
    let client = PacketMutex::connect(&served.url).unwrap();
    assert_eq!(client.status().now, clock.now());
}

#[test]
fn a_strict_roster_and_one_of_ones_own() {
    let spec = RosterSpec {
        strict: true,
        modules: vec![ModuleSpec::new("arm", 9)],
        ..RosterSpec::default()
    };
    let served = Served::new(PacketMutex::new(Roster::new(spec).unwrap()));
    let client = PacketMutex::connect(&served.url).unwrap();
    for error in [client.acquire("amr").unwrap_err(), client.module("amr").unwrap_err()] {
        assert_eq!(error.to_string(), served.mutex.acquire("amr").unwrap_err().to_string());
    }
    let module = client.module("ARM").unwrap();
    assert_eq!(&**module.name(), "arm");
    drop(client.acquire(&module).unwrap());
    let error = PacketMutex::builder(Roster::default()).connect(&served.url).unwrap_err();
    let Error::RosterDiffers { fields } = error else { panic!("{error}") };
    assert!(fields.contains(&"strict".into()), "{fields:?}");
    assert!(PacketMutex::builder(served.mutex.roster()).connect(&served.url).is_ok());
}

#[test]
fn a_guarded_channel_behind_it() {
    let (_served, client) = connected();
    let packets = Guarded::new(client, Vec::new());
    let mut turn = packets.acquire("fisher").unwrap();
    turn.push(1);
    turn.nest("stacker").unwrap().push(2);
    drop(turn);
    assert_eq!(packets.into_inner().unwrap(), [1, 2]);
}

#[test]
fn urls_that_lead_nowhere() {
    for url in ["unix:/nowhere/at/all", "tcp://127.0.0.1:1", "fisher", "local:#"] {
        assert_eq!(PacketMutex::connect(url).unwrap_err().kind(), "unavailable", "{url}");
    }
    let (served, _client) = connected();
    let error = PacketMutex::connect(&format!("{}#second", served.url)).unwrap_err();
    assert!(error.to_string().contains("no mutex `second`"), "{error}");
    let local = PacketMutex::connect("local:#urls").unwrap();
    assert_eq!(&**local.name(), "urls");
}

#[test]
fn many_threads_of_many_clients_never_overlap() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let (served, _client) = connected();
    let (inside, turns) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for module in ["runemaker", "fisher", "eater"] {
            let client = PacketMutex::connect(&served.url).unwrap();
            for _ in 0..3 {
                let (client, inside, turns) = (client.clone(), &inside, &turns);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let turn = client.acquire(module).unwrap();
                        assert!(!inside.swap(true, Ordering::SeqCst), "two turns at once");
                        thread::yield_now();
                        inside.store(false, Ordering::SeqCst);
                        drop(turn);
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
    });
    assert_eq!(turns.into_inner(), 900);
}

#[test]
fn over_tcp_heartbeats_keep_a_long_turn() {
    let mutex = PacketMutex::new(Roster::default());
    let (_server, address) = over_tcp(&mutex, Options { lease: ms(400), ..Options::default() });
    let client = PacketMutex::connect(&format!("tcp://{address}")).unwrap();
    let turn = client.acquire("fisher").unwrap();
    assert_eq!(turn.sleep(ms(1500)), Slept::Whole);
    assert_eq!(mutex.status().holder.unwrap().token, turn.token().unwrap());
}

#[test]
fn a_missing_secret_is_told() {
    let mutex = PacketMutex::new(Roster::default());
    let options = Options { secret: Some(SECRET.into()), ..Options::default() };
    let (_server, address) = over_tcp(&mutex, options);
    let error = PacketMutex::connect(&format!("tcp://{address}")).unwrap_err();
    assert_eq!(error, Error::Unauthorized);
}
