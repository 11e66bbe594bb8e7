//! What the page's buttons do (S12, S15).

use crate::routes::{Shared, Which, find, refusal};
use crate::{BODY_MAX, House, REQUEST_WITHIN};
use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use packet_mutex::{Error, Mode, PacketMutex, all_but_urgent, below};
use serde::Deserialize;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::time::timeout;

/// One step, with the names of the protocol.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Step {
    /// Nothing: whether the secret is right.
    Check,
    Cancel {
        module: String,
    },
    Disable {
        module: String,
    },
    Enable {
        module: String,
    },
    Mode {
        module: String,
        mode: String,
    },
    Pause {
        reason: String,
        below: Option<Level>,
        lasts: Option<f64>,
    },
    Resume {
        reason: Option<String>,
    },
}

/// Whom a pause holds back: all below a priority, or with `"urgent"` all that are not.
#[derive(Deserialize)]
#[serde(untagged)]
enum Level {
    Priority(u8),
    Word(String),
}

pub(crate) async fn steer(
    State(house): Shared,
    Query(which): Query<Which>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(refused) = authorize(&house, &headers) {
        return refused;
    }
    let shown = match find(&house, which.mutex.as_deref()) {
        Ok(shown) => shown,
        Err(refused) => return refused,
    };
    let bad = |why: &str| refusal(StatusCode::BAD_REQUEST, "bad_frame", why);
    let body = match timeout(REQUEST_WITHIN, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return bad("the body is longer than 4096 bytes, or was cut off"),
        Err(_) => return bad("the body did not come in time"),
    };
    let step = match serde_json::from_slice(&body) {
        Ok(step) => step,
        Err(why) => return bad(&why.to_string()),
    };
    match take(step, &shown.mutex) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], r#"{"ok":true}"#).into_response(),
        Err(Refused::Bad(why)) => bad(&why),
        Err(Refused::ByMutex(error)) => {
            refusal(StatusCode::CONFLICT, error.kind(), &error.to_string())
        }
    }
}

#[allow(clippy::result_large_err, reason = "it is at once the answer")]
fn authorize(house: &House, headers: &HeaderMap) -> Result<(), Response> {
    let Some(secret) = &house.secret else {
        let why = "read only: the server has no secret (PACKET_MUTEX_SECRET)";
        return Err(refusal(StatusCode::FORBIDDEN, "unauthorized", why));
    };
    let told = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let told = told.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    if bool::from(told.ct_eq(secret.as_bytes())) {
        return Ok(());
    }
    let mut refused =
        refusal(StatusCode::UNAUTHORIZED, "unauthorized", &Error::Unauthorized.to_string());
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    Err(refused)
}

enum Refused {
    Bad(String),
    ByMutex(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::ByMutex(error)
    }
}

fn take(step: Step, mutex: &PacketMutex) -> Result<(), Refused> {
    match step {
        Step::Check => {}
        Step::Cancel { module } => mutex.cancel(&module)?,
        Step::Disable { module } => mutex.disable(&module)?,
        Step::Enable { module } => mutex.enable(&module)?,
        Step::Mode { module, mode } => {
            let mode = Mode::from_name(&mode)
                .ok_or_else(|| Refused::Bad("`mode` is enforced, observed or off".into()))?;
            mutex.set_mode(&module, mode)?;
        }
        Step::Pause { reason, below: level, lasts } => {
            let level = match level {
                None => all_but_urgent(),
                Some(Level::Priority(priority)) => below(priority),
                Some(Level::Word(word)) if word == "urgent" => all_but_urgent(),
                Some(Level::Word(_)) => {
                    return Err(Refused::Bad("`below` is a priority or \"urgent\"".into()));
                }
            };
            match lasts.map(Duration::try_from_secs_f64) {
                None => mutex.pause(level, &reason)?,
                Some(Ok(lasts)) => mutex.pause_for(lasts, level, &reason)?,
                Some(Err(why)) => return Err(Refused::Bad(format!("`lasts`: {why}"))),
            }
        }
        Step::Resume { reason: Some(reason) } => mutex.resume(&reason)?,
        Step::Resume { reason: None } => mutex.resume_all(),
    }
    Ok(())
}
