//! Frames: lines of JSON, read with a limit, and what stands in them.

use crate::Error;
use packet_mutex_arbiter::{
    Below, Grant, InvalidName, Mode, ModuleId, NameError, Refusal, RequestId, TimedOut, Token,
};
use serde_json::{Map, Value, json};
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
        self.bytes.extend_from_slice(bytes);
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

/// A frame's object. Whatever else a line is, it is none.
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

/// The fields of a frame, each checked; what nobody asks for is ignored.
pub(crate) trait Fields {
    fn get_field(&self, key: &str) -> Option<&Value>;

    fn text(&self, key: &str) -> Result<Option<&str>, String> {
        self.get_field(key).map(|v| v.as_str().ok_or_else(|| bad_field(key, "a text"))).transpose()
    }

    fn needed_text(&self, key: &str) -> Result<&str, String> {
        self.text(key)?.ok_or_else(|| bad_field(key, "a text"))
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let must = || bad_field(key, "a whole number from 0");
        self.get_field(key).map(|v| v.as_u64().ok_or_else(must)).transpose()
    }

    fn needed_number(&self, key: &str) -> Result<u64, String> {
        self.number(key)?.ok_or_else(|| bad_field(key, "a whole number from 0"))
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        let must = || bad_field(key, "true or false");
        self.get_field(key).map_or(Ok(false), |v| v.as_bool().ok_or_else(must))
    }

    fn seconds(&self, key: &str) -> Result<Option<Duration>, String> {
        let must = || bad_field(key, "a number of seconds from 0");
        let duration = |v: &Value| v.as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
        self.get_field(key).map(|v| duration(v).ok_or_else(must)).transpose()
    }

    fn request(&self, key: &str) -> Result<RequestId, String> {
        self.needed_number(key).map(RequestId)
    }
}

/// A field that is null counts as absent.
impl Fields for Object {
    fn get_field(&self, key: &str) -> Option<&Value> {
        self.get(key).filter(|value| !value.is_null())
    }
}

pub(crate) fn below_of(frame: &Object) -> Result<Below, String> {
    let must = || bad_field("below", "a priority from 0 to 255 or \"urgent\"");
    match frame.get("below") {
        Some(Value::String(text)) if text == "urgent" => Ok(Below::Urgent),
        Some(value) => {
            let level = value.as_u64().and_then(|level| u8::try_from(level).ok());
            level.map(Below::Priority).ok_or_else(must)
        }
        None => Err(must()),
    }
}

pub(crate) fn below(below: Below) -> Value {
    match below {
        Below::Priority(level) => level.into(),
        Below::Urgent => "urgent".into(),
    }
}

pub(crate) fn mode_of(frame: &Object) -> Result<Mode, String> {
    let must = || bad_field("mode", "\"enforced\", \"observed\" or \"off\"");
    Mode::from_name(frame.needed_text("mode")?).ok_or_else(must)
}

// What an ask is answered with.

/// Writes a grant into a frame.
pub(crate) fn put_grant(frame: &mut Object, request: RequestId, module: &str, grant: &Grant) {
    frame.insert("request".into(), request.0.into());
    frame.insert("module".into(), module.into());
    // Tokens are texts: a 64-bit number is more than JSON's numbers hold everywhere.
    frame.insert("token".into(), grant.token.map_or(Value::Null, |t| t.to_string().into()));
    frame.insert("waited".into(), seconds(grant.waited));
    frame.insert("others".into(), grant.others_since_request.into());
    frame.insert("predecessor_abandoned".into(), grant.predecessor_abandoned.into());
    frame.insert("depth".into(), grant.depth.into());
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
        assert!(parse(br#"{"op":"ping"}"#).is_ok());
        let deep = "[".repeat(60_000);
        for bad in ["", "null", "[]", "{", r#"{"op":}"#, "\u{0}\u{1}", &deep] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:.20}");
        }
        assert!(parse(&[0xff, 0xfe, b'{', b'}']).is_err());
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
