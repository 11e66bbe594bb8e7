//! A practice game server and six modules that share one character: what happens without the mutex, with it around each
//! action only, and with it as the guide says.
//!
//! - [`wire`]: the messages, byte by byte, for players in any language;
//! - [`world`]: the rules, without clock and I/O;
//! - [`server`]: the rules behind a TCP port;
//! - [`modules`]: the six scripts, and where each [`Mode`](modules::Mode) takes the turn;
//! - [`client`] and [`run`](mod@run): one character, its connection, and the six in threads or processes of their own;
//! - [`judge`](mod@judge): the counts, from the logs alone; [`logs`]: the logs of one run in a directory; [`check`]: what the
//!   counts must be.
//!
//! ```
//! use std::{sync::atomic::AtomicBool, time::Duration};
//!
//! use packet_mutex::{PacketMutex, Roster};
//! use practice::{modules::Mode, run, server::Server};
//!
//! let server = Server::start("127.0.0.1:0")?;
//! let config = run::Config {
//!     mode: Mode::With,
//!     server: server.address(),
//!     embedded: true,
//!     length: Duration::from_millis(500),
//!     seed: 1,
//! };
//! let outcome = run::run(&config, &PacketMutex::new(Roster::default()), &AtomicBool::new(false), &run::Watch::default())?;
//! assert!(outcome.counts.clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod check;
pub mod client;
pub mod clock;
pub mod judge;
pub mod logs;
pub mod modules;
pub mod run;
pub mod server;
pub mod wire;
pub mod world;
