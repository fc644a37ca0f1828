//! The routes.

use super::{Liveness, Readiness, StatusBoard};
use crate::telemetry::Metrics;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The functions as the API sees them.
pub trait FunctionApi: Send + Sync {
    /// Names and descriptions, as `/v1/functions` shows them.
    fn list(&self) -> Value;
    fn call<'a>(&'a self, name: &'a str, input: Value) -> BoxFuture<'a, Result<Value, ApiError>>;
}

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
        (status, Json(json!({"error": {"type": self.kind, "message": self.message, "param": self.param}}))).into_response()
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

async fn call(State(state): State<AdminState>, Path(name): Path<String>, body: Bytes) -> Result<Response, ApiError> {
    let input = serde_json::from_slice(&body).map_err(|cause| ApiError {
        status: 400,
        kind: "invalid_request",
        message: format!("the body is not JSON at line {} column {}", cause.line(), cause.column()),
        param: None,
    })?;
    Ok(Json(state.functions.call(&name, input).await?).into_response())
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
        fn call<'a>(&'a self, name: &'a str, input: Value) -> BoxFuture<'a, Result<Value, ApiError>> {
            let unknown = ApiError { status: 404, kind: "not_found", message: name.into(), param: Some("name".into()) };
            Box::pin(async move { if name == "echo" { Ok(input) } else { Err(unknown) } })
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
        assert!(ask("POST", "/v1/functions/echo", "{").await.contains("invalid_request"));
        assert!(ask("POST", "/v1/functions/echo", &"1".repeat(200)).await.contains(" 413 "));
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
