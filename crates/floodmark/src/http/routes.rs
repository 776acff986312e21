//! Which path answers what.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::metrics::Format;
use super::observer::{Observer, Readiness};
use super::samples::{ApiSample, wanted};
use super::{assets, events, metrics};

/// All routes.
pub(super) fn router(observer: Arc<Observer>) -> Router {
    let events = events::router(Arc::clone(&observer));
    Router::new()
        .route("/", get(dashboard))
        .route("/assets/{*name}", get(asset))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(all_metrics))
        .route("/api/status", get(status))
        .route("/api/samples", get(samples))
        .with_state(observer)
        .merge(events)
        .fallback(nothing)
}

async fn dashboard(headers: HeaderMap) -> Response {
    assets::answer(assets::INDEX, &headers).unwrap_or_else(|| not_found("/"))
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    assets::answer(&name, &headers).unwrap_or_else(|| not_found(&format!("/assets/{name}")))
}

async fn health(State(observer): State<Arc<Observer>>) -> Response {
    match observer.failure() {
        None => "ok\n".into_response(),
        Some(failure) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("failed: {failure}\n"),
        )
            .into_response(),
    }
}

async fn readiness(State(observer): State<Arc<Observer>>) -> Response {
    let status = observer.engine();
    let Readiness { ready, waiting_for } = observer.readiness(&status);
    if ready {
        return json(StatusCode::OK, &serde_json::json!({ "ready": true }));
    }
    let answer = serde_json::json!({ "ready": false, "waiting_for": waiting_for });
    json(StatusCode::SERVICE_UNAVAILABLE, &answer)
}

async fn all_metrics(State(observer): State<Arc<Observer>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let content_type = [(
        CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    )];
    match metrics::text(&observer, format) {
        Ok(text) => (content_type, text).into_response(),
        // Writing to memory has nothing to fail at.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn status(State(observer): State<Arc<Observer>>) -> Response {
    json_text(StatusCode::OK, observer.status_json().to_string())
}

async fn samples(State(observer): State<Arc<Observer>>, RawQuery(query): RawQuery) -> Response {
    let (kind, limit) = match wanted(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(expected) => return (StatusCode::BAD_REQUEST, format!("{expected}\n")).into_response(),
    };
    let samples = observer.telemetry().samples().newest(kind, limit);
    let samples: Vec<ApiSample> = samples
        .iter()
        .map(|sample| ApiSample::new(sample, observer.secrets()))
        .collect();
    json(StatusCode::OK, &samples)
}

async fn nothing(uri: Uri) -> Response {
    not_found(uri.path())
}

fn not_found(path: &str) -> Response {
    let text = format!(
        "nothing at {path}. There are / (the dashboard), /healthz, /readyz, /metrics, /api/status, \
         /api/events and /api/samples\n"
    );
    (StatusCode::NOT_FOUND, text).into_response()
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => json_text(status, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn json_text(status: StatusCode, text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, text).into_response()
}
