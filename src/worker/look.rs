//! Look-ups over HTTP: what is asked, found in Postgres, without payloads unless they may be shown.

mod asked;
mod commands;
mod find;
mod hidden;
mod letters;

pub use asked::instant;

use super::declared::{Declared, Labels, is_known};
use crate::admin::{ApiError, LettersAsked, LettersFound, RecordApi, RecordFound, RecordsAsked, RecordsFound};
use crate::config::{Config, Keep};
use crate::function::Function;
use crate::store::StoreError;
use crate::store::postgres::{Look, Looked};
use base64::{Engine, engine::general_purpose::STANDARD};
use commands::Commands;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Look-ups that read much, at the same time.
const MUCH: usize = 2;
/// How long one waits for another's end.
const TURN: Duration = Duration::from_secs(1);
/// After which nothing is waited for any more.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a look-up needs to know of a pipeline.
struct About {
    name: String,
    function: String,
    topics: Vec<String>,
    out_topic: String,
    keeps_latest: bool,
    /// Where a record's value has the event's own id; `None` where it has not.
    event_id: Option<Vec<String>>,
    /// Whether its function has a fold.
    remembers: bool,
}

/// See the module.
pub struct Records {
    pipelines: Vec<About>,
    look: Look,
    much: Semaphore,
    declared: Declared,
    show_payloads: bool,
    commands: Commands,
}

impl Records {
    /// Connects to nothing before it is asked.
    pub fn new(config: &Config, url: &str) -> Result<Self, StoreError> {
        let about = |pipeline: &crate::config::Pipeline| About {
            name: pipeline.name.clone(),
            function: pipeline.function.clone(),
            topics: pipeline.topic.clone(),
            out_topic: pipeline.output_topic(),
            keeps_latest: pipeline.keep == Keep::Latest,
            event_id: asked::event_id(pipeline),
            remembers: super::folds::past(config, pipeline).is_some(),
        };
        Ok(Self {
            pipelines: config.pipeline.iter().map(about).collect(),
            look: Look::new(url)?,
            much: Semaphore::new(MUCH),
            declared: Declared::default(),
            show_payloads: config.admin.show_payloads,
            commands: Commands::new(config),
        })
    }

    /// A URL of the same database, whose user and password may be new.
    pub fn renew(&self, url: &str) -> Result<(), StoreError> {
        self.look.renew(url)
    }

    /// Takes up which labels a pipeline's function had before any event came: others show with the payloads alone.
    pub fn declare(&self, pipeline: &str, function: &dyn Function) {
        self.declared.add(pipeline, function);
    }

    /// See [`Self::declare`].
    pub fn labels_of(&self, pipeline: &str) -> Labels {
        self.declared.of(pipeline)
    }

    fn known(&self, name: &str, param: &str) -> Result<&About, ApiError> {
        self.pipelines.iter().find(|known| known.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.pipelines.iter().map(|known| known.name.as_str()).collect();
            let message = format!("this worker has no pipeline `{name}`; it has: {}", names.join(", "));
            ApiError { status: 404, kind: "not_found", message, param: Some(param.to_owned()) }
        })
    }

    /// The pipelines that are meant.
    fn meant(&self, name: Option<&str>) -> Result<Vec<&About>, ApiError> {
        match name {
            Some(name) => Ok(vec![self.known(name, "pipeline")?]),
            None => Ok(self.pipelines.iter().collect()),
        }
    }

    /// A turn among those that read much.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        match tokio::time::timeout(TURN, self.much.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                let message = format!("{MUCH} look-ups are under way, as many as may be at the same time; ask again");
                Err(ApiError { status: 429, kind: "overloaded", message, param: None })
            }
        }
    }

    /// A row as it may be shown.
    fn record(&self, row: Looked) -> RecordFound {
        let value = match &row.value {
            Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            None => json!({ "too_large_to_list": row.value_bytes }),
        };
        let headers = row.headers.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
        let about = self.pipelines.iter().find(|about| *about.name == *row.id.pipeline);
        let labels = self.declared.of(&row.id.pipeline);
        // A function of the program's own may be called like one of this crate.
        let function = about.map_or("", |about| if is_known(&about.function) { &row.function } else { &about.function });
        let (value, headers, hidden_fields) = match self.show_payloads || row.value.is_none() {
            true => (value, headers, 0),
            false => {
                let (value, hidden) = hidden::value(value, &row.kind, function, &labels);
                (value, hidden::headers(headers), hidden)
            }
        };
        let label = row.label.as_ref().filter(|label| self.show_payloads || hidden::shows(function, label, &labels)).cloned();
        let is_dead = row.kind == "dead_letter";
        RecordFound {
            id: row.id.to_string(),
            commands: about.map_or_else(Vec::new, |about| self.commands.of_record(about, &row)),
            kind: row.kind,
            pipeline: row.id.pipeline.into(),
            run: row.id.run,
            topic: row.id.topic.into(),
            partition: row.id.partition,
            offset: row.id.offset,
            n: row.id.n,
            out_topic: row.out_topic,
            key: self.show_payloads.then(|| readable(row.key.as_deref())),
            headers,
            value,
            hidden_fields,
            function: row.function,
            model: row.model,
            config: row.config,
            label,
            score: row.score,
            decided_at: row.decided_at,
            handling: is_dead.then_some(row.handling),
        }
    }
}

impl RecordApi for Records {
    fn pipelines(&self) -> Vec<String> {
        self.pipelines.iter().map(|about| about.name.clone()).collect()
    }

    fn records(&self, asked: RecordsAsked) -> BoxFuture<'_, Result<RecordsFound, ApiError>> {
        patient(self.find(asked)).boxed()
    }

    fn dead_letters(&self, asked: LettersAsked) -> BoxFuture<'_, Result<LettersFound, ApiError>> {
        patient(self.list(asked)).boxed()
    }
}

/// Text as text, other bytes as base64.
fn readable(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => json!({ "base64": STANDARD.encode(bytes.unwrap_or_default()) }),
    }
}

/// What Postgres said, for who asked over HTTP.
fn away(error: StoreError) -> ApiError {
    let (status, message) = match error {
        StoreError::Transient(cause) => {
            (503, format!("Postgres is away or busy ({cause}); ask again, or narrow by pipeline and time"))
        }
        StoreError::Data(cause) => (400, format!("Postgres cannot compare what was asked for ({cause})")),
        StoreError::Fatal(cause) => (503, cause),
    };
    let kind = if status == 400 { "invalid_request" } else { "unavailable" };
    ApiError { status, kind, message, param: None }
}

/// An answer in time, or none.
async fn patient<T>(answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        let message = format!("Postgres gave no answer within {PATIENCE:?}; ask again, or narrow by pipeline and time");
        Err(ApiError { status: 503, kind: "unavailable", message, param: None })
    })
}
