//! A status as it comes over the wire.

use super::frame::{Fields, Object, below_of};
use packet_mutex_arbiter::{
    HolderStatus, Mode, ModuleStatus, PauseStatus, Percentiles, RequestId, Status, Time, Token,
    WaiterStatus,
};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Reads a status. What is missing, or not what it should be, counts as absent: a status is only looked at. A server that
/// does not say when it looked, looked now.
pub(super) fn status_of(object: &Object, now: Time) -> Status {
    let objects = |key: &str| {
        let list = object.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_object)
    };
    let one = |key: &str| object.get(key).and_then(Value::as_object);
    let modules = one("modules").into_iter().flatten();
    Status {
        now: object.seconds("t").ok().flatten().map_or(now, |t| Time::ZERO + t),
        holder: one("holder").map(|holder| HolderStatus {
            module: name(holder, "module"),
            token: Token(
                holder.text("token").ok().flatten().and_then(|t| t.parse().ok()).unwrap_or(0),
            ),
            held: length(holder, "held"),
            depth: count(holder, "depth"),
        }),
        waiters: objects("waiters").map(waiter).collect(),
        last: one("last").map(|last| (name(last, "module"), length(last, "ended"))),
        next: one("next").map(|next| (name(next, "module"), length(next, "in"))),
        paused: objects("paused")
            .filter_map(|pause| {
                let below = below_of(pause).ok()?;
                let left = pause.seconds("left").ok()?;
                Some(PauseStatus { reason: name(pause, "reason"), below, left })
            })
            .collect(),
        modules: modules
            .filter_map(|(name, module)| Some(self::module(name, module.as_object()?)))
            .collect(),
        closed: object.flag("closed").unwrap_or(false),
        abandoned: object.flag("abandoned").unwrap_or(false),
    }
}

/// The status of a mutex of which nothing is known.
pub(super) fn empty(now: Time) -> Status {
    status_of(&Object::new(), now)
}

fn waiter(waiter: &Object) -> WaiterStatus {
    WaiterStatus {
        request: RequestId(waiter.number("request").ok().flatten().unwrap_or(0)),
        module: name(waiter, "module"),
        priority: u8::try_from(count(waiter, "priority")).unwrap_or(u8::MAX),
        effective: waiter.get("effective").and_then(Value::as_f64).unwrap_or(0.0),
        waited: length(waiter, "waited"),
        deadline: length(waiter, "deadline"),
        urgent: waiter.flag("urgent").unwrap_or(false),
        paused: waiter.text("paused").ok().flatten().map(Arc::from),
    }
}

fn module(name: &str, module: &Object) -> ModuleStatus {
    let percentiles = |key: &str| {
        let of = module.get(key).and_then(Value::as_object);
        of.map_or_else(Percentiles::default, |of| Percentiles {
            p50: length(of, "p50"),
            p99: length(of, "p99"),
            max: length(of, "max"),
        })
    };
    ModuleStatus {
        module: name.into(),
        mode: module.text("mode").ok().flatten().and_then(Mode::from_name).unwrap_or_default(),
        disabled: module.flag("disabled").unwrap_or(false),
        turns: count(module, "turns") as u64,
        passes: count(module, "passes") as u64,
        timeouts: count(module, "timeouts") as u64,
        wait: percentiles("wait"),
        hold: percentiles("hold"),
    }
}

fn name(object: &Object, key: &str) -> Arc<str> {
    object.text(key).ok().flatten().unwrap_or("?").into()
}

fn length(object: &Object, key: &str) -> Duration {
    object.seconds(key).ok().flatten().unwrap_or_default()
}

fn count(object: &Object, key: &str) -> usize {
    let number = object.number(key).ok().flatten().unwrap_or_default();
    usize::try_from(number).unwrap_or(usize::MAX)
}
