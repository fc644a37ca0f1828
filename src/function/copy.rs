//! `copy`: chosen fields of the event, an optional expression over its numbers as score, and on demand the event itself: with
//! `pass_event` and `output_key` it merges topics into one that is keyed anew, for the pipeline after it.

mod expression;
mod path;

use super::passed::{self, Paths, holds_nul, nul};
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::event::{Rejection, object, pick};
use expression::Expr;
use futures_util::future::{BoxFuture, ready};
use path::Path;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// `options` of the pipeline.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Dotted paths; each is copied under its last name.
    pub fields: Vec<String>,
    /// `+ - * / ( )`, numbers, and dotted paths of numbers; for example `amount / 100`.
    pub score: Option<String>,
    /// Also writes the whole event, as `event`. Default false.
    pub pass_event: bool,
    /// Dotted path of the text or whole number that becomes the record's key; of a list the first that the event has. Default: the
    /// event's own key.
    pub output_key: Paths,
}

/// The pass-through function.
pub struct Copy {
    spec: Spec,
    /// Members of the event that are read; the rest is only looked past.
    names: Vec<Box<str>>,
    fields: Vec<(Path, String)>,
    score: Option<Expr>,
    pass_event: bool,
    key: Vec<Path>,
}

impl Copy {
    /// Reads the options; the error says what to change.
    pub fn new(options: &Map<String, Value>) -> Result<Self, String> {
        let options: Options =
            serde_json::from_value(Value::Object(options.clone())).map_err(|cause| format!("copy: options: {cause}"))?;
        let mut names = Vec::new();
        let name = |path: &str| {
            let name = path.rsplit('.').next().unwrap_or_default().to_string();
            match name.is_empty()
                || name == "score" && options.score.is_some()
                || name == passed::FIELD && options.pass_event
                || crate::record::RESERVED.contains(&name.as_str())
            {
                true => {
                    Err(format!("copy: field {path:?} would be written as {name:?}, which the record uses itself; leave it out"))
                }
                false => Ok(name),
            }
        };
        let mut fields = Vec::with_capacity(options.fields.len());
        for path in &options.fields {
            fields.push((Path::new(path, &mut names), name(path)?));
        }
        let score = options
            .score
            .as_ref()
            .map(|text| expression::parse(text, &mut names).map_err(|why| format!("copy: score {text:?}: {why}")));
        let score = score.transpose()?;
        options.output_key.check("copy")?;
        let key = options.output_key.0.iter().map(|path| Path::new(path, &mut names)).collect();
        let limits = Limits { slice: 2048, calls_in_flight: 2, timeout: Duration::from_secs(30) };
        let spec = Spec { name: "copy", version: 1, model: String::new(), limits };
        Ok(Self { spec, names, fields, score, pass_event: options.pass_event, key })
    }

    fn one(&self, input: &Input) -> Result<Prediction, Rejection> {
        let payload = input.event.payload().unwrap_or_default();
        let text = std::str::from_utf8(payload).map_err(|_| Rejection::new("invalid_utf8", "the payload is not UTF-8"))?;
        let picked = pick(text, &self.names)?;
        let mut fields = Map::new();
        for (path, name) in &self.fields {
            let value = path.find(&picked)?;
            if holds_nul(value) {
                return Err(nul().at(path.whole.as_str()));
            }
            fields.insert(name.clone(), value.clone());
        }
        let score = self.score.as_ref().map(|score| score.eval(&picked)).transpose()?;
        if let Some(score) = score {
            if !score.is_finite() {
                return Err(Rejection::new(
                    "non_finite",
                    "the score is not a finite number; the expression divides by zero or overflows",
                ));
            }
            fields.insert("score".into(), score.into());
        }
        let keys = self.key.iter().map(|path| (path.whole.as_str(), path.look(&picked)));
        let key = (!self.key.is_empty()).then(|| passed::key(keys)).transpose()?;
        if self.pass_event {
            fields.insert(passed::FIELD.into(), passed::whole(object(text)?)?);
        }
        Ok(Prediction { key, fields, label: None, score, model: None })
    }
}

impl Function for Copy {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        let outcome = |input| self.one(input).map_or_else(Outcome::Reject, |prediction| Outcome::Emit(vec![prediction]));
        Box::pin(ready(Ok(slice.iter().map(outcome).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_copied_and_bad_inputs_rejected() {
        let copy = Copy::new(serde_json::json!({"fields": ["b.c"], "score": "a / d"}).as_object().unwrap()).unwrap();
        let outcome = |payload: &str| {
            let position = crate::event::Position { topic: "t".into(), partition: 0, offset: 0 };
            let payload = Some(payload.as_bytes().into());
            let raw = crate::event::RawEvent { position, timestamp_ms: 0, key: None, payload, headers: vec![] };
            let event = crate::event::Event { body: None, raw, id: "".into(), key: None, event_time_ms: 0, text: None };
            copy.one(&Input::plain(event))
        };
        let good = outcome(r#"{"a":3,"b":{"c":[1]},"d":2}"#).unwrap();
        assert_eq!((good.score, &good.fields["c"]), (Some(1.5), &serde_json::json!([1])));
        assert_eq!(outcome(r#"{"a":3,"b":{"c":1},"d":0}"#).unwrap_err().code, "non_finite");
        assert_eq!(outcome(r#"{"a":3,"b":{"c":"\u0000"},"d":1}"#).unwrap_err().code, "nul_character");
        assert!(Copy::new(serde_json::json!({"fields": ["id"]}).as_object().unwrap()).is_err());
        assert!(Copy::new(serde_json::json!({"field": []}).as_object().unwrap()).is_err());
    }
    /// Would catch: an event that is not passed on as it was, a key of another field, one that is no name, a field that the passed
    /// event would cover.
    #[test]
    fn an_event_is_passed_on_under_the_key_that_it_has() {
        let options = serde_json::json!({ "pass_event": true, "output_key": ["who.user", "item"], "fields": ["item"] });
        let copy = Copy::new(options.as_object().unwrap()).unwrap();
        let outcome = |payload: &str| {
            let position = crate::event::Position { topic: "t".into(), partition: 0, offset: 0 };
            let payload = Some(payload.as_bytes().into());
            let raw = crate::event::RawEvent { position, timestamp_ms: 0, key: None, payload, headers: vec![] };
            copy.one(&Input::plain(crate::event::Event {
                body: None,
                raw,
                id: "".into(),
                key: None,
                event_time_ms: 0,
                text: None,
            }))
        };
        let payload = r#"{"id":9007199254740993,"who":{"user":7},"item":"a","x":[1.5,null,"é"]}"#;
        let click = outcome(payload).unwrap();
        assert_eq!((click.key.as_deref(), click.fields["event"].to_string().len()), (Some("7"), payload.len()));
        assert_eq!(click.fields["event"], serde_json::from_str::<Value>(payload).unwrap());
        let item = outcome(r#"{"who":{"user":null},"item":"a"}"#).unwrap();
        assert_eq!((item.key.as_deref(), &item.fields["item"]), (Some("a"), &"a".into()));
        for (payload, code, field) in [
            (r#"{"who":{"user":1.5},"item":"a"}"#, "wrong_type", Some("who.user")),
            (r#"{"who":{"user":"u\u0000"},"item":"a"}"#, "nul_character", Some("who.user")),
            (r#"{"item":"a","x":["\u0000"]}"#, "nul_character", None),
            (r#"{"item":null}"#, "missing_field", Some("who.user")),
        ] {
            let rejection = outcome(payload).unwrap_err();
            assert_eq!((rejection.code, rejection.field.as_deref()), (code, field), "{payload}");
        }
        for wrong in [r#"{"pass_event":true,"fields":["event"]}"#, r#"{"output_key":"a..b"}"#, r#"{"output_key":[""]}"#] {
            assert!(Copy::new(&serde_json::from_str(wrong).unwrap()).is_err(), "{wrong}");
        }
    }
}
