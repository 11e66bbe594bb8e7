//! The paths and their answers, and who gets one.

use crate::refusal::{find, refusal};
use crate::state::AppState;
use crate::{front_page, metrics, steer, stream};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The page may load and run only what it brings, and no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

type SharedState = State<Arc<AppState>>;

/// The query of every path.
#[derive(serde::Deserialize)]
struct Params {
    /// The mutex; without it, the first.
    mutex: Option<String>,
    /// The event after which the stream goes on.
    after: Option<String>,
}

pub(crate) fn router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/events", get(events))
        .route("/status.json", get(status))
        .route("/metrics", get(metrics))
        .route("/steer", post(steer))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing here") })
        .layer(from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

/// Refuses requests that came by another name than this machine's: a foreign page may have pointed a name of its own at the
/// loopback, to read what is here (DNS rebinding).
async fn guard(State(state): SharedState, request: Request, next: Next) -> Response {
    let mut response = if state.loopback && !is_loopback(request.headers()) {
        let why = "ask for this machine by `localhost` or its loopback address";
        refusal(StatusCode::MISDIRECTED_REQUEST, "host", why)
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

/// Returns whether the request names this machine. Any port will do: it may be that of a tunnel.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

async fn page(State(state): SharedState, Query(params): Query<Params>) -> Response {
    match find(&state, params.mutex.as_deref()) {
        Ok(shown) => Html(front_page::render(shown)).into_response(),
        Err(refused) => refused,
    }
}

async fn events(
    State(state): SharedState,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = find(&state, params.mutex.as_deref()) {
        return refused;
    }
    let Ok(permit) = state.streams.clone().try_acquire_owned() else {
        let why = "too many pages are open; close one";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why);
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = last.or(params.after.as_deref()).map(String::from);
    stream::open(state, params.mutex, after.as_deref(), permit)
}

async fn status(State(state): SharedState, Query(params): Query<Params>) -> Response {
    match find(&state, params.mutex.as_deref()) {
        Ok(shown) => {
            let json = shown.snapshot(0, Duration::ZERO).json.to_string();
            ([(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(refused) => refused,
    }
}

async fn metrics(State(state): SharedState) -> Response {
    match metrics::text(&state) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(why) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "unavailable", &why.to_string()),
    }
}

async fn steer(
    State(state): SharedState,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    steer::answer(&state, params.mutex.as_deref(), &headers, body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        let is = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_loopback(&headers)
        };
        for host in
            ["localhost", "LocalHost:1", "127.0.0.1:7721", "127.9.9.9", "[::1]", "[::1]:7721"]
        {
            assert!(is(host), "{host}");
        }
        for host in
            ["", "example.com", "localhost.example.com:80", "10.0.0.1", "[::2]:1", "127.0.0.1.nip"]
        {
            assert!(!is(host), "{host}");
        }
        assert!(!is_loopback(&HeaderMap::new()));
    }
}
