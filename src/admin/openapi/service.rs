//! Health, metrics, state, lists.

use super::look;
use super::parts::{operation, reply};
use serde_json::{Map, Value, json};

pub fn paths() -> Map<String, Value> {
    let text = |kind: &str, description: &str| json!({ "200": { "description": description, "content": { kind: { "schema": { "type": "string" } } } } });
    let get =
        |id: &str, summary: &str, responses: Value| json!({ "get": operation("service", id, summary, Value::Null, responses) });
    let list = json!({ "type": "array", "items": {
        "type": "object", "required": ["pipeline", "name", "model", "version"],
        "properties": {
            "pipeline": { "type": "string" }, "name": { "type": "string" }, "model": { "type": "string" },
            "version": { "type": "integer" },
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
    ])
}

fn health(word: &str) -> Value {
    let mut properties = json!({ "ok": { "type": "boolean" } });
    properties[word] = json!({ "type": "array", "items": { "type": "string" } });
    let schema = json!({ "type": "object", "required": ["ok", word], "properties": properties });
    json!({ "200": reply("It is.", &schema), "503": reply("It is not, and why.", &schema) })
}
