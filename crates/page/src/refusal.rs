//! How a request is refused, and the lookup that can refuse it.

use crate::state::{AppState, ShownMutex};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

/// Returns an error as JSON, with the kinds that the protocol uses.
pub(crate) fn refusal(status: StatusCode, kind: &str, why: &str) -> Response {
    let body = json!({"error": kind, "message": why}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Returns the mutex of this name, or without a name the first.
///
/// # Errors
///
/// The answer 404, with the names that there are.
#[allow(clippy::result_large_err, reason = "the error is the answer itself")]
pub(crate) fn find<'s>(
    state: &'s AppState,
    name: Option<&str>,
) -> Result<&'s Arc<ShownMutex>, Response> {
    state.find(name).ok_or_else(|| {
        let names: Vec<&str> = state.mutexes.iter().map(|shown| &**shown.mutex.name()).collect();
        let why = format!("there is no such mutex here; there is: {}", names.join(", "));
        refusal(StatusCode::NOT_FOUND, "unavailable", &why)
    })
}
