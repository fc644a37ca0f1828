//! Health, metrics, state, lists.

use super::look;
use super::parts::{json_body, operation, reply};
use serde_json::{Map, Value, json};

pub fn paths() -> Map<String, Value> {
    let text = |kind: &str, description: &str| json!({ "200": { "description": description, "content": { kind: { "schema": { "type": "string" } } } } });
    let get =
        |id: &str, summary: &str, responses: Value| json!({ "get": operation("service", id, summary, Value::Null, responses) });
    let list = json!({ "type": "array", "items": {
        "type": "object", "required": ["pipeline", "name", "model", "version", "versions", "in_force"],
        "properties": {
            "pipeline": { "type": "string" }, "name": { "type": "string" }, "model": { "type": "string" },
            "version": { "type": "integer", "description": "Of the function." },
            "versions": { "type": "array", "items": { "type": "string" }, "description": "Of the pipeline's settings; the rest tells of `base`." },
            "in_force": { "type": ["string", "null"], "description": "The version that answers where none is named; null while none can." },
        },
    } });
    let form = get("function_form", "A function's form for the browser", text("text/html", "The page."));
    let mut form = form;
    form["get"]["responses"]["404"] = json!({ "description": "There is no function of that name." });
    form["parameters"] = json!([{ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }]);
    Map::from_iter([
        (
            "/v1/functions".to_owned(),
            get("list_functions", "The functions of this worker", json!({ "200": reply("One a pipeline.", &list) })),
        ),
        ("/livez".to_owned(), get("live", "Whether the poll threads run", health("stale"))),
        ("/readyz".to_owned(), get("ready", "Whether everything is there that work needs", health("missing"))),
        (
            "/status".to_owned(),
            get(
                "status",
                "The partitions of each pipeline",
                json!({ "200": reply("By pipeline, then partition.", &json!({
            "type": "object", "required": ["version", "pipelines"],
            "properties": { "version": { "type": "string" }, "pipelines": { "type": "object" } },
        })) }),
            ),
        ),
        ("/metrics".to_owned(), get("metrics", "Metrics as Prometheus reads them", text("text/plain", "The metrics."))),
        (
            "/openapi.json".to_owned(),
            get("openapi", "This document", json!({ "200": reply("The document.", &json!({ "type": "object" })) })),
        ),
        ("/records".to_owned(), get("record_look_up", "Records for the browser", text("text/html", "The page."))),
        ("/dead-letters".to_owned(), get("dead_letter_list", "Dead letters for the browser", text("text/html", "The page."))),
        ("/v1/records".to_owned(), look::records()),
        ("/v1/dead-letters".to_owned(), look::letters()),
        ("/functions".to_owned(), get("function_forms", "The functions for the browser", text("text/html", "The page."))),
        ("/functions/{name}".to_owned(), form),
        (
            "/v1/pipelines/{name}/pause".to_owned(),
            operation_of("pause", "Pauses a pipeline, a topic or a partition, on all workers", true),
        ),
        ("/v1/pipelines/{name}/resume".to_owned(), operation_of("resume", "Lifts such a pause", false)),
        ("/v1/pipelines/{name}/swap".to_owned(), swap()),
    ])
}

/// A swap to another version, with a canary or without, or back.
fn swap() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let share = json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "description": "The share of the keys that goes to it; without it all do." });
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["by", "reason"],
        "properties": {
            "to": text("The version to go to: `base`, or one of the config."),
            "canary": share,
            "back": { "type": "boolean", "default": false, "description": "Take the last step back, in place of `to`." },
            "by": text("Who says so; stands in the journal."),
            "reason": text("Why."),
        },
    });
    let answer = json!({
        "type": "object", "required": ["pipeline", "changed", "version"],
        "properties": {
            "pipeline": { "type": "string" },
            "changed": { "type": "boolean", "description": "Whether it is another wish than before." },
            "number": { "type": "integer", "description": "Of the wish." },
            "version": text("The version of all keys, or of those that the canary does not have."),
            "canary": { "type": ["object", "null"] },
            "reason": text("Why."), "by": text("Who."), "since": text("Since when, RFC 3339."),
        },
    });
    let example = json!({ "to": "v2", "canary": 0.05, "by": "ann", "reason": "trained on May" });
    operated("swap", "Has all workers go over to another version of the pipeline's settings, or back", &schema, &example, &answer)
}

/// What an operator does to a pipeline.
fn operation_of(id: &str, summary: &str, pauses: bool) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let mut properties = json!({
        "by": text("Who says so; stands in the journal."),
        "reason": text("Why."),
        "topic": text("This topic alone; without it all topics."),
        "partition": { "type": "integer", "minimum": 0, "description": "This partition alone; goes with `topic` where the pipeline has several." },
    });
    let required = if pauses { json!(["by", "reason"]) } else { json!(["by"]) };
    if !pauses {
        properties["all"] = json!({ "type": "boolean", "default": false, "description": "Every pause of the pipeline." });
    }
    let schema = json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties });
    let answer = json!({
        "type": "object", "required": ["pipeline", "changed", "pauses"],
        "properties": {
            "pipeline": { "type": "string" },
            "changed": { "type": "integer", "description": "How many pauses are new, or were lifted." },
            "pauses": { "type": "array", "description": "Those in force now.", "items": { "type": "object" } },
        },
    });
    operated(id, summary, &schema, &json!({ "by": "ann", "reason": "the producer sends wrong amounts" }), &answer)
}

fn operated(id: &str, summary: &str, schema: &Value, example: &Value, answer: &Value) -> Value {
    let error = |description: &str| reply(description, &json!({ "$ref": "#/components/schemas/Error" }));
    let responses = json!({
        "200": reply("Done; all workers follow within seconds.", answer),
        "400": { "$ref": "#/components/responses/BadRequest" },
        "401": error("The token is missing or wrong."),
        "403": error("This worker has no admin token; the message tells what to set."),
        "404": { "$ref": "#/components/responses/NotFound" },
        "408": { "$ref": "#/components/responses/Slow" },
        "409": error("There is nothing to lift or to go back from; the message says what is in force."),
        "413": { "$ref": "#/components/responses/TooLarge" },
        "429": error("The token is wrong, and too many wrong ones came within a minute."),
        "503": error("The database does not answer; nothing was changed, or it is not known."),
    });
    let body = json_body(schema, Some(example.clone()));
    let mut item = json!({ "post": operation("service", id, summary, body, responses) });
    item["post"]["security"] = json!([{ "admin_token": [] }]);
    item["parameters"] = json!([{ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }]);
    item
}

fn health(word: &str) -> Value {
    let mut properties = json!({ "ok": { "type": "boolean" } });
    properties[word] = json!({ "type": "array", "items": { "type": "string" } });
    let schema = json!({ "type": "object", "required": ["ok", word], "properties": properties });
    json!({ "200": reply("It is.", &schema), "503": reply("It is not, and why.", &schema) })
}
