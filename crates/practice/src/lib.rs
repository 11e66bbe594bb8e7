//! A practice game server and six modules that share one character.

pub mod client;
pub mod clock;
pub mod judge;
pub mod modules;
pub mod rng;
pub mod run;
pub mod server;
pub mod wire;
pub mod world;
