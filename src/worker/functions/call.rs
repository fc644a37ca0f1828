//! One request: `{"inputs": ..., "parameters": {...}}`.

use super::Known;
use super::pieces::{Piece, pieces};
use crate::admin::{ApiError, Events, Shape};
use crate::function::offline;
use crate::function::{CallError, Function};
use futures_util::stream::StreamExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

fn refused(status: u16, kind: &'static str, message: String, param: &str) -> ApiError {
    ApiError { status, kind, message, param: Some(param.to_owned()) }
}

pub async fn call(known: &Known, name: &str, input: &Value, shape: Shape) -> Result<Value, ApiError> {
    let (inputs, many) = match input.get("inputs") {
        Some(Value::Array(inputs)) => (inputs.clone(), true),
        Some(one) => (vec![one.clone()], false),
        None => {
            let message =
                "the body must be {\"inputs\": TEXT} or {\"inputs\": [TEXT, ...]}, or events instead of texts".to_owned();
            return Err(refused(400, "invalid_request", message, "inputs"));
        }
    };
    if inputs.is_empty() {
        return Err(refused(400, "invalid_request", "`inputs` is an empty list".to_owned(), "inputs"));
    }
    let function = tuned(&known.function, input.get("parameters"))?;
    let spec = function.spec();
    if inputs.len() > spec.limits.slice {
        let message = format!("{} inputs were given; {name} takes {} at most", inputs.len(), spec.limits.slice);
        return Err(refused(413, "too_large", message, "inputs"));
    }
    let outputs = outputs(known, &*function, &inputs).await?;
    let rejections: Vec<(usize, &Value)> =
        outputs.iter().enumerate().filter_map(|(index, output)| Some((index, output.get("rejected")?))).collect();
    // In a batch a refusal has its place beside the answers; alone, or where there is no such place, it is the answer.
    if let Some((index, rejected)) = rejections.first().filter(|_| rejections.len() == outputs.len() || shape == Shape::Bare) {
        return Err(rejection("inputs", *index, rejected));
    }
    if shape == Shape::Bare {
        let bare = |output: &Value| function.requests().map_or_else(|| output.clone(), |requests| requests.bare(output));
        let mut all: Vec<Value> = outputs.iter().map(bare).collect();
        let listed = function.requests().is_some_and(|requests| requests.listed());
        return Ok(if many || listed { all.into() } else { all.pop().unwrap_or_default() });
    }
    let tokens: u64 = outputs.iter().map(tokens).sum();
    let truncated: Vec<bool> = outputs.iter().map(|output| output["truncated"] == true).collect();
    Ok(json!({ "outputs": outputs, "model": spec.model, "usage": { "tokens": tokens }, "truncated": truncated }))
}

/// Tokens that the network saw, and those that it wrote, in all answers.
fn tokens(output: &Value) -> u64 {
    let written = |output: &Value| output["generated_tokens"].as_u64().unwrap_or(0);
    let read: u64 = ["tokens", "prompt_tokens"].iter().filter_map(|name| output.get(name)?.as_u64()).sum();
    read + output["answers"]
        .as_array()
        .filter(|all| !all.is_empty())
        .map_or_else(|| written(output), |all| all.iter().map(written).sum())
}

/// The answer to one input in pieces: `{"text"}` for each, then `{"output", "model"}`, or `{"error"}`.
pub fn stream(known: &Known, input: &Value, place: OwnedSemaphorePermit) -> Result<Events, ApiError> {
    let one = match input.get("inputs") {
        Some(Value::Array(inputs)) if inputs.len() == 1 => &inputs[0],
        Some(one) if !one.is_array() => one,
        _ => return Err(refused(400, "invalid_request", "`stream` answers one input".to_owned(), "inputs")),
    };
    let function = tuned(&known.function, input.get("parameters"))?;
    if function.requests().is_none_or(|requests| requests.pieces().is_none()) {
        let message = format!("{} does not answer in pieces; leave `stream` out", function.spec().name);
        return Err(refused(400, "invalid_request", message, "stream"));
    }
    let model = function.spec().model.clone();
    let read = known.offline.sitting().input(0, one);
    let input = read.map_err(|rejection| refused(400, "invalid_request", rejection.detail.into(), "inputs"))?;
    let event = move |piece: Piece| match piece {
        Piece::Text(text) => json!({ "text": text }).to_string(),
        Piece::End(output) => match output.and_then(answered) {
            Ok(output) => json!({ "output": output, "model": model }).to_string(),
            Err(error) => json!({ "error": { "type": error.kind, "message": error.message } }).to_string(),
        },
    };
    Ok(pieces(function, input, place).map(event).boxed())
}

/// An output that is no refusal.
fn answered(output: Value) -> Result<Value, ApiError> {
    match output.get("rejected") {
        None => Ok(output),
        Some(rejected) => Err(rejection("inputs", 0, rejected)),
    }
}

/// The function, with what the request wants otherwise.
pub fn tuned(function: &Arc<dyn Function>, parameters: Option<&Value>) -> Result<Arc<dyn Function>, ApiError> {
    let wanted = match parameters {
        None | Some(Value::Null) => return Ok(function.clone()),
        Some(Value::Object(wanted)) => wanted,
        Some(_) => return Err(refused(400, "invalid_request", "`parameters` must be an object".to_owned(), "parameters")),
    };
    let Some(name) = wanted.keys().next() else { return Ok(function.clone()) };
    match function.requests() {
        Some(requests) => requests
            .tuned(wanted)
            .map_err(|error| refused(400, "invalid_request", error.message, &format!("parameters.{}", error.name))),
        None => {
            let message = format!("{} takes no parameters", function.spec().name);
            Err(refused(400, "invalid_request", message, &format!("parameters.{name}")))
        }
    }
}

/// One output an input.
pub async fn outputs(known: &Known, function: &dyn Function, inputs: &[Value]) -> Result<Vec<Value>, ApiError> {
    let outputs = offline::call(function, &mut *known.offline.sitting(), 0, inputs).await;
    outputs.map_err(failed)
}

/// What HTTP says of a call that failed as a whole.
pub fn failed(error: CallError) -> ApiError {
    match error {
        CallError::Transient(cause) => ApiError { status: 429, kind: "overloaded", message: cause, param: None },
        error => ApiError { status: 500, kind: "internal", message: error.to_string(), param: None },
    }
}

/// What HTTP says of an input that a function refuses.
pub fn rejection(inputs: &str, index: usize, rejected: &Value) -> ApiError {
    let (status, kind) = match rejected["code"].as_str().unwrap_or_default() {
        "text_too_long" | "question_too_long" | "label_too_long" | "too_expensive" | "too_many_items" | "too_many_masks" => {
            (413, "too_large")
        }
        "missing_field" | "wrong_type" | "not_an_object" | "invalid_json" | "unexpected_field" => (400, "invalid_request"),
        _ => (422, "unprocessable"),
    };
    let field = rejected["field"].as_str().map_or_else(String::new, |field| format!(".{field}"));
    let message = format!("input {index}: {}", rejected["detail"].as_str().unwrap_or_default());
    ApiError { status, kind, message, param: Some(format!("{inputs}.{index}{field}")) }
}
