//! `copy`: chosen fields of the event, and an optional expression over its numbers as score.

use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::event::{Rejection, at, missing, object, wrong};
use futures_util::future::{BoxFuture, ready};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// `options` of the pipeline.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Dotted paths; each is copied under its last name.
    pub fields: Vec<String>,
    /// `+ - * / ( )`, numbers, and dotted paths of numbers; for example `amount / 100`.
    pub score: Option<String>,
}

/// The pass-through function.
pub struct Copy {
    spec: Spec,
    fields: Vec<(String, String)>,
    score: Option<Expr>,
}

impl Copy {
    /// Reads the options; the error says what to change.
    pub fn new(options: &Map<String, Value>) -> Result<Self, String> {
        let options: Options =
            serde_json::from_value(Value::Object(options.clone())).map_err(|cause| format!("copy: options: {cause}"))?;
        let name = |path: String| {
            let name = path.rsplit('.').next().unwrap_or_default().to_string();
            match name.is_empty()
                || name == "score" && options.score.is_some()
                || crate::record::RESERVED.contains(&name.as_str())
            {
                true => {
                    Err(format!("copy: field {path:?} would be written as {name:?}, which the record uses itself; leave it out"))
                }
                false => Ok((path, name)),
            }
        };
        let fields = options.fields.into_iter().map(name).collect::<Result<_, _>>()?;
        let score = options.score.map(|text| parse(&text).map_err(|why| format!("copy: score {text:?}: {why}"))).transpose()?;
        let limits = Limits { slice: 2048, calls_in_flight: 2, timeout: Duration::from_secs(30) };
        Ok(Self { spec: Spec { name: "copy", version: 1, model: String::new(), limits }, fields, score })
    }

    fn one(&self, input: &Input) -> Result<Prediction, Rejection> {
        let payload = input.event.raw.payload.as_deref().unwrap_or_default();
        let text = std::str::from_utf8(payload).map_err(|_| Rejection::new("invalid_utf8", "the payload is not UTF-8"))?;
        let event = object(text)?;
        let mut fields = Map::new();
        for (path, name) in &self.fields {
            let value = at(&event, path).ok_or_else(|| missing(path))?;
            if holds_nul(value) {
                return Err(
                    Rejection::new("nul_character", "a string holds U+0000, which Postgres cannot store").at(path.as_str())
                );
            }
            fields.insert(name.clone(), value.clone());
        }
        let score = self.score.as_ref().map(|score| score.eval(&event)).transpose()?;
        if let Some(score) = score {
            if !score.is_finite() {
                return Err(Rejection::new(
                    "non_finite",
                    "the score is not a finite number; the expression divides by zero or overflows",
                ));
            }
            fields.insert("score".into(), score.into());
        }
        Ok(Prediction { key: None, fields, label: None, score })
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

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

#[derive(Debug)]
enum Expr {
    Number(f64),
    Path(String),
    Negate(Box<Expr>),
    Both(u8, Box<Expr>, Box<Expr>),
}

impl Expr {
    fn eval(&self, event: &Value) -> Result<f64, Rejection> {
        Ok(match self {
            Expr::Number(number) => *number,
            Expr::Path(path) => {
                let value = at(event, path).ok_or_else(|| missing(path))?;
                value.as_f64().ok_or_else(|| wrong(path, value, "a number"))?
            }
            Expr::Negate(inner) => -inner.eval(event)?,
            Expr::Both(operator, left, right) => {
                let (left, right) = (left.eval(event)?, right.eval(event)?);
                match operator {
                    b'+' => left + right,
                    b'-' => left - right,
                    b'*' => left * right,
                    _ => left / right,
                }
            }
        })
    }
}

const MAX_EXPRESSION_BYTES: usize = 1000;

fn parse(text: &str) -> Result<Expr, String> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(format!("longer than {MAX_EXPRESSION_BYTES} bytes"));
    }
    let mut parser = Parser { text, at: 0 };
    let expr = parser.sum()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected("an operator")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &str) -> String {
        format!("expected {expected} at character {}", self.at + 1)
    }

    fn sum(&mut self) -> Result<Expr, String> {
        let mut left = self.product()?;
        while let Some(operator @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            left = Expr::Both(operator, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr, String> {
        let mut left = self.atom()?;
        while let Some(operator @ (b'*' | b'/')) = self.peek() {
            self.at += 1;
            left = Expr::Both(operator, Box::new(left), Box::new(self.atom()?));
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Expr, String> {
        match self.peek() {
            Some(b'-') => {
                self.at += 1;
                Ok(Expr::Negate(Box::new(self.atom()?)))
            }
            Some(b'(') => {
                self.at += 1;
                let inner = self.sum()?;
                if self.peek() != Some(b')') {
                    return Err(self.unexpected("`)`"));
                }
                self.at += 1;
                Ok(inner)
            }
            Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.') => {
                let rest = &self.text[self.at..];
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
                let word = &rest[..end];
                if !b.is_ascii_alphabetic() && b != b'_' {
                    let number = word.parse().map_err(|_| self.unexpected("a number"))?;
                    self.at += end;
                    return Ok(Expr::Number(number));
                }
                self.at += end;
                Ok(Expr::Path(word.into()))
            }
            _ => Err(self.unexpected("a number, a field or `(`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(text: &str) -> Result<f64, Rejection> {
        parse(text).unwrap().eval(&serde_json::json!({"a": 6, "b": {"c": 2.5}, "s": "x"}))
    }

    #[test]
    fn expressions_follow_the_usual_order() {
        for (text, value) in [("1+2*3", 7.0), ("(1+2)*3", 9.0), ("-a/2 - -1", -2.0), ("a - 1 - 2", 3.0), ("b.c * .5", 1.25)] {
            assert_eq!(score(text).unwrap(), value, "{text}");
        }
        assert_eq!(score("s + 1").unwrap_err().code, "wrong_type");
        assert_eq!(score("nope").unwrap_err().field.as_deref(), Some("nope"));
        for text in ["", "1 +", "(1", "1 2", "a $ b", "1.2.3", "é"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_are_copied_and_bad_inputs_rejected() {
        let copy = Copy::new(serde_json::json!({"fields": ["b.c"], "score": "a / d"}).as_object().unwrap()).unwrap();
        let outcome = |payload: &str| {
            let position = crate::event::Position { topic: "t".into(), partition: 0, offset: 0 };
            let payload = Some(payload.as_bytes().into());
            let raw = crate::event::RawEvent { position, timestamp_ms: 0, key: None, payload, headers: vec![] };
            let event = crate::event::Event { raw, id: "".into(), key: None, event_time_ms: 0, text: None };
            copy.one(&Input { event })
        };
        let good = outcome(r#"{"a":3,"b":{"c":[1]},"d":2}"#).unwrap();
        assert_eq!((good.score, &good.fields["c"]), (Some(1.5), &serde_json::json!([1])));
        assert_eq!(outcome(r#"{"a":3,"b":{"c":1},"d":0}"#).unwrap_err().code, "non_finite");
        assert_eq!(outcome(r#"{"a":3,"b":{"c":"\u0000"},"d":1}"#).unwrap_err().code, "nul_character");
        assert!(Copy::new(serde_json::json!({"fields": ["id"]}).as_object().unwrap()).is_err());
        assert!(Copy::new(serde_json::json!({"field": []}).as_object().unwrap()).is_err());
    }
}
