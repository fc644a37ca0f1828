//! The event itself, passed on within a prediction: the next pipeline of a chain reads it there.

use super::{Input, Outcome};
use crate::event::{Rejection, object};
use serde_json::Value;

/// The field that holds it.
pub const FIELD: &str = "event";

/// The payload as a JSON value: numbers that fit neither 64-bit integers nor 64-bit floats lose digits.
pub fn event(input: &Input) -> Result<Value, Rejection> {
    let payload = input.event.raw.payload.as_deref().unwrap_or_default();
    let text = std::str::from_utf8(payload).map_err(|_| Rejection::new("invalid_utf8", "the payload is not UTF-8"))?;
    let event = object(text)?;
    match holds_nul(&event) {
        true => Err(Rejection::new("nul_character", "a string of the event holds U+0000, which Postgres cannot store")),
        false => Ok(event),
    }
}

/// Adds each event to what was emitted for it.
pub fn add(slice: &[Input], outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let with = |(input, outcome): (&Input, Outcome)| match outcome {
        Outcome::Emit(mut predictions) => match event(input) {
            Ok(event) => {
                predictions.iter_mut().for_each(|prediction| drop(prediction.fields.insert(FIELD.into(), event.clone())));
                Outcome::Emit(predictions)
            }
            Err(rejection) => Outcome::Reject(rejection),
        },
        other => other,
    };
    slice.iter().zip(outcomes).map(with).collect()
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
