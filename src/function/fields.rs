//! What a function asks about, out of an event: one text, or several fields of its payload. The same JSON object works on a stream,
//! for `millrace call` and over HTTP; a plain text is the first field.

use super::Input;
use super::options::List;
use crate::event::{Rejection, at, missing, pick, wrong, wrong_list};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the fields of a function stand in an event.
#[derive(Debug, Clone)]
pub struct Places {
    places: Vec<Place>,
    /// The members of the payload that are read, each once.
    members: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
struct Place {
    name: &'static str,
    path: String,
    /// Whether the configuration names the path; else it is the field's own name.
    configured: bool,
    /// Which member the path begins with.
    member: usize,
}

impl Places {
    pub fn new(names: &[&'static str], paths: &BTreeMap<String, String>) -> Self {
        let mut members: Vec<Box<str>> = Vec::new();
        let place = |name: &&'static str| {
            let path = paths.get(*name).cloned().unwrap_or_else(|| (*name).to_owned());
            let first = path.split('.').next().unwrap_or_default();
            let member = members.iter().position(|known| **known == *first).unwrap_or_else(|| {
                members.push(first.into());
                members.len() - 1
            });
            Place { name, configured: paths.contains_key(*name), member, path }
        };
        let places = names.iter().map(place).collect();
        Self { places, members }
    }

    /// The same where paths are read too that are no fields of the function; see [`Fields::at`].
    pub fn with_paths(mut self, paths: &[String]) -> Self {
        for path in paths {
            let first = path.split('.').next().unwrap_or_default();
            if !self.members.iter().any(|known| **known == *first) {
                self.members.push(first.into());
            }
        }
        self
    }

    /// A refusal by the path in the event, where it names one of these fields.
    pub fn located(&self, refused: Rejection) -> Rejection {
        let Some(field) = refused.field.as_deref() else { return refused };
        let (name, rest) = field.split_once('.').unwrap_or((field, ""));
        let place = self.places.iter().find(|place| place.configured && place.name == name);
        match place.filter(|place| !field.starts_with(place.path.as_str())) {
            Some(place) if rest.is_empty() => refused.clone().at(place.path.as_str()),
            Some(place) => refused.clone().at(format!("{}.{rest}", place.path)),
            None => refused,
        }
    }

    /// Looks into one event.
    pub fn of<'a>(&'a self, input: &'a Input) -> Result<Fields<'a>, Rejection> {
        let text = input.event.text.as_deref();
        // A function of the decoder's text alone reads no more of the event.
        let decoded = text.is_some()
            && self.members.len() == 1
            && matches!(&self.places[..], [one] if !one.configured && one.name == "text");
        let members = match input.event.payload() {
            _ if decoded => vec![None; self.members.len()],
            None => vec![None; self.members.len()],
            Some(bytes) => {
                let payload =
                    std::str::from_utf8(bytes).map_err(|_| Rejection::new("invalid_utf8", "the payload is not UTF-8"))?;
                match pick(payload, &self.members) {
                    Ok(members) => members,
                    // Off the stream a text comes alone.
                    Err(refused) if text.is_some() && refused.code == "not_an_object" => vec![None; self.members.len()],
                    Err(refused) => return Err(refused),
                }
            }
        };
        Ok(Fields { places: self, members, text, input })
    }
}

/// The fields of one event.
pub struct Fields<'a> {
    places: &'a Places,
    members: Vec<Option<Value>>,
    text: Option<&'a str>,
    input: &'a Input,
}

impl Fields<'_> {
    /// The event whose fields these are, and what a fold says of it.
    pub fn input(&self) -> &Input {
        self.input
    }

    fn find(&self, name: &'static str) -> Option<(&Place, Option<&Value>)> {
        let place = self.places.places.iter().find(|place| place.name == name)?;
        let member = self.members[place.member].as_ref();
        let value = match place.path.split_once('.') {
            Some((_, rest)) => member.and_then(|member| at(member, rest)),
            None => member,
        };
        Some((place, value.filter(|value| !value.is_null())))
    }

    /// A text that may be absent.
    pub fn optional(&self, name: &'static str) -> Result<Option<String>, Rejection> {
        let Some((place, value)) = self.find(name) else { return Ok(None) };
        // The decoder's text is the field `text`; for a function of other fields it stands in for the first one.
        let first = self.places.places.first().is_some_and(|first| first.name == name);
        let decoded = self.text.filter(|_| first && !place.configured);
        match (value, decoded) {
            (_, Some(text)) if name == "text" => Ok(Some(text.to_owned())),
            (Some(Value::String(text)), _) => Ok(Some(text.clone())),
            (Some(other), _) => Err(wrong(&place.path, other, "a string")),
            (None, decoded) => Ok(decoded.map(str::to_owned)),
        }
    }

    /// A text that must be there.
    pub fn text(&self, name: &'static str) -> Result<String, Rejection> {
        self.optional(name)?.ok_or_else(|| missing(self.path(name)))
    }

    /// A list of texts, or one text with commas between, that may be absent.
    pub fn list(&self, name: &'static str) -> Result<Option<Vec<String>>, Rejection> {
        let Some((place, Some(value))) = self.find(name) else { return Ok(None) };
        match serde_json::from_value::<List>(value.clone()) {
            Ok(list) => Ok(Some(list.0)),
            Err(_) => Err(wrong_list(&place.path, value)),
        }
    }

    /// A list of texts that must be there.
    pub fn texts(&self, name: &'static str) -> Result<Vec<String>, Rejection> {
        let Some((place, Some(value))) = self.find(name) else { return Err(missing(self.path(name))) };
        serde_json::from_value(value.clone()).map_err(|_| wrong_list(&place.path, value))
    }

    /// A field as it is.
    pub fn value(&self, name: &'static str) -> Option<&Value> {
        self.find(name).and_then(|(_, value)| value)
    }

    /// What stands at one of the paths that [`Places::with_paths`] was given.
    pub fn at(&self, path: &str) -> Option<&Value> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let member = self.places.members.iter().position(|known| **known == *first)?;
        let value = self.members.get(member)?.as_ref()?;
        rest.map_or(Some(value), |rest| at(value, rest))
    }

    /// Whether a field is there.
    pub fn has(&self, name: &'static str) -> bool {
        self.find(name).is_some_and(|(_, value)| value.is_some())
    }

    fn path(&self, name: &'static str) -> &str {
        self.find(name).map_or(name, |(place, _)| &place.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::offline::input;
    use serde_json::json;

    fn places(paths: Value) -> Places {
        Places::new(&["question", "context", "labels"], &serde_json::from_value(paths).unwrap())
    }

    /// Would catch: a plain text that is lost, a path that is not followed, a wrong type that is taken for an absent field.
    #[test]
    fn fields_are_found_by_name_or_path() {
        let plain = places(json!({}));
        let one = input(0, &json!("who?"));
        let fields = plain.of(&one).unwrap();
        assert_eq!(fields.text("question").unwrap(), "who?");
        assert_eq!(fields.text("context").unwrap_err().field.as_deref(), Some("context"));
        let one = input(0, &json!({ "question": "q", "context": 7, "labels": "a,b" }));
        let fields = plain.of(&one).unwrap();
        assert_eq!((fields.text("question").unwrap().as_str(), fields.list("labels").unwrap().unwrap().len()), ("q", 2));
        assert_eq!(fields.text("context").unwrap_err().code, "wrong_type");
        let moved = places(json!({ "context": "doc.body", "labels": "doc.labels" }));
        let one = input(0, &json!({ "text": "q", "context": "no", "doc": { "body": "b", "labels": ["x", "y, z"] } }));
        let fields = moved.of(&one).unwrap();
        assert_eq!((fields.text("question").unwrap(), fields.text("context").unwrap()), ("q".to_owned(), "b".to_owned()));
        assert_eq!(fields.texts("labels").unwrap(), ["x", "y, z"]);
        let one = input(0, &json!({ "doc": { "labels": [1] } }));
        let refused = moved.of(&one).unwrap().texts("labels").unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), ("wrong_type", Some("doc.labels.0")));
        assert_eq!(&*refused.detail, "field `doc.labels.0` is a number, expected a string");
        for (labels, said) in
            [(json!("x"), "`doc.labels` is a string, expected a list of strings"), (json!(["x", null]), "`doc.labels.1` is null")]
        {
            let one = input(0, &json!({ "doc": { "labels": labels } }));
            let refused = moved.of(&one).unwrap().texts("labels").unwrap_err();
            assert!(refused.detail.contains(said), "{refused:?}");
        }
        let one = input(0, &json!({ "doc": { "labels": [1] } }));
        assert_eq!(moved.of(&one).unwrap().text("question").unwrap_err().code, "missing_field");
        for (field, expected) in
            [("labels.3", "doc.labels.3"), ("context", "doc.body"), ("doc.body", "doc.body"), ("question", "question")]
        {
            assert_eq!(moved.located(Rejection::new("x", "y").at(field)).field.as_deref(), Some(expected));
        }
        let beside = places(json!({ "context": "doc.body" })).with_paths(&["doc.author.name".to_owned(), "id".to_owned()]);
        let one = input(0, &json!({ "id": 7, "doc": { "body": "b", "author": { "name": "Ann" } } }));
        let fields = beside.of(&one).unwrap();
        assert_eq!((fields.at("doc.author.name"), fields.at("id")), (Some(&json!("Ann")), Some(&json!(7))));
        assert!(fields.at("doc.author.age").is_none() && fields.at("id.x").is_none() && fields.at("other").is_none());
        assert_eq!(fields.text("context").unwrap(), "b");
        let number = input(0, &json!(7));
        assert_eq!(moved.of(&number).err().unwrap().code, "not_an_object");
    }
}
