//! The schema of one input: a text, or an event with the function's fields where its options say they stand.

use crate::function::task::MAX_ITEMS;
use serde_json::{Map, Value, json};

/// Of a function with these fields, under these options.
pub fn input(function: &str, fields: &[&str], options: &Map<String, Value>) -> Value {
    let path = |field: &str| {
        let moved = options.get("fields").and_then(|paths| paths.get(field)).and_then(Value::as_str);
        moved.unwrap_or(field).to_owned()
    };
    let mut event = json!({ "type": "object" });
    for field in fields {
        put(&mut event, &path(field), one(field));
    }
    let needed = needed(function, fields);
    match &needed[..] {
        [only] => only.iter().for_each(|field| require(&mut event, &path(field))),
        several => {
            let any = several.iter().map(|fields| {
                let mut one = json!({});
                fields.iter().for_each(|field| require(&mut one, &path(field)));
                one
            });
            event["anyOf"] = any.collect();
        }
    }
    // A plain text is the first field; it is enough where the others may be absent.
    let text_is_enough = needed.iter().any(|needed| needed[..] == fields[..1]);
    match text_is_enough {
        true => json!({ "anyOf": [one("text"), event] }),
        false => event,
    }
}

/// Fields that must be there; one of several sets.
fn needed<'a>(function: &str, fields: &[&'a str]) -> Vec<Vec<&'a str>> {
    match function {
        "answer" | "rerank" | "similar" => vec![fields.to_vec()],
        "generate" | "reply" | "tag" => fields.iter().map(|field| vec![*field]).collect(),
        _ => vec![fields.iter().take(1).copied().collect()],
    }
}

fn one(field: &str) -> Value {
    let text = || json!({ "type": "string", "minLength": 1 });
    match field {
        "text" | "text_pair" | "question" | "context" | "query" | "source_sentence" | "src_lang" | "tgt_lang" => text(),
        "words" | "texts" | "sentences" => json!({ "type": "array", "items": text(), "minItems": 1, "maxItems": MAX_ITEMS }),
        "candidate_labels" => json!({ "type": ["array", "string"], "items": text(), "minItems": 1, "maxItems": MAX_ITEMS }),
        "messages" => json!({
            "type": "array", "minItems": 1,
            "items": {
                "type": "object", "required": ["role", "content"],
                "properties": { "role": { "type": "string" }, "content": { "type": "string" } },
            },
        }),
        _ => json!({}),
    }
}

/// Sets the schema of what stands at a dotted path.
fn put(event: &mut Value, path: &str, schema: Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let member = &mut event["properties"][first];
    match rest {
        None => *member = schema,
        Some(rest) => {
            if !member.is_object() {
                *member = json!({ "type": "object" });
            }
            put(member, rest, schema);
        }
    }
}

/// Says that what stands at a dotted path must be there.
fn require(event: &mut Value, path: &str) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    if !event["required"].is_array() {
        event["required"] = json!([]);
    }
    if let Some(required) = event["required"].as_array_mut().filter(|known| !known.contains(&first.into())) {
        required.push(first.into());
    }
    if let Some(rest) = rest {
        require(&mut event["properties"][first], rest);
    }
}
