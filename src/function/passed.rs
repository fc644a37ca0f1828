//! What a prediction holds of the event itself: all of it, where the next pipeline of a chain reads it, and a key out of it.

use super::{Input, Outcome, Prediction};
use crate::event::{Event, Rejection, at, missing, object, wrong};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The field that holds the event.
pub const FIELD: &str = "event";

/// Dotted paths: the first that an event has is its record's key. Without any it is the event's own key.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(from = "OneOrMany")]
pub struct Paths(pub Vec<String>);

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a path, or a list of paths")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Paths {
    fn from(paths: OneOrMany) -> Self {
        Self(match paths {
            OneOrMany::One(path) => vec![path],
            OneOrMany::Many(paths) => paths,
        })
    }
}

impl Paths {
    /// What is wrong with them, for a function of that name.
    pub fn check(&self, function: &str) -> Result<(), String> {
        match self.0.iter().find(|path| path.split('.').any(str::is_empty)) {
            Some(path) => Err(format!("{function}: output_key {path:?} is no path; write names with dots between")),
            None => Ok(()),
        }
    }
}

/// The payload as a JSON object: numbers that fit neither 64-bit integers nor 64-bit floats lose digits.
pub fn tree(event: &Event) -> Result<Value, Rejection> {
    let bytes = event.payload().ok_or_else(|| Rejection::new("tombstone", "the record has no payload"))?;
    object(std::str::from_utf8(bytes).map_err(|_| Rejection::new("invalid_utf8", "the payload is not UTF-8"))?)
}

/// The event, if it can be stored.
pub fn whole(tree: Value) -> Result<Value, Rejection> {
    if holds_nul(&tree) { Err(nul()) } else { Ok(tree) }
}

/// The first of these values that is there, with its path, as a record's key.
pub fn key<'a>(found: impl IntoIterator<Item = (&'a str, Option<&'a Value>)> + Clone) -> Result<Box<str>, Rejection> {
    let first = found.clone().into_iter().next().map_or("", |(path, _)| path);
    let mut there = found.into_iter().filter_map(|(path, value)| Some((path, value.filter(|value| !value.is_null())?)));
    let (path, value) = there.next().ok_or_else(|| missing(first))?;
    match name(value) {
        Some(name) if name.contains('\0') => Err(nul().at(path)),
        Some(name) => Ok(name.into()),
        None => Err(wrong(path, value, "a string or an integer")),
    }
}

/// A text, or an integer as text.
pub fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Adds to what was emitted for each event the event itself, and the key that the paths name.
pub fn add(slice: &[Input], outcomes: Vec<Outcome>, pass_event: bool, keys: &Paths) -> Vec<Outcome> {
    if !pass_event && keys.0.is_empty() {
        return outcomes;
    }
    let with = |(input, outcome): (&Input, Outcome)| match outcome {
        Outcome::Emit(predictions) => {
            add_to(predictions, &input.event, pass_event, keys).map_or_else(Outcome::Reject, Outcome::Emit)
        }
        other => other,
    };
    slice.iter().zip(outcomes).map(with).collect()
}

fn add_to(mut to: Vec<Prediction>, event: &Event, pass_event: bool, keys: &Paths) -> Result<Vec<Prediction>, Rejection> {
    let tree = tree(event)?;
    if !keys.0.is_empty() {
        let key = key(keys.0.iter().map(|path| (path.as_str(), at(&tree, path))))?;
        to.iter_mut().for_each(|prediction| prediction.key = Some(key.clone()));
    }
    if pass_event {
        let event = whole(tree)?;
        to.iter_mut().for_each(|prediction| drop(prediction.fields.insert(FIELD.into(), event.clone())));
    }
    Ok(to)
}

/// Whether a string anywhere holds what Postgres cannot store.
pub fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

pub fn nul() -> Rejection {
    Rejection::new("nul_character", "a string holds U+0000, which Postgres cannot store")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn added(options: Value, payload: &str, outcome: Outcome) -> Outcome {
        let position = crate::event::Position { topic: "t".into(), partition: 0, offset: 0 };
        let raw = crate::event::RawEvent {
            position,
            timestamp_ms: 0,
            key: None,
            payload: Some(payload.as_bytes().into()),
            headers: vec![],
        };
        let event = Event { body: None, raw, id: "".into(), key: None, event_time_ms: 0, text: None };
        let keys: Paths = serde_json::from_value(options).unwrap();
        add(&[Input::plain(event)], vec![outcome], true, &keys).remove(0)
    }

    fn emitted() -> Outcome {
        let one = || Prediction { key: None, fields: Map::new(), label: None, score: Some(0.5), model: None };
        Outcome::Emit(vec![one(), one()])
    }

    /// Would catch: a prediction of an event without its event or key, a key that cannot be stored, endings that are no predictions
    /// and change.
    #[test]
    fn predictions_are_keyed_and_hold_their_event() {
        let payload = r#"{"who":{"account":7},"text":"é"}"#;
        let Outcome::Emit(found) = added(json!(["card", "who.account"]), payload, emitted()) else { panic!() };
        let event: Value = serde_json::from_str(payload).unwrap();
        assert!(found.len() == 2 && found.iter().all(|one| one.key.as_deref() == Some("7") && one.fields[FIELD] == event));
        let Outcome::Emit(found) = added(json!([]), payload, emitted()) else { panic!() };
        assert!(found.iter().all(|one| one.key.is_none() && one.fields[FIELD] == event));
        for (payload, code, field) in [
            (r#"{"account":"a\u0000"}"#, "nul_character", Some("account")),
            (r#"{"account":"a","x":"\u0000"}"#, "nul_character", None),
            (r#"{"account":1.5}"#, "wrong_type", Some("account")),
            (r#"{"account":null}"#, "missing_field", Some("account")),
        ] {
            let Outcome::Reject(rejection) = added(json!("account"), payload, emitted()) else { panic!("{payload}") };
            assert_eq!((rejection.code, rejection.field.as_deref()), (code, field), "{payload}");
        }
        assert!(matches!(added(json!("account"), "{}", Outcome::Skip("x")), Outcome::Skip("x")));
    }
}
