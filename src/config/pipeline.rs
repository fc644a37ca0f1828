//! `[[pipeline]]`: one consumer group, its function and its outputs.

use super::dialogue::Dialogue;
use super::ladder::Ladder;
use super::recommend::Recommend;
use super::risk::Risk;
use super::service::Limits;
use super::shadow::Shadow;
use super::span::Span;
use super::version::{Canary, Version};
use crate::record::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[[pipeline]]`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The pipeline's identity and consumer group: `[a-z0-9._-]`, at most 100 bytes. Renaming it starts a new one.
    pub name: String,
    /// Input topic, or a list of them.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub topic: Vec<String>,
    /// Kind of input: `transaction`, `chat_message`, `click`, or `json` with `fields`.
    pub event: EventKind,
    /// How values are written: `json` (default), `json_schema` (JSON behind a schema's id), `avro` or `protobuf`. Of these two the values
    /// carry the id of a schema in the registry, or `schema` names a file.
    #[serde(default, skip_serializing_if = "Format::is_json")]
    pub format: Format,
    /// For `avro` and `protobuf` without a registry: the file of the schema (`.avsc`, `.proto`), from the config file's folder. Then a
    /// value has no prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<PathBuf>,
    /// For `protobuf` with a file: the full name of the message that a value is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For `event = "json"`: where the parts of an event stand, as dotted paths.
    #[serde(default)]
    pub fields: Fields,
    /// The task function, by its name, or `own:NAME` for one that the program brings along. `docs/functions.md` lists them.
    pub function: String,
    /// A name of `[models.NAME]`; functions without a model leave it out.
    #[serde(default)]
    pub model: Option<String>,
    /// Keeps the pipeline's models in memory, whatever others need; see `memory_budget_mb` under `[models]`. Default: false.
    // It changes no answer, so that it is no part of what records say of their configuration.
    #[serde(default, skip_serializing)]
    pub pin: bool,
    /// Where predictions go. Default: `NAME.predictions`.
    #[serde(default)]
    pub output_topic: Option<String>,
    /// Where dead letters go. Default: `NAME.dead-letters`.
    #[serde(default)]
    pub dead_letter_topic: Option<String>,
    /// `history` (default): every record is kept. `latest`: beside them the table `latest` has the newest of each key; give the
    /// output topic `cleanup.policy=compact` and it has the same.
    #[serde(default)]
    pub keep: Keep,
    /// `both` (default) or `postgres`.
    #[serde(default = "mode_both")]
    pub mode: Mode,
    /// `exactly_once` (default) or `at_least_once`.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where a new pipeline starts: `earliest` (default) or `latest`.
    #[serde(default)]
    pub start: Start,
    /// When commits of the consumer group or rows of Postgres were lost: `halt` (default) or `reprocess`.
    #[serde(default)]
    pub on_lost_commits: OnLostCommits,
    /// Share of dead letters, 0 to 1, above which a partition stops. Default 1: never.
    #[serde(default = "one")]
    pub max_dead_share: f64,
    /// While behind: no event goes to work whose time is ahead of the slowest partition of the whole group by more than this, for
    /// example `1h`. For pipelines whose output is read under another key. Default: each partition runs by itself.
    #[serde(default)]
    pub align: Option<Span>,
    /// Events a slice at most. Default: the function's.
    #[serde(default)]
    pub slice: Option<usize>,
    /// A call that takes longer is stuck, milliseconds. Default: the function's.
    #[serde(default)]
    pub call_timeout_ms: Option<u64>,
    /// Limits on one event. Default: `[limits]`.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Largest record that is written, bytes; must fit the topic's `max.message.bytes`. Default 1,000,000.
    #[serde(default = "record_bytes")]
    pub record_bytes: usize,
    /// The function's own settings.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Versions that `millrace swap` may put in the place of the model and options above while workers run, by name. Every worker must have
    /// them; one is loaded once it is wanted.
    // A version's records carry the digest of the settings that it makes of the pipeline, the others' that of the pipeline without versions.
    #[serde(default, skip_serializing)]
    pub version: BTreeMap<String, Version>,
    /// When a canary is taken back by itself.
    #[serde(default, skip_serializing)]
    pub canary: Option<Canary>,
    /// Features of the function `risk`. Default: `[risk]`.
    #[serde(default)]
    pub risk: Option<Risk>,
    /// Signals of the function `recommend`. Default: `[recommend]`.
    #[serde(default)]
    pub recommend: Option<Recommend>,
    /// What the function `reply` remembers of each conversation. Default: `[dialogue]`; without either each message stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialogue: Option<Dialogue>,
    /// Memory for the states of keys, bytes, over all partitions that a worker holds; what does not fit is read again when it is
    /// needed. A key that has changed stays beyond it until it is written: those of the last `flush_after` events of each partition, and
    /// what waits for Postgres. Default 256 MiB.
    #[serde(default = "state_bytes")]
    pub state_bytes: usize,
    /// A key that has changed is written to Postgres when so many further events of its partition have been read. What is not
    /// written is folded again after a claim. Default 20,000.
    #[serde(default = "flush_after")]
    pub flush_after: i64,
    /// A second model that answers a part of the events too, in spare time, and is compared with the first. Default: none.
    // It changes no record, so that it is no part of what records say of their configuration.
    #[serde(default, skip_serializing)]
    pub shadow: Option<Shadow>,
    /// What is given up, step by step, while events get too old. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Ladder>,
}

impl Pipeline {
    /// Where predictions go.
    pub fn output_topic(&self) -> String {
        self.output_topic.clone().unwrap_or_else(|| format!("{}.predictions", self.name))
    }

    /// Where dead letters go.
    pub fn dead_letter_topic(&self) -> String {
        self.dead_letter_topic.clone().unwrap_or_else(|| format!("{}.dead-letters", self.name))
    }
}

/// Kinds of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Transaction,
    ChatMessage,
    Click,
    Json,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Json,
    JsonSchema,
    Avro,
    Protobuf,
}

impl Format {
    /// Whether values are plain JSON.
    pub fn is_json(&self) -> bool {
        *self == Self::Json
    }

    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::JsonSchema => "json_schema",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }
}

/// Dotted paths of a `json` event; what has no path is not read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// The event's own id. Default: its place, `topic/partition/offset`.
    pub id: Option<String>,
    /// What the event is about, such as a user: the key of its predictions. Default: the key of its record.
    pub key: Option<String>,
    /// When it happened: RFC 3339, or milliseconds since 1970. Default: the time stamp of its record.
    pub time: Option<String>,
    /// The text that `sentiment` and `embed` read. Default: `text` for these two.
    pub text: Option<String>,
}

/// Functions whose text comes out of the decoder; the others read their fields themselves.
pub const OF_ONE_TEXT: [&str; 2] = ["sentiment", "embed"];

impl Pipeline {
    /// Whether a value says by its id which schema of the registry it has.
    pub fn asks_registry(&self) -> bool {
        matches!(self.format, Format::Avro | Format::Protobuf) && self.schema.is_none()
    }

    /// The paths that the decoder reads: those of `fields`, and `text` for functions of one text that say nothing else.
    pub fn paths(&self) -> Fields {
        let usual = OF_ONE_TEXT.contains(&self.function.as_str()).then(|| "text".to_owned());
        Fields { text: self.fields.text.clone().or(usual), ..self.fields.clone() }
    }
}

impl Fields {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Guarantee of the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    #[default]
    ExactlyOnce,
    AtLeastOnce,
}

/// What is kept of the records of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    #[default]
    History,
    Latest,
}

/// Where a new pipeline starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    #[default]
    Earliest,
    Latest,
}

/// What to do when commits were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLostCommits {
    #[default]
    Halt,
    Reprocess,
}

fn mode_both() -> Mode {
    Mode::Both
}

fn one() -> f64 {
    1.0
}

fn record_bytes() -> usize {
    1_000_000
}

fn state_bytes() -> usize {
    256 << 20
}

fn flush_after() -> i64 {
    20_000
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a topic, or a list of topics")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(topic) => vec![topic],
        OneOrMany::Many(topics) => topics,
    })
}
