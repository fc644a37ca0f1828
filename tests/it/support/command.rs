//! The operator's commands on a stage, as processes, and pipelines that have run and were drained.

use super::stage::{Plan, Stage};
use super::{Seen, brokers, database};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub const PARTITIONS: i32 = 2;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Standard output as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Stage {
    /// A stage of two partitions.
    pub async fn small() -> Self {
        Self::small_at(&brokers()).await
    }

    /// The same on another Kafka.
    pub async fn small_at(brokers: &str) -> Self {
        Self::of(Plan { partitions: PARTITIONS, brokers: brokers.to_owned(), ..Plan::default() }).await
    }

    /// After so many events were decided and published; every tenth is a dead letter.
    pub async fn drained(events: i64) -> Self {
        let stage = Self::small().await;
        stage.send(0, events);
        stage.run_until(events).await;
        stage
    }

    /// Moves to another database, with the schema and nothing in it.
    pub async fn move_to_a_new_database(&mut self) {
        let url = database().await;
        self.reconfigure(&self.url, &url);
        self.url = url;
    }

    /// Runs a worker until so many events are decided in all runs, and drains it.
    pub async fn run_until(&self, events: i64) {
        let mut worker = self.worker();
        // Before it listens it may not know of signals yet, and all may be decided already.
        worker.admin();
        self.decided_at_least(events).await;
        worker.drain();
    }

    /// Runs a worker that must halt, and returns its log.
    pub fn run_halts(&self) -> String {
        let mut worker = self.worker();
        assert_eq!(worker.end().code(), Some(3), "{}", worker.log());
        worker.log()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(args).arg("--config").arg(self.config()).env_remove("DATABASE_URL").env_remove("MILLRACE_KAFKA__BROKERS");
        command
    }

    /// Runs a command to its end.
    pub fn millrace(&self, args: &[&str]) -> Ended {
        self.command(args).output().unwrap().into()
    }

    /// The same without a config.
    pub fn without_config(&self, args: &[&str]) -> Ended {
        Command::new(env!("CARGO_BIN_EXE_millrace")).args(args).stdin(Stdio::null()).output().unwrap().into()
    }

    /// Starts a command, to be waited for with `wait_with_output`.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub async fn text(&self, query: &str) -> String {
        sqlx::query_scalar(query).fetch_one(&mut self.connect().await).await.unwrap()
    }
}

/// Writes records as they were seen, into `topic`, each to the same partition.
pub fn write(topic: &str, records: &[Seen]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    for seen in records {
        let headers = seen
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (name, value)| headers.insert(Header { key: name, value: Some(value) }));
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(seen.partition).payload(&seen.payload).headers(headers);
        if let Some(key) = &seen.key {
            record = record.key(key);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}
