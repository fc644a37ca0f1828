//! Routes that change something: pause, resume and swap.

use super::api::ApiError;
use super::body::Body;
use super::server::AdminState;
use super::token::Operator;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

/// What an operator wants of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// All topics where it is left out.
    pub topic: Option<String>,
    /// All partitions where it is left out.
    pub partition: Option<i32>,
    pub reason: Option<String>,
    /// Who says so: the token says only that somebody may.
    pub by: String,
    /// Every pause of the pipeline, for `resume` alone.
    #[serde(default)]
    pub all: bool,
}

/// What an operator wants of a pipeline's version.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapWish {
    /// The version to go to; without it `back` is set.
    pub to: Option<String>,
    /// The share of the keys that goes to it; all, where it is left out.
    pub canary: Option<f64>,
    /// Takes the last step back.
    #[serde(default)]
    pub back: bool,
    pub reason: String,
    /// Who says so.
    pub by: String,
}

/// What operators may do over HTTP.
pub trait OperatorApi: Send + Sync {
    fn pause<'a>(&'a self, pipeline: &'a str, wish: Wish) -> BoxFuture<'a, Result<Value, ApiError>>;
    fn resume<'a>(&'a self, pipeline: &'a str, wish: Wish) -> BoxFuture<'a, Result<Value, ApiError>>;
    fn swap<'a>(&'a self, pipeline: &'a str, wish: SwapWish) -> BoxFuture<'a, Result<Value, ApiError>>;
}

fn wish(body: Body) -> Result<Wish, ApiError> {
    serde_json::from_value(body.json()?).map_err(|cause| {
        let message =
            format!("{cause}; send {{\"by\": NAME, \"reason\": WHY}}, and `topic` and `partition` for a part of the pipeline");
        ApiError { status: 400, kind: "invalid_request", message, param: None }
    })
}

pub async fn pause(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    _: Operator,
    body: Body,
) -> Result<Response, ApiError> {
    Ok(Json(state.operators.pause(&name, wish(body)?).await?).into_response())
}

pub async fn resume(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    _: Operator,
    body: Body,
) -> Result<Response, ApiError> {
    Ok(Json(state.operators.resume(&name, wish(body)?).await?).into_response())
}

pub async fn swap(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    _: Operator,
    body: Body,
) -> Result<Response, ApiError> {
    let wish = serde_json::from_value(body.json()?).map_err(|cause| {
        let message = format!(
            "{cause}; send {{\"to\": VERSION, \"reason\": WHY, \"by\": NAME}}, with `canary` for a share of the keys, or `back` in place of `to`"
        );
        ApiError { status: 400, kind: "invalid_request", message, param: None }
    })?;
    Ok(Json(state.operators.swap(&name, wish).await?).into_response())
}
