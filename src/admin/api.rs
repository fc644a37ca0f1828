//! What the routes share: the functions as HTTP sees them, shapes of answers, errors.

use super::version::Versioned;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;

/// The functions as the API sees them.
pub trait FunctionApi: Send + Sync {
    /// Names and descriptions, as `/v1/functions` shows them.
    fn list(&self) -> Value;
    /// What each takes and answers, by the name of its pipeline. May block for a moment when it is first asked.
    fn documented(&self) -> Vec<Arc<FunctionDoc>>;
    /// The answer of a version of the pipeline; of the one that is in force where none is named. So do the next three.
    fn answer<'a>(&'a self, asked: Asked<'a>, input: Value, shape: Shape)
    -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>>;
    /// A request and an answer in the shape of OpenAI's embeddings.
    fn embeddings<'a>(&'a self, version: Option<&'a str>, input: Value) -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>>;
    /// The same of OpenAI's chat completions; events when the request wants a stream.
    fn chat<'a>(&'a self, version: Option<&'a str>, input: Value) -> BoxFuture<'a, Result<Versioned<Said>, ApiError>>;
    /// What the two paths above can be asked for, as OpenAI's clients list it.
    fn models(&self) -> Value;
    /// One of them.
    fn model(&self, name: &str) -> Result<Value, ApiError>;
    /// The answer to one input while it is written.
    fn stream<'a>(&'a self, asked: Asked<'a>, input: Value, shape: Shape) -> BoxFuture<'a, Result<Versioned<Events>, ApiError>>;
}

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// A pipeline, or a function that is the same in all that run it.
    pub name: &'a str,
    pub version: Option<&'a str>,
}

/// A function as documents and forms show it.
#[derive(Debug, Clone)]
pub struct FunctionDoc {
    /// The pipeline that runs it; its name in paths.
    pub pipeline: String,
    pub function: String,
    /// Empty for functions without one.
    pub model: String,
    pub version: u32,
    /// Names of the pipeline's versions, `base` first.
    pub versions: Vec<String>,
    /// Inputs of a request at most.
    pub most: usize,
    /// JSON schema of one input.
    pub input: Value,
    /// JSON schema of the object `parameters`.
    pub parameters: Value,
    /// JSON schema of one output.
    pub output: Value,
    /// JSON schema of a bare answer, to one input or to a list.
    pub bare: Value,
    /// An input that is answered.
    pub example: Value,
    /// Whether it answers in pieces.
    pub pieces: bool,
}

/// The data of server-sent events, in order. Whoever drops it gives the answer up.
pub type Events = BoxStream<'static, String>;

/// The header that says which inputs were not seen to their end: their numbers from 0 on, with commas between. Shapes that others have fixed
/// have no place for it in the body.
pub const TRUNCATED: &str = "x-millrace-truncated";

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub body: Value,
    /// Inputs of which some was not seen.
    pub truncated: Vec<usize>,
}

impl From<Value> for Answered {
    fn from(body: Value) -> Self {
        Self { body, truncated: Vec::new() }
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let numbers: Vec<String> = self.truncated.iter().map(usize::to_string).collect();
        let mut response = Json(self.body).into_response();
        if let Some(told) = HeaderValue::from_str(&numbers.join(",")).ok().filter(|told| !told.is_empty()) {
            response.headers_mut().insert(TRUNCATED, told);
        }
        response
    }
}

/// An answer as a whole, or in events. A whole one to a conversation that was cut has `truncated` true.
pub enum Said {
    Whole(Value),
    Events(Events),
}

impl IntoResponse for Said {
    fn into_response(self) -> Response {
        match self {
            Self::Whole(body) => {
                let truncated = if body["truncated"] == true { vec![0] } else { Vec::new() };
                Answered { body, truncated }.into_response()
            }
            Self::Events(events) => sent(events),
        }
    }
}

pub(super) fn sent(events: Events) -> Response {
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

/// An error of the API: `{"error": {"type", "message", "param", "code"}}`; in the bare shape `{"error": MESSAGE, "error_type", "param"}`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// For example `invalid_request`, `not_found`, `overloaded`, `timeout`, `internal`.
    pub kind: &'static str,
    pub message: String,
    pub param: Option<String>,
}

impl ApiError {
    /// A parameter that cannot be used, and why.
    pub fn refused(param: &str, message: String) -> Self {
        Self { status: 400, kind: "invalid_request", message, param: Some(param.to_owned()) }
    }

    /// As the clients of Hugging Face read it: a sentence, and the kinds that text-generation names.
    pub fn bare(&self) -> Value {
        let kind = match self.status {
            400 | 413 | 422 => "validation",
            429 => "overloaded",
            500 => "generation",
            _ => self.kind,
        };
        json!({ "error": self.message, "error_type": kind, "param": self.param })
    }

    /// OpenAI's clients tell an unknown model by its code.
    fn code(&self) -> Option<&'static str> {
        (self.status == 404 && self.param.as_deref() == Some("model")).then_some("model_not_found")
    }

    fn with(&self, body: Value) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match status {
            // Both pass by themselves.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                (status, [(header::RETRY_AFTER, "1")], Json(body)).into_response()
            }
            // What is still to come is not waited for.
            StatusCode::REQUEST_TIMEOUT => (status, [(header::CONNECTION, "close")], Json(body)).into_response(),
            _ => (status, Json(body)).into_response(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (kind, message, param, code) = (self.kind, &self.message, &self.param, self.code());
        self.with(json!({ "error": { "type": kind, "message": message, "param": param, "code": code } }))
    }
}

/// An error in the bare shape.
pub(super) struct BareError(ApiError);

impl From<ApiError> for BareError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for BareError {
    fn into_response(self) -> Response {
        self.0.with(self.0.bare())
    }
}
