//! The front as its users see it, one file per behaviour.
#![cfg(not(pm_loom))]

mod common;
mod decline;
mod events;
mod guarded;
#[cfg(feature = "json")]
mod json;
mod leaked;
mod log_lines;
mod modes;
mod names;
mod nesting;
mod random;
mod real_clock;
mod release;
mod steering;
mod tasks;
#[cfg(feature = "json")]
mod trace;
mod wakers;
mod yielding;
