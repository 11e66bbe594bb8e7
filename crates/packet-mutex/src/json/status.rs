//! A snapshot as one JSON object.

use super::{below, seconds, token};
use crate::english::English;
use packet_mutex_arbiter::{
    Below, HolderStatus, Mode, ModuleStatus, PauseStatus, Percentiles, RequestId, Status, Time,
    Token, WaiterStatus,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A snapshot and the name of its mutex, as they are in JSON. A missing field counts as absent, since people only look at a
/// snapshot and nothing is decided from it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StatusObject {
    mutex: String,
    #[serde(with = "seconds")]
    t: Option<Time>,
    holder: Option<Holder>,
    waiters: Vec<Waiter>,
    last: Option<Last>,
    next: Option<Next>,
    paused: Vec<Pause>,
    closed: bool,
    abandoned: bool,
    /// An object, in the roster's order.
    #[serde(with = "in_order")]
    modules: Vec<(String, Module)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Holder {
    module: String,
    #[serde(with = "token")]
    token: Option<Token>,
    #[serde(with = "seconds")]
    held: Option<Duration>,
    depth: usize,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Waiter {
    module: String,
    request: u64,
    priority: u8,
    effective: f64,
    #[serde(with = "seconds")]
    waited: Option<Duration>,
    #[serde(with = "seconds")]
    deadline: Option<Duration>,
    urgent: bool,
    paused: Option<String>,
    /// Why it waits, for people. Programs that read the JSON work it out for themselves.
    why: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Last {
    module: String,
    #[serde(with = "seconds")]
    ended: Option<Duration>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Next {
    module: String,
    #[serde(with = "seconds")]
    r#in: Option<Duration>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Pause {
    reason: String,
    #[serde(with = "below")]
    below: Option<Below>,
    #[serde(with = "seconds")]
    left: Option<Duration>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Module {
    mode: String,
    disabled: bool,
    turns: u64,
    passes: u64,
    timeouts: u64,
    wait: Times,
    hold: Times,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Times {
    #[serde(with = "seconds")]
    p50: Option<Duration>,
    #[serde(with = "seconds")]
    p99: Option<Duration>,
    #[serde(with = "seconds")]
    max: Option<Duration>,
}

/// A list of pairs as an object that keeps their order.
mod in_order {
    use super::Module;
    use serde::de::{Deserializer, MapAccess, Visitor};
    use serde::ser::Serializer;
    use std::fmt;

    type Pairs = Vec<(String, Module)>;

    pub(super) fn serialize<S: Serializer>(pairs: &Pairs, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(pairs.iter().map(|(name, module)| (name, module)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        from.deserialize_map(PairsVisitor)
    }

    struct PairsVisitor;

    impl<'de> Visitor<'de> for PairsVisitor {
        type Value = Pairs;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
            let mut pairs = Pairs::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
}

/// Writes a snapshot of the mutex of this name as one line of JSON, without the line's end.
///
/// ```
/// use packet_mutex::{PacketMutex, Roster, status_from_json, status_to_json};
///
/// let mutex = PacketMutex::new(Roster::default());
/// let turn = mutex.acquire("fisher")?;
/// let line = status_to_json("main", &mutex.status());
/// assert!(line.contains(r#""holder":{"module":"fisher""#));
/// assert_eq!(status_from_json(&line).unwrap().holder.unwrap().depth, 1);
/// # drop(turn);
/// # Ok::<(), packet_mutex::Error>(())
/// ```
#[must_use]
pub fn status_to_json(mutex: &str, status: &Status) -> String {
    // A structure of plain fields can always be written as JSON.
    serde_json::to_string(&StatusObject::new(mutex, status)).unwrap_or_default()
}

/// Reads a snapshot. A missing field counts as absent.
///
/// # Errors
///
/// What is wrong with the text, and where.
pub fn status_from_json(text: &str) -> Result<Status, String> {
    let fields: StatusObject = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(fields.into())
}

impl StatusObject {
    /// Returns the mutex's name and the snapshot.
    #[cfg(feature = "net")]
    pub(crate) fn into_parts(mut self) -> (String, Status) {
        (std::mem::take(&mut self.mutex), self.into())
    }

    pub(crate) fn new(mutex: &str, status: &Status) -> Self {
        let Status { now, holder, waiters, last, next, paused, modules, closed, abandoned } =
            status;
        let holder = holder.as_ref().map(|holder| {
            let HolderStatus { module, token, held, depth } = holder;
            Holder {
                module: module.to_string(),
                token: Some(*token),
                held: Some(*held),
                depth: *depth,
            }
        });
        let why = |at| status.reason(at).map(|why| English(&why).to_string()).unwrap_or_default();
        StatusObject {
            mutex: mutex.to_owned(),
            t: Some(*now),
            holder,
            waiters: waiters.iter().enumerate().map(|(at, it)| Waiter::new(it, why(at))).collect(),
            last: last
                .as_ref()
                .map(|(module, ago)| Last { module: module.to_string(), ended: Some(*ago) }),
            next: next
                .as_ref()
                .map(|(module, left)| Next { module: module.to_string(), r#in: Some(*left) }),
            paused: paused.iter().map(Pause::from).collect(),
            closed: *closed,
            abandoned: *abandoned,
            modules: modules.iter().map(|it| (it.module.to_string(), Module::from(it))).collect(),
        }
    }
}

impl From<StatusObject> for Status {
    fn from(fields: StatusObject) -> Status {
        let StatusObject {
            mutex: _,
            t,
            holder,
            waiters,
            last,
            next,
            paused,
            closed,
            abandoned,
            modules,
        } = fields;
        let holder = holder.map(|Holder { module, token, held, depth }| HolderStatus {
            module: module.into(),
            token: token.unwrap_or(Token(0)),
            held: held.unwrap_or_default(),
            depth,
        });
        Status {
            now: t.unwrap_or_default(),
            holder,
            waiters: waiters.into_iter().map(WaiterStatus::from).collect(),
            last: last.map(|Last { module, ended }| (module.into(), ended.unwrap_or_default())),
            next: next.map(|Next { module, r#in }| (module.into(), r#in.unwrap_or_default())),
            paused: paused.into_iter().map(PauseStatus::from).collect(),
            modules: modules.into_iter().map(|(name, it)| it.named(name.into())).collect(),
            closed,
            abandoned,
        }
    }
}

impl Waiter {
    fn new(waiter: &WaiterStatus, why: String) -> Self {
        let WaiterStatus { request, module, priority, effective, waited, deadline, urgent, paused } =
            waiter;
        Waiter {
            module: module.to_string(),
            request: request.0,
            priority: *priority,
            // Thousandths are enough for people.
            effective: (effective * 1000.0).round() / 1000.0,
            waited: Some(*waited),
            deadline: Some(*deadline),
            urgent: *urgent,
            paused: paused.as_deref().map(String::from),
            why,
        }
    }
}

impl From<Waiter> for WaiterStatus {
    fn from(waiter: Waiter) -> Self {
        let Waiter {
            module,
            request,
            priority,
            effective,
            waited,
            deadline,
            urgent,
            paused,
            why: _,
        } = waiter;
        WaiterStatus {
            request: RequestId(request),
            module: module.into(),
            priority,
            effective,
            waited: waited.unwrap_or_default(),
            deadline: deadline.unwrap_or_default(),
            urgent,
            paused: paused.map(Arc::from),
        }
    }
}

impl From<&PauseStatus> for Pause {
    fn from(pause: &PauseStatus) -> Self {
        let PauseStatus { reason, below, left } = pause;
        Pause { reason: reason.to_string(), below: Some(*below), left: *left }
    }
}

impl From<Pause> for PauseStatus {
    fn from(pause: Pause) -> Self {
        let Pause { reason, below, left } = pause;
        PauseStatus { reason: reason.into(), below: below.unwrap_or(Below::Urgent), left }
    }
}

impl From<&ModuleStatus> for Module {
    fn from(module: &ModuleStatus) -> Self {
        let ModuleStatus { module: _, mode, disabled, turns, passes, timeouts, wait, hold } =
            module;
        Module {
            mode: mode.name().to_owned(),
            disabled: *disabled,
            turns: *turns,
            passes: *passes,
            timeouts: *timeouts,
            wait: (*wait).into(),
            hold: (*hold).into(),
        }
    }
}

impl Module {
    fn named(self, module: Arc<str>) -> ModuleStatus {
        let Module { mode, disabled, turns, passes, timeouts, wait, hold } = self;
        ModuleStatus {
            module,
            mode: Mode::from_name(&mode).unwrap_or_default(),
            disabled,
            turns,
            passes,
            timeouts,
            wait: wait.into(),
            hold: hold.into(),
        }
    }
}

impl From<Percentiles> for Times {
    fn from(Percentiles { p50, p99, max }: Percentiles) -> Self {
        Times { p50: Some(p50), p99: Some(p99), max: Some(max) }
    }
}

impl From<Times> for Percentiles {
    fn from(Times { p50, p99, max }: Times) -> Self {
        let or_zero = Option::unwrap_or_default;
        Percentiles { p50: or_zero(p50), p99: or_zero(p99), max: or_zero(max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, PacketMutex, Roster};

    #[test]
    fn what_is_written_can_be_read() {
        let clock = ManualClock::new();
        let mutex = PacketMutex::builder(Roster::default()).clock(clock.clone()).build();
        let turn = mutex.acquire("fisher").unwrap();
        mutex.pause(Below::Priority(30), "a \"b\"").unwrap();
        clock.advance(Duration::from_nanos(1_234_567_891));
        let status = mutex.status();
        assert_eq!(status_from_json(&status_to_json("main", &status)).as_ref(), Ok(&status));
        drop(turn);
    }

    #[test]
    fn an_empty_object_is_an_empty_snapshot() {
        let status = status_from_json("{}").unwrap();
        assert!(status.holder.is_none() && status.waiters.is_empty());
        assert!(status_from_json("7").is_err());
    }
}
