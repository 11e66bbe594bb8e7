//! Frames: lines of JSON, read with a limit, and what stands in them.

use crate::Error;
use packet_mutex_arbiter::{
    Below, Grant, InvalidName, Mode, ModuleId, NameError, Refusal, RequestId, TimedOut, Token,
};
use serde_core::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_core::ser::Serialize;
use serde_json::error::Category;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One frame: a JSON object.
pub(crate) type Object = Map<String, Value>;

/// Bytes as they came, cut into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Lines before here were given out.
    start: usize,
    /// From the start to here there is no line's end.
    scanned: usize,
    limit: usize,
}

/// The line is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Lines { bytes: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Appends what came; to be done only after [`next`](Self::next) gave `None`, so that the bytes stay few.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let (room, needed) = (self.bytes.capacity(), self.bytes.len() + bytes.len());
        if room < needed {
            // It doubles, as a vector does by itself, but a frame that fits has no more room than the longest.
            let more = (2 * room).clamp(needed, needed.max(self.limit));
            self.bytes.reserve_exact(more - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Is there another whole line already?
    pub(crate) fn has_line(&self) -> bool {
        self.bytes[self.scanned..].contains(&b'\n')
    }

    /// The next whole line, without its end; `None`: it has not come yet.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let end = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n');
        let end = end.map(|end| self.scanned + end);
        if end.unwrap_or(self.bytes.len()) - self.start >= self.limit {
            return Err(TooLong);
        }
        match end {
            Some(end) => {
                let line = self.bytes[self.start..end].to_vec();
                (self.start, self.scanned) = (end + 1, end + 1);
                Ok(Some(line))
            }
            None => {
                self.bytes.drain(..self.start);
                if self.bytes.is_empty() && self.bytes.capacity() > 8192 {
                    // After long frames, an idle connection shall not keep their room.
                    self.bytes = Vec::new();
                }
                (self.start, self.scanned) = (0, self.bytes.len());
                Ok(None)
            }
        }
    }
}

/// A frame's object with all that is in it, as a client reads it. Whatever else a line is, it is none.
pub(crate) fn parse(line: &[u8]) -> Result<Object, String> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("a frame is a JSON object".into()),
        // It says where and what, never the text itself.
        Err(error) => Err(format!("no JSON: {error}")),
    }
}

/// A field of a frame is missing or is not what it must be.
pub(crate) fn bad_field(key: &str, must: &str) -> String {
    format!("`{key}` must be {must}")
}

/// What a field can be. Of lists and objects it is only known that they are some.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<T> {
    Null,
    Flag(bool),
    /// A whole number from 0.
    Whole(u64),
    Number(f64),
    Text(T),
    Other,
}

/// The fields of a frame, each checked; what nobody asks for is ignored.
pub(crate) trait Fields {
    /// The field; one that is null counts as absent.
    fn get_field(&self, key: &str) -> Option<Field<&str>>;

    fn text(&self, key: &str) -> Result<Option<&str>, String> {
        match self.get_field(key) {
            None => Ok(None),
            Some(Field::Text(text)) => Ok(Some(text)),
            Some(_) => Err(bad_field(key, "a text")),
        }
    }

    fn needed_text(&self, key: &str) -> Result<&str, String> {
        self.text(key)?.ok_or_else(|| bad_field(key, "a text"))
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        match self.get_field(key) {
            None => Ok(None),
            Some(Field::Whole(number)) => Ok(Some(number)),
            Some(_) => Err(bad_field(key, "a whole number from 0")),
        }
    }

    fn needed_number(&self, key: &str) -> Result<u64, String> {
        self.number(key)?.ok_or_else(|| bad_field(key, "a whole number from 0"))
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        match self.get_field(key) {
            None => Ok(false),
            Some(Field::Flag(flag)) => Ok(flag),
            Some(_) => Err(bad_field(key, "true or false")),
        }
    }

    fn seconds(&self, key: &str) -> Result<Option<Duration>, String> {
        let seconds = match self.get_field(key) {
            None => return Ok(None),
            Some(Field::Whole(number)) => Some(number as f64),
            Some(Field::Number(number)) => Some(number),
            Some(_) => None,
        };
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.map(Some).ok_or_else(|| bad_field(key, "a number of seconds from 0"))
    }

    fn request(&self, key: &str) -> Result<RequestId, String> {
        self.needed_number(key).map(RequestId)
    }
}

impl Fields for Object {
    fn get_field(&self, key: &str) -> Option<Field<&str>> {
        Some(match self.get(key)? {
            Value::Null => return None,
            Value::Bool(flag) => Field::Flag(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_f64()) {
                (Some(number), _) => Field::Whole(number),
                (None, number) => Field::Number(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => Field::Text(text),
            Value::Array(_) | Value::Object(_) => Field::Other,
        })
    }
}

/// A frame as a server reads it: of a line that may be long, only the fields that it knows, and no more than it must of those.
#[derive(Debug, Default)]
pub(crate) struct Frame<'a>(Vec<(&'static str, Field<Cow<'a, str>>)>);

/// All fields of all frames that a client may send.
const KNOWN: [&str; 23] = [
    "after", "ask", "below", "claim", "how", "id", "lasts", "lease", "mode", "module", "mutex",
    "op", "owner", "reason", "request", "requeued", "roster", "secret", "so_far", "timeout",
    "urgent", "version", "within",
];

impl<'a> Frame<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, String> {
        // Neither says the text itself, only where and what.
        let text = str::from_utf8(line).map_err(|error| format!("no UTF-8: {error}"))?;
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => "a frame is a JSON object".into(),
            _ => format!("no JSON: {error}"),
        })
    }
}

impl Fields for Frame<'_> {
    fn get_field(&self, key: &str) -> Option<Field<&str>> {
        let (_, field) = self.0.iter().find(|(known, _)| *known == key)?;
        Some(match field {
            Field::Null => return None,
            Field::Flag(flag) => Field::Flag(*flag),
            Field::Whole(number) => Field::Whole(*number),
            Field::Number(number) => Field::Number(*number),
            Field::Text(text) => Field::Text(text),
            Field::Other => Field::Other,
        })
    }
}

impl<'de> Deserialize<'de> for Frame<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FrameVisitor)
    }
}

struct FrameVisitor;

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = Frame<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame<'de>, A::Error> {
        let mut frame = Frame(Vec::with_capacity(8));
        while let Some((Key(key), field)) = map.next_entry::<Key, Field<Cow<'de, str>>>()? {
            let Some(key) = key else { continue };
            match frame.0.iter_mut().find(|(known, _)| *known == key) {
                Some((_, earlier)) => *earlier = field,
                None => frame.0.push((key, field)),
            }
        }
        Ok(frame)
    }
}

/// The name of a field, if it is one that is known.
struct Key(Option<&'static str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(KNOWN.into_iter().find(|known| *known == text)))
            }
        }
        from.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Field<Cow<'de, str>> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Field::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Field::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Field::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    // What is inside is read, so that it is JSON and not too deep, and forgotten.

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<Self::Value>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<Key, Self::Value>()?.is_some() {}
        Ok(Field::Other)
    }
}

pub(crate) fn below_of(frame: &impl Fields) -> Result<Below, String> {
    let must = || bad_field("below", "a priority from 0 to 255 or \"urgent\"");
    match frame.get_field("below") {
        Some(Field::Text("urgent")) => Ok(Below::Urgent),
        Some(Field::Whole(level)) => u8::try_from(level).map(Below::Priority).map_err(|_| must()),
        _ => Err(must()),
    }
}

pub(crate) fn below(below: Below) -> Value {
    match below {
        Below::Priority(level) => level.into(),
        Below::Urgent => "urgent".into(),
    }
}

pub(crate) fn mode_of(frame: &impl Fields) -> Result<Mode, String> {
    let must = || bad_field("mode", "\"enforced\", \"observed\" or \"off\"");
    Mode::from_name(frame.needed_text("mode")?).ok_or_else(must)
}

/// A frame that is being written at the end of a text.
#[must_use = "a frame has an end"]
pub(crate) struct Writing<'a>(&'a mut Vec<u8>);

impl<'a> Writing<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Writing(out)
    }

    pub(crate) fn put(&mut self, key: &str, value: impl Serialize) -> &mut Self {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
        // A vector takes everything, and nothing is put that is no JSON.
        let _ = serde_json::to_writer(&mut *self.0, &value);
        self
    }

    pub(crate) fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }
}

/// A frame that is being written, of its own.
#[derive(Debug)]
pub(crate) struct Draft(Vec<u8>);

impl Draft {
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(b'{');
        Draft(bytes)
    }

    pub(crate) fn put(&mut self, key: &str, value: impl Serialize) -> &mut Self {
        Writing(&mut self.0).put(key, value);
        self
    }

    /// The whole line.
    pub(crate) fn end(mut self) -> Vec<u8> {
        Writing(&mut self.0).end();
        self.0
    }
}

// What an ask is answered with.

/// Writes a grant into a frame.
pub(crate) fn put_grant(frame: &mut Writing<'_>, request: RequestId, module: &str, grant: &Grant) {
    frame.put("request", request.0).put("module", module);
    // Tokens are texts: a 64-bit number is more than JSON's numbers hold everywhere.
    frame.put("token", grant.token.map(|token| token.to_string()));
    frame.put("waited", grant.waited.as_secs_f64()).put("others", grant.others_since_request);
    frame.put("predecessor_abandoned", grant.predecessor_abandoned).put("depth", grant.depth);
}

/// The grant that a frame tells of; its module has this number here.
pub(crate) fn grant_of(frame: &Object, module: ModuleId) -> Result<Grant, String> {
    let token = frame.text("token")?.map(str::parse).transpose();
    Ok(Grant {
        module,
        token: token.map_err(|_| bad_field("token", "a number as a text"))?.map(Token),
        waited: frame.seconds("waited")?.unwrap_or_default(),
        others_since_request: frame.number("others")?.unwrap_or_default(),
        predecessor_abandoned: frame.flag("predecessor_abandoned")?,
        depth: usize::try_from(frame.number("depth")?.unwrap_or_default()).unwrap_or(usize::MAX),
    })
}

pub(crate) fn seconds(duration: Duration) -> Value {
    json!(duration.as_secs_f64())
}

// Errors.

/// Writes an error into a frame: its kind, its message, and what it tells beside them.
pub(crate) fn put_error(frame: &mut Object, error: &Error) {
    frame.insert("error".into(), error.kind().into());
    let message = match error {
        // The client's own text says this part again.
        Error::Refused(why) => why.to_string(),
        Error::Unavailable(why) => why.clone(),
        other => other.to_string(),
    };
    frame.insert("message".into(), message.into());
    let mut put = |key: &str, value: Value| frame.insert(key.into(), value);
    match error {
        Error::Timeout(why) => {
            put("waited", seconds(why.waited));
            let (holder, held) = why.holder.as_ref().map(|(name, held)| (&**name, *held)).unzip();
            put("holder", json!(holder));
            put("held", held.map_or(Value::Null, seconds));
            put("ahead", why.ahead.into());
            put("delay_left", seconds(why.delay_left));
            put("paused", json!(why.paused.as_deref()));
        }
        Error::WouldDeadlock { holds, asked } => {
            put("holds", json!(&**holds));
            put("asked", json!(&**asked));
        }
        Error::Disabled { module } => {
            put("module", json!(&**module));
        }
        Error::NotHolder { holder } => {
            put("holder", json!(holder.as_deref()));
        }
        Error::QueueFull { limit } => {
            put("limit", json!(limit));
        }
        Error::InvalidName(InvalidName::NearMiss { name, meant }) => {
            put("name", json!(name));
            put("meant", json!(meant));
        }
        Error::UnknownModule(NameError::UnknownModule { name, nearest }) => {
            put("name", json!(name));
            put("nearest", json!(nearest.as_deref()));
        }
        Error::RosterDiffers { fields } => {
            put("fields", json!(fields));
        }
        _ => {}
    }
}

/// The error that a frame tells of. A kind that this version does not know is a refusal.
pub(crate) fn error_of(frame: &Object) -> Error {
    let message = || frame.text("message").ok().flatten().unwrap_or("no reason given").to_owned();
    let text = |key: &str| -> Option<Arc<str>> { frame.text(key).ok().flatten().map(Arc::from) };
    let length = |key: &str| frame.seconds(key).ok().flatten();
    let count = |key: &str| {
        let number = frame.number(key).ok().flatten().unwrap_or_default();
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    match frame.text("error").ok().flatten().unwrap_or_default() {
        "timeout" => Error::Timeout(TimedOut {
            waited: length("waited").unwrap_or_default(),
            holder: text("holder").map(|name| (name, length("held").unwrap_or_default())),
            ahead: count("ahead"),
            delay_left: length("delay_left").unwrap_or_default(),
            paused: text("paused"),
        }),
        "would_deadlock" => Error::WouldDeadlock {
            holds: text("holds").unwrap_or_else(|| "?".into()),
            asked: text("asked").unwrap_or_else(|| "?".into()),
        },
        "cancelled" => Error::Cancelled,
        "disabled" => Error::Disabled { module: text("module").unwrap_or_else(|| "?".into()) },
        "closed" => Error::Closed,
        "not_holder" => Error::NotHolder { holder: text("holder") },
        "queue_full" => Error::QueueFull { limit: count("limit") },
        // Names that are none at all are found out before they are sent.
        "invalid_name" => match (text("name"), text("meant")) {
            (Some(name), Some(meant)) => Error::InvalidName(InvalidName::NearMiss {
                name: name.to_string(),
                meant: meant.to_string(),
            }),
            _ => Error::InvalidName(InvalidName::Empty),
        },
        "unknown_module" => Error::UnknownModule(NameError::UnknownModule {
            name: text("name").map(|name| name.to_string()).unwrap_or_default(),
            nearest: text("nearest"),
        }),
        "no_longer_valid" => Error::NoLongerValid,
        "lost" => Error::Lost,
        "channel_lost" => Error::ChannelLost,
        "unavailable" => Error::Unavailable(message()),
        "unauthorized" => Error::Unauthorized,
        "unsupported" => Error::Unsupported("the server does not support this"),
        "roster_differs" => {
            let fields = frame.get("fields").and_then(Value::as_array);
            let fields = fields.into_iter().flatten().filter_map(Value::as_str);
            Error::RosterDiffers { fields: fields.map(String::from).collect() }
        }
        _ => Error::Refused(Refusal::Other(message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_however_they_come() {
        let mut lines = Lines::new(10);
        lines.push(b"one\nt");
        assert_eq!(lines.next(), Ok(Some(b"one".to_vec())));
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"wo\n\nthree\n");
        assert_eq!(lines.next(), Ok(Some(b"two".to_vec())));
        assert_eq!(lines.next(), Ok(Some(vec![])));
        assert_eq!(lines.next(), Ok(Some(b"three".to_vec())));
        assert_eq!(lines.next(), Ok(None));
    }

    #[test]
    fn a_line_has_a_limit_its_end_included() {
        for (text, fits) in [("123456789\n", true), ("1234567890\n", false), ("1234567890", false)]
        {
            let mut lines = Lines::new(10);
            lines.push(text.as_bytes());
            assert_eq!(lines.next().is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn only_objects_are_frames() {
        let good = [r#"{"op":"ping"}"#, r#"{"x":[{"y":[1,-2,0.5,null,true,"z\n"]}]}"#, "{}"];
        for good in good {
            assert!(parse(good.as_bytes()).is_ok() && Frame::parse(good.as_bytes()).is_ok());
        }
        let (open, deep) = ("[".repeat(60_000), "[".repeat(200) + &"]".repeat(200));
        let inside = format!("{{\"x\":{deep}}}");
        let bad =
            ["", "null", "[]", "{", r#"{"op":}"#, "\u{0}\u{1}", "{}{}", &open, &deep, &inside];
        for bad in bad {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:.20}");
            assert!(Frame::parse(bad.as_bytes()).is_err(), "{bad:.20}");
        }
        for bad in [&[0xff, 0xfe, b'{', b'}'][..], b"{\"x\":\"\xff\"}"] {
            assert!(parse(bad).is_err() && Frame::parse(bad).is_err());
        }
    }

    #[test]
    fn a_server_reads_the_fields_that_it_knows() {
        let line = br#"{"id":7,"x":1,"module":"a\u0062","id":8,"urgent":true,"owner":null,"ask":[2],"timeout":2}"#;
        let frame = Frame::parse(line).unwrap();
        assert_eq!(frame.number("id"), Ok(Some(8)));
        assert_eq!(frame.text("module"), Ok(Some("ab")));
        assert_eq!((frame.flag("urgent"), frame.number("owner")), (Ok(true), Ok(None)));
        assert_eq!(frame.seconds("timeout"), Ok(Some(Duration::from_secs(2))));
        assert!(frame.number("ask").is_err());
        assert_eq!(frame.0.len(), 6, "{frame:?}");
    }

    #[test]
    fn a_frame_that_fits_has_no_more_room_than_the_longest() {
        let limit = 64 * 1024;
        for step in [1, 7, 1000, 3000, 4096, 8192, 50_000] {
            let mut lines = Lines::new(limit);
            while lines.bytes.len() + step < limit {
                lines.push(&vec![b' '; step]);
                assert_eq!(lines.next(), Ok(None));
                let (room, bytes) = (lines.bytes.capacity(), lines.bytes.len());
                assert!(room <= limit && room < 2 * bytes.max(8), "{room} for {bytes}");
            }
        }
    }

    #[test]
    fn fields_are_what_they_must_be_or_told() {
        let frame = parse(br#"{"n":-1,"f":1.5,"t":7,"s":-0.5,"big":1e300,"nul":null}"#).unwrap();
        for key in ["n", "f"] {
            assert!(frame.number(key).is_err(), "{key}");
        }
        assert!(frame.text("t").is_err() && frame.flag("t").is_err());
        assert!(frame.seconds("s").is_err() && frame.seconds("big").is_err());
        assert_eq!(frame.number("nul"), Ok(None));
        assert!(frame.needed_number("absent").is_err());
    }

    #[test]
    fn errors_round_trip() {
        let errors = [
            Error::Timeout(TimedOut {
                waited: Duration::from_millis(1500),
                holder: Some(("fisher".into(), Duration::from_secs(2))),
                ahead: 3,
                delay_left: Duration::from_nanos(1),
                paused: Some("alarm".into()),
            }),
            Error::Timeout(TimedOut::default()),
            Error::WouldDeadlock { holds: "a".into(), asked: "b".into() },
            Error::Refused(Refusal::Other("no".into())),
            Error::Cancelled,
            Error::Disabled { module: "a".into() },
            Error::Closed,
            Error::NotHolder { holder: None },
            Error::NotHolder { holder: Some("a".into()) },
            Error::QueueFull { limit: 9 },
            Error::InvalidName(InvalidName::NearMiss { name: "a-b".into(), meant: "a_b".into() }),
            Error::UnknownModule(NameError::UnknownModule { name: "a".into(), nearest: None }),
            Error::NoLongerValid,
            Error::Lost,
            Error::ChannelLost,
            Error::Unavailable("gone".into()),
            Error::Unauthorized,
            Error::RosterDiffers { fields: vec!["timeout".into()] },
        ];
        for error in errors {
            let mut frame = Object::new();
            put_error(&mut frame, &error);
            assert_eq!(error_of(&frame), error);
        }
    }
}
