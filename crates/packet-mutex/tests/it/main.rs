//! The front as its users see it, one file per behaviour.
#![cfg(not(pm_loom))]

mod common;
mod leaked;
mod wakers;
