//! Records and dead letters as the pages see them. What is payload and may not be shown is not in here.

use crate::admin::ApiError;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

/// What people ask the worker about what was decided. Whoever implements it leaves payloads out unless they may be shown.
pub trait RecordApi: Send + Sync {
    /// Pipelines that can be asked about.
    fn pipelines(&self) -> Vec<String>;
    /// Finds records, the newest first.
    fn records(&self, asked: RecordsAsked) -> BoxFuture<'_, Result<RecordsFound, ApiError>>;
    /// Counts dead letters by reason, and lists some, the newest first.
    fn dead_letters(&self, asked: LettersAsked) -> BoxFuture<'_, Result<LettersFound, ApiError>>;
}

/// By what a record is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// `pipeline/run/topic/partition/offset`, with or without `/n`.
    Id(String),
    /// The event's own id, or its place: `topic/partition/offset`.
    Event(String),
    Key(String),
    /// Whatever it turns out to be: a record's id, an event's place, else an event's id or a key.
    Any(String),
}

/// Which records are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsAsked {
    pub by: By,
    /// All pipelines of the worker without one.
    pub pipeline: Option<String>,
    /// Decided at or after, and before: a date, or a time of RFC 3339.
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit: usize,
}

/// What was found, and how far it was looked for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RecordsFound {
    pub records: Vec<RecordFound>,
    /// Whether these are all that there are.
    pub complete: bool,
    /// Sentences: how far was looked, what to do about it.
    pub notes: Vec<String>,
    pub payloads_shown: bool,
}

/// One row of `millrace.record`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RecordFound {
    pub id: String,
    /// `prediction` or `dead_letter`.
    pub kind: String,
    pub pipeline: String,
    pub run: i32,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub n: i16,
    pub out_topic: String,
    /// Absent while payloads are hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    pub headers: Value,
    /// Without what is payload while payloads are hidden.
    pub value: Value,
    /// Fields of the value that are left out.
    pub hidden_fields: usize,
    pub function: String,
    pub model: String,
    pub config: String,
    pub label: Option<String>,
    pub score: Option<f64>,
    pub decided_at: String,
    /// What was done about a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handling: Option<String>,
    pub commands: Vec<Command>,
}

/// A line for a shell, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// A word, such as `explain` or `redrive`.
    pub name: &'static str,
    pub about: &'static str,
    pub line: String,
}

/// Which dead letters are meant; what is `None` does not narrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LettersAsked {
    pub pipeline: Option<String>,
    pub reason: Option<String>,
    pub handling: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit: usize,
}

/// Counts, and the newest.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LettersFound {
    /// Of the pipelines and the time that were asked for, whatever their reason and handling. The most first.
    pub counts: Vec<LettersCounted>,
    /// Whether the counts are whole.
    pub counts_complete: bool,
    pub letters: Vec<LetterFound>,
    /// Whether there are more than are listed.
    pub more: bool,
    pub notes: Vec<String>,
    pub payloads_shown: bool,
}

/// Dead letters of one pipeline and reason.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LettersCounted {
    pub pipeline: String,
    pub reason: String,
    pub open: i64,
    pub redriving: i64,
    pub redriven: i64,
    pub discarded: i64,
    /// Redrives those that are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
}

/// One dead letter.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LetterFound {
    pub id: String,
    pub pipeline: String,
    pub reason: String,
    pub field: Option<String>,
    /// `None` also where the text may hold payload, while payloads are hidden.
    pub detail: Option<String>,
    pub function: String,
    pub model: String,
    pub decided_at: String,
    pub handling: String,
    pub handled_at: Option<String>,
    pub handled_by: Option<String>,
    pub note: Option<String>,
    /// The event's key and the beginning of its payload; absent while payloads are hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<LetterEvent>,
    pub commands: Vec<Command>,
}

/// What a dead letter holds of its event.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LetterEvent {
    pub key: Value,
    /// Text, or `{"base64": …}`.
    pub payload: Value,
    /// Whether `payload` is the beginning alone; the record has all that was kept.
    pub cut: bool,
}

/// How many records are answered, if nobody says, and at most.
pub const RECORDS: (usize, usize) = (20, 100);
/// The same of dead letters.
pub const LETTERS: (usize, usize) = (50, 200);
