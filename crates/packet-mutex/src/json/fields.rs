//! The forms of single fields, for serde's `with`.

use packet_mutex_arbiter::{Below, Time, Token};
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A length of time or a moment, in seconds.
pub(crate) trait Seconds: Sized {
    fn to_duration(&self) -> Duration;
    fn from_duration(duration: Duration) -> Self;
}

impl Seconds for Duration {
    fn to_duration(&self) -> Duration {
        *self
    }
    fn from_duration(duration: Duration) -> Self {
        duration
    }
}

impl Seconds for Time {
    fn to_duration(&self) -> Duration {
        self.since(Time::ZERO)
    }
    fn from_duration(duration: Duration) -> Self {
        Time::ZERO + duration
    }
}

/// Returns this many seconds as a duration, or `None` if the number is negative, not finite or too large.
pub(crate) fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// A field in seconds. It may be absent.
pub(crate) mod seconds {
    use super::*;

    pub(crate) fn serialize<S: Serializer, T: Seconds>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(|value| value.to_duration().as_secs_f64()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Seconds>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let Some(seconds) = Option::<f64>::deserialize(from)? else { return Ok(None) };
        let bad = || D::Error::invalid_value(Unexpected::Float(seconds), &"seconds from 0");
        duration(seconds).map(|it| Some(T::from_duration(it))).ok_or_else(bad)
    }
}

/// A token. It may be absent.
pub(crate) mod token {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Token>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(token) => to.collect_str(token),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Token>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?;
        let read = |text: std::borrow::Cow<'_, str>| text.parse().map(Token);
        text.map(read).transpose().map_err(|_| D::Error::custom("a token is a number as a text"))
    }
}

/// Which requests a pause holds back: a priority, or `"urgent"`. It may be absent.
pub(crate) mod below {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Below>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            None => to.serialize_none(),
            Some(Below::Priority(level)) => to.serialize_u8(*level),
            Some(Below::Urgent) => to.serialize_str("urgent"),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Below>, D::Error> {
        from.deserialize_any(BelowVisitor)
    }

    struct BelowVisitor;

    impl Visitor<'_> for BelowVisitor {
        type Value = Option<Below>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a priority from 0 to 255 or \"urgent\"")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E: serde::de::Error>(self, level: u64) -> Result<Self::Value, E> {
            let level = u8::try_from(level).map(Below::Priority).map(Some);
            level.map_err(|_| E::invalid_value(Unexpected::Other("another number"), &self))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "urgent" => Ok(Some(Below::Urgent)),
                _ => Err(E::invalid_value(Unexpected::Other("another text"), &self)),
            }
        }
    }
}
