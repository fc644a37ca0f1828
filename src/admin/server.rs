//! The routes.

use super::{Liveness, Readiness, StatusBoard};
use crate::telemetry::Metrics;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The functions as the API sees them.
pub trait FunctionApi: Send + Sync {
    /// Names and descriptions, as `/v1/functions` shows them.
    fn list(&self) -> Value;
    fn call<'a>(&'a self, name: &'a str, input: Value, shape: Shape) -> BoxFuture<'a, Result<Value, ApiError>>;
    /// A request and an answer in the shape of OpenAI's embeddings.
    fn embeddings(&self, input: Value) -> BoxFuture<'_, Result<Value, ApiError>>;
    /// The same of OpenAI's chat completions; events when the request wants a stream.
    fn chat(&self, input: Value) -> BoxFuture<'_, Result<Said, ApiError>>;
    /// The answer to one input while it is written.
    fn stream<'a>(&'a self, name: &'a str, input: Value) -> BoxFuture<'a, Result<Events, ApiError>>;
}

/// The data of server-sent events, in order. Whoever drops it gives the answer up.
pub type Events = BoxStream<'static, String>;

/// An answer as a whole, or in events.
pub enum Said {
    Whole(Value),
    Events(Events),
}

impl IntoResponse for Said {
    fn into_response(self) -> Response {
        match self {
            Self::Whole(answer) => Json(answer).into_response(),
            Self::Events(events) => sent(events),
        }
    }
}

fn sent(events: Events) -> Response {
    let event = |data: String| Ok::<_, std::convert::Infallible>(Event::default().data(data));
    Sse::new(events.map(event)).keep_alive(KeepAlive::default()).into_response()
}

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `{"outputs": [...], "model": ..., "usage": ...}`.
    Whole,
    /// What the task's Hugging Face specification says, and nothing around it.
    Bare,
}

/// The media type that asks for [`Shape::Bare`].
const HUGGING_FACE: &str = "application/vnd.huggingface+json";

/// An error of the API: `{"error": {"type", "message", "param"}}`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// For example `invalid_request`, `not_found`, `overloaded`, `internal`.
    pub kind: &'static str,
    pub message: String,
    pub param: Option<String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Json(json!({"error": {"type": self.kind, "message": self.message, "param": self.param}}));
        match status {
            // Both pass by themselves.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                (status, [(header::RETRY_AFTER, "1")], body).into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

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

async fn functions(State(state): State<AdminState>) -> Response {
    Json(state.functions.list()).into_response()
}

type Body = Result<Bytes, BytesRejection>;

async fn call(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    head: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let accepted = head.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let shape = if accepted.is_some_and(|accepted| accepted.contains(HUGGING_FACE)) { Shape::Bare } else { Shape::Whole };
    let input = json_of(body)?;
    if input.get("stream") == Some(&Value::Bool(true)) {
        return Ok(sent(state.functions.stream(&name, input).await?));
    }
    Ok(Json(state.functions.call(&name, input, shape).await?).into_response())
}

async fn chat(State(state): State<AdminState>, body: Body) -> Result<Response, ApiError> {
    Ok(state.functions.chat(json_of(body)?).await?.into_response())
}

async fn bare(State(state): State<AdminState>, Path(name): Path<String>, body: Body) -> Result<Response, ApiError> {
    Ok(Json(state.functions.call(&name, json_of(body)?, Shape::Bare).await?).into_response())
}

async fn embeddings(State(state): State<AdminState>, body: Body) -> Result<Response, ApiError> {
    Ok(Json(state.functions.embeddings(json_of(body)?).await?).into_response())
}

fn json_of(body: Body) -> Result<Value, ApiError> {
    let refused = |status, kind, message| ApiError { status, kind, message, param: None };
    let bytes = body.map_err(|cause| match cause.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            refused(413, "too_large", "the body is larger than `body_bytes` of [admin] allows; send fewer inputs".to_owned())
        }
        status => refused(status.as_u16(), "invalid_request", cause.body_text()),
    })?;
    serde_json::from_slice(&bytes).map_err(|cause| {
        let message = format!("the body is not JSON at line {} column {}", cause.line(), cause.column());
        refused(400, "invalid_request", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Echo;
    impl FunctionApi for Echo {
        fn list(&self) -> Value {
            json!(["echo"])
        }
        fn call<'a>(&'a self, name: &'a str, input: Value, shape: Shape) -> BoxFuture<'a, Result<Value, ApiError>> {
            let unknown = ApiError { status: 404, kind: "not_found", message: name.into(), param: Some("name".into()) };
            Box::pin(async move {
                match (name, shape) {
                    ("echo", Shape::Whole) => Ok(input),
                    ("echo", Shape::Bare) => Ok(json!({ "bare": input })),
                    ("full", _) => Err(ApiError { status: 429, kind: "overloaded", message: name.into(), param: None }),
                    _ => Err(unknown),
                }
            })
        }
        fn embeddings(&self, input: Value) -> BoxFuture<'_, Result<Value, ApiError>> {
            Box::pin(async move { Ok(json!({ "embedded": input })) })
        }
        fn chat(&self, input: Value) -> BoxFuture<'_, Result<Said, ApiError>> {
            Box::pin(async move { Ok(Said::Whole(json!({ "said": input }))) })
        }
        fn stream<'a>(&'a self, name: &'a str, _: Value) -> BoxFuture<'a, Result<Events, ApiError>> {
            let events = futures_util::stream::iter([name.to_owned(), "line\nline".to_owned()]).boxed();
            Box::pin(async move { Ok(events) })
        }
    }

    #[tokio::test]
    async fn routes_answer_over_a_socket() {
        let state = AdminState {
            liveness: Arc::default(),
            readiness: Arc::new(Readiness::new(["model"])),
            status: Arc::default(),
            metrics: Arc::new(Metrics::new().unwrap()),
            functions: Arc::new(Echo),
            body_bytes: 100,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, state.clone(), stop.clone()));
        let ask = async |method: &str, path: &str, body: &str| {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            answer
        };
        assert!(ask("GET", "/livez", "").await.contains(" 200 "));
        assert!(ask("GET", "/readyz", "").await.contains("waiting for model"));
        state.readiness.release("model");
        assert!(ask("GET", "/readyz", "").await.contains(" 200 "));
        state.readiness.block("postgres", "away");
        assert!(ask("GET", "/readyz", "").await.contains(" 503 "));
        assert!(ask("GET", "/status", "").await.contains("pipelines"));
        assert!(ask("GET", "/metrics", "").await.contains(" 200 "));
        assert!(ask("POST", "/v1/functions/echo", "[1]").await.ends_with("[1]"));
        assert!(ask("POST", "/v1/functions/x", "[1]").await.contains("not_found"));
        for broken in ["{", r#"{"inputs": "\ud800"}"#] {
            assert!(ask("POST", "/v1/functions/echo", broken).await.contains("invalid_request"), "{broken}");
        }
        assert!(ask("POST", "/v1/chat/completions", "[1]").await.ends_with("{\"said\":[1]}"));
        let events = ask("POST", "/v1/functions/echo", "{\"stream\":true}").await;
        assert!(events.contains("text/event-stream") && events.contains("data: echo\n\n"), "{events}");
        assert!(events.contains("data: line\ndata: line\n\n"), "{events}");
        let large = ask("POST", "/v1/functions/echo", &"1".repeat(200)).await;
        assert!(large.contains(" 413 ") && large.contains("too_large"), "{large}");
        assert!(ask("POST", "/hf/echo", "[1]").await.ends_with("{\"bare\":[1]}"));
        let accepted = "/v1/functions/echo HTTP/1.1\r\naccept: application/vnd.huggingface+json\r\nx: y";
        assert!(ask("POST", accepted, "[1]").await.ends_with("{\"bare\":[1]}"));
        assert!(ask("POST", "/v1/embeddings", "[1]").await.contains("embedded"));
        let full = ask("POST", "/v1/functions/full", "[1]").await;
        assert!(full.contains(" 429 ") && full.contains("retry-after: 1"), "{full}");
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
