//! A pipeline that has run and was drained, and the commands on it.

use crate::support::{Seen, brokers, create_topic_at, database, unique};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const PARTITIONS: i32 = 2;
const SOON: Duration = Duration::from_secs(60);

pub struct Stage {
    pub name: String,
    pub url: String,
    pub brokers: String,
    folder: tempfile::TempDir,
}

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

impl Stage {
    /// Topics, a database, a config.
    pub async fn new() -> Self {
        Self::at(&brokers()).await
    }

    /// The same on another Kafka.
    pub async fn at(brokers: &str) -> Self {
        let name = unique("ops");
        for topic in [name.clone(), format!("{name}.out"), format!("{name}.dead")] {
            create_topic_at(brokers, &topic, PARTITIONS).await;
        }
        let stage = Self { url: database().await, brokers: brokers.to_owned(), folder: tempfile::tempdir().unwrap(), name };
        let text = format!(
            r#"
            [kafka]
            brokers = "{brokers}"
            properties = {{ "session.timeout.ms" = "3000", "heartbeat.interval.ms" = "500" }}
            [postgres]
            url = "{url}"
            [admin]
            listen = "127.0.0.1:0"
            [[pipeline]]
            name = "{name}"
            topic = "{name}"
            event = "transaction"
            function = "copy"
            output_topic = "{name}.out"
            dead_letter_topic = "{name}.dead"
            [pipeline.options]
            fields = ["amount"]
            score = "amount / 100"
            "#,
            url = stage.url,
            name = stage.name,
        );
        std::fs::write(stage.config(), text).unwrap();
        stage
    }

    /// After so many events were decided and published; every tenth is a dead letter.
    pub async fn drained(events: i64) -> Self {
        let stage = Self::new().await;
        stage.send(0, events);
        stage.run_until(events).await;
        stage
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    /// Moves to another database, with the schema and nothing in it.
    pub async fn move_to_a_new_database(&mut self) {
        let url = database().await;
        self.change_config(&self.url, &url);
        self.url = url;
    }

    pub fn change_config(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from} is not in the config");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// Transactions `from..to`, spread over the partitions; every tenth is not one.
    pub fn send(&self, from: i64, to: i64) {
        let producer = producer(&self.brokers);
        for n in from..to {
            let amount = if n % 10 == 7 { String::new() } else { format!("\"amount\":{n},") };
            let time = 1_760_000_000_000i64 + n;
            let body = format!("{{\"id\":\"t-{n}\",\"account\":\"a-{n}\",{amount}\"currency\":\"EUR\",\"time\":{time}}}");
            let key = format!("a-{n}");
            let record = BaseRecord::to(&self.name).partition((n % i64::from(PARTITIONS)) as i32).key(&key).payload(&body);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(SOON).unwrap();
    }

    pub fn worker(&self) -> Worker {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        Worker(self.command(&["run"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Runs a worker until so many events are decided in all runs, and drains it.
    pub async fn run_until(&self, events: i64) {
        let mut worker = self.worker();
        self.until("SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition", events).await;
        assert!(Command::new("kill").arg("-TERM").arg(worker.0.id().to_string()).status().unwrap().success());
        assert_eq!(worker.end(), Some(0), "{}", self.logged());
    }

    /// Waits until a query gives this number or more.
    pub async fn until(&self, query: &str, number: i64) {
        let deadline = Instant::now() + SOON;
        while self.number(query).await < number {
            assert!(Instant::now() < deadline, "{query} was not {number} in time:\n{}", self.logged());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a worker that must halt, and returns its log.
    pub fn run_halts(&self) -> String {
        std::fs::write(self.log(), "").unwrap();
        assert_eq!(self.worker().end(), Some(3), "{}", self.logged());
        self.logged()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(args).arg("--config").arg(self.config()).env_remove("DATABASE_URL").env_remove("MILLRACE_KAFKA__BROKERS");
        command
    }

    /// Runs a command to its end.
    pub fn millrace(&self, args: &[&str]) -> Ended {
        ended(self.command(args).output().unwrap())
    }

    /// The same without a config.
    pub fn without_config(&self, args: &[&str]) -> Ended {
        ended(Command::new(env!("CARGO_BIN_EXE_millrace")).args(args).stdin(Stdio::null()).output().unwrap())
    }

    /// Starts a command, to be waited for with `wait_with_output` and [`ended`].
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub async fn sql(&self, statement: &str) -> u64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap().rows_affected()
    }

    pub async fn number(&self, query: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }

    pub async fn text(&self, query: &str) -> String {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }
}

pub fn producer(brokers: &str) -> BaseProducer {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

pub fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Writes records as they were seen, into `topic`, each to the same partition.
pub fn write(topic: &str, records: &[Seen]) {
    let producer = producer(&brokers());
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
    producer.flush(SOON).unwrap();
}

/// The id that a record carries.
pub fn id(seen: &Seen) -> String {
    let (_, id) = seen.headers.iter().find(|(name, _)| name == "millrace-id").expect("every record carries its id");
    String::from_utf8(id.clone()).unwrap()
}

/// A worker process, ended with the test at the latest.
pub struct Worker(Child);

impl Worker {
    pub fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the worker did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}
