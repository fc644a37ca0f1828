//! What comes in. Knows nothing about Kafka, functions or storage.

mod body;
mod decode;
mod fields;
mod pick;

pub use body::{Body, Prefixed, schema_id};
pub use decode::Decoder;
pub use fields::at;
pub(crate) use fields::{half_pair, missing, object, wrong, wrong_list};
pub use pick::pick;

use std::sync::Arc;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where an event stands in its log. Offsets grow within a partition and may have gaps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A header as Kafka carries it; the value may be null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: Box<str>,
    pub value: Option<Box<[u8]>>,
}

/// An event as it came from the log, before decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    pub position: Position,
    /// The record's own timestamp (create or append time), milliseconds since the Unix epoch; -1 when the broker gave none.
    pub timestamp_ms: i64,
    pub key: Option<Box<[u8]>>,
    /// `None` is a tombstone.
    pub payload: Option<Box<[u8]>>,
    pub headers: Vec<Header>,
}

impl RawEvent {
    /// Bytes charged to the memory budget for this event: its key and payload twice, as they came and decoded, its headers, and
    /// a fixed overhead.
    pub fn cost_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, |v| v.len()) + 48).sum();
        160 + 2 * (self.key.as_ref().map_or(0, |k| k.len()) + self.payload.as_ref().map_or(0, |p| p.len())) + headers
    }

    /// The first header of that name, when it is UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|h| &*h.name == name)?;
        std::str::from_utf8(header.value.as_deref()?).ok()
    }
}

/// A decoded event: the raw one, and what its kind of input promises.
#[derive(Debug, Clone)]
pub struct Event {
    pub raw: RawEvent,
    /// The event's own id when its kind has one; otherwise the position, as `topic/partition/offset`.
    pub id: Box<str>,
    /// What the event is about (account, conversation, user), as text.
    pub key: Option<Box<str>>,
    /// Milliseconds since the Unix epoch: the event's own time when its kind has one, else the record's timestamp.
    pub event_time_ms: i64,
    /// The text to score, for kinds that have one.
    pub text: Option<Box<str>>,
    /// The payload as JSON, where it came in another format. Read it through [`Event::payload`].
    pub body: Option<Box<str>>,
}

impl Event {
    /// What functions and folds read: JSON, whatever the format in which it came.
    pub fn payload(&self) -> Option<&[u8]> {
        self.body.as_deref().map(str::as_bytes).or(self.raw.payload.as_deref())
    }

    /// Bytes charged to the memory budget: those of the raw event, and what the JSON takes beyond them.
    pub fn cost_bytes(&self) -> usize {
        self.raw.cost_bytes() + self.beyond_bytes()
    }

    /// What the JSON takes beyond what is charged for the raw event.
    pub fn beyond_bytes(&self) -> usize {
        let came = self.raw.payload.as_ref().map_or(0, |payload| payload.len());
        self.body.as_ref().map_or(0, |body| body.len().saturating_sub(came))
    }
}

/// Why an event cannot be scored. Ends as a dead letter; `code` is a low-cardinality word fit for a metric label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Rejection {
    /// For example `invalid_json`, `missing_field`, `wrong_type`, `too_large`, `too_deep`, `nul_character`, `empty_text`, `poison`.
    pub code: &'static str,
    /// The field at fault, as a dotted path.
    pub field: Option<Box<str>>,
    /// A sentence that says what was found and what was expected. Never holds payload text.
    pub detail: Box<str>,
}

impl Rejection {
    pub fn new(code: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self { code, field: None, detail: detail.into() }
    }

    pub fn at(mut self, field: impl Into<Box<str>>) -> Self {
        self.field = Some(field.into());
        self
    }
}
