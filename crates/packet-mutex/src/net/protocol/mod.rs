//! The protocol as types: a client sends a [`Request`], and a server sends a [`Reply`] or a [`Notice`].
//!
//! `docs/PROTOCOL.md` describes it in words, and a test reads the frames of that document with these types. Server and client
//! use the same types, so a field cannot be known to one of them only. Each direction has one list of fields with their types,
//! and two functions: one from the type to the fields, and one back.
//!
//! To add a field, change the list, the type and the two functions. They are in one file.

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
