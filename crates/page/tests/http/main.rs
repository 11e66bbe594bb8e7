//! The page's server, asked over real connections.

mod client;
mod limits;
mod reading;
mod steering;
mod streams;

use packet_mutex::{PacketMutex, Roster};
use page::Page;

/// A page of one mutex that nobody can steer.
fn page() -> (PacketMutex, Page) {
    let mutex = PacketMutex::new(Roster::default());
    let page = Page::start("127.0.0.1:0", [mutex.clone()], None).unwrap();
    (mutex, page)
}

/// A turn that has ended.
fn turn(mutex: &PacketMutex, module: &str) {
    drop(mutex.acquire(module).unwrap());
}
