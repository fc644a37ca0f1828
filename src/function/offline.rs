//! The same functions off the stream: JSON in, JSON out, for `millrace call` and HTTP.

use super::{CallError, Function, Input, Outcome};
use crate::event::{Event, Position, RawEvent};
use serde_json::{Map, Value, json};

/// An input from a JSON value: a string is a text; an object is an event whose `text`, where it has one, is scored.
pub fn input(number: usize, value: &Value) -> Input {
    let text = match value {
        Value::String(text) => Some(text.as_str()),
        other => other.get("text").and_then(Value::as_str),
    };
    let raw = RawEvent {
        position: Position { topic: "offline".into(), partition: 0, offset: number as i64 },
        timestamp_ms: -1,
        key: None,
        payload: Some(value.to_string().into_bytes().into()),
        headers: Vec::new(),
    };
    Input::plain(Event { raw, id: number.to_string().into(), key: None, event_time_ms: 0, text: text.map(Into::into) })
}

/// What a stream would emit, without the envelope: the fields of each prediction, or `{"rejected": {...}}`.
pub fn output(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Emit(predictions) if predictions.len() == 1 => {
            predictions.into_iter().next().map_or(Value::Null, |prediction| Value::Object(prediction.fields))
        }
        Outcome::Emit(predictions) => predictions.into_iter().map(|prediction| Value::Object(prediction.fields)).collect(),
        Outcome::Skip(reason) => json!({ "skipped": reason }),
        Outcome::Reject(rejection) => {
            let mut rejected = Map::new();
            rejected.insert("code".into(), rejection.code.into());
            rejected.insert("field".into(), rejection.field.as_deref().into());
            rejected.insert("detail".into(), (&*rejection.detail).into());
            json!({ "rejected": rejected })
        }
    }
}

/// Calls with one slice; one output an input, in order.
pub async fn call(function: &dyn Function, values: &[Value]) -> Result<Vec<Value>, CallError> {
    let inputs: Vec<Input> = values.iter().enumerate().map(|(number, value)| input(number, value)).collect();
    Ok(function.call(&inputs).await?.into_iter().map(output).collect())
}
