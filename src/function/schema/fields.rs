//! The schema of one input: a text, or an event with the function's fields where its options say they stand.

use crate::function::task::MAX_ITEMS;
use crate::function::texts::TextOptions;
use serde_json::{Map, Value, json};

/// Of a function with these fields, under these options.
pub fn input(function: &str, fields: &[&str], options: &Map<String, Value>) -> Value {
    let path = |field: &str| {
        let moved = options.get("fields").and_then(|paths| paths.get(field)).and_then(Value::as_str);
        moved.unwrap_or(field).to_owned()
    };
    let longest = longest(options);
    let mut event = json!({ "type": "object" });
    for field in fields {
        put(&mut event, &path(field), one(field, longest));
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
        true => json!({ "anyOf": [one("text", longest), event] }),
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

/// Characters of a text that are refused for certain: each has a byte or more. What is shorter may still have too many tokens.
fn longest(options: &Map<String, Value>) -> usize {
    let own = options.get("max_text_tokens").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok());
    let usual = TextOptions::default();
    TextOptions { max_text_tokens: own.unwrap_or(usual.max_text_tokens), ..usual }.most_bytes()
}

fn one(field: &str, longest: usize) -> Value {
    let text = || json!({ "type": "string", "minLength": 1, "maxLength": longest });
    match field {
        "text" | "text_pair" | "question" | "context" | "query" | "source_sentence" | "src_lang" | "tgt_lang" => text(),
        "words" | "texts" | "sentences" => json!({ "type": "array", "items": text(), "minItems": 1, "maxItems": MAX_ITEMS }),
        "candidate_labels" => json!({ "type": ["array", "string"], "items": text(), "minItems": 1, "maxItems": MAX_ITEMS }),
        "messages" => json!({
            "type": "array", "minItems": 1, "maxItems": MAX_ITEMS,
            "items": {
                "type": "object", "required": ["role", "content"],
                "properties": { "role": { "type": "string" }, "content": { "type": "string", "maxLength": longest } },
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
