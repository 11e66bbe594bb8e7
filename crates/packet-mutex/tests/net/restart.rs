//! A server that goes away and comes back, and one that falls silent.

use crate::raw::{Place, ms, names, secs, until, until_told};
use packet_mutex::net::{Options, Running, Server};
use packet_mutex::{Error, PacketMutex, Roster, Slept};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn start(place: &Place) -> (PacketMutex, Running) {
    let mut spec = Roster::default().into_spec();
    spec.handover_delay = Duration::ZERO;
    let roster = Roster::new(spec).unwrap();
    let mutex = PacketMutex::builder(roster).build_stored(&place.path().join("state")).unwrap();
    let server = Server::start(&place.url(), [mutex.clone()], Options::default()).unwrap();
    (mutex, server)
}

#[test]
fn a_lost_turn_is_told_to_its_holder() {
    let place = Place::new();
    let (mutex, server) = start(&place);
    let client = PacketMutex::connect(&place.url()).unwrap();
    let mut turn = client.acquire("fisher").unwrap();
    let stopping = thread::spawn(move || {
        thread::sleep(ms(50));
        drop((server, mutex));
    });
    assert_eq!(turn.sleep(secs(20)), Slept::ShouldYield);
    assert!(turn.should_yield());
    assert_eq!(turn.nest("stacker").unwrap_err(), Error::Lost);
    assert_eq!(turn.acknowledge().unwrap_err(), Error::Lost);
    assert_eq!(turn.yield_now().unwrap_err(), Error::Lost);
    stopping.join().unwrap();
    let start = Instant::now();
    assert_eq!(client.try_acquire("eater").unwrap_err().kind(), "unavailable");
    let asked = client.request("eater").timeout(ms(200)).acquire();
    assert_eq!(asked.unwrap_err().kind(), "unavailable");
    assert!((ms(200)..secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(client.status().holder, None);
    assert_eq!(client.try_status().unwrap_err().kind(), "unavailable");
}

#[test]
fn what_waits_survives_a_restart_and_tokens_grow() {
    let place = Place::new();
    let (mutex, server) = start(&place);
    let client = PacketMutex::connect(&place.url()).unwrap();
    let held = mutex.acquire("runemaker").unwrap();
    let before = held.token().unwrap();
    let mut events = client.events();
    let _served = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let turn = client.request("eater").timeout(secs(15)).acquire().unwrap();
            (turn.token().unwrap(), turn.predecessor_abandoned())
        });
        until(|| mutex.status().waiters.len() == 1);
        drop(server);
        drop(held);
        drop(mutex);
        thread::sleep(ms(100));
        let served = start(&place);
        let (token, abandoned) = waiting.join().unwrap();
        assert!(token > before && abandoned, "{token} after {before}");
        served
    });
    // What the server told before it went, and all of its new life.
    let seen = names(&until_told(&mut events, "released"));
    assert_eq!(seen, ["requested", "requested", "requeued", "granted", "released"]);
}

/// The mutex goes on while its server is away.
#[test]
fn a_reader_of_events_misses_none_and_repeats_none_when_it_was_cut_off() {
    let place = Place::new();
    let (mutex, server) = start(&place);
    let client = PacketMutex::connect(&place.url()).unwrap();
    let mut events = client.events();
    drop(mutex.acquire("fisher").unwrap());
    assert_eq!(names(&until_told(&mut events, "released")), ["requested", "granted", "released"]);
    drop(server);
    drop(mutex.acquire("eater").unwrap());
    mutex.close();
    let _server = Server::start(&place.url(), [mutex], Options::default()).unwrap();
    let seen = names(&until_told(&mut events, "closing"));
    assert_eq!(seen, ["requested", "granted", "released", "closing"]);
}

/// The server runs on the one thread that also waits for it.
#[test]
fn a_task_can_connect_to_a_server_of_its_own_thread() {
    let place = Place::new();
    let url = place.url();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = runtime.block_on(async {
        let unreachable = PacketMutex::connect_async(&url).await;
        assert_eq!(unreachable.unwrap_err().kind(), "unavailable");
        let mutex = PacketMutex::new(Roster::default());
        let server = Server::bind(&url, [mutex], Options::default()).await.unwrap();
        tokio::spawn(server.serve());
        let client = PacketMutex::connect_async(&url).await.unwrap();
        client.acquire_async("fisher").await.unwrap().token()
    });
    assert!(token.is_some());
}

#[test]
fn a_task_that_waits_survives_too() {
    let place = Place::new();
    let (mutex, server) = start(&place);
    let client = PacketMutex::connect(&place.url()).unwrap();
    let held = mutex.acquire("runemaker").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let waiting = thread::spawn(move || {
        runtime.block_on(async { client.acquire_async("eater").await.map(|turn| turn.token()) })
    });
    until(|| mutex.status().waiters.len() == 1);
    drop(server);
    drop((held, mutex));
    let (_mutex, _server) = start(&place);
    assert!(waiting.join().unwrap().unwrap().is_some());
}

/// Passes bytes on until the wire is cut; nobody is told that it is.
struct Wire {
    address: String,
    cut: Arc<AtomicBool>,
}

impl Wire {
    fn to(server: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = cut.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else { return };
                for (from, to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    let cut = is_cut.clone();
                    thread::spawn(move || pass_on(from, to, &cut));
                }
            }
        });
        Wire { address, cut }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        if !cut.load(Ordering::SeqCst) && to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}

/// S8: the holder stops itself before the server lets anybody else in.
#[test]
fn over_a_cut_wire_the_holder_stops_itself_first() {
    let mutex = PacketMutex::new(Roster::default());
    let lease = ms(2000);
    let (_server, address) = crate::raw::over_tcp(&mutex, Options { lease, ..Options::default() });
    let wire = Wire::to(address);
    let client = PacketMutex::connect(&format!("tcp://{}", wire.address)).unwrap();
    let turn = client.acquire("fisher").unwrap();
    assert_eq!(turn.sleep(ms(700)), Slept::Whole);
    wire.cut.store(true, Ordering::SeqCst);
    let start = Instant::now();
    assert_eq!(turn.sleep(secs(20)), Slept::ShouldYield);
    let stopped = start.elapsed();
    // Nobody else was let in yet.
    assert_eq!(mutex.status().holder.unwrap().token, turn.token().unwrap());
    assert!(stopped < lease.mul_f64(0.95) + ms(50), "{stopped:?}");
    assert_eq!(turn.nest("stacker").unwrap_err(), Error::Lost);
    until(|| mutex.status().holder.is_none());
    assert!(mutex.status().abandoned);
}
