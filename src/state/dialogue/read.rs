//! What is read of an event: whose message it is, and what is remembered of it.

use super::session::Said;
use crate::config::dialogue::Dialogue;
use crate::config::{EventKind, Fields};
use crate::event::{Event, Rejection, missing, wrong};
use crate::state::pick::find;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// 1970 to 2100, and -1: a record that has no time.
const TIMES_MS: Range<i64> = -1..4_102_444_800_000;
/// Longest name of a conversation, bytes: it is part of an index.
const NAME_BYTES: usize = 512;

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Customer,
    Agent,
    Ignored,
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Ignored => "ignored",
        }
    }
}

/// See [`DialogueFold`](super::DialogueFold).
#[derive(Debug)]
pub struct Facts {
    pub(super) who: Who,
    /// The conversation's; none for a message that is passed by.
    pub(super) key: Option<Box<str>>,
    /// Fingerprint of the event's id.
    pub(super) id: u64,
    pub(super) said: Option<Said>,
}

/// Where it stands in an event.
pub struct Reader {
    config: Dialogue,
    /// What key and text are called in an event.
    key: String,
    text: String,
}

impl Reader {
    pub fn new(config: &Dialogue, kind: EventKind, fields: &Fields) -> Self {
        let path = |path: &Option<String>, usual: &str| match (kind, path) {
            (EventKind::Json, Some(path)) => path.clone(),
            _ => usual.to_owned(),
        };
        Self { config: config.clone(), key: path(&fields.key, "conversation"), text: path(&fields.text, "text") }
    }

    pub fn read(&self, event: &Event) -> Result<Facts, Rejection> {
        self.check_time(event)?;
        let (who, id) = (self.who(event)?, fingerprint(&event.id));
        if who == Who::Ignored {
            return Ok(Facts { who, key: None, id, said: None });
        }
        let key = self.conversation(event)?;
        let text = event.text.as_deref().ok_or_else(|| missing(&self.text))?;
        let said = match who {
            Who::Agent => Said::Agent { likeness: likeness(text), mark: self.source(event).map(|source| mark(&source)) },
            _ => Said::Customer(beginning(text.trim(), self.config.bytes).into()),
        };
        Ok(Facts { who, key: Some(format!("conversation:{key}").into()), id, said: Some(said) })
    }

    fn conversation<'e>(&self, event: &'e Event) -> Result<&'e str, Rejection> {
        match event.key.as_deref() {
            None => Err(missing(&self.key)),
            Some("") => Err(Rejection::new("empty_name", format!("field `{}` is empty", self.key)).at(self.key.as_str())),
            Some(long) if long.len() > NAME_BYTES => {
                let detail = format!("{} bytes, the limit for a conversation is {NAME_BYTES}", long.len());
                Err(Rejection::new("string_too_long", detail).at(self.key.as_str()))
            }
            Some(key) => Ok(key),
        }
    }

    fn who(&self, event: &Event) -> Result<Who, Rejection> {
        let path = &self.config.role;
        let payload = event.payload().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let Some(written) = payload.and_then(|payload| find(payload, path)) else { return Ok(Who::Customer) };
        let role = match serde_json::from_str(written) {
            Ok(Value::String(role)) => role,
            Ok(other) => return Err(wrong(path, &other, "a string")),
            Err(_) => return Err(Rejection::new("invalid_json", format!("field `{path}` is no JSON")).at(path.as_str())),
        };
        let is_in = |roles: &[String]| roles.contains(&role);
        match &self.config {
            config if is_in(&config.customers) => Ok(Who::Customer),
            config if is_in(&config.agents) => Ok(Who::Agent),
            config if is_in(&config.ignored) => Ok(Who::Ignored),
            _ => {
                let detail = "the role is none of customers, agents and ignored under [dialogue]";
                Err(Rejection::new("unknown_role", detail).at(path.as_str()))
            }
        }
    }

    /// The reply that a message of the desk says it is; what is no name names none.
    fn source(&self, event: &Event) -> Option<String> {
        let payload = std::str::from_utf8(event.payload()?).ok()?;
        match serde_json::from_str(find(payload, &self.config.source)?) {
            Ok(Value::String(source)) if !source.is_empty() => Some(source),
            Ok(Value::Number(source)) => Some(source.to_string()),
            _ => None,
        }
    }

    /// A message from the far future would make all that come after it late.
    fn check_time(&self, event: &Event) -> Result<(), Rejection> {
        if !TIMES_MS.contains(&event.event_time_ms) {
            return Err(Rejection::new("time_out_of_range", "the event time is not within 1970 to 2100").at("time"));
        }
        let (ahead_ms, bound_ms) = (event.event_time_ms.saturating_sub(event.raw.timestamp_ms), self.config.max_ahead.ms());
        if event.raw.timestamp_ms >= 0 && ahead_ms > bound_ms {
            let (ahead, bound) = (ahead_ms / 1000, bound_ms / 1000);
            let detail = format!("the event time is {ahead} s after the record's own, max_ahead allows {bound}");
            return Err(Rejection::new("time_ahead", detail).at("time"));
        }
        Ok(())
    }
}

/// The same number for texts that differ in blanks and case alone; what the desk has sent is known by it.
pub fn likeness(text: &str) -> u64 {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    fingerprint(&words.join(" "))
}

/// The number of an approved reply by its name; none that a [likeness] is.
pub fn mark(source: &str) -> u64 {
    // No likeness is made of a text with a line's end in it.
    fingerprint(&format!("\n{source}"))
}

/// Part of the states: the same on every machine, and nobody can write a text that has another's.
fn fingerprint(text: &str) -> u64 {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Not more than so many bytes of a text.
fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}
