//! A practice game server and six modules that share one character.

pub mod judge;
pub mod modules;
pub mod rng;
pub mod wire;
pub mod world;
