//! The tolerant side of decoding: ids and times in their two spellings, mapped paths, and the field at fault.

use super::Rejection;
use super::decode::Parts;
use crate::config::{EventKind, Fields};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Value;
use std::borrow::Cow;

/// A string or an integer, as text.
pub(super) struct Id<'a>(pub Cow<'a, str>);

/// RFC 3339, or milliseconds since the Unix epoch.
pub(super) enum Time<'a> {
    Text(Cow<'a, str>),
    Ms(i64),
}

impl Time<'_> {
    pub fn ms(&self) -> Option<i64> {
        match self {
            Time::Ms(ms) => Some(*ms),
            Time::Text(text) => Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()),
        }
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Id<'de>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or an integer")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Id<'de>, E> {
        Ok(Id(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Id<'de>, E> {
        Ok(Id(Cow::Owned(text.into())))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Id<'de>, E> {
        Ok(Id(Cow::Owned(number.to_string())))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Id<'de>, E> {
        Ok(Id(Cow::Owned(number.to_string())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IdVisitor)
    }
}

struct TimeVisitor;

impl<'de> Visitor<'de> for TimeVisitor {
    type Value = Time<'de>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an RFC 3339 time or epoch milliseconds")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Time<'de>, E> {
        Ok(Time::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Time<'de>, E> {
        Ok(Time::Text(Cow::Owned(text.into())))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Time<'de>, E> {
        i64::try_from(number).map(Time::Ms).map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Time<'de>, E> {
        Ok(Time::Ms(number))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Time<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TimeVisitor)
    }
}

/// Looks again at a text that did not parse, and says which field is at fault. Never tells what the payload holds.
pub(super) fn diagnose(kind: EventKind, text: &str) -> Rejection {
    let value = match object(text) {
        Ok(value) => value,
        Err(rejection) => return rejection,
    };
    type Check = fn(&Value) -> bool;
    let id: Check = |v| id_text(v).is_some();
    let string: Check = Value::is_string;
    let time: Check = |v| time_ms(v).is_some();
    let number: Check = |v| v.as_f64().is_some_and(f64::is_finite);
    let (id, string) = ((id, "a string or an integer"), (string, "a string"));
    let (time, number) = ((time, "an RFC 3339 time or integer epoch milliseconds"), (number, "a finite number"));
    let fields: &[(&str, (Check, &str), bool)] = match kind {
        EventKind::Transaction => &[
            ("id", id, true),
            ("account", id, true),
            ("amount", number, true),
            ("currency", string, true),
            ("merchant", string, false),
            ("time", time, true),
        ],
        EventKind::ChatMessage => {
            &[("id", id, true), ("conversation", id, true), ("user", id, false), ("text", string, true), ("time", time, true)]
        }
        EventKind::Click => {
            &[("id", id, true), ("user", id, true), ("item", id, true), ("kind", string, true), ("time", time, true)]
        }
        EventKind::Json => &[],
    };
    for (name, (check, expected), required) in fields {
        match value.get(*name) {
            None if *required => return missing(name),
            Some(Value::Null) if !required => {}
            Some(found) if !check(found) => return wrong(name, found, expected),
            _ => {}
        }
    }
    // A number beyond f64 or a key that is there twice: JSON by its grammar, not an event by ours.
    Rejection::new("invalid_json", "a key stands twice, or a number is out of range")
}

/// The parts of a `json` event.
pub(super) fn mapped<'a>(text: &str, fields: &Fields) -> Result<Parts<'a>, Rejection> {
    let value = object(text)?;
    fn part<T>(
        value: &Value,
        path: &Option<String>,
        read: fn(&Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, Rejection> {
        let Some(path) = path else { return Ok(None) };
        let found = at(value, path).ok_or_else(|| missing(path))?;
        read(found).map(Some).ok_or_else(|| wrong(path, found, expected))
    }
    Ok(Parts {
        id: part(&value, &fields.id, id_text, "a string or an integer")?,
        key: part(&value, &fields.key, id_text, "a string or an integer")?,
        time_ms: part(&value, &fields.time, time_ms, "an RFC 3339 time or integer epoch milliseconds")?,
        text: part(&value, &fields.text, |v| v.as_str().map(|t| Cow::Owned(t.into())), "a string")?,
    })
}

/// The value at a dotted path through objects.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

/// What to do about a text that no JSON parser can hand on, to stand behind where it is; else empty.
pub(crate) fn half_pair(cause: &serde_json::Error) -> &'static str {
    let said = cause.to_string();
    match said.contains("surrogate") || said.contains("unexpected end of hex escape") {
        true => ": half of a pair of escapes, such as \\ud83d\\ude00; write both, or \\ufffd",
        false => "",
    }
}

/// The JSON object that a text holds.
pub fn object(text: &str) -> Result<Value, Rejection> {
    let value: Value = serde_json::from_str(text).map_err(|cause| {
        Rejection::new(
            "invalid_json",
            format!("not JSON at line {} column {}{}", cause.line(), cause.column(), half_pair(&cause)),
        )
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Rejection::new("not_an_object", format!("found {}, expected an object", name(&value))))
    }
}

pub(crate) fn missing(field: &str) -> Rejection {
    Rejection::new("missing_field", format!("field `{field}` is not there")).at(field)
}

pub(crate) fn wrong(field: &str, found: &Value, expected: &str) -> Rejection {
    Rejection::new("wrong_type", format!("field `{field}` is {}, expected {expected}", name(found))).at(field)
}

/// A list of texts that is none: its first element that is no text.
pub(crate) fn wrong_list(field: &str, found: &Value) -> Rejection {
    let element = found.as_array().and_then(|all| all.iter().enumerate().find(|(_, one)| !one.is_string()));
    match element {
        Some((place, one)) => wrong(&format!("{field}.{place}"), one, "a string"),
        None => wrong(field, found, "a list of strings"),
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn id_text(value: &Value) -> Option<Cow<'static, str>> {
    match value {
        Value::String(text) => Some(Cow::Owned(text.clone())),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

fn time_ms(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => Time::Text(Cow::Borrowed(text)).ms(),
        other => other.as_i64(),
    }
}
