//! Errors as fields, and back.

use super::fields::{OrNull, Seconds, Text};
use super::reply::Fields;
use crate::english::English;
use crate::error::Error;
use packet_mutex_arbiter::{InvalidName, NameError, Refusal, TimedOut};
use std::sync::Arc;
use std::time::Duration;

/// Kinds that only the protocol has. All others are those of [`Error`].
const WITHDRAWN: &str = "withdrawn";
const BAD_FRAME: &str = "bad_frame";
const TOO_LONG: &str = "frame_too_long";
const UNSUPPORTED: &str = "unsupported";

/// Why a request is refused, or an ask failed.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// An error of the mutex.
    Error(Error),
    /// The asker withdrew its ask.
    Withdrawn,
    /// The frame is not what a frame must be.
    BadFrame(String),
    /// The frame is longer than the limit, in bytes.
    TooLong(usize),
    /// The frame asks for something that this server does not know.
    Unsupported(String),
}

impl Refused {
    /// Sets the kind, the message, and the fields that go with the kind.
    pub(super) fn fill(self, fields: &mut Fields<'_>) {
        let (kind, message) = match self {
            Refused::Error(error) => return fill_error(error, fields),
            Refused::Withdrawn => (WITHDRAWN, "withdrawn by the asker".into()),
            Refused::BadFrame(why) => (BAD_FRAME, why),
            Refused::TooLong(limit) => (TOO_LONG, format!("a frame has at most {limit} bytes")),
            Refused::Unsupported(why) => (UNSUPPORTED, why),
        };
        (fields.error, fields.message) = (Some(kind.into()), Some(message.into()));
    }
}

fn fill_error(error: Error, fields: &mut Fields<'_>) {
    let message = match &error {
        // The client's own error adds the words before the reason.
        Error::Refused(why) => English(why).to_string(),
        Error::Unavailable(why) => why.clone(),
        other => other.to_string(),
    };
    (fields.error, fields.message) = (Some(error.kind().into()), Some(message.into()));
    let text = |text: &str| Some(Text::from(text.to_owned()));
    let or_null = |name: Option<Arc<str>>| Some(OrNull(name.and_then(|name| text(&name))));
    match error {
        Error::Timeout(TimedOut { waited, holder, ahead, delay_left, paused }) => {
            let (holder, held) = holder.unzip();
            fields.waited = Some(Seconds(waited));
            fields.holder = or_null(holder);
            fields.held = Some(OrNull(held.map(Seconds)));
            fields.ahead = Some(ahead as u64);
            fields.delay_left = Some(Seconds(delay_left));
            fields.paused = or_null(paused);
        }
        Error::WouldDeadlock { holds, asked } => {
            (fields.holds, fields.asked) = (text(&holds), text(&asked));
        }
        Error::Disabled { module } => fields.module = text(&module),
        Error::NotHolder { holder } => fields.holder = or_null(holder),
        Error::QueueFull { limit } => fields.limit = Some(limit as u64),
        Error::InvalidName(InvalidName::NearMiss { name, meant }) => {
            (fields.name, fields.meant) = (text(&name), text(&meant));
        }
        Error::UnknownModule(NameError::UnknownModule { name, nearest }) => {
            (fields.name, fields.nearest) = (text(&name), or_null(nearest));
        }
        Error::RosterDiffers { fields: differing } => fields.fields = Some(differing),
        Error::Refused(_)
        | Error::Cancelled
        | Error::Closed
        | Error::InvalidName(_)
        | Error::UnknownModule(_)
        | Error::NoLongerValid
        | Error::Lost
        | Error::ChannelLost
        | Error::Unavailable(_)
        | Error::Unauthorized
        | Error::Unsupported(_) => {}
    }
}

impl Fields<'_> {
    /// Returns the refusal that these fields describe.
    pub(super) fn refused(&self) -> Refused {
        match self.error.as_deref().unwrap_or_default() {
            WITHDRAWN => Refused::Withdrawn,
            BAD_FRAME => Refused::BadFrame(self.message_text()),
            TOO_LONG => Refused::TooLong(count(self.limit)),
            UNSUPPORTED => Refused::Unsupported(self.message_text()),
            kind => Refused::Error(self.to_error(kind)),
        }
    }

    fn message_text(&self) -> String {
        self.message.as_deref().unwrap_or("no reason given").to_owned()
    }

    /// Returns the error of this kind. A kind that this version does not know becomes a refusal.
    fn to_error(&self, kind: &str) -> Error {
        let text = |field: &Option<Text<'_>>| field.as_deref().unwrap_or("?").into();
        let or_null = |field: &Option<OrNull<Text<'_>>>| {
            let text = field.as_ref().and_then(|text| text.0.as_deref());
            text.map(Arc::<str>::from)
        };
        match kind {
            "timeout" => {
                let held = self.held.and_then(|held| held.0).unwrap_or_default().0;
                Error::Timeout(TimedOut {
                    waited: length(self.waited),
                    holder: or_null(&self.holder).map(|holder| (holder, held)),
                    ahead: count(self.ahead),
                    delay_left: length(self.delay_left),
                    paused: or_null(&self.paused),
                })
            }
            "would_deadlock" => {
                Error::WouldDeadlock { holds: text(&self.holds), asked: text(&self.asked) }
            }
            "cancelled" => Error::Cancelled,
            "disabled" => Error::Disabled { module: text(&self.module) },
            "closed" => Error::Closed,
            "not_holder" => Error::NotHolder { holder: or_null(&self.holder) },
            "queue_full" => Error::QueueFull { limit: count(self.limit) },
            // The client checks names before it sends them, so only a near miss is left for the server to find.
            "invalid_name" => Error::InvalidName(match (&self.name, &self.meant) {
                (Some(name), Some(meant)) => {
                    InvalidName::NearMiss { name: name.to_string(), meant: meant.to_string() }
                }
                _ => InvalidName::Empty,
            }),
            "unknown_module" => Error::UnknownModule(NameError::UnknownModule {
                name: self.name.as_deref().unwrap_or_default().to_owned(),
                nearest: or_null(&self.nearest),
            }),
            "no_longer_valid" => Error::NoLongerValid,
            "lost" => Error::Lost,
            "channel_lost" => Error::ChannelLost,
            "unavailable" => Error::Unavailable(self.message_text()),
            "unauthorized" => Error::Unauthorized,
            "roster_differs" => {
                Error::RosterDiffers { fields: self.fields.clone().unwrap_or_default() }
            }
            _ => Error::Refused(Refusal::Other(self.message_text())),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Error(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Error(error) => error,
            Refused::Withdrawn => Error::Cancelled,
            Refused::BadFrame(why) => Error::Refused(Refusal::Other(why)),
            Refused::TooLong(limit) => {
                Error::Refused(Refusal::Other(format!("a frame has at most {limit} bytes")))
            }
            Refused::Unsupported(_) => Error::Unsupported("the server does not support this"),
        }
    }
}

fn count(number: Option<u64>) -> usize {
    usize::try_from(number.unwrap_or_default()).unwrap_or(usize::MAX)
}

fn length(seconds: Option<Seconds>) -> Duration {
    seconds.unwrap_or_default().0
}
