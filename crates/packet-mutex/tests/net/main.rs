//! The mutex behind a socket, spoken to as `docs/PROTOCOL.md` says, one file per behaviour.
#![cfg(all(unix, not(pm_loom)))]

mod abuse;
mod bad_input;
mod client;
mod doors;
mod languages;
mod lease;
mod lost;
mod raw;
mod restart;
mod turns;
