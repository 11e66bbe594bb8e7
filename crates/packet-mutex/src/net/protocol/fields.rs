//! The fields of frames: what each can hold, and how a frame is read and written.

use packet_mutex_arbiter::{Below, Leave, Mode, Token};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// What a field can hold, in words for the client that sent something else.
pub(super) trait Field {
    /// What follows "must be".
    const MUST: &'static str;
}

impl Field for u64 {
    const MUST: &'static str = "a whole number from 0";
}

impl Field for bool {
    const MUST: &'static str = "true or false";
}

impl Field for Vec<String> {
    const MUST: &'static str = "a list of texts";
}

/// A text. It is borrowed from the frame unless something in it is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Field for Text<'_> {
    const MUST: &'static str = "a text";
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Text::MUST)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(TextVisitor)
    }
}

/// A length of time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) Duration);

impl Field for Seconds {
    const MUST: &'static str = "a number of seconds from 0";
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = Duration::try_from_secs_f64(f64::deserialize(from)?);
        seconds.map(Seconds).map_err(|_| serde::de::Error::custom(Seconds::MUST))
    }
}

/// A token as a text: not every language reads a JSON number of 64 bits without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenText(pub(super) Token);

impl Field for TokenText {
    const MUST: &'static str = "a number as a text";
}

impl Serialize for TokenText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TokenText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let token = Text::deserialize(from)?.parse();
        token.map(|token| TokenText(Token(token))).map_err(|_| serde::de::Error::custom(Self::MUST))
    }
}

/// What a pause holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level(pub(super) Below);

impl Field for Level {
    const MUST: &'static str = "a priority from 0 to 255 or \"urgent\"";
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        crate::json::below::serialize(&Some(self.0), to)
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let below = crate::json::below::deserialize(from)?;
        below.map(Level).ok_or_else(|| serde::de::Error::custom(Self::MUST))
    }
}

/// Defines a field for an enum whose values have names.
macro_rules! named_field {
    ($field:ident of $type:ty, $must:literal) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $field(pub(super) $type);

        impl Field for $field {
            const MUST: &'static str = $must;
        }

        impl Serialize for $field {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.0.name())
            }
        }

        impl<'de> Deserialize<'de> for $field {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = <$type>::from_name(&Text::deserialize(from)?);
                value.map($field).ok_or_else(|| serde::de::Error::custom($must))
            }
        }
    };
}

named_field!(ModeName of Mode, "\"enforced\", \"observed\" or \"off\"");
named_field!(How of Leave, "\"released\", \"panicked\" or \"declined\"");

/// A field that is written as `null` when there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrNull<T>(pub(super) Option<T>);

impl<T: Field> Field for OrNull<T> {
    const MUST: &'static str = T::MUST;
}

impl<T: Serialize> Serialize for OrNull<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrNull<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(OrNull)
    }
}

/// Any value. It is read, so that it is JSON and not too deep, and forgotten unless it is a whole number.
///
/// Serde's own type for this has no limit to the depth of what it skips.
pub(super) struct Anything(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Anything(None))
    }
}

impl<'de> Visitor<'de> for Anything {
    type Value = Anything;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self, E> {
        Ok(Anything(Some(number)))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Anything>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Anything, Anything>()?.is_some() {}
        Ok(self)
    }
}

/// What can be said of a frame in which a field is wrong: the number that its reply needs.
#[derive(Default)]
pub(super) struct Outline {
    pub(super) id: Option<u64>,
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Outline::default())
    }
}

impl<'de> Visitor<'de> for Outline {
    type Value = Outline;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let Anything(number) = map.next_value()?;
            if &*key == "id" {
                self.id = number;
            }
        }
        Ok(self)
    }
}

/// Defines the fields of all frames of one direction: a structure in which each is optional, and how it is read and written.
///
/// An unknown field is ignored, a field that is `null` counts as absent, and of two fields with the same name the last counts.
/// Reading goes over the frame once and keeps nothing of what it ignores, so a hostile frame costs no more than its length.
macro_rules! fields {
    (
        $(#[$attribute:meta])*
        struct $fields:ident<$a:lifetime> {
            $( $field:ident: $type:ty, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Default)]
        pub(super) struct $fields<$a> {
            $( pub(super) $field: Option<$type>, )+
        }

        impl<$a> $fields<$a> {
            /// Reads a frame. When a known field is not what it must be, `wrong` says which and what it must be.
            ///
            /// The fields are filled where they are: they are many, and to move them costs more than to read a short frame.
            pub(super) fn read(
                &mut self,
                frame: &$a str,
                wrong: &mut Option<String>,
            ) -> serde_json::Result<()> {
                struct Filling<'f, 'de>(&'f mut $fields<'de>, &'f mut Option<String>);
                impl<'de> serde::de::Visitor<'de> for Filling<'_, 'de> {
                    type Value = ();
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<(), A::Error> {
                        let Filling(fields, wrong) = self;
                        while let Some(key) = map.next_key::<Text<'de>>()? {
                            match &*key {
                                $(
                                    name @ stringify!($field) => {
                                        read_field(&mut map, name, &mut fields.$field, wrong)?;
                                    }
                                )+
                                _ => {
                                    map.next_value::<Anything>()?;
                                }
                            }
                        }
                        Ok(())
                    }
                }
                let mut json = serde_json::Deserializer::from_str(frame);
                serde::Deserializer::deserialize_map(&mut json, Filling(self, wrong))?;
                json.end()
            }

            /// Appends the fields as a line.
            pub(super) fn write(&self, out: &mut Vec<u8>) {
                let start = out.len();
                $(
                    if let Some(value) = &self.$field {
                        // The name of a field has nothing to escape.
                        out.extend_from_slice(concat!(",\"", stringify!($field), "\":").as_bytes());
                        // A vector takes everything, and a plain value is always JSON.
                        let _ = serde_json::to_writer(&mut *out, value);
                    }
                )+
                // The first field has no comma before it but the frame's beginning.
                match out.get_mut(start) {
                    Some(comma) => *comma = b'{',
                    None => out.push(b'{'),
                }
                out.extend_from_slice(b"}\n");
            }
        }
    };
}

pub(super) use fields;

/// Reads the value of a known field. If it is not what it must be, `wrong` says so.
pub(super) fn read_field<'de, T: Field + Deserialize<'de>, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    field: &mut Option<T>,
    wrong: &mut Option<String>,
) -> Result<(), A::Error> {
    let value = map.next_value();
    *field = value.inspect_err(|_| *wrong = Some(bad(name, T::MUST)))?;
    Ok(())
}

/// Returns the message for a field that is missing or is not what it must be.
pub(super) fn bad(field: &str, must: &str) -> String {
    format!("`{field}` must be {must}")
}

/// Returns a field that the frame cannot do without.
pub(super) fn needed<T: Field>(value: Option<T>, field: &str) -> Result<T, String> {
    value.ok_or_else(|| bad(field, T::MUST))
}
