//! What the function needs of the event itself, beside its features.

use crate::config::risk::Options;
use crate::event::{Event, Rejection, at, missing, object, wrong};
use crate::function::passed::holds_nul;
use serde_json::Value;

#[derive(Debug, Default)]
pub struct Payload {
    /// For `pass_event`.
    pub event: Option<Value>,
    /// For `output_key`.
    pub key: Option<Box<str>>,
    /// Kind and value, for the lists.
    pub entities: Vec<(String, String)>,
}

impl Payload {
    /// `entities` are dotted paths; one that the event lacks is left out.
    pub fn read<'a>(event: &Event, options: &Options, entities: impl IntoIterator<Item = &'a str>) -> Result<Self, Rejection> {
        let mut entities = entities.into_iter().peekable();
        if !options.pass_event && options.output_key.is_none() && entities.peek().is_none() {
            return Ok(Self::default());
        }
        let bytes = event.raw.payload.as_deref().ok_or_else(|| Rejection::new("tombstone", "the record has no payload"))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Rejection::new("invalid_utf8", "the payload is not UTF-8"))?;
        let tree = object(text)?;
        let entities = entities.filter_map(|path| Some((path.to_owned(), name(at(&tree, path)?)?))).collect();
        let key = options.output_key.as_deref().map(|path| key(&tree, path)).transpose()?;
        if options.pass_event && holds_nul(&tree) {
            return Err(Rejection::new("nul_character", "a string holds U+0000, which Postgres cannot store"));
        }
        Ok(Self { event: options.pass_event.then_some(tree), key, entities })
    }
}

fn key(tree: &Value, path: &str) -> Result<Box<str>, Rejection> {
    let value = at(tree, path).filter(|value| !value.is_null()).ok_or_else(|| missing(path))?;
    name(value).map(Into::into).ok_or_else(|| wrong(path, value, "a string or an integer"))
}

/// A text, or an integer as text.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}
