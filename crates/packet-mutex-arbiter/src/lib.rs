//! The pure decision core of PacketMutex: who goes next, when, and why.
#![no_std]

extern crate alloc;

mod name;
mod roster;
mod time;

pub use name::{InvalidName, NAME_MAX, fold_name, nearest_name};
pub use roster::*;
pub use time::Time;
