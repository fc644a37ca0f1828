//! The JSON types that an option takes, found by giving it one value of each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A text that no option takes for one of its words.
const ODD: &str = "\u{1}";

/// A JSON schema for each option of a type, by name. An option that takes everything has an empty one.
pub fn types<O: DeserializeOwned + Serialize + Default>() -> Map<String, Value> {
    let Ok(Value::Object(all)) = serde_json::to_value(O::default()) else { return Map::new() };
    all.into_iter().map(|(name, _)| (name.clone(), of::<O>(&name))).collect()
}

fn of<O: DeserializeOwned>(name: &str) -> Value {
    let read = |value: Value| serde_json::from_value::<O>(Value::Object(Map::from_iter([(name.to_owned(), value)])));
    let takes = |value: Value| read(value).is_ok();
    let words = match read(ODD.into()) {
        Ok(_) => None,
        Err(cause) => variants(&cause.to_string()),
    };
    let (null, truth, object) = (takes(Value::Null), takes(true.into()), takes(json!({})));
    let (whole, part) = (takes(1.into()), takes(0.5.into()));
    let (text, list) = (takes(ODD.into()), takes(json!([ODD])));
    if truth && part && text && object {
        return json!({});
    }
    let kinds = [
        ("boolean", truth),
        ("number", part),
        ("integer", whole && !part),
        ("string", text || words.is_some()),
        ("array", list),
        ("object", object),
        ("null", null),
    ];
    let kinds: Vec<&str> = kinds.iter().filter(|(_, takes)| *takes).map(|(kind, _)| *kind).collect();
    let mut schema = match kinds[..] {
        [only] => json!({ "type": only }),
        _ => json!({ "type": kinds }),
    };
    if let Some(words) = words {
        let mut words: Vec<Value> = words.into_iter().map(Value::from).collect();
        words.extend(null.then_some(Value::Null));
        schema["enum"] = words.into();
    }
    if list {
        schema["items"] = json!({ "type": "string" });
    }
    if whole && !part {
        let least = [(-1, None), (0, Some(0)), (1, Some(1))].into_iter().find(|(value, _)| takes((*value).into()));
        if let Some((_, Some(least))) = least {
            schema["minimum"] = least.into();
        }
    }
    schema
}

/// The words of a choice, out of serde's message about one that is not among them.
fn variants(message: &str) -> Option<Vec<String>> {
    let (_, expected) = message.strip_prefix("unknown variant ")?.split_once(", expected ")?;
    let words = expected.split('`').skip(1).step_by(2).map(str::to_owned);
    Some(words.collect())
}
