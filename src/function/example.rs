//! A function's example as an event of its pipeline, where the options say how events look.

use crate::event::at;
use serde_json::{Map, Value, json};

/// The fields stand at their paths, and there is a key. Where the options say nothing about events it stays as it is.
pub fn event(example: Value, fields: &[&str], options: &Map<String, Value>) -> Value {
    if !["fields", "pass_event", "output_key"].iter().any(|name| options.contains_key(*name)) {
        return example;
    }
    let mut event = match example {
        Value::Object(event) => event,
        text => Map::from_iter([(fields.first().copied().unwrap_or("text").to_owned(), text)]),
    };
    let paths = options.get("fields").and_then(Value::as_object).into_iter().flatten();
    let paths: Vec<(&String, &str)> = paths.filter_map(|(name, path)| Some((name, path.as_str()?))).collect();
    let values: Vec<Option<Value>> = paths.iter().map(|(name, _)| event.remove(*name)).collect();
    for ((_, path), value) in paths.into_iter().zip(values) {
        if let Some(value) = value {
            put(&mut event, path, value);
        }
    }
    let key = match options.get("output_key") {
        Some(Value::Array(paths)) => paths.first().and_then(Value::as_str),
        path => path.and_then(Value::as_str),
    };
    let mut event = Value::Object(event);
    if let (Some(key), Value::Object(members)) = (key.filter(|key| at(&event, key).is_none()), &mut event) {
        put(members, key, json!("example"));
    }
    event
}

/// Sets what stands at a dotted path.
fn put(members: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        members.insert(path.to_owned(), value);
        return;
    };
    let inner = members.entry(first).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}
