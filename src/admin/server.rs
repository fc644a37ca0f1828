//! The routes.

use super::api::{ApiError, Asked, BareError, FunctionApi, FunctionDoc, Shape, sent};
use super::body::{Bodies, Body};
use super::connections::{self, Connections, Routes};
use super::foreign::{self, Names};
use super::{
    AdminToken, Liveness, OperatorApi, Readiness, RecordApi, StatusBoard, beside, forms, look, openapi, operators, page, version,
};
use crate::telemetry::Metrics;
use axum::Json;
use axum::extract::{FromRef, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    pub operators: Arc<dyn OperatorApi>,
    /// What requests that change something must bring.
    pub token: Arc<AdminToken>,
    pub records: Arc<dyn RecordApi>,
    /// Largest request body, bytes.
    pub body_bytes: usize,
    /// How long one may take to come.
    pub body_timeout: Duration,
    pub connections: Connections,
    /// Names by which it may be asked, beside addresses and names of this network.
    pub hosts: Arc<[String]>,
}

/// What one server has, beside what it is given.
#[derive(Clone)]
pub(super) struct Served {
    pub admin: AdminState,
    pub bodies: Arc<Bodies>,
}

impl FromRef<Served> for AdminState {
    fn from_ref(served: &Served) -> Self {
        served.admin.clone()
    }
}

/// Serves until the token is cancelled, then lets running requests end.
pub async fn serve(listener: tokio::net::TcpListener, state: AdminState, shutdown: CancellationToken) {
    let connections = state.connections;
    let served = Served { admin: state.clone(), bodies: Arc::new(Bodies::new(state.body_bytes)) };
    let alone = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let names = Names { alone, given: state.hosts.clone() };
    let live = Arc::new(page::Live::new(connections.most, shutdown.clone()));
    let spare = axum::Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .fallback(full)
        .layer(from_fn_with_state(names.clone(), foreign::refuse))
        .with_state(state.clone());
    let all = axum::Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/openapi.json", get(openapi))
        .route("/functions", get(forms::index))
        .route("/functions/{name}", get(forms::show).post(forms::answer))
        .route("/records", get(look::records_page))
        .route("/v1/records", get(look::records))
        .route("/dead-letters", get(look::letters_page))
        .route("/v1/dead-letters", get(look::letters))
        .route("/v1/functions", get(functions))
        .route("/v1/functions/{name}", post(call))
        .route("/v1/pipelines/{name}/pause", post(operators::pause))
        .route("/v1/pipelines/{name}/resume", post(operators::resume))
        .route("/v1/pipelines/{name}/swap", post(operators::swap))
        .route("/hf/{name}", post(bare))
        .route("/hf/{name}/v1/chat/completions", post(bare_chat))
        .route("/v1/models", get(models))
        // A model's name may have slashes.
        .route("/v1/models/{*name}", get(model))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/chat/completions", post(chat))
        .merge(page::routes(state.clone(), live.clone()))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(names, foreign::refuse))
        .with_state(served);
    let serves = connections::serve(listener, Routes { all, spare }, connections, shutdown);
    tokio::join!(serves, live.follow(state));
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
    let (shadows, ladders) = (beside::shadows(state.metrics.tallies()), beside::ladders(state.metrics.tallies()));
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({"version": version, "pipelines": state.status.snapshot(), "shadows": shadows, "ladders": ladders}))
        .into_response()
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

async fn call(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    path: Uri,
    head: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let version = version::named(&path)?;
    let accepted = head.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let shape = if accepted.is_some_and(|accepted| accepted.contains(HUGGING_FACE)) { Shape::Bare } else { Shape::Whole };
    let mut answer = answered(&state, Asked { name: &name, version: version.as_deref() }, body.json()?, shape).await?;
    if shape == Shape::Bare {
        let kind = answer.headers_mut().get_mut(header::CONTENT_TYPE).filter(|kind| *kind == "application/json");
        if let Some(kind) = kind {
            *kind = HeaderValue::from_static(HUGGING_FACE);
        }
    }
    Ok(answer)
}

/// Whole, or in pieces where the request wants that.
async fn answered(state: &AdminState, asked: Asked<'_>, input: Value, shape: Shape) -> Result<Response, ApiError> {
    if input.get("stream") == Some(&Value::Bool(true)) {
        return Ok(state.functions.stream(asked, input, shape).await?.map(sent).into_response());
    }
    Ok(state.functions.answer(asked, input, shape).await?.into_response())
}

async fn chat(State(state): State<AdminState>, path: Uri, body: Body) -> Result<Response, ApiError> {
    let version = version::named(&path)?;
    Ok(state.functions.chat(version.as_deref(), body.json()?).await?.into_response())
}

async fn bare(State(state): State<AdminState>, Path(name): Path<String>, path: Uri, body: Body) -> Result<Response, BareError> {
    let version = version::named(&path)?;
    Ok(answered(&state, Asked { name: &name, version: version.as_deref() }, body.json()?, Shape::Bare).await?)
}

/// Where the clients of Hugging Face look for chat beside a pipeline; the path names it, whatever the body says.
async fn bare_chat(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    path: Uri,
    body: Body,
) -> Result<Response, BareError> {
    let version = version::named(&path)?;
    let mut input = body.json()?;
    if let Value::Object(members) = &mut input {
        members.insert("model".into(), name.into());
    }
    Ok(state.functions.chat(version.as_deref(), input).await?.into_response())
}

async fn models(State(state): State<AdminState>) -> Response {
    Json(state.functions.models()).into_response()
}

async fn model(State(state): State<AdminState>, Path(name): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(state.functions.model(&name)?).into_response())
}

async fn unknown(path: Uri) -> ApiError {
    let message = format!("there is no path {}; /openapi.json lists those that there are", path.path());
    ApiError { status: 404, kind: "not_found", message, param: None }
}

/// Where every place is in work.
async fn full() -> ApiError {
    let message = "all `connections` of [admin] are in work; ask again later".to_owned();
    ApiError { status: 503, kind: "overloaded", message, param: None }
}

async fn other_method(method: Method, path: Uri) -> ApiError {
    let message = format!("{} does not take {method}; /openapi.json says what it takes", path.path());
    ApiError { status: 405, kind: "method_not_allowed", message, param: None }
}

async fn embeddings(State(state): State<AdminState>, path: Uri, body: Body) -> Result<Response, ApiError> {
    let version = version::named(&path)?;
    Ok(state.functions.embeddings(version.as_deref(), body.json()?).await?.into_response())
}

#[cfg(test)]
pub(super) mod tests;
