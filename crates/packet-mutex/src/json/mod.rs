//! JSON: how events and snapshots look in traces, on pages and over a socket. No other module knows this.
//!
//! Each type has one structure with the fields of its JSON. It serves both directions, so what is written can be read.
//! Durations and times are seconds: a double holds them exactly to the nanosecond for 104 days. Tokens are texts, since not
//! every language's numbers hold 64 bits.

mod event;
mod fields;
mod status;

pub use status::{status_from_json, status_to_json};

#[cfg(not(feature = "net"))]
use fields::below;
use fields::{seconds, token};
#[cfg(feature = "net")]
pub(crate) use {fields::below, status::StatusObject};
