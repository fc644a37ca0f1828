//! `/openapi.json`: what this worker answers over HTTP, as an OpenAPI 3.1 document. It is made of the functions that are loaded.

mod look;
mod openai;
mod parts;
mod service;
#[cfg(test)]
mod tests;

use super::api::FunctionDoc;
use parts::{bare_errors, errors, json_body, operation, reply, with_truncated, with_version};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The document. `body_bytes`: the largest body that is read.
pub fn document(functions: &[Arc<FunctionDoc>], body_bytes: usize) -> Value {
    let mut paths = Map::new();
    for function in functions {
        paths.insert(format!("/v1/functions/{}", function.pipeline), json!({ "post": whole(function) }));
        paths.insert(format!("/hf/{}", function.pipeline), json!({ "post": bare(function) }));
        if function.function == "generate" {
            let path = format!("/hf/{}/v1/chat/completions", function.pipeline);
            paths.insert(path, json!({ "post": openai::bare_chat(function) }));
        }
    }
    paths.extend(openai::paths(functions));
    paths.extend(service::paths());
    tell_apart(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": format!(
                "The functions of a worker's pipelines, and the worker's own state. A body has {body_bytes} bytes at most. In a batch an \
                 input that is refused has its place among the outputs, as `rejected`; where all are refused the request is."
            ),
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "functions", "description": "The functions that score the streams, one path a pipeline." },
            { "name": "openai", "description": "The same in the shape of OpenAI's API." },
            { "name": "service", "description": "Health, metrics, state." },
        ],
        "paths": paths,
        "components": {
            "schemas": parts::schemas(),
            "responses": parts::responses(),
            "securitySchemes": { "admin_token": { "type": "http", "scheme": "bearer", "description": "`token_file` under [admin]." } },
        },
    })
}

/// Gives operations of one name a number each: `a.b` and `a_b` are two pipelines and one name.
fn tell_apart(paths: &mut Map<String, Value>) {
    let mut known = BTreeSet::new();
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(|methods| methods.values_mut()) {
        let Some(id) = operation.get("operationId").and_then(Value::as_str) else { continue };
        let mut name = id.to_owned();
        let mut number = 1;
        while !known.insert(name.clone()) {
            number += 1;
            name = format!("{id}_{number}");
        }
        operation["operationId"] = name.into();
    }
}

/// How a function is told in one line.
fn summary(function: &FunctionDoc) -> String {
    match function.model.as_str() {
        "" => format!("{} ({})", function.pipeline, function.function),
        model => format!("{} ({}, model {model})", function.pipeline, function.function),
    }
}

fn request(function: &FunctionDoc, stream: bool) -> Value {
    let many = json!({ "type": "array", "items": function.input, "minItems": 1, "maxItems": function.most });
    let mut properties = json!({
        "inputs": { "description": format!("One input, or a list of up to {}.", function.most), "anyOf": [function.input, many] },
        "parameters": function.parameters,
    });
    if stream {
        properties["stream"] = json!({
            "type": "boolean", "default": false,
            "description": "The answer to one input while it is written: events with `text`, then one with `output` and `model`, or `error`.",
        });
    }
    let example = json!({ "inputs": function.example, "parameters": {} });
    json_body(&json!({ "type": "object", "required": ["inputs"], "properties": properties }), Some(example))
}

fn whole(function: &FunctionDoc) -> Value {
    let output = json!({ "anyOf": [function.output, { "$ref": "#/components/schemas/Rejected" }] });
    let answer = json!({
        "type": "object",
        "required": ["outputs", "model", "usage", "truncated"],
        "properties": {
            "outputs": { "type": "array", "items": output, "description": "One an input, in the order of the inputs." },
            "model": { "type": "string", "description": "Name and digest of the model; empty for functions without one." },
            "usage": { "type": "object", "required": ["tokens"], "properties": { "tokens": { "type": "integer", "minimum": 0 } } },
            "truncated": { "type": "array", "items": { "type": "boolean" } },
        },
    });
    let mut good = with_truncated(reply("The answers.", &answer));
    good["content"]["application/vnd.huggingface+json"] = json!({ "schema": function.bare });
    if function.pieces {
        good["content"]["text/event-stream"] = json!({ "schema": { "type": "string" } });
    }
    let id = format!("call_{}", function.pipeline);
    let call = operation("functions", &id, &summary(function), request(function, function.pieces), errors(good));
    with_version(call, Some(&function.versions))
}

fn bare(function: &FunctionDoc) -> Value {
    let shaped = "The answer alone, as the task's Hugging Face specification shapes it.";
    let mut good = with_truncated(reply(shaped, &function.bare));
    if function.pieces {
        good["content"]["text/event-stream"] = json!({ "schema": { "type": "string" } });
    }
    let summary = format!("{} in the bare shape of Hugging Face", summary(function));
    let (id, body) = (format!("hf_{}", function.pipeline), request(function, function.pieces));
    with_version(operation("functions", &id, &summary, body, bare_errors(good)), Some(&function.versions))
}
