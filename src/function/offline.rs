//! The same functions off the stream: JSON in, JSON out, for `millrace call` and HTTP.

use super::{CallError, Function, Input, Outcome, halve};
use crate::event::{Decoder, Event, Position, RawEvent, Rejection, at, wrong};
use crate::state::Fold;
use crate::state::in_memory::InMemory;
use serde_json::{Map, Value, json};

/// How JSON values become inputs.
pub trait Offline: Send + Sync {
    /// A beginning: what is folded in a sitting is seen by what comes after it there, and by nothing else.
    fn sitting(&self) -> Box<dyn Sitting>;
}

/// Turns values into inputs, in their order.
pub trait Sitting: Send {
    fn input(&mut self, number: usize, value: &Value) -> Result<Input, Rejection>;
}

/// For functions without a fold: a string is a text; an object is an event whose `text`, where it has one, is scored.
pub struct Plain;

impl Offline for Plain {
    fn sitting(&self) -> Box<dyn Sitting> {
        Box::new(Self)
    }
}

impl Sitting for Plain {
    fn input(&mut self, number: usize, value: &Value) -> Result<Input, Rejection> {
        Ok(input(number, value))
    }
}

/// For functions without a fold in a pipeline whose texts stand at a dotted path: the same, where an object's text is what stands
/// there. Objects without the path are read as by [`Plain`], so that a function's own example is answered.
#[derive(Clone)]
pub struct Mapped {
    pub path: String,
}

impl Offline for Mapped {
    fn sitting(&self) -> Box<dyn Sitting> {
        Box::new(self.clone())
    }
}

impl Sitting for Mapped {
    fn input(&mut self, number: usize, value: &Value) -> Result<Input, Rejection> {
        let mut input = input(number, value);
        match at(value, &self.path) {
            Some(Value::String(text)) => input.event.text = Some(text.as_str().into()),
            Some(other) => return Err(wrong(&self.path, other, "a string")),
            None => {}
        }
        Ok(input)
    }
}

/// For functions with a fold: events as on the pipeline's topic, oldest first, folded from the empty state.
pub struct Folding<M> {
    decoder: Decoder,
    make: M,
}

impl<F: Fold, M: Fn() -> F + Send + Sync> Folding<M> {
    pub fn new(decoder: Decoder, make: M) -> Self {
        Self { decoder, make }
    }
}

impl<F: Fold, M: Fn() -> F + Send + Sync> Offline for Folding<M> {
    fn sitting(&self) -> Box<dyn Sitting> {
        Box::new(Folded { decoder: self.decoder.clone(), states: InMemory::new((self.make)()) })
    }
}

struct Folded<F: Fold> {
    decoder: Decoder,
    states: InMemory<F>,
}

impl<F: Fold> Sitting for Folded<F> {
    fn input(&mut self, number: usize, value: &Value) -> Result<Input, Rejection> {
        let event = self.decoder.decode(raw(number, value)).map_err(|(_, rejection)| rejection)?;
        let features = self.states.apply(&event)?;
        Ok(Input { event, features: Some(features) })
    }
}

/// For functions that may do without their fold: an event that has a key is folded, as by `folding`; what has none, such as a plain
/// text, stands alone and is read by `alone`.
pub struct Keyed<O> {
    pub folding: O,
    /// Dotted path of the key.
    pub key: String,
    pub alone: Mapped,
}

struct KeyedSitting {
    folding: Box<dyn Sitting>,
    key: String,
    alone: Mapped,
}

impl<O: Offline> Offline for Keyed<O> {
    fn sitting(&self) -> Box<dyn Sitting> {
        Box::new(KeyedSitting { folding: self.folding.sitting(), key: self.key.clone(), alone: self.alone.clone() })
    }
}

impl Sitting for KeyedSitting {
    fn input(&mut self, number: usize, value: &Value) -> Result<Input, Rejection> {
        match at(value, &self.key) {
            None | Some(Value::Null) => self.alone.input(number, value),
            Some(_) => self.folding.input(number, value),
        }
    }
}

/// A text, or an event whose `text` is scored.
pub(super) fn input(number: usize, value: &Value) -> Input {
    let text = match value {
        Value::String(text) => Some(text.as_str()),
        other => other.get("text").and_then(Value::as_str),
    };
    let raw = raw(number, value);
    Input::plain(Event {
        body: None,
        raw,
        id: number.to_string().into(),
        key: None,
        event_time_ms: 0,
        text: text.map(Into::into),
    })
}

fn raw(number: usize, value: &Value) -> RawEvent {
    RawEvent {
        position: Position { topic: "offline".into(), partition: 0, offset: number as i64 },
        timestamp_ms: -1,
        key: None,
        payload: Some(value.to_string().into_bytes().into()),
        headers: Vec::new(),
    }
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

/// Calls with one slice, whose first value has that number in the sitting; one output a value, in order. A value on which the function
/// fails is refused as on the stream, and spoils no other.
pub async fn call(
    function: &dyn Function,
    sitting: &mut dyn Sitting,
    first: usize,
    values: &[Value],
) -> Result<Vec<Value>, CallError> {
    let (mut inputs, mut refusals) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
    for (number, value) in values.iter().enumerate() {
        match sitting.input(first + number, value) {
            Ok(input) => {
                inputs.push(input);
                refusals.push(None);
            }
            Err(rejection) => refusals.push(Some(rejection)),
        }
    }
    let mut outcomes = halve::each(inputs.len(), |stretch| function.call(&inputs[stretch]), Outcome::Reject).await?.into_iter();
    let outcome = |refusal: Option<Rejection>| match refusal {
        Some(rejection) => Ok(Outcome::Reject(rejection)),
        None => outcomes.next().ok_or_else(|| CallError::Fatal("the function gave fewer outcomes than inputs".into())),
    };
    refusals.into_iter().map(outcome).map(|outcome| outcome.map(output)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a text that is looked for where the pipeline's events have none.
    #[test]
    fn the_text_of_an_object_stands_where_the_pipeline_says() {
        let mut mapped = Mapped { path: "mail.body".into() };
        let mut text = |value: Value| mapped.input(0, &value).map(|input| input.event.text.map(String::from));
        assert_eq!(text(json!({ "mail": { "body": "a" }, "text": "b" })).unwrap().as_deref(), Some("a"));
        assert_eq!(text(json!({ "text": "b" })).unwrap().as_deref(), Some("b"));
        assert_eq!(text(json!("c")).unwrap().as_deref(), Some("c"));
        let refused = text(json!({ "mail": { "body": 7 } })).unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), ("wrong_type", Some("mail.body")));
    }
}
