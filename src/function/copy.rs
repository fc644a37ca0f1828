//! `copy`: chosen fields of the event, and an optional expression over its numbers as score.

use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::event::{Rejection, at, missing, pick, wrong};
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
    /// Members of the event that are read; the rest is only looked past.
    names: Vec<Box<str>>,
    fields: Vec<(Path, String)>,
    score: Option<Expr>,
}

/// A dotted path: which of the names it starts with, and what follows.
#[derive(Debug)]
struct Path {
    whole: String,
    name: usize,
    rest: Option<String>,
}

impl Path {
    fn new(whole: &str, names: &mut Vec<Box<str>>) -> Self {
        let (first, rest) = whole.split_once('.').map_or((whole, None), |(first, rest)| (first, Some(rest)));
        let name = names.iter().position(|name| **name == *first).unwrap_or_else(|| {
            names.push(first.into());
            names.len() - 1
        });
        Self { whole: whole.into(), name, rest: rest.map(Into::into) }
    }

    fn find<'a>(&self, picked: &'a [Option<Value>]) -> Result<&'a Value, Rejection> {
        let value = picked.get(self.name).and_then(Option::as_ref);
        let value = match &self.rest {
            Some(rest) => value.and_then(|value| at(value, rest)),
            None => value,
        };
        value.ok_or_else(|| missing(&self.whole))
    }
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
        let score =
            options.score.as_ref().map(|text| parse(text, &mut names).map_err(|why| format!("copy: score {text:?}: {why}")));
        let score = score.transpose()?;
        let limits = Limits { slice: 2048, calls_in_flight: 2, timeout: Duration::from_secs(30) };
        Ok(Self { spec: Spec { name: "copy", version: 1, model: String::new(), limits }, names, fields, score })
    }

    fn one(&self, input: &Input) -> Result<Prediction, Rejection> {
        let payload = input.event.raw.payload.as_deref().unwrap_or_default();
        let text = std::str::from_utf8(payload).map_err(|_| Rejection::new("invalid_utf8", "the payload is not UTF-8"))?;
        let picked = pick(text, &self.names)?;
        let mut fields = Map::new();
        for (path, name) in &self.fields {
            let value = path.find(&picked)?;
            if holds_nul(value) {
                return Err(
                    Rejection::new("nul_character", "a string holds U+0000, which Postgres cannot store").at(path.whole.as_str())
                );
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

pub(super) fn holds_nul(value: &Value) -> bool {
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
    Path(Path),
    Negate(Box<Expr>),
    Both(u8, Box<Expr>, Box<Expr>),
}

impl Expr {
    fn eval(&self, picked: &[Option<Value>]) -> Result<f64, Rejection> {
        Ok(match self {
            Expr::Number(number) => *number,
            Expr::Path(path) => {
                let value = path.find(picked)?;
                value.as_f64().ok_or_else(|| wrong(&path.whole, value, "a number"))?
            }
            Expr::Negate(inner) => -inner.eval(picked)?,
            Expr::Both(operator, left, right) => {
                let (left, right) = (left.eval(picked)?, right.eval(picked)?);
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

/// Reads an expression; the names that it needs are added to `names`.
fn parse(text: &str, names: &mut Vec<Box<str>>) -> Result<Expr, String> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(format!("longer than {MAX_EXPRESSION_BYTES} bytes"));
    }
    let mut parser = Parser { text, at: 0, names };
    let expr = parser.sum()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected("an operator")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a mut Vec<Box<str>>,
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
                Ok(Expr::Path(Path::new(word, self.names)))
            }
            _ => Err(self.unexpected("a number, a field or `(`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(text: &str) -> Result<f64, Rejection> {
        let mut names = Vec::new();
        let score = parse(text, &mut names).unwrap();
        score.eval(&pick(r#"{"a": 6, "b": {"c": 2.5}, "s": "x"}"#, &names).unwrap())
    }

    #[test]
    fn expressions_follow_the_usual_order() {
        for (text, value) in [("1+2*3", 7.0), ("(1+2)*3", 9.0), ("-a/2 - -1", -2.0), ("a - 1 - 2", 3.0), ("b.c * .5", 1.25)] {
            assert_eq!(score(text).unwrap(), value, "{text}");
        }
        assert_eq!(score("s + 1").unwrap_err().code, "wrong_type");
        assert_eq!(score("nope").unwrap_err().field.as_deref(), Some("nope"));
        for text in ["", "1 +", "(1", "1 2", "a $ b", "1.2.3", "é"] {
            assert!(parse(text, &mut Vec::new()).is_err(), "{text}");
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
            copy.one(&Input::plain(event))
        };
        let good = outcome(r#"{"a":3,"b":{"c":[1]},"d":2}"#).unwrap();
        assert_eq!((good.score, &good.fields["c"]), (Some(1.5), &serde_json::json!([1])));
        assert_eq!(outcome(r#"{"a":3,"b":{"c":1},"d":0}"#).unwrap_err().code, "non_finite");
        assert_eq!(outcome(r#"{"a":3,"b":{"c":"\u0000"},"d":1}"#).unwrap_err().code, "nul_character");
        assert!(Copy::new(serde_json::json!({"fields": ["id"]}).as_object().unwrap()).is_err());
        assert!(Copy::new(serde_json::json!({"field": []}).as_object().unwrap()).is_err());
    }
}
