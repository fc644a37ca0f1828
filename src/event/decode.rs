//! Bytes into events: limits first, then a borrowed parse; only what fails is looked at again, to name the field.

use super::fields::{Id, Time, diagnose, mapped};
use super::{Body, Event, RawEvent, Rejection};
use crate::config::{EventKind, Fields, Limits};
use serde::Deserialize;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Turns raw events of one pipeline into events.
#[derive(Debug, Clone)]
pub struct Decoder {
    kind: EventKind,
    fields: Fields,
    limits: Limits,
    /// What makes JSON of the payload; `None` where it is JSON.
    body: Option<Arc<dyn Body>>,
}

/// What the kinds have in common once they are parsed.
pub(super) struct Parts<'a> {
    pub id: Option<Cow<'a, str>>,
    pub key: Option<Cow<'a, str>>,
    pub time_ms: Option<i64>,
    pub text: Option<Cow<'a, str>>,
}

/// Id, key, time and text of an event, and its JSON where it came in another format.
type Owned = (Box<str>, Option<Box<str>>, i64, Option<Box<str>>, Option<Box<str>>);

/// A panic while one event is decoded is that event's end, as in a function's call, and nobody else's.
#[expect(clippy::result_large_err, reason = "the raw event goes on to its dead letter; a box would cost every event")]
fn guarded(raw: RawEvent, parts: impl FnOnce(&RawEvent) -> Result<Owned, Rejection>) -> Result<Event, (RawEvent, Rejection)> {
    // What is looked at is not changed, so that no half of a change is left behind.
    match catch_unwind(AssertUnwindSafe(|| parts(&raw))) {
        Ok(Ok((id, key, event_time_ms, text, body))) => Ok(Event { raw, id, key, event_time_ms, text, body }),
        Ok(Err(rejection)) => Err((raw, rejection)),
        Err(_panic) => Err((raw, Rejection::new("poison", "decoding fails on this event: it panicked"))),
    }
}

impl Decoder {
    pub fn new(kind: EventKind, fields: Fields, limits: Limits) -> Self {
        Self { kind, fields, limits, body: None }
    }

    /// The same for payloads of which something else makes JSON.
    pub fn reading(self, body: Option<Arc<dyn Body>>) -> Self {
        Self { body, ..self }
    }

    /// The event, or the raw one with the reason why it is none.
    #[expect(clippy::result_large_err, reason = "the raw event goes on to its dead letter; a box would cost every event")]
    pub fn decode(&self, raw: RawEvent) -> Result<Event, (RawEvent, Rejection)> {
        guarded(raw, |raw| self.parts(raw))
    }

    fn parts(&self, raw: &RawEvent) -> Result<Owned, Rejection> {
        let bytes = raw.payload.as_deref().ok_or_else(|| Rejection::new("tombstone", "the record has no payload"))?;
        let Some(body) = &self.body else { return self.parts_of(self.admit(bytes)?, raw) };
        self.check_bytes(bytes)?;
        let json = body.json(bytes, &self.limits)?;
        let (id, key, time_ms, text, _) = self.parts_of(self.admit(json.as_bytes())?, raw)?;
        Ok((id, key, time_ms, text, Some(json.into())))
    }

    fn parts_of(&self, text: &str, raw: &RawEvent) -> Result<Owned, Rejection> {
        let parts = match self.kind {
            EventKind::Transaction => parse::<Transaction<'_>>(text).and_then(Transaction::parts),
            EventKind::ChatMessage => parse::<ChatMessage<'_>>(text).and_then(ChatMessage::parts),
            EventKind::Click => parse::<Click<'_>>(text).and_then(Click::parts),
            EventKind::Json => Some(mapped(text, &self.fields)?),
        };
        let parts = parts.ok_or_else(|| diagnose(self.kind, text))?;
        for (field, value) in [("id", &parts.id), ("key", &parts.key), ("text", &parts.text)] {
            if let Some(value) = value {
                self.check_string(self.name_of(field), value)?;
            }
        }
        if parts.text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Rejection::new("empty_text", "the text is empty or white space").at(self.name_of("text")));
        }
        let id = parts.id.map_or_else(|| raw.position.to_string().into_boxed_str(), |id| id.into());
        Ok((id, parts.key.map(Into::into), parts.time_ms.unwrap_or(raw.timestamp_ms), parts.text.map(Into::into), None))
    }

    /// What can be refused without parsing.
    fn admit<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, Rejection> {
        self.check_bytes(bytes)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|cause| Rejection::new("invalid_utf8", format!("not UTF-8 from byte {} on", cause.valid_up_to())))?;
        if too_deep(bytes, self.limits.depth) {
            return Err(Rejection::new("too_deep", format!("nested more than {} levels", self.limits.depth)));
        }
        Ok(text)
    }

    fn check_bytes(&self, bytes: &[u8]) -> Result<(), Rejection> {
        if bytes.len() > self.limits.body_bytes {
            let detail = format!("{} bytes, the limit is {}", bytes.len(), self.limits.body_bytes);
            return Err(Rejection::new("too_large", detail));
        }
        Ok(())
    }

    fn check_string(&self, field: &str, value: &str) -> Result<(), Rejection> {
        if value.len() > self.limits.string_bytes {
            let detail = format!("{} bytes, the limit is {}", value.len(), self.limits.string_bytes);
            return Err(Rejection::new("string_too_long", detail).at(field));
        }
        if value.as_bytes().contains(&0) {
            return Err(Rejection::new("nul_character", "a string holds U+0000, which Postgres cannot store").at(field));
        }
        Ok(())
    }

    /// What a part is called in this kind of event.
    fn name_of(&self, part: &'static str) -> &str {
        match (self.kind, part) {
            (EventKind::Transaction, "key") => "account",
            (EventKind::ChatMessage, "key") => "conversation",
            (EventKind::Click, "key") => "user",
            (EventKind::Json, "id") => self.fields.id.as_deref().unwrap_or(part),
            (EventKind::Json, "key") => self.fields.key.as_deref().unwrap_or(part),
            (EventKind::Json, "text") => self.fields.text.as_deref().unwrap_or(part),
            _ => part,
        }
    }
}

/// Whether objects and arrays nest deeper than `limit`. Few brackets settle it without looking at strings.
fn too_deep(bytes: &[u8], limit: usize) -> bool {
    if bytes.iter().filter(|b| matches!(b, b'{' | b'[')).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

/// `None` sends the text to `diagnose`. An array would do for a struct in serde's eyes; not in ours.
fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

#[derive(Deserialize)]
struct Transaction<'a> {
    #[serde(borrow)]
    id: Id<'a>,
    #[serde(borrow)]
    account: Id<'a>,
    amount: f64,
    #[serde(borrow)]
    #[expect(dead_code, reason = "checked for its type")]
    currency: Text<'a>,
    #[serde(borrow, default)]
    #[expect(dead_code, reason = "checked for its type")]
    merchant: Option<Text<'a>>,
    #[serde(borrow)]
    time: Time<'a>,
}

impl<'a> Transaction<'a> {
    fn parts(self) -> Option<Parts<'a>> {
        if !self.amount.is_finite() {
            return None;
        }
        Some(Parts { id: Some(self.id.0), key: Some(self.account.0), time_ms: Some(self.time.ms()?), text: None })
    }
}

#[derive(Deserialize)]
struct ChatMessage<'a> {
    #[serde(borrow)]
    id: Id<'a>,
    #[serde(borrow)]
    conversation: Id<'a>,
    #[serde(borrow, default)]
    #[expect(dead_code, reason = "checked for its type")]
    user: Option<Id<'a>>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    time: Time<'a>,
}

impl<'a> ChatMessage<'a> {
    fn parts(self) -> Option<Parts<'a>> {
        let time_ms = Some(self.time.ms()?);
        Some(Parts { id: Some(self.id.0), key: Some(self.conversation.0), time_ms, text: Some(self.text.0) })
    }
}

#[derive(Deserialize)]
struct Click<'a> {
    #[serde(borrow)]
    id: Id<'a>,
    #[serde(borrow)]
    user: Id<'a>,
    #[serde(borrow)]
    #[expect(dead_code, reason = "checked for its type")]
    item: Id<'a>,
    #[serde(borrow)]
    #[expect(dead_code, reason = "checked for its type")]
    kind: Text<'a>,
    #[serde(borrow)]
    time: Time<'a>,
}

impl<'a> Click<'a> {
    fn parts(self) -> Option<Parts<'a>> {
        Some(Parts { id: Some(self.id.0), key: Some(self.user.0), time_ms: Some(self.time.ms()?), text: None })
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;

    fn decode(kind: EventKind, payload: &[u8]) -> Result<Event, Rejection> {
        let fields = Fields { id: Some("a.id".into()), text: Some("a.t".into()), ..Fields::default() };
        let limits = Limits { body_bytes: 2000, depth: 8, string_bytes: 500 };
        let position = Position { topic: "t".into(), partition: 1, offset: 7 };
        let raw = RawEvent { position, timestamp_ms: 5, key: None, payload: Some(payload.into()), headers: vec![] };
        Decoder::new(kind, fields, limits).decode(raw).map_err(|(_, rejection)| rejection)
    }

    #[test]
    fn good_events_decode() {
        let t = br#"{"id":12,"account":"a","amount":1.5,"currency":"EUR","time":"2024-01-01T00:00:00Z","more":[1]}"#;
        let event = decode(EventKind::Transaction, t).unwrap();
        assert_eq!((&*event.id, event.key.as_deref(), event.event_time_ms), ("12", Some("a"), 1_704_067_200_000));
        let c = r#"{"id":"m","conversation":"c","text":"caf\u00e9 \"x\"","time":17}"#;
        let event = decode(EventKind::ChatMessage, c.as_bytes()).unwrap();
        assert_eq!((event.text.as_deref(), event.event_time_ms), (Some("café \"x\""), 17));
        assert!(decode(EventKind::Click, br#"{"id":1,"user":2,"item":3,"kind":"view","time":4}"#).is_ok());
        let event = decode(EventKind::Json, br#"{"a":{"id":"x","t":"hi"}}"#).unwrap();
        assert_eq!((&*event.id, event.text.as_deref(), event.event_time_ms), ("x", Some("hi"), 5));
    }

    #[test]
    fn bad_events_name_code_and_field() {
        let deep = "[".repeat(1000);
        let long = format!(r#"{{"id":"{}","conversation":"c","text":"x","time":1}}"#, "y".repeat(600));
        let cases: &[(&[u8], &str, Option<&str>)] = &[
            (b"\xff", "invalid_utf8", None),
            (b"{", "invalid_json", None),
            (b"", "invalid_json", None),
            (b"[1,2,3]", "not_an_object", None),
            (deep.as_bytes(), "too_deep", None),
            (&[b' '; 2001], "too_large", None),
            (long.as_bytes(), "string_too_long", Some("id")),
            (br#"{"id":1,"conversation":"c","time":1}"#, "missing_field", Some("text")),
            (br#"{"id":1,"conversation":"c","text":5,"time":1}"#, "wrong_type", Some("text")),
            (br#"{"id":1.5,"conversation":"c","text":"x","time":1}"#, "wrong_type", Some("id")),
            (br#"{"id":1,"conversation":"c","text":"x","time":"noon"}"#, "wrong_type", Some("time")),
            (br#"{"id":1,"conversation":"c\u0000","text":"x","time":1}"#, "nul_character", Some("conversation")),
            (br#"{"id":1,"conversation":"c","text":" \n","time":1}"#, "empty_text", Some("text")),
        ];
        for (payload, code, field) in cases {
            let rejection = decode(EventKind::ChatMessage, payload).unwrap_err();
            assert_eq!((rejection.code, rejection.field.as_deref()), (*code, *field), "{rejection}");
        }
        let t = br#"{"id":12,"account":"a","amount":"1","currency":"EUR","time":1}"#;
        assert_eq!(decode(EventKind::Transaction, t).unwrap_err().field.as_deref(), Some("amount"));
        assert_eq!(decode(EventKind::Json, b"{}").unwrap_err().field.as_deref(), Some("a.id"));
    }

    /// Would catch: a panic that ends the pipeline, or that takes the event's bytes or its neighbours along.
    #[test]
    fn a_panic_is_the_dead_letter_of_its_event_alone() {
        let decoder = Decoder::new(EventKind::Json, Fields::default(), Limits::default());
        let ended = [0, 1, 2].map(|offset| {
            let position = Position { topic: "t".into(), partition: 1, offset };
            let payload = Some(format!("{{\"n\":{offset}}}").into_bytes().into());
            let raw = RawEvent { position, timestamp_ms: 5, key: None, payload, headers: vec![] };
            let ended = guarded(raw, |raw| {
                assert_ne!(raw.position.offset, 1, "secret");
                decoder.parts(raw)
            });
            ended.map_err(|(raw, rejection)| (raw.payload, rejection))
        });
        assert!(ended[0].is_ok() && ended[2].is_ok());
        let (payload, rejection) = ended[1].as_ref().unwrap_err();
        assert_eq!((rejection.code, payload.as_deref()), ("poison", Some(&b"{\"n\":1}"[..])));
        assert!(!rejection.to_string().contains("secret"), "{rejection}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[\\[\\]{}\":,a-z0-9\\\\]{0,80}") {
            for kind in [EventKind::Transaction, EventKind::ChatMessage, EventKind::Click, EventKind::Json] {
                let _ = (decode(kind, &bytes), decode(kind, text.as_bytes()));
            }
        }
    }
}
