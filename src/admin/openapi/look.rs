//! `/v1/records` and `/v1/dead-letters`.

use super::parts::{operation, reply};
use crate::admin::look::{HANDLINGS, LETTERS, RECORDS};
use serde_json::{Value, json};

/// One parameter of a query.
fn parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

/// Pipeline, time and number.
fn narrowing((usual, most): (usize, usize)) -> Vec<Value> {
    let text = || json!({ "type": "string" });
    let time = "A date or a time of RFC 3339, UTC where it names no zone.";
    vec![
        parameter("pipeline", "All pipelines of the worker without it.", text()),
        parameter("since", &format!("Decided at or after. {time}"), text()),
        parameter("until", &format!("Decided before. {time}"), text()),
        parameter("limit", "The newest so many.", json!({ "type": "integer", "minimum": 1, "maximum": most, "default": usual })),
    ]
}

fn get(id: &str, summary: &str, parameters: Vec<Value>, answer: &Value) -> Value {
    let mut responses = json!({ "200": reply("What was found.", answer) });
    for (status, name) in [("400", "BadRequest"), ("404", "NotFound"), ("429", "Overloaded")] {
        responses[status] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
    let error = json!({ "$ref": "#/components/schemas/Error" });
    responses["503"] = reply("Postgres is away, is too slow, or refuses the worker; the message says which.", &error);
    let mut get = operation("service", id, summary, Value::Null, responses);
    get["parameters"] = parameters.into();
    json!({ "get": get })
}

fn commands() -> Value {
    let text = json!({ "type": "string" });
    json!({ "type": "array", "items": {
        "type": "object", "required": ["name", "about", "line"],
        "properties": { "name": text, "about": text, "line": { "type": "string", "description": "For a shell." } },
    } })
}

/// An object of texts and whole numbers, and of what else is named.
fn object(texts: &[&str], numbers: &[&str], more: Value) -> Value {
    let mut properties = more;
    for name in texts {
        properties[name] = json!({ "type": "string" });
    }
    for name in numbers {
        properties[name] = json!({ "type": "integer" });
    }
    let required: Vec<&str> = texts.iter().chain(numbers).copied().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

pub fn records() -> Value {
    let maybe = json!({ "type": ["string", "null"] });
    let record = object(
        &["id", "kind", "pipeline", "topic", "out_topic", "function", "model", "config", "decided_at"],
        &["run", "partition", "offset", "n", "hidden_fields"],
        json!({
            "key": { "description": "Text, or an object with `base64`; absent while payloads are hidden." },
            "headers": { "type": ["object", "null"] },
            "value": { "description": "The record's value, without its payload while payloads are hidden." },
            "label": maybe, "score": { "type": ["number", "null"] }, "handling": { "enum": HANDLINGS }, "commands": commands(),
        }),
    );
    let answer = json!({
        "type": "object", "required": ["records", "complete", "notes", "payloads_shown"],
        "properties": {
            "records": { "type": "array", "items": record },
            "complete": { "type": "boolean", "description": "Whether there are no others." },
            "notes": { "type": "array", "items": { "type": "string" }, "description": "How far was looked, and what to do about it." },
            "payloads_shown": { "type": "boolean", "description": "`show_payloads` of [admin]." },
        },
    });
    let text = || json!({ "type": "string" });
    let mut parameters = vec![
        parameter(
            "id",
            "`pipeline/run/topic/partition/offset`, with or without `/n`. One of `id`, `event`, `key` and `q` is needed.",
            text(),
        ),
        parameter("event", "The event's own id, or its place: `topic/partition/offset`.", text()),
        parameter("key", "The record's key.", text()),
        parameter(
            "q",
            "Any of the three: a record's id of a pipeline of this worker, else a place, else an event's own id and a key.",
            text(),
        ),
    ];
    parameters.extend(narrowing(RECORDS));
    get("find_records", "Records by id, event or key, the newest first", parameters, &answer)
}

pub fn letters() -> Value {
    let maybe = json!({ "type": ["string", "null"] });
    let counted = object(&["pipeline", "reason"], &HANDLINGS, json!({ "command": commands()["items"] }));
    let letter = object(
        &["id", "pipeline", "reason", "function", "model", "decided_at", "handling"],
        &[],
        json!({
            "field": maybe, "detail": maybe, "handled_at": maybe, "handled_by": maybe, "note": maybe, "commands": commands(),
            "event": {
                "type": "object", "description": "Key and beginning of the payload; absent while payloads are hidden.",
                "properties": { "key": {}, "payload": {}, "cut": { "type": "boolean" } },
            },
        }),
    );
    let answer = json!({
        "type": "object", "required": ["counts", "counts_complete", "letters", "more", "notes", "payloads_shown"],
        "properties": {
            "counts": { "type": "array", "items": counted, "description": "By pipeline and reason, whatever `reason` and `handling` say." },
            "counts_complete": { "type": "boolean" },
            "letters": { "type": "array", "items": letter },
            "more": { "type": "boolean" },
            "notes": { "type": "array", "items": { "type": "string" } },
            "payloads_shown": { "type": "boolean" },
        },
    });
    let mut parameters = vec![
        parameter("reason", "A reason's code, such as `missing_field`.", json!({ "type": "string" })),
        parameter("handling", "What was done about it.", json!({ "enum": HANDLINGS })),
    ];
    parameters.extend(narrowing(LETTERS));
    get("list_dead_letters", "Dead letters, counted by reason and listed", parameters, &answer)
}
