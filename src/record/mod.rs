//! What leaves a function and is stored and published. The row in Postgres is the record: complete, encoded once.

mod chunk;
mod encode;
mod id;
mod refused;
mod text;

pub use chunk::Chunk;
pub use encode::{Original, RESERVED, dead_letter, decode_dead_letter, fits, prediction};
pub use id::RecordId;
pub use refused::{is_bare, refused};

use std::sync::Arc;

/// Whether Kafka publishes what Postgres decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Rows in Postgres and records in topics.
    Both,
    /// Rows alone; the group's offsets are a hint for lag tools.
    Postgres,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Both => "both",
            Mode::Postgres => "postgres",
        }
    }
}

/// What kind of ending a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Prediction,
    DeadLetter,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Prediction => "prediction",
            Kind::DeadLetter => "dead_letter",
        }
    }
}

/// One record of one event, encoded. Its id is pipeline/run/topic/partition/offset/n.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Counts the records of one event from 0.
    pub n: i16,
    pub kind: Kind,
    pub out_topic: Arc<str>,
    pub key: Option<Box<[u8]>>,
    /// `traceparent` of the event, when it carried one; the header `millrace-id` is made from the row's key and not stored.
    pub traceparent: Option<Box<str>>,
    /// A JSON document.
    pub value: Box<str>,
    pub label: Option<Box<str>>,
    pub score: Option<f64>,
    /// `name@digest` of the model that made it; `None` stands for the pipeline's own. Read back from a row it is always named.
    pub model: Option<Arc<str>>,
    /// Digest of the settings that made it; `None` stands for the pipeline's own.
    pub config: Option<Arc<str>>,
}

impl Record {
    /// Bytes charged to the memory budget.
    pub fn cost_bytes(&self) -> usize {
        128 + self.value.len() + self.key.as_ref().map_or(0, |k| k.len()) + self.label.as_ref().map_or(0, |l| l.len())
    }
}

/// What all records of one pipeline share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub pipeline: Arc<str>,
    pub run: i32,
    pub function: Arc<str>,
    /// `name@digest` of the model, or empty for functions without one.
    pub model: Arc<str>,
    /// Digest of the pipeline's configuration.
    pub config: Arc<str>,
    /// Digest of the pipeline's fold, where it has one.
    pub fold: Option<Arc<str>>,
    /// Whether the newest record of each key is kept beside the history.
    pub keeps_latest: bool,
}

/// The header that carries a record's id.
pub const ID_HEADER: &str = "millrace-id";
/// The header that carries the trace context.
pub const TRACEPARENT_HEADER: &str = "traceparent";

/// The id of a record: `pipeline/run/topic/partition/offset/n`.
pub fn record_id(pipeline: &str, run: i32, topic: &str, partition: i32, offset: i64, n: i16) -> String {
    format!("{pipeline}/{run}/{topic}/{partition}/{offset}/{n}")
}
