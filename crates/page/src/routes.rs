//! What is at which path, and who may ask.

use crate::{House, Shown, front_page, metrics, steer, stream};
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// As the page's own, and no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// With every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

pub(crate) type Shared = State<Arc<House>>;

/// Which mutex is meant, and after which event the stream is to go on.
#[derive(serde::Deserialize)]
pub(crate) struct Which {
    pub(crate) mutex: Option<String>,
    after: Option<String>,
}

pub(crate) fn router(house: Arc<House>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/events", get(events))
        .route("/status.json", get(status))
        .route("/metrics", get(figures))
        .route("/steer", post(steer::steer))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing here") })
        .layer(from_fn_with_state(house.clone(), guard))
        .with_state(house)
}

/// A name that some page has pointed at this machine is no reason to answer that page (DNS rebinding).
async fn guard(State(house): Shared, request: Request, next: Next) -> Response {
    let mut response = if house.loopback && !is_loopback(request.headers()) {
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

/// Any port will do: it may be at the other end of a tunnel.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

async fn page(State(house): Shared, Query(which): Query<Which>) -> Response {
    match find(&house, which.mutex.as_deref()) {
        Ok(shown) => Html(front_page::render(shown)).into_response(),
        Err(refused) => refused,
    }
}

async fn events(State(house): Shared, Query(which): Query<Which>, headers: HeaderMap) -> Response {
    if let Err(refused) = find(&house, which.mutex.as_deref()) {
        return refused;
    }
    let Ok(place) = house.streams.clone().try_acquire_owned() else {
        let why = "too many pages are looking; close one";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why);
    };
    let told = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = told.or(which.after.as_deref()).map(String::from);
    stream::open(house, which.mutex, after.as_deref(), place)
}

async fn status(State(house): Shared, Query(which): Query<Which>) -> Response {
    match find(&house, which.mutex.as_deref()) {
        Ok(shown) => {
            let json = shown.snapshot(0, Duration::ZERO).json.to_string();
            ([(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(refused) => refused,
    }
}

async fn figures(State(house): Shared) -> Response {
    match metrics::text(&house) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(why) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "unavailable", &why.to_string()),
    }
}

#[allow(clippy::result_large_err, reason = "it is at once the answer")]
pub(crate) fn find<'h>(house: &'h House, name: Option<&str>) -> Result<&'h Arc<Shown>, Response> {
    house.shown(name).ok_or_else(|| {
        let names: Vec<&str> = house.shown.iter().map(|shown| &**shown.mutex.name()).collect();
        let why = format!("there is no such mutex here; there is: {}", names.join(", "));
        refusal(StatusCode::NOT_FOUND, "unavailable", &why)
    })
}

/// An error as JSON, by the names that the protocol uses.
pub(crate) fn refusal(status: StatusCode, kind: &str, why: &str) -> Response {
    let body = json!({"error": kind, "message": why}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
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
