//! What the command line says of the inputs and of the function's options.

use crate::cli::common::Usage;
use crate::event::{Rejection, half_pair};
use crate::function::Function;
use anyhow::Context;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A text, and fields that every input has.
pub struct Given {
    text: Option<String>,
    fields: Map<String, Value>,
}

impl Given {
    /// `set` are texts such as `name=value` and `name=@file`.
    pub fn new(text: Option<String>, set: &[String]) -> anyhow::Result<Self> {
        let field = |one: &String| {
            let (name, value) =
                one.split_once('=').ok_or_else(|| Usage(format!("--set {one}: write FIELD=VALUE, or FIELD=@FILE")))?;
            let value = match value.strip_prefix('@') {
                Some(path) => std::fs::read_to_string(path).with_context(|| format!("--set {name}: cannot read {path}"))?,
                None => value.to_owned(),
            };
            Ok::<_, anyhow::Error>((name.to_owned(), json(value)))
        };
        Ok(Self { text, fields: set.iter().map(field).collect::<Result<_, _>>()? })
    }

    /// The only input, where the command line has it.
    pub fn alone(&self, first_field: &str) -> Option<Value> {
        match &self.text {
            Some(text) => Some(self.with(object(text).unwrap_or_else(|| Value::String(text.clone())), first_field)),
            None => self.fields.contains_key(first_field).then(|| Value::Object(self.fields.clone())),
        }
    }

    /// An input with the fields; a plain text becomes the function's first one.
    pub fn with(&self, input: Value, first_field: &str) -> Value {
        if self.fields.is_empty() {
            return input;
        }
        let mut all = match input {
            Value::Object(all) => all,
            Value::String(text) => Map::from_iter([(first_field.to_owned(), text.into())]),
            other => return other,
        };
        all.extend(self.fields.clone());
        Value::Object(all)
    }
}

/// A text that is a JSON object, as such: a line of standard input is read so too.
fn object(text: &str) -> Option<Value> {
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok().map(Value::Object)).flatten()
}

fn json(text: String) -> Value {
    let nested = text.trim_start().starts_with(['[', '{']);
    let parsed = nested.then(|| serde_json::from_str(&text).ok()).flatten();
    parsed.unwrap_or(Value::String(text))
}

/// A line as JSON, or as a text; one that has the looks of an object or of a JSON string and is none is refused, for it was not meant
/// as a text.
pub fn read(line: Vec<u8>) -> Result<Value, Rejection> {
    let line = String::from_utf8(line).map_err(|cause| {
        Rejection::new("invalid_utf8", format!("not UTF-8 from byte {} on", cause.utf8_error().valid_up_to()))
    })?;
    match serde_json::from_str(&line) {
        // A chat line may be `42` or `true`.
        Ok(Value::Null | Value::Bool(_) | Value::Number(_)) => Ok(Value::String(line)),
        Ok(value) => Ok(value),
        Err(cause) if line.trim_start().starts_with('{') || quoted(line.trim()) => {
            Err(Rejection::new("invalid_json", format!("not JSON at column {}{}", cause.column(), half_pair(&cause))))
        }
        Err(_) => Ok(Value::String(line)),
    }
}

/// Whether a line is in quotes as a whole, without further quotes inside.
fn quoted(line: &str) -> bool {
    let Some(inside) = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    let mut escaped = false;
    !inside.chars().any(|sign| {
        let quote = sign == '"' && !escaped;
        escaped = sign == '\\' && !escaped;
        quote
    })
}

/// The function with the options that have words of their own.
pub fn tuned(
    function: Arc<dyn Function>,
    labels: Option<&str>,
    top_k: Option<usize>,
    too_long: Option<&str>,
) -> anyhow::Result<Arc<dyn Function>> {
    let own = [
        labels.map(|labels| ("candidate_labels", labels.into())),
        top_k.map(|k| ("top_k", k.into())),
        too_long.map(|policy| ("too_long", policy.into())),
    ];
    let parameters: Map<String, Value> = own.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
    if parameters.is_empty() {
        return Ok(function);
    }
    match function.requests() {
        Some(requests) => Ok(requests.tuned(&parameters).map_err(|error| Usage(error.message))?),
        None => Err(Usage(format!("`{}` takes none of --labels, --top-k and --too-long", function.spec().name)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Would catch: a field that is lost, a broken object that is scored as a text.
    #[test]
    fn inputs_are_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.txt");
        std::fs::write(&file, "Refunds take five days.").unwrap();
        let set = [format!("context=@{}", file.display()), "x=[1]".to_owned(), "y=a=b".to_owned()];
        let given = Given::new(Some("how long?".into()), &set).unwrap();
        let expected = json!({ "question": "how long?", "context": "Refunds take five days.", "x": [1], "y": "a=b" });
        assert_eq!(given.alone("question"), Some(expected.clone()));
        let lines = Given::new(None, &set).unwrap();
        assert_eq!(lines.alone("question"), None);
        let read = |line: &str| read(line.as_bytes().to_vec());
        assert_eq!(lines.with(read("how long?").unwrap(), "question"), expected);
        assert_eq!(lines.with(json!({ "question": "how long?" }), "question"), expected);
        assert_eq!(Given::new(None, &["text=a".to_owned()]).unwrap().alone("text"), Some(json!({ "text": "a" })));
        for half in ["{\"text\": \"\\ud800\"}", r#""\ud800""#, r#""\ud800\u0041""#] {
            let refused = read(half).unwrap_err();
            assert!(refused.code == "invalid_json" && refused.detail.contains("write both"), "{refused:?}");
        }
        assert!(!read("{\"text\": 1").unwrap_err().detail.contains("write both"));
        let refused = super::read(b"I love it \xff so".to_vec()).unwrap_err();
        assert_eq!((refused.code, &*refused.detail), ("invalid_utf8", "not UTF-8 from byte 10 on"));
        for text in ["[SEP] is a word", "\"Great,\" he said, \"stuff\"", "\"", "naïve \\u"] {
            assert_eq!(read(text).unwrap(), text);
        }
        for wrong in ["context", "context=@/no/such/file"] {
            assert!(Given::new(None, &[wrong.to_owned()]).err().unwrap().to_string().contains("--set"), "{wrong}");
        }
    }
}
