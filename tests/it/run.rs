//! The worker itself, as a process, on a real Kafka and a real Postgres.

use crate::support::{Seen, brokers, create_topic, database, read_committed, unique};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sqlx::{Connection, PgConnection, Row};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 4;
const SOON: Duration = Duration::from_secs(60);

/// A pipeline of its own: topics, a database, a config.
struct Stage {
    name: String,
    url: String,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new(options: &str) -> Self {
        let name = unique("copy");
        for topic in [name.clone(), format!("{name}.out"), format!("{name}.dead")] {
            create_topic(&topic, PARTITIONS).await;
        }
        let stage = Self { url: database().await, folder: tempfile::tempdir().unwrap(), name };
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
            {options}
            [pipeline.options]
            fields = ["amount"]
            score = "amount / 100"
            "#,
            brokers = brokers(),
            url = stage.url,
            name = stage.name,
        );
        std::fs::write(stage.config(), text).unwrap();
        stage
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    fn worker(&self) -> Worker {
        let child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .arg("run")
            .arg("--config")
            .arg(self.config())
            .env_remove("DATABASE_URL")
            .env_remove("MILLRACE_KAFKA__BROKERS")
            .stdin(Stdio::null())
            .stderr(std::fs::File::options().create(true).append(true).open(self.log()).unwrap())
            .spawn()
            .unwrap();
        Worker(child)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Transactions `from..to`, spread over the partitions; every tenth is not one.
    fn send(&self, from: i64, to: i64) {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        for n in from..to {
            let body = if is_bad(n) {
                format!("{{\"id\": \"t-{n}\", \"account\": \"a-{n}\"}}")
            } else {
                format!(
                    "{{\"id\":\"t-{n}\",\"account\":\"a-{n}\",\"amount\":{n},\"currency\":\"EUR\",\"time\":{}}}",
                    1_760_000_000_000i64 + n
                )
            };
            let key = format!("a-{n}");
            let record = BaseRecord::to(&self.name).partition((n % i64::from(PARTITIONS)) as i32).key(&key).payload(&body);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(SOON).unwrap();
    }

    /// Waits until so many events are decided.
    async fn decided(&self, events: i64) {
        let deadline = Instant::now() + SOON;
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        loop {
            let found: i64 = sqlx::query_scalar("SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            if found >= events {
                assert_eq!(found, events, "more events were decided than sent");
                return;
            }
            assert!(
                Instant::now() < deadline,
                "only {found} of {events} were decided; log:\n{}",
                std::fs::read_to_string(self.log()).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Rows by id: kind and value.
    async fn rows(&self) -> BTreeMap<String, (String, String)> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let rows = sqlx::query("SELECT pipeline, run, topic, partition, \"offset\", n, kind, value::text FROM millrace.record")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let id = |row: &sqlx::postgres::PgRow| {
            let (pipeline, run, topic): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
            let (partition, offset, n): (i32, i64, i16) = (row.get(3), row.get(4), row.get(5));
            format!("{pipeline}/{run}/{topic}/{partition}/{offset}/{n}")
        };
        rows.iter().map(|row| (id(row), (row.get(6), row.get(7)))).collect()
    }

    /// Every row is a record that a `read_committed` reader sees once, with the same value, and there are no others.
    async fn assert_rows_are_records(&self, events: i64) {
        let rows = self.rows().await;
        assert_eq!(rows.len() as i64, events, "every event has exactly one ending");
        let bad = (0..events).filter(|n| is_bad(*n)).count();
        assert_eq!(rows.values().filter(|(kind, _)| kind == "dead_letter").count(), bad);
        let deadline = Instant::now() + SOON;
        loop {
            let mut records = read_committed(&format!("{}.out", self.name));
            let predictions = records.len();
            records.extend(read_committed(&format!("{}.dead", self.name)));
            assert!(
                records.len() <= rows.len(),
                "{} records for {} rows: something was published twice",
                records.len(),
                rows.len()
            );
            if records.len() == rows.len() {
                assert_eq!(records.len() - predictions, bad);
                let by_id: BTreeMap<String, String> = records.iter().map(|record| (id(record), value(record))).collect();
                assert_eq!(by_id.len(), rows.len(), "an id was published twice");
                for (id, (_, value)) in &rows {
                    assert_eq!(by_id.get(id), Some(value), "row and record {id} differ");
                }
                return;
            }
            assert!(Instant::now() < deadline, "only {} of {} rows were published", records.len(), rows.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn is_bad(n: i64) -> bool {
    n % 10 == 7
}

fn id(record: &Seen) -> String {
    let (_, id) = record.headers.iter().find(|(name, _)| name == "millrace-id").expect("every record carries its id");
    String::from_utf8(id.clone()).unwrap()
}

fn value(record: &Seen) -> String {
    String::from_utf8(record.payload.clone()).unwrap()
}

/// A worker process, ended with the test at the latest.
struct Worker(Child);

impl Worker {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(name).arg(self.0.id().to_string()).status().unwrap().success());
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
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

#[tokio::test(flavor = "multi_thread")]
async fn every_event_ends_once_and_sigterm_drains() {
    let stage = Stage::new("").await;
    stage.send(0, 2_000);
    let mut worker = stage.worker();
    stage.decided(2_000).await;
    stage.assert_rows_are_records(2_000).await;
    worker.signal("-TERM");
    assert_eq!(worker.end().code(), Some(0), "{}", std::fs::read_to_string(stage.log()).unwrap());
    let mut connection = PgConnection::connect(&stage.url).await.unwrap();
    let lagging: i64 = sqlx::query_scalar("SELECT count(*) FROM millrace.stream_partition WHERE published_offset <> next_offset")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(lagging, 0, "a drained worker leaves Q = P");
}

/// Would catch: a compare-and-set without the claim, offsets outside the transaction, records computed again instead of read back.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_one_of_three_workers_again_and_again_loses_and_doubles_nothing() {
    let stage = Stage::new("").await;
    let mut workers: Vec<Worker> = (0..3).map(|_| stage.worker()).collect();
    let mut sent = 0;
    for round in 0..8 {
        stage.send(sent, sent + 500);
        sent += 500;
        tokio::time::sleep(Duration::from_millis(700 + 137 * round as u64)).await;
        let victim = round % workers.len();
        workers[victim].kill();
        workers[victim] = stage.worker();
    }
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
}

/// Would catch: a claim that does not compare P with K, and so decides again what was published.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lost_its_commits_halts_with_exit_code_3() {
    let stage = Stage::new("").await;
    stage.send(0, 400);
    let mut worker = stage.worker();
    stage.decided(400).await;
    stage.assert_rows_are_records(400).await;
    worker.signal("-TERM");
    worker.end();
    let mut connection = PgConnection::connect(&stage.url).await.unwrap();
    for statement in [
        "DELETE FROM millrace.record WHERE \"offset\" >= 50",
        "UPDATE millrace.stream_partition SET next_offset = 50, published_offset = 50, records = 50, events = 50",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(3));
    let log = std::fs::read_to_string(stage.log()).unwrap();
    assert!(log.contains("the database lost commits") && log.contains("on_lost_commits"), "{log}");
}

/// Would catch: publishing what is newer although rows of [K, P) are gone.
#[tokio::test(flavor = "multi_thread")]
async fn rows_missing_between_k_and_p_halt() {
    let stage = Stage::new("").await;
    stage.send(0, 400);
    let mut worker = stage.worker();
    stage.decided(400).await;
    stage.assert_rows_are_records(400).await;
    worker.signal("-TERM");
    worker.end();
    // As if ten more of each partition had been decided, and their rows were deleted before they were published.
    stage.send(400, 440);
    let mut connection = PgConnection::connect(&stage.url).await.unwrap();
    sqlx::query(
        "UPDATE millrace.stream_partition SET next_offset = next_offset + 10, events = events + 10, records = records + 10",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(3), "{}", std::fs::read_to_string(stage.log()).unwrap());
    let log = std::fs::read_to_string(stage.log()).unwrap();
    assert!(log.contains("rows were deleted or added by hand"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_postgres_writes_rows_and_publishes_nothing() {
    let stage = Stage::new("mode = \"postgres\"").await;
    stage.send(0, 300);
    let _worker = stage.worker();
    stage.decided(300).await;
    assert_eq!(stage.rows().await.len(), 300);
    assert!(read_committed(&format!("{}.out", stage.name)).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_publishes_every_row() {
    let stage = Stage::new("delivery = \"at_least_once\"").await;
    stage.send(0, 300);
    let _worker = stage.worker();
    stage.decided(300).await;
    stage.assert_rows_are_records(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_and_an_older_schema_are_refused_at_start() {
    let stage = Stage::new("").await;
    let text = std::fs::read_to_string(stage.config()).unwrap();
    std::fs::write(stage.config(), text.replace(&format!("{}.out", stage.name), "not-there")).unwrap();
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(1));
    assert!(std::fs::read_to_string(stage.log()).unwrap().contains("`not-there` does not exist"));

    let url = crate::support::empty_database().await;
    std::fs::write(stage.config(), text.replace(&stage.url, &url)).unwrap();
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(1));
    assert!(std::fs::read_to_string(stage.log()).unwrap().contains("millrace migrate"));
}
