//! What is read of an event: who did what with which item, or what an item is.

use super::id::{Id, fingerprint};
use super::item::Meta;
use crate::config::recommend::Recommend;
use crate::event::{Event, Rejection, missing, object, wrong};
use crate::state::pick::find;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Value;
use std::borrow::Cow;

/// Event times from 1970 to 2100, milliseconds.
const TIMES_MS: std::ops::Range<i64> = 0..4_102_444_800_000;
/// Longest name of a user, an item or a category, bytes.
const NAME_BYTES: usize = 200;
const CATEGORIES: usize = 32;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// The user took the item, with a weight by kind.
    Take(f64),
    /// The user does not want to see it.
    Dislike,
    /// It was shown.
    Impression,
    /// A list is asked for; nothing is folded.
    Request,
    /// An item event.
    Describe,
}

/// An event of this fold; `linked` is noted while the user's past is read.
#[derive(Debug, Clone)]
pub struct Facts {
    pub deed: Deed,
    pub user: Option<Id>,
    pub item: Option<Id>,
    pub id: u64,
    pub time_ms: i64,
    pub offset: i64,
    pub categories: Vec<Id>,
    pub meta: Option<Box<Meta>>,
    pub linked: Linked,
}

/// What the fold of other keys needs to know of the user and the item, as they stood before the event.
#[derive(Debug, Clone, Default)]
pub struct Linked {
    /// Items of the past, newest first, each once: the first keys of ring two.
    pub past: Vec<Neighbour>,
    /// Categories whose shelves are read, after the past.
    pub shelves: Vec<Id>,
    /// Categories of the item: those that are folded.
    pub categories: Vec<Id>,
    pub session: u32,
    /// Time of the session's first event, this one included.
    pub session_start_ms: i64,
    pub new_session: bool,
    /// Distinct items of the session so far, oldest first.
    pub session_items: Vec<Id>,
    pub vector: Option<Vec<f32>>,
    /// The event was here before, or is too old: it is answered and not folded.
    pub passed_over: bool,
    pub late: bool,
}

/// An item of the past, as an event sees it.
#[derive(Debug, Clone)]
pub struct Neighbour {
    pub item: Id,
    /// Events between, and one.
    pub distance: u32,
    pub same_session: bool,
    /// Whether it is among the events that came before; else it is only read.
    pub before: bool,
}

/// A text or an integer, as text.
struct Name<'a>(Cow<'a, str>);

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or an integer")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.into())))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(number.to_string())))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(number.to_string())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NameVisitor)
    }
}

#[derive(serde::Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    user: Option<Name<'a>>,
    #[serde(borrow, default)]
    item: Option<Name<'a>>,
    #[serde(borrow, default)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    categories: Option<Vec<Name<'a>>>,
    #[serde(default)]
    hidden: Option<bool>,
    #[serde(default)]
    ttl_s: Option<i64>,
    #[serde(default)]
    vector: Option<Vec<f64>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
}

/// Reads an event, or says what is wrong with it.
pub fn read(config: &Recommend, event: &Event) -> Result<Facts, Rejection> {
    let bytes = event.payload().ok_or_else(|| Rejection::new("tombstone", "the record has no payload"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| Rejection::new("invalid_utf8", "not UTF-8"))?;
    let Some(place) = &config.at else { return facts(config, event, text, text) };
    match find(text, place) {
        Some(part) => facts(config, event, text, part).map_err(|rejection| within(place, rejection)),
        None => Err(object(text).err().unwrap_or_else(|| missing(place))),
    }
}

/// A field of the part that is read, as a path from the top. Of the vector and its model the path is whole already.
fn within(place: &str, mut rejection: Rejection) -> Rejection {
    let names = ["kind", "user", "item", "title", "categories", "hidden", "ttl_s"];
    if let Some(field) = rejection.field.take_if(|field| names.contains(&&**field)) {
        rejection.field = Some(format!("{place}.{field}").into());
    }
    rejection
}

/// `part` is what names kind, user and item: the whole text, or the object at [`Recommend::at`].
fn facts(config: &Recommend, event: &Event, text: &str, part: &str) -> Result<Facts, Rejection> {
    let payload: Payload<'_> = serde_json::from_str(part).map_err(|_| diagnose(part))?;
    if !TIMES_MS.contains(&event.event_time_ms) {
        return Err(Rejection::new("time_out_of_range", "the event time is not within 1970 to 2100").at("time"));
    }
    let deed = match &*payload.kind {
        "item" => Deed::Describe,
        "impression" => Deed::Impression,
        "request" => Deed::Request,
        kind if config.dislikes.iter().any(|dislike| dislike == kind) => Deed::Dislike,
        kind => match config.kinds.get(kind) {
            Some(weight) => Deed::Take(*weight),
            None if config.kinds.is_empty() => Deed::Take(1.0),
            None => return Err(Rejection::new("unknown_kind", "the kind is not one of [recommend.kinds]").at("kind")),
        },
    };
    let name = |field: &'static str, found: &Option<Name<'_>>, needed: bool| match found {
        Some(Name(text)) => id(field, text).map(Some),
        None if needed => Err(missing(field)),
        None => Ok(None),
    };
    let categories = payload.categories.as_deref().unwrap_or_default();
    if categories.len() > CATEGORIES {
        return Err(Rejection::new("too_many", format!("more than {CATEGORIES} categories")).at("categories"));
    }
    let mut known: Vec<Id> = Vec::with_capacity(categories.len());
    for Name(text) in categories {
        let category = id("categories", text)?;
        if !known.contains(&category) {
            known.push(category);
        }
    }
    let meta = match deed {
        Deed::Describe => Some(Box::new(meta(config, &payload, text, &known, event.event_time_ms)?)),
        _ => None,
    };
    Ok(Facts {
        user: name("user", &payload.user, deed != Deed::Describe)?.filter(|_| deed != Deed::Describe),
        item: name("item", &payload.item, deed != Deed::Request)?.filter(|_| deed != Deed::Request),
        deed,
        id: fingerprint(&event.id),
        time_ms: event.event_time_ms,
        offset: event.raw.position.offset,
        categories: known,
        meta,
        linked: Linked::default(),
    })
}

fn id(field: &'static str, text: &str) -> Result<Id, Rejection> {
    match text {
        "" => Err(Rejection::new("empty_name", format!("field `{field}` is empty")).at(field)),
        text if text.len() > NAME_BYTES => {
            Err(Rejection::new("string_too_long", format!("{} bytes, the limit is {NAME_BYTES}", text.len())).at(field))
        }
        text if text.contains('\0') => Err(Rejection::new("nul_character", "a string holds U+0000").at(field)),
        text => Ok(Id::new(text)),
    }
}

fn meta(config: &Recommend, payload: &Payload<'_>, text: &str, categories: &[Id], time_ms: i64) -> Result<Meta, Rejection> {
    let expires_ms = match payload.ttl_s {
        None => None,
        Some(ttl_s) if ttl_s > 0 => Some(ttl_s.saturating_mul(1_000).saturating_add(time_ms)),
        Some(_) => return Err(Rejection::new("not_positive", "field `ttl_s` is not above 0").at("ttl_s")),
    };
    Ok(Meta {
        title: payload.title.as_deref().map(Into::into),
        categories: categories.into(),
        hidden: payload.hidden.unwrap_or(false),
        expires_ms,
        vector: vector(config, payload, text)?,
        time_ms,
    })
}

/// The vector at length 1, when it is of the model that the config names.
fn vector(config: &Recommend, payload: &Payload<'_>, text: &str) -> Result<Option<Vec<f32>>, Rejection> {
    let Some(interest) = &config.interest else { return Ok(None) };
    let place = interest.vector.as_deref().unwrap_or("vector");
    let vector: Option<Cow<'_, [f64]>> = match &interest.vector {
        None => payload.vector.as_deref().map(Cow::Borrowed),
        Some(place) => part(text, place, "a list of numbers")?.map(Cow::Owned),
    };
    let Some(vector) = vector else { return Ok(None) };
    let model: Option<Cow<'_, str>> = match &interest.vector_model {
        None => payload.model.as_deref().map(Cow::Borrowed),
        Some(place) => part(text, place, "a string")?.map(Cow::Owned),
    };
    let Some(model) = model else { return Err(missing(interest.vector_model.as_deref().unwrap_or("model"))) };
    if *model != interest.model {
        return Ok(None);
    }
    if vector.len() != interest.dimensions {
        let detail = format!("the vector has {} dimensions, expected {}", vector.len(), interest.dimensions);
        return Err(Rejection::new("wrong_dimension", detail).at(place));
    }
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(Rejection::new("not_finite", "the vector has no finite length above 0").at(place));
    }
    Ok(Some(vector.iter().map(|x| (x / length) as f32).collect()))
}

/// What stands at a path of the whole text, when something does.
fn part<T: serde::de::DeserializeOwned>(text: &str, place: &str, expected: &str) -> Result<Option<T>, Rejection> {
    let Some(found) = find(text, place) else { return Ok(None) };
    let refused = || Rejection::new("wrong_type", format!("field `{place}` is not {expected}")).at(place);
    serde_json::from_str(found).map(Some).map_err(|_| refused())
}

/// Looks again at a text that did not parse, and names the field.
fn diagnose(text: &str) -> Rejection {
    let value = match object(text) {
        Ok(value) => value,
        Err(rejection) => return rejection,
    };
    type Check = fn(&Value) -> bool;
    let name: Check = |v| v.is_string() || v.is_i64() || v.is_u64();
    let fields: [(&'static str, Check, &str); 9] = [
        ("kind", Value::is_string, "a string"),
        ("user", name, "a string or an integer"),
        ("item", name, "a string or an integer"),
        ("title", Value::is_string, "a string"),
        ("categories", Value::is_array, "a list of strings"),
        ("hidden", Value::is_boolean, "true or false"),
        ("ttl_s", Value::is_i64, "a whole number of seconds"),
        ("vector", Value::is_array, "a list of numbers"),
        ("model", Value::is_string, "a string"),
    ];
    for (field, check, expected) in fields {
        match value.get(field) {
            Some(found) if !found.is_null() && !check(found) => return wrong(field, found, expected),
            _ => {}
        }
    }
    if value.get("kind").is_none_or(Value::is_null) {
        return missing("kind");
    }
    for (field, check, expected) in
        [("categories", name, "a list of strings"), ("vector", Value::is_number as Check, "a list of numbers")]
    {
        let wrong_one = value.get(field).and_then(Value::as_array).and_then(|list| list.iter().find(|found| !check(found)));
        if let Some(found) = wrong_one {
            return wrong(field, found, expected);
        }
    }
    Rejection::new("invalid_json", "a key stands twice, or a number is out of range")
}
