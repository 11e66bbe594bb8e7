//! The mutex behind a socket: what a turn costs compared with bare ping-pongs, and while clients misuse the server.
//!
//! Server, client and abuser are processes of their own. Each is pinned to one core, so that no figure depends on where the
//! scheduler happens to put them.

mod abused;
mod cost;
mod processes;
#[path = "../../../packet-mutex/tests/net/abuse.rs"]
mod ways;

use packet_mutex::net::{Options, Server};
use packet_mutex::{PacketMutex, Roster};
use processes::{Done, pin};
use std::io::Read as _;

pub(crate) fn report(options: &[&str]) -> Done {
    match options {
        [] => {
            cost::report()?;
            abused::report(&[])
        }
        ["cost"] => cost::report(),
        ["abuse", names @ ..] => abused::report(names),
        _ => Err("usage: bench --service [cost|abuse [NAME…]]".into()),
    }
}

/// Runs one of the processes that the benchmark starts.
pub(crate) fn child(role: &str, core: usize, url: &str, rest: &[&str]) -> Done {
    pin(core)?;
    match (role, rest) {
        ("serve", []) => {
            let server =
                Server::start(url, [PacketMutex::new(Roster::default())], Options::default())?;
            println!("{}", server.address());
            // Until the parent ends it.
            std::io::stdin().read_to_end(&mut Vec::new())?;
            Ok(())
        }
        ("pong", []) => cost::pong(url),
        ("abuse", [name]) => abused::abuse(url, name),
        _ => Err("no such role".into()),
    }
}
