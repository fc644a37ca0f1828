//! A pipeline of its own for one test: topics, a database, a config, and worker processes.

use super::link::Link;
pub use super::worker::Worker;
use super::{Seen, brokers, create_topic_at, database_at, postgres, read_committed_at, unique};
use millrace::event::RawEvent;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use sqlx::{Connection, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const SOON: Duration = Duration::from_secs(60);

const COPY: &str = r#"
event = "transaction"
function = "copy"
options = { fields = ["amount"], score = "amount / 100" }
"#;

const EVENTS: &str = "SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition";

/// Whether a decide waits for a row that a test has locked.
pub const DECIDE_WAITS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                                AND wait_event_type = 'Lock' AND query LIKE '%WITH moved AS%' AND pid <> pg_backend_pid()";

/// What a stage is made of.
pub struct Plan<'a> {
    pub partitions: i32,
    pub brokers: String,
    /// URL of the server on which the database is made.
    pub postgres: String,
    pub session_ms: u32,
    /// Sections before the pipeline's.
    pub sections: &'a str,
    /// Event, function and its options.
    pub function: &'a str,
    /// More keys of the pipeline.
    pub options: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            partitions: 4,
            brokers: brokers(),
            postgres: postgres(),
            session_ms: 3_000,
            sections: "",
            function: COPY,
            options: "",
        }
    }
}

/// See the module.
pub struct Stage {
    pub name: String,
    pub url: String,
    pub brokers: String,
    partitions: i32,
    /// Bytes by which each event sent is longer than it need be.
    pub padding: AtomicUsize,
    folder: tempfile::TempDir,
    workers: AtomicUsize,
}

impl Stage {
    /// The pipeline `copy` on the services that all tests share.
    pub async fn new(options: &str) -> Self {
        Self::of(Plan { options, ..Plan::default() }).await
    }

    pub async fn of(plan: Plan<'_>) -> Self {
        let name = unique("stage");
        for topic in [name.clone(), format!("{name}.out"), format!("{name}.dead")] {
            create_topic_at(&plan.brokers, &topic, plan.partitions).await;
        }
        let stage = Self {
            url: database_at(&plan.postgres).await,
            folder: tempfile::tempdir().unwrap(),
            name,
            brokers: plan.brokers,
            partitions: plan.partitions,
            padding: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
        };
        let text = format!(
            r#"
            [kafka]
            brokers = "{brokers}"
            properties = {{ "session.timeout.ms" = "{session}", "heartbeat.interval.ms" = "{heartbeat}" }}
            [postgres]
            url = "{url}"
            [admin]
            listen = "127.0.0.1:0"
            halted_stay_ms = 0
            {sections}
            [[pipeline]]
            name = "{name}"
            topic = "{name}"
            output_topic = "{name}.out"
            dead_letter_topic = "{name}.dead"
            {function}
            {options}
            "#,
            brokers = stage.brokers,
            session = plan.session_ms,
            heartbeat = plan.session_ms / 6,
            url = stage.url,
            sections = plan.sections,
            name = stage.name,
            function = plan.function,
            options = plan.options,
        );
        std::fs::write(stage.config(), text).unwrap();
        stage
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    /// Changes the config for the workers that start from now on.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "the config has no {from}");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    pub fn output(&self) -> String {
        format!("{}.out", self.name)
    }

    pub fn dead_letters(&self) -> String {
        format!("{}.dead", self.name)
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// One number out of the stage's database.
    pub async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.connect().await).await.unwrap()
    }

    /// Returns the number of rows that it touched.
    pub async fn execute(&self, statement: &str) -> u64 {
        let done = sqlx::raw_sql(statement).execute(&mut self.connect().await).await;
        done.unwrap().rows_affected()
    }

    pub fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    /// A worker with more in its environment.
    pub fn worker_with(&self, environment: &[(&str, String)]) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        Worker::start(&self.config(), self.folder.path().join(format!("log-{number}")), environment)
    }

    /// A worker behind a link.
    pub fn worker_behind(&self, link: &Link) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let program = link.command(env!("CARGO_BIN_EXE_millrace"));
        Worker::by(program, &self.config(), self.folder.path().join(format!("log-{number}")), &[])
    }

    /// A worker of another program, one of the examples.
    pub fn worker_of(&self, example: &str) -> Worker {
        let program = Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("examples").join(example);
        assert!(program.exists(), "a whole `cargo test` builds {}, or `cargo build --example {example}`", program.display());
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        Worker::of(&program, &self.config(), self.folder.path().join(format!("log-{number}")), &[])
    }

    /// What all workers of this stage have logged.
    pub fn log(&self) -> String {
        let logs = (0..self.workers.load(Ordering::Relaxed))
            .filter_map(|number| std::fs::read_to_string(self.folder.path().join(format!("log-{number}"))).ok());
        logs.collect::<Vec<_>>().join("\n---- next worker\n")
    }

    /// A producer that writes each event once, even over a broker's restart.
    pub fn producer(&self) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("enable.idempotence", "true").set("linger.ms", "5");
        config.create().unwrap()
    }

    /// Transactions `from..to`, spread over the partitions; every tenth is not one.
    pub fn send(&self, from: i64, to: i64) {
        let producer = self.producer();
        for n in from..to {
            self.send_one(&producer, n);
        }
        producer.flush(SOON).unwrap();
    }

    /// So many thousandths of each partition's log, as they stand there.
    pub fn send_part(&self, logs: &[Vec<RawEvent>], part: Range<usize>) {
        let producer = self.producer();
        for log in logs {
            for raw in &log[log.len() * part.start / 1_000..log.len() * part.end / 1_000] {
                let mut record = BaseRecord::<[u8], [u8]>::to(&self.name).partition(raw.position.partition);
                record = record.timestamp(raw.timestamp_ms).key(raw.key.as_deref().unwrap());
                record.payload = raw.payload.as_deref();
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(SOON).unwrap();
    }

    pub fn send_one(&self, producer: &BaseProducer, n: i64) {
        let body = if is_bad(n) {
            format!("{{\"id\": \"t-{n}\", \"account\": \"a-{n}\"}}")
        } else {
            format!(
                "{{\"id\":\"t-{n}\",\"account\":\"a-{n}\",\"amount\":{n},\"currency\":\"EUR\",\"time\":{},\"merchant\":\"{}\"}}",
                1_760_000_000_000i64 + n,
                "m".repeat(self.padding.load(Ordering::Relaxed))
            )
        };
        let key = format!("a-{n}");
        let partition = (n % i64::from(self.partitions)) as i32;
        let record = BaseRecord::to(&self.name).partition(partition).key(&key).payload(&body);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Waits until so many events are decided, and no more.
    pub async fn decided(&self, events: i64) {
        self.decided_at_least(events).await;
        assert_eq!(self.events().await, events, "more events were decided than sent");
    }

    pub async fn decided_at_least(&self, events: i64) {
        self.wait_for(EVENTS, events).await;
    }

    /// How many events are decided.
    pub async fn events(&self) -> i64 {
        self.number(EVENTS).await
    }

    /// Waits until the query's number is at least `wanted`, and returns it.
    pub async fn wait_for(&self, query: &str, wanted: i64) -> i64 {
        let (deadline, mut connection) = (Instant::now() + SOON, self.connect().await);
        loop {
            let found: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
            if found >= wanted {
                return found;
            }
            assert!(Instant::now() < deadline, "{found} instead of {wanted}: {query}; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Rows by id: kind and value.
    pub async fn rows(&self) -> BTreeMap<String, (String, String)> {
        let rows = sqlx::query("SELECT pipeline, run, topic, partition, \"offset\", n, kind, value::text FROM millrace.record")
            .fetch_all(&mut self.connect().await)
            .await
            .unwrap();
        let id = |row: &sqlx::postgres::PgRow| {
            let (pipeline, run, topic): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
            let (partition, offset, n): (i32, i64, i16) = (row.get(3), row.get(4), row.get(5));
            format!("{pipeline}/{run}/{topic}/{partition}/{offset}/{n}")
        };
        rows.iter().map(|row| (id(row), (row.get(6), row.get(7)))).collect()
    }

    /// Waits until there are as many records as rows; every row is a record that a `read_committed` reader sees once, with
    /// the same value, and there are no others.
    pub async fn published(&self) -> (Vec<Seen>, BTreeMap<String, (String, String)>) {
        let rows = self.rows().await;
        let deadline = Instant::now() + SOON;
        loop {
            let mut records = read_committed_at(&self.brokers, &self.output());
            records.extend(read_committed_at(&self.brokers, &self.dead_letters()));
            let (found, wanted) = (records.len(), rows.len());
            assert!(found <= wanted, "{found} records for {wanted} rows: something was published twice");
            if found == wanted {
                let by_id: BTreeMap<String, String> = records.iter().map(|record| (record.id(), record.value())).collect();
                assert_eq!(by_id.len(), rows.len(), "an id was published twice");
                for (id, (_, value)) in &rows {
                    assert_eq!(by_id.get(id), Some(value), "row and record {id} differ");
                }
                return (records, rows);
            }
            assert!(Instant::now() < deadline, "only {found} of {wanted} rows were published; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The transactions `0..events` have one ending each, in Postgres and in Kafka alike.
    pub async fn assert_rows_are_records(&self, events: i64) {
        let (records, rows) = self.published().await;
        assert_eq!(rows.len() as i64, events, "every event has exactly one ending");
        let bad = (0..events).filter(|n| is_bad(*n)).count();
        assert_eq!(rows.values().filter(|(kind, _)| kind == "dead_letter").count(), bad);
        let amount = |record: &Seen| serde_json::from_slice::<Value>(&record.payload).unwrap()["amount"].as_i64();
        let amounts: BTreeSet<i64> = records.iter().filter_map(amount).collect();
        assert!(amounts.into_iter().eq((0..events).filter(|n| !is_bad(*n))), "the predictions are those of the events sent");
    }
}

fn is_bad(n: i64) -> bool {
    n % 10 == 7
}
