//! What the page's buttons do (S7, S12, S15, S19).

use crate::limits::{BODY_MAX, REQUEST_WITHIN};
use crate::refusal::{find, refusal};
use crate::state::AppState;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use packet_mutex::net::steer_from_json;
use packet_mutex::{Error, Steer};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::time::timeout;

/// The one request that the page adds to the protocol's.
#[derive(Deserialize)]
struct Check {
    op: String,
}

/// Answers `POST /steer`: checks the secret, and hands the request to the mutex.
pub(crate) async fn answer(
    state: &AppState,
    mutex: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    if let Err(refused) = authorize(state, headers) {
        return refused;
    }
    let shown = match find(state, mutex) {
        Ok(shown) => shown,
        Err(refused) => return refused,
    };
    let bad = |why: &str| refusal(StatusCode::BAD_REQUEST, "bad_frame", why);
    let body = match timeout(REQUEST_WITHIN, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return bad(&format!("the body is longer than {BODY_MAX} bytes, or was cut off"));
        }
        Err(_) => return bad("the body did not come in time"),
    };
    // The secret was right, and that is all that `check` asks.
    if serde_json::from_slice::<Check>(&body).is_ok_and(|check| check.op == "check") {
        return done();
    }
    let steer = match steer_from_json(&body) {
        // A reset names an owner. A page has none, and any number that it named could be somebody's turn (S20).
        Ok(Steer::Reset { .. }) => return bad("a page cannot reset a mutex: a reset is for tests"),
        Ok(steer) => steer,
        Err(why) => return bad(&why),
    };
    match shown.mutex.steer(steer.as_str()) {
        Ok(()) => done(),
        Err(error) => refusal(StatusCode::CONFLICT, error.kind(), &error.to_string()),
    }
}

fn done() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"ok":true}"#).into_response()
}

#[allow(clippy::result_large_err, reason = "the error is the answer itself")]
fn authorize(state: &AppState, headers: &HeaderMap) -> Result<(), Response> {
    let Some(secret) = &state.secret else {
        let why = "read only: the server has no secret (PACKET_MUTEX_SECRET)";
        return Err(refusal(StatusCode::FORBIDDEN, "unauthorized", why));
    };
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    // In constant time, so that an answer's delay tells nothing about the secret.
    if bool::from(given.ct_eq(secret.as_bytes())) {
        return Ok(());
    }
    let mut refused =
        refusal(StatusCode::UNAUTHORIZED, "unauthorized", &Error::Unauthorized.to_string());
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    Err(refused)
}
