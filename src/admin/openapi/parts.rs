//! Pieces that the operations share.

use crate::admin::api::TRUNCATED;
use crate::admin::version::{CONFIG, VERSION};
use serde_json::{Value, json};

/// Statuses of errors, with what they mean.
const ERRORS: [(&str, &str, &str); 10] = [
    ("400", "BadRequest", "The request has another shape than is asked for, or a parameter that is not taken."),
    ("404", "NotFound", "There is no pipeline, function, model or version of that name; the message lists those that there are."),
    ("408", "Slow", "The body did not come in time."),
    ("409", "Ambiguous", "Several pipelines run the function; the message lists them."),
    ("413", "TooLarge", "The body, the number of inputs or a text is over its limit, which the message tells."),
    ("422", "Unprocessable", "An input cannot be answered, such as an empty text; `param` tells which."),
    ("429", "Overloaded", "As many requests are in work as may be. Ask again after `Retry-After` seconds."),
    ("500", "Internal", "The function failed."),
    (
        "503",
        "Loading",
        "The function's model, or the version, is being loaded, or cannot be, or bodies of other requests take all memory that there is for them; the \
         message says which. Ask again after `Retry-After` seconds.",
    ),
    ("504", "Late", "No answer in time; the message tells the limit. The call is given up."),
];

/// What all operations refer to.
pub fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let maybe = json!({ "type": ["string", "null"] });
    json!({
        "Error": {
            "type": "object", "required": ["error"],
            "properties": { "error": {
                "type": "object", "required": ["type", "message", "param", "code"],
                "properties": {
                    "type": text, "message": text, "code": maybe,
                    "param": { "type": ["string", "null"], "description": "What is meant, for example `inputs.3.text`." },
                },
            } },
        },
        "BareError": {
            "type": "object", "required": ["error", "error_type"],
            "properties": { "error": text, "error_type": text, "param": maybe },
        },
        "Rejected": {
            "type": "object", "required": ["rejected"],
            "properties": { "rejected": {
                "type": "object", "required": ["code", "field", "detail"],
                "properties": { "code": text, "field": maybe, "detail": text },
            } },
        },
    })
}

pub fn responses() -> Value {
    let mut all = json!({});
    for (status, name, description) in ERRORS {
        for (name, schema) in [(name.to_owned(), "Error"), (format!("Bare{name}"), "BareError")] {
            all[&name] = reply(description, &json!({ "$ref": format!("#/components/schemas/{schema}") }));
            if matches!(status, "429" | "503") {
                all[&name]["headers"] = json!({ "Retry-After": { "schema": { "type": "integer" } } });
            }
        }
    }
    all
}

/// An answer of JSON.
pub fn reply(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// The same with the header that says which inputs were cut.
pub fn with_truncated(mut good: Value) -> Value {
    let description =
        "Numbers of the inputs, from 0 on, of which the model did not see all; absent where it has. A stream has none.";
    good["headers"][TRUNCATED] = json!({
        "description": description, "schema": { "type": "string", "pattern": "^[0-9]+(,[0-9]+)*$" },
    });
    good
}

/// A call of one of a pipeline's versions. Without names the pipeline is not known before it is asked.
pub fn with_version(mut call: Value, names: Option<&[String]>) -> Value {
    let mut name = json!({ "type": "string" });
    if let Some(names) = names {
        name["enum"] = names.into();
    }
    call["parameters"] = json!([{
        "name": "version", "in": "query", "required": false, "schema": name,
        "description": "A version of the pipeline, as the config has it; `base` is its own settings. Without it the version answers that is in force on \
                        the stream for the keys which no canary has. One that no stream has in memory is loaded, and let go when nobody has called it for 10 minutes.",
    }]);
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let headers = &mut call["responses"]["200"]["headers"];
    headers[VERSION] = text("The version that has answered.");
    headers[CONFIG] = text("The digest of its settings: `config` of the records that it makes.");
    call
}

/// A body of JSON, with an example that is answered.
pub fn json_body(schema: &Value, example: Option<Value>) -> Value {
    let mut content = json!({ "schema": schema });
    if let Some(example) = example {
        content["example"] = example;
    }
    json!({ "required": true, "content": { "application/json": content } })
}

/// The good answer beside the errors.
pub fn errors(good: Value) -> Value {
    beside(good, "")
}

/// The same in the bare shape.
pub fn bare_errors(good: Value) -> Value {
    beside(good, "Bare")
}

fn beside(good: Value, shape: &str) -> Value {
    let mut all = json!({ "200": good });
    for (status, name, _) in ERRORS {
        all[status] = json!({ "$ref": format!("#/components/responses/{shape}{name}") });
    }
    all
}

/// One operation; `body` is null for those without one.
pub fn operation(tag: &str, id: &str, summary: &str, body: Value, responses: Value) -> Value {
    // Client generators make names of functions out of it.
    let id: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut operation = json!({ "tags": [tag], "operationId": id, "summary": summary, "responses": responses });
    if !body.is_null() {
        operation["requestBody"] = body;
    }
    operation
}
