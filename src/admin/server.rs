//! The routes.

use super::api::{ApiError, FunctionApi, FunctionDoc, Shape, sent};
use super::{Liveness, Readiness, StatusBoard, forms, openapi};
use crate::telemetry::Metrics;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The media type that asks for [`Shape::Bare`].
const HUGGING_FACE: &str = "application/vnd.huggingface+json";

/// What the routes read.
#[derive(Clone)]
pub struct AdminState {
    pub liveness: Arc<Liveness>,
    pub readiness: Arc<Readiness>,
    pub status: Arc<StatusBoard>,
    pub metrics: Arc<Metrics>,
    pub functions: Arc<dyn FunctionApi>,
    /// Largest request body, bytes.
    pub body_bytes: usize,
}

/// Serves until the token is cancelled, then lets running requests end.
pub async fn serve(listener: tokio::net::TcpListener, state: AdminState, shutdown: CancellationToken) -> std::io::Result<()> {
    let limit = DefaultBodyLimit::max(state.body_bytes);
    let router = axum::Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/openapi.json", get(openapi))
        .route("/functions", get(forms::index))
        .route("/functions/{name}", get(forms::show).post(forms::answer))
        .route("/v1/functions", get(functions))
        .route("/v1/functions/{name}", post(call))
        .route("/hf/{name}", post(bare))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/chat/completions", post(chat))
        .layer(limit)
        .with_state(state);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn livez(State(state): State<AdminState>) -> Response {
    health("stale", state.liveness.stale(Instant::now()))
}

async fn readyz(State(state): State<AdminState>) -> Response {
    health("missing", state.readiness.missing())
}

fn health(word: &str, wrong: Vec<String>) -> Response {
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ok": wrong.is_empty(), word: wrong}))).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    match state.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(cause) => ApiError { status: 500, kind: "internal", message: cause.to_string(), param: None }.into_response(),
    }
}

async fn status(State(state): State<AdminState>) -> Response {
    Json(json!({"version": env!("CARGO_PKG_VERSION"), "pipelines": state.status.snapshot()})).into_response()
}

async fn openapi(State(state): State<AdminState>) -> Response {
    Json(openapi::document(&documented(&state).await, state.body_bytes)).into_response()
}

/// On a thread that may block.
pub(super) async fn documented(state: &AdminState) -> Vec<Arc<FunctionDoc>> {
    let functions = state.functions.clone();
    tokio::task::spawn_blocking(move || functions.documented()).await.unwrap_or_default()
}

async fn functions(State(state): State<AdminState>) -> Response {
    Json(state.functions.list()).into_response()
}

/// A body that may have been refused for its size.
pub(super) type Body = Result<Bytes, BytesRejection>;

async fn call(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    head: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let accepted = head.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let shape = if accepted.is_some_and(|accepted| accepted.contains(HUGGING_FACE)) { Shape::Bare } else { Shape::Whole };
    let input = json_of(body, &state)?;
    if input.get("stream") == Some(&Value::Bool(true)) {
        return Ok(sent(state.functions.stream(&name, input).await?));
    }
    Ok(Json(state.functions.call(&name, input, shape).await?).into_response())
}

async fn chat(State(state): State<AdminState>, body: Body) -> Result<Response, ApiError> {
    Ok(state.functions.chat(json_of(body, &state)?).await?.into_response())
}

async fn bare(State(state): State<AdminState>, Path(name): Path<String>, body: Body) -> Result<Response, ApiError> {
    Ok(Json(state.functions.call(&name, json_of(body, &state)?, Shape::Bare).await?).into_response())
}

async fn embeddings(State(state): State<AdminState>, body: Body) -> Result<Response, ApiError> {
    Ok(Json(state.functions.embeddings(json_of(body, &state)?).await?).into_response())
}

/// The bytes of a body, or why they were not read.
pub(super) fn read(body: Body, state: &AdminState) -> Result<Bytes, ApiError> {
    let refused = |status, kind, message| ApiError { status, kind, message, param: None };
    body.map_err(|cause| match cause.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = state.body_bytes;
            let message = format!("the body has more than {most} bytes, the limit `body_bytes` of [admin]; send fewer inputs");
            refused(413, "too_large", message)
        }
        status => refused(status.as_u16(), "invalid_request", cause.body_text()),
    })
}

fn json_of(body: Body, state: &AdminState) -> Result<Value, ApiError> {
    serde_json::from_slice(&read(body, state)?).map_err(|cause| {
        let message = format!("the body is not JSON at line {} column {}", cause.line(), cause.column());
        ApiError { status: 400, kind: "invalid_request", message, param: None }
    })
}

#[cfg(test)]
pub(super) mod tests;
