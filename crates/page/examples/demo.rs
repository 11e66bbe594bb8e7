//! Six modules that keep a mutex busy for a while, to look at.
//!
//! `cargo run -p page --example demo` has a mutex and a page of its own; `cargo run -p page --example demo -- URL` plays on
//! a running `packet-mutex serve`.
#![allow(clippy::print_stderr, reason = "it tells where to look")]

use packet_mutex::{Error, PacketMutex, Roster};
use page::Page;
use std::time::{Duration, Instant};

/// A module's name, how long it rests, and how long its turns take; in milliseconds.
const MODULES: [(&str, u64, u64); 6] = [
    ("runemaker", 10_000, 1_600),
    ("trainer", 12_000, 900),
    ("fisher", 4_000, 1_200),
    ("auto_loot", 5_000, 700),
    ("stacker", 6_000, 600),
    ("eater", 8_000, 500),
];
const LASTS: Duration = Duration::from_secs(120);

fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let (mutex, _page) = match &url {
        Some(url) => (PacketMutex::connect(url)?, None),
        None => {
            let mutex = PacketMutex::new(Roster::default());
            let page = Page::start("127.0.0.1:0", [mutex.clone()], None)?;
            eprintln!("look at {}", page.url());
            (mutex, Some(page))
        }
    };
    let end = Instant::now() + LASTS;
    std::thread::scope(|scope| {
        for (seed, module) in MODULES.into_iter().enumerate() {
            let mutex = &mutex;
            scope.spawn(move || play(mutex, module, seed as u64, end));
        }
    });
    Ok(())
}

/// Works and rests by turns until the end.
fn play(mutex: &PacketMutex, (name, rests, works): (&str, u64, u64), seed: u64, end: Instant) {
    let mut random = seed;
    // From a half to three halves, the same in every run.
    let mut about = |millis: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(millis / 2 + (random >> 33) % millis.max(1))
    };
    std::thread::sleep(about(rests) / 4);
    while Instant::now() < end {
        match mutex.request(name).timeout(Duration::from_secs(15)).acquire() {
            Ok(turn) => {
                std::thread::sleep(about(works));
                drop(turn);
            }
            Err(error) => eprintln!("{name}: {error}"),
        }
        std::thread::sleep(about(rests));
    }
}
