//! `/v1/embeddings` and `/v1/chat/completions`.

use super::parts::{errors, json_body, operation, reply};
use crate::admin::api::FunctionDoc;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub fn paths(functions: &[Arc<FunctionDoc>]) -> Map<String, Value> {
    let running = |function: &str| functions.iter().find(|one| one.function == function).map(Arc::as_ref);
    Map::from_iter([
        ("/v1/embeddings".to_owned(), json!({ "post": embeddings(running("embed")) })),
        ("/v1/chat/completions".to_owned(), json!({ "post": chat(running("generate")) })),
    ])
}

fn model(function: &str) -> Value {
    let description =
        format!("A pipeline that runs `{function}`, its model, or `{function}`. Not needed where only one runs it.");
    json!({ "type": "string", "description": description })
}

fn usage(names: &[&str]) -> Value {
    let counts: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({ "type": "integer", "minimum": 0 }))).collect();
    json!({ "type": "object", "required": names, "properties": counts })
}

fn embeddings(function: Option<&FunctionDoc>) -> Value {
    let most = function.map_or(256, |function| function.most);
    let text = json!({ "type": "string", "minLength": 1 });
    let body = json!({
        "type": "object",
        "required": ["input"],
        "properties": {
            "model": model("embed"),
            "input": { "anyOf": [text, { "type": "array", "items": text, "minItems": 1, "maxItems": most }] },
            "encoding_format": { "enum": ["float", "base64", null], "default": "float" },
            "dimensions": { "type": "integer", "description": "The length of the model's vectors; it cannot be changed." },
        },
    });
    let one = json!({
        "type": "object",
        "required": ["object", "index", "embedding"],
        "properties": {
            "object": { "const": "embedding" },
            "index": { "type": "integer", "minimum": 0 },
            "embedding": { "anyOf": [{ "type": "array", "items": { "type": "number" } }, { "type": "string" }] },
        },
    });
    let answer = json!({
        "type": "object",
        "required": ["object", "data", "model", "usage"],
        "properties": {
            "object": { "const": "list" },
            "data": { "type": "array", "items": one },
            "model": { "type": "string" },
            "usage": usage(&["prompt_tokens", "total_tokens"]),
        },
    });
    let example = function.map(|_| json!({ "input": ["I lost my card.", "Where is my parcel?"] }));
    let good = reply("Vectors of length 1, in the order of the texts.", &answer);
    operation("openai", "embeddings", "Vectors of texts", json_body(&body, example), errors(good))
}

fn chat(function: Option<&FunctionDoc>) -> Value {
    let message = json!({
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": { "type": "string" },
            "content": { "anyOf": [{ "type": ["string", "null"] }, { "type": "array", "items": {
                "type": "object", "required": ["type", "text"],
                "properties": { "type": { "const": "text" }, "text": { "type": "string" } },
            } }] },
        },
    });
    // What the function takes beside OpenAI's own names.
    let mut properties = function.map_or_else(|| json!({}), |function| function.parameters["properties"].clone());
    let most = properties["max_new_tokens"].clone();
    for (name, schema) in [
        ("model", model("generate")),
        ("messages", json!({ "type": "array", "items": message, "minItems": 1 })),
        ("stream", json!({ "type": "boolean", "default": false })),
        ("stream_options", json!({ "type": ["object", "null"], "properties": { "include_usage": { "type": "boolean" } } })),
        ("max_tokens", if most.is_object() { most.clone() } else { json!({ "type": "integer" }) }),
        ("max_completion_tokens", if most.is_object() { most } else { json!({ "type": "integer" }) }),
        ("n", json!({ "const": 1 })),
        (
            "response_format",
            json!({
                "type": "object", "required": ["type"],
                "properties": {
                    "type": { "enum": ["text", "json_schema"] },
                    "json_schema": { "type": "object", "properties": { "schema": { "type": "object" } } },
                },
            }),
        ),
    ] {
        properties[name] = schema;
    }
    let body = json!({ "type": "object", "required": ["messages"], "properties": properties });
    let choice = json!({
        "type": "object",
        "required": ["index", "message", "finish_reason"],
        "properties": {
            "index": { "type": "integer" },
            "message": {
                "type": "object", "required": ["role", "content"],
                "properties": { "role": { "const": "assistant" }, "content": { "type": "string" } },
            },
            "finish_reason": { "enum": ["stop", "length"] },
            "logprobs": { "type": ["object", "null"] },
        },
    });
    let answer = json!({
        "type": "object",
        "required": ["id", "object", "created", "model", "choices", "usage"],
        "properties": {
            "id": { "type": "string" },
            "object": { "const": "chat.completion" },
            "created": { "type": "integer" },
            "model": { "type": "string" },
            "choices": { "type": "array", "items": choice },
            "usage": usage(&["prompt_tokens", "completion_tokens", "total_tokens"]),
        },
    });
    let mut good = reply("The answer; with `stream` in server-sent events.", &answer);
    good["content"]["text/event-stream"] = json!({ "schema": {
        "type": "string",
        "description": "Events whose data is a `chat.completion.chunk` in JSON; the last one is `[DONE]`.",
    } });
    let messages = json!([{ "role": "user", "content": "Where is my parcel?" }]);
    let example = function.map(|_| json!({ "messages": messages, "max_tokens": 16 }));
    operation("openai", "chat_completions", "An answer to a conversation", json_body(&body, example), errors(good))
}
