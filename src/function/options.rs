//! Options of the text functions: what all have, what each has, and what one request may change.

use super::texts::TextOptions;
pub use crate::inference::seq2seq::EarlyStopping;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What every text function takes beside its own options: `max_text_tokens`, `pass_event`, `output_key`, and `fields`, a table of
/// dotted paths by the names of the function's input fields, for events whose fields are called otherwise.
#[derive(Debug, Clone, Default)]
pub struct Common {
    pub texts: TextOptions,
    pub fields: BTreeMap<String, String>,
}

const COMMON: [&str; 4] = ["fields", "max_text_tokens", "output_key", "pass_event"];

/// Reads a function's options. The error names the option, and for an unknown one those that are known.
pub fn read<O: DeserializeOwned + Serialize + Default>(
    function: &str,
    fields: &[&str],
    options: &Map<String, Value>,
) -> Result<(Common, O), String> {
    let known = names::<O>();
    let (mut shared, mut own, mut paths) = (Map::new(), Map::new(), BTreeMap::new());
    for (name, value) in options {
        if name == "fields" {
            paths = field_paths(function, fields, value)?;
        } else if COMMON.contains(&name.as_str()) {
            shared.insert(name.clone(), value.clone());
        } else if known.contains(name) {
            one::<O>(function, name, value)?;
            own.insert(name.clone(), value.clone());
        } else {
            let all: Vec<&str> = known.iter().map(String::as_str).chain(COMMON).collect();
            return Err(format!("{function}: there is no option `{name}`; known: {}", all.join(", ")));
        }
    }
    let own = serde_json::from_value(Value::Object(own)).map_err(|cause| format!("{function}: options: {cause}"))?;
    Ok((Common { texts: TextOptions::of(function, &shared)?, fields: paths }, own))
}

/// Options with those that were not given.
pub fn shown<O: DeserializeOwned + Serialize + Default>(options: &Map<String, Value>) -> Value {
    let mut all = serde_json::to_value(O::default()).unwrap_or_default();
    if let Value::Object(all) = &mut all {
        all.extend(options.clone());
    }
    all
}

fn names<O: Serialize + Default>() -> Vec<String> {
    match serde_json::to_value(O::default()) {
        Ok(Value::Object(all)) => all.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}

/// Alone, so that the error can name it.
fn one<O: DeserializeOwned>(function: &str, name: &str, value: &Value) -> Result<(), String> {
    let alone = Map::from_iter([(name.to_owned(), value.clone())]);
    let read: Result<O, _> = serde_json::from_value(Value::Object(alone));
    read.map(drop).map_err(|cause| format!("{function}: option `{name}`: {cause}"))
}

fn field_paths(function: &str, fields: &[&str], value: &Value) -> Result<BTreeMap<String, String>, String> {
    let paths: BTreeMap<String, String> = serde_json::from_value(value.clone()).map_err(|_| {
        format!("{function}: option `fields` must be a table of dotted paths, such as {{ {} = \"a.b\" }}", fields[0])
    })?;
    for (name, path) in &paths {
        if !fields.contains(&name.as_str()) {
            return Err(format!("{function}: option `fields`: there is no field `{name}`; known: {}", fields.join(", ")));
        }
        if path.split('.').any(str::is_empty) {
            return Err(format!("{function}: option `fields`: {path:?} is no path; write names with dots between"));
        }
    }
    Ok(paths)
}

/// A number of answers: left out is the function's own default, null is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopK(Option<Option<usize>>);

impl TopK {
    pub fn or(self, default: Option<usize>) -> usize {
        self.0.unwrap_or(default).unwrap_or(usize::MAX)
    }
}

impl<'de> Deserialize<'de> for TopK {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Option::<usize>::deserialize(from)? {
            Some(0) => Err(D::Error::custom("it must be at least 1, or null for all")),
            found => Ok(Self(Some(found))),
        }
    }
}

impl Serialize for TopK {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.flatten().serialize(to)
    }
}

/// What becomes of a text that is longer than the model sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// Its end is cut off, and the answer says `truncated`.
    #[default]
    Truncate,
    /// It is read in windows that overlap, and the answer says how many.
    Window,
    /// It is refused, with its length and the limit.
    Reject,
}

/// A list of texts, or one text with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "ListOrText")]
pub struct List(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of texts, or one text with commas between")]
enum ListOrText {
    List(Vec<String>),
    Text(String),
}

impl From<ListOrText> for List {
    fn from(from: ListOrText) -> Self {
        Self(match from {
            ListOrText::List(list) => list,
            ListOrText::Text(text) => text.split(',').map(|one| one.trim().to_owned()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(default)]
    struct Own {
        top_k: TopK,
        too_long: TooLong,
        labels: List,
    }

    fn read(options: Value) -> Result<(Common, Own), String> {
        super::read("f", &["text", "text_pair"], options.as_object().unwrap())
    }

    /// Would catch: an option that is passed over in silence, an error that does not name it.
    #[test]
    fn options_are_named_when_they_are_wrong() {
        for (wrong, named) in [
            (json!({ "topk": 1 }), "no option `topk`; known: labels, too_long, top_k, fields"),
            (json!({ "top_k": 0 }), "`top_k`: it must be at least 1"),
            (json!({ "too_long": "cut" }), "`too_long`: unknown variant"),
            (json!({ "labels": 3 }), "`labels`: a list of texts"),
            (json!({ "max_text_tokens": 0 }), "max_text_tokens"),
            (json!({ "fields": "a" }), "`fields` must be a table"),
            (json!({ "fields": { "tekst": "a" } }), "no field `tekst`; known: text, text_pair"),
            (json!({ "fields": { "text": "a..b" } }), "is no path"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.starts_with("f: ") && error.contains(named), "{error}");
        }
        let (common, own) =
            read(json!({ "top_k": null, "labels": "a, b", "fields": { "text": "x.y" }, "pass_event": true })).unwrap();
        assert!(common.texts.pass_event && common.fields["text"] == "x.y");
        assert_eq!((own.top_k.or(Some(1)), TopK::default().or(Some(1)), TopK::default().or(None)), (usize::MAX, 1, usize::MAX));
        assert_eq!(own.labels.0, ["a", "b"]);
    }
}
