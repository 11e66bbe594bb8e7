//! The event log in the form that scenarios, fronts and the oracle share.

use crate::seconds::{Nanos, moment, seconds};
use std::fmt;
use std::sync::Arc;

/// The name of a module, request or owner.
pub type Name = Arc<str>;

/// One event, with names in place of numbers. Its text is one line of a scenario's log.
///
/// Every front can make these, from Rust events or from JSON. `details` are the fields that an event has besides its
/// module, request and token, in the order of its JSON, without those that have their usual value (`false`, no others,
/// depth 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence number. The runner checks that none is missing.
    pub seq: u64,
    /// When it happened.
    pub at: Nanos,
    /// The event's name in JSON.
    pub event: &'static str,
    /// The request.
    pub request: Option<Name>,
    /// The module.
    pub module: Option<Name>,
    /// The turn's token.
    pub token: Option<u64>,
    /// Its other fields.
    pub details: Vec<(&'static str, Value)>,
}

/// The value of an event's detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A flag that is set.
    Yes,
    /// A number.
    Count(u64),
    /// A length of time.
    For(Nanos),
    /// A moment.
    At(Nanos),
    /// A name or fixed word.
    Word(Name),
    /// A fixed word.
    Fixed(&'static str),
    /// Free text.
    Text(Arc<str>),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", moment(self.at), self.event)?;
        if let Some(request) = &self.request {
            write!(f, " {request}")?;
        }
        if let Some(module) = &self.module {
            write!(f, " {module}")?;
        }
        if let Some(token) = self.token {
            write!(f, " token {token}")?;
        }
        for (key, value) in &self.details {
            write!(f, " {key}")?;
            match value {
                Value::Yes => {}
                Value::Count(n) => write!(f, " {n}")?,
                Value::For(t) => write!(f, " {}", seconds(*t))?,
                Value::At(t) => write!(f, " {}", moment(*t))?,
                Value::Word(word) => write!(f, " {word}")?,
                Value::Fixed(word) => write!(f, " {word}")?,
                Value::Text(text) => write!(f, " {text:?}")?,
            }
        }
        Ok(())
    }
}
