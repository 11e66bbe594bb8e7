//! The protocol as types: what a client says is a [`Request`], what a server says is a [`Reply`] or a [`Notice`].
//!
//! `docs/PROTOCOL.md` has it in words, and a test reads the frames in there with these types. Both ends use them, so that a
//! field is either in the type or unknown to everybody. Each direction has one list of fields, of which each names its type,
//! and two functions that compiler and reader go through: from the type to the fields, and back.
//!
//! To add a field: the list of fields, the type, and the two functions, all in one file.

mod errors;
mod fields;
mod lines;
mod reply;
mod request;

pub(crate) use errors::Refused;
pub(crate) use fields::Text;
pub(crate) use lines::{Lines, TooLong};
pub(crate) use reply::{Failed, FromServer, Notice, Reply};
pub use request::steer_from_json;
pub(crate) use request::{Acquire, Frame, Hello, Request, Which, Wrong};
