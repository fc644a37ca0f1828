//! `/v1/models`, `/v1/embeddings` and `/v1/chat/completions`.

use super::parts::{bare_errors, errors, json_body, operation, reply, with_truncated, with_version};
use crate::admin::api::FunctionDoc;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub fn paths(functions: &[Arc<FunctionDoc>]) -> Map<String, Value> {
    let running = |function: &str| functions.iter().find(|one| one.function == function).map(Arc::as_ref);
    Map::from_iter([
        ("/v1/embeddings".to_owned(), json!({ "post": embeddings(running("embed")) })),
        ("/v1/chat/completions".to_owned(), json!({ "post": chat(running("generate")) })),
        ("/v1/models".to_owned(), json!({ "get": models() })),
        ("/v1/models/{model}".to_owned(), one_model()),
    ])
}

fn listed() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": { "type": "string", "description": "The pipeline's name." },
            "object": { "const": "model" },
            "created": { "type": "integer", "description": "When it was loaded, seconds since 1970." },
            "owned_by": text, "function": text,
            "model": { "type": "string", "description": "Name and digest of the model." },
        },
    })
}

fn models() -> Value {
    let answer = json!({
        "type": "object",
        "required": ["object", "data"],
        "properties": { "object": { "const": "list" }, "data": { "type": "array", "items": listed() } },
    });
    let good = reply("The pipelines that the paths beside this one run.", &answer);
    operation("openai", "list_models", "What can be named as `model`", Value::Null, json!({ "200": good }))
}

fn one_model() -> Value {
    let good = reply("The pipeline.", &listed());
    let responses = json!({ "200": good, "404": { "$ref": "#/components/responses/NotFound" } });
    let get = operation("openai", "retrieve_model", "One of them", Value::Null, responses);
    let name = json!({ "name": "model", "in": "path", "required": true, "schema": { "type": "string" } });
    json!({ "get": get, "parameters": [name] })
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
    // A plain text, as the function takes it.
    let text = function.map(|function| function.input["anyOf"][0].clone()).filter(|text| text["type"] == "string");
    let text = text.unwrap_or_else(|| json!({ "type": "string", "minLength": 1 }));
    let body = json!({
        "type": "object",
        "required": ["input"],
        "properties": {
            "model": model("embed"),
            "input": { "anyOf": [text, { "type": "array", "items": text, "minItems": 1, "maxItems": most }] },
            "encoding_format": { "enum": ["float", "base64", null], "default": "float" },
            "dimensions": { "type": "integer", "minimum": 1, "description": "So many numbers of each vector, the first, of length 1 again; all where it is left out." },
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
            "truncated": {
                "type": "array", "items": { "type": "integer" },
                "description": "Numbers of the texts that were cut; absent where none was. OpenAI has no such field.",
            },
        },
    });
    let example = function.map(|_| json!({ "input": ["I lost my card.", "Where is my parcel?"] }));
    let good =
        with_truncated(reply("Vectors, in the order of the texts; of length 1, unless the pipeline says otherwise.", &answer));
    with_version(operation("openai", "embeddings", "Vectors of texts", json_body(&body, example), errors(good)), None)
}

fn chat(function: Option<&FunctionDoc>) -> Value {
    let (body, good) = conversation(function);
    with_version(operation("openai", "chat_completions", "An answer to a conversation", body, errors(good)), None)
}

/// The same beside a pipeline's bare path, which names it.
pub fn bare_chat(function: &FunctionDoc) -> Value {
    let (body, good) = conversation(Some(function));
    let (id, summary) =
        (format!("hf_chat_{}", function.pipeline), format!("An answer of {} to a conversation", function.pipeline));
    with_version(operation("functions", &id, &summary, body, bare_errors(good)), Some(&function.versions))
}

/// Body and good answer.
fn conversation(function: Option<&FunctionDoc>) -> (Value, Value) {
    // Every plain text of a function has the same limit.
    let longest = function.map_or(Value::Null, |function| function.input["anyOf"][0]["maxLength"].clone());
    let mut content = json!({ "type": ["string", "null"] });
    if longest.is_u64() {
        content["maxLength"] = longest;
    }
    let message = json!({
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": { "type": "string" },
            "content": { "anyOf": [content, { "type": "array", "items": {
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
        ("messages", json!({ "type": "array", "items": message, "minItems": 1, "maxItems": 1_000 })),
        ("stream", json!({ "type": "boolean", "default": false })),
        ("stream_options", json!({ "type": ["object", "null"], "properties": { "include_usage": { "type": "boolean" } } })),
        ("max_tokens", if most.is_object() { most.clone() } else { json!({ "type": "integer" }) }),
        ("max_completion_tokens", if most.is_object() { most } else { json!({ "type": "integer" }) }),
        ("n", json!({ "type": ["integer", "null"], "minimum": 1, "maximum": 8, "description": "With `stream` one." })),
        (
            "response_format",
            json!({
                "type": "object", "required": ["type"],
                "properties": {
                    "type": { "enum": ["text", "json_schema", "json_object"] },
                    "json_schema": { "type": "object", "properties": { "schema": { "type": "object" } } },
                    "value": { "type": "object", "description": "The schema of a json_object; without one any object may come." },
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
            "truncated": {
                "const": true,
                "description": "Oldest messages, or the end of the last one, were left out: the conversation was too long; absent where it was not. OpenAI has no such field. \
                                In a stream the chunk with the `finish_reason` has it.",
            },
        },
    });
    let mut good = with_truncated(reply("The answer; with `stream` in server-sent events.", &answer));
    good["content"]["text/event-stream"] = json!({ "schema": {
        "type": "string",
        "description": "Events whose data is a `chat.completion.chunk` in JSON; the last one is `[DONE]`.",
    } });
    let messages = json!([{ "role": "user", "content": "Where is my parcel?" }]);
    let example = function.map(|_| json!({ "messages": messages, "max_tokens": 16 }));
    (json_body(&body, example), good)
}
