//! What the tests share: addresses of the services, a fresh database, topics, and plain Kafka clients.

#[path = "../../../src/absent.rs"]
pub mod absent;
pub mod clock;
pub mod collector;
pub mod command;
pub mod http;
pub mod link;
pub mod load;
pub mod one_pass;
pub mod proxy;
pub mod reader;
pub mod registry;
pub mod services;
pub mod stage;
pub mod wire;
mod worker;

use millrace::store::postgres::{PostgresSettings, PostgresStore, migrate};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(30);

fn service(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: this test needs Kafka and Postgres, run it through `make test`"))
}

pub fn brokers() -> String {
    service("MILLRACE_KAFKA__BROKERS")
}

/// A file of the folder that `deploy/local/certificates.sh` fills.
pub fn certificate(name: &str) -> PathBuf {
    Path::new(&service("MILLRACE_LOCAL_TLS_DIR")).join(name)
}

/// The same URL, but that the server must show a certificate that this authority has signed.
pub fn verified(url: &str, authority: &Path) -> String {
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}sslmode=verify-full&sslrootcert={}", authority.display())
}

/// URL of the server on which the tests make their databases.
pub fn postgres() -> String {
    service("DATABASE_URL")
}

/// A name that no other test uses.
pub fn unique(stem: &str) -> String {
    format!("{stem}_{}", Uuid::new_v4().simple())
}

/// Makes a database for one test, with the schema in it, and returns its URL.
pub async fn database() -> String {
    database_at(&postgres()).await
}

/// The same on another server.
pub async fn database_at(server: &str) -> String {
    let url = empty_database_at(server).await;
    migrate(&url).await.unwrap();
    url
}

/// Makes a database for one test, and returns its URL.
pub async fn empty_database() -> String {
    empty_database_at(&postgres()).await
}

async fn empty_database_at(server: &str) -> String {
    let options = PgConnectOptions::from_str(server).unwrap();
    let name = unique("t");
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(&format!("CREATE DATABASE {name}")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    options.database(&name).to_url_lossy().to_string()
}

pub async fn store(url: &str) -> PostgresStore {
    let settings = PostgresSettings { max_connections: 4, statement_timeout_ms: 10_000, acquire_timeout_ms: 10_000 };
    PostgresStore::connect(url, &settings).await.unwrap()
}

fn client() -> ClientConfig {
    client_of(&brokers())
}

pub fn client_of(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

pub async fn create_topic(name: &str, partitions: i32) {
    create_topic_with(name, partitions, &[]).await;
}

pub async fn create_topic_at(brokers: &str, name: &str, partitions: i32) {
    // As many replicas as the brokers' default says.
    create(brokers, NewTopic::new(name, partitions, TopicReplication::Fixed(-1))).await;
}

/// Makes a topic with settings such as `max.message.bytes`.
pub async fn create_topic_with(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    create(&brokers(), topic).await;
}

async fn create(brokers: &str, topic: NewTopic<'_>) {
    let admin: AdminClient<DefaultClientContext> = client_of(brokers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT));
    for result in admin.create_topics([&topic], &options).await.unwrap() {
        result.unwrap();
    }
}

/// Deletes a consumer group, and its offsets with it.
pub async fn delete_group(name: &str) {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    for result in admin.delete_groups(&[name], &AdminOptions::new().request_timeout(Some(WAIT))).await.unwrap() {
        result.unwrap();
    }
}

/// Writes one record outside any transaction, and waits until the broker has it.
pub fn produce(topic: &str, partition: i32, key: Option<&str>, payload: &[u8]) {
    let producer: BaseProducer = client().create().unwrap();
    let mut record = BaseRecord::<str, [u8]>::to(topic).partition(partition).payload(payload);
    if let Some(key) = key {
        record = record.key(key);
    }
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT).unwrap();
}

/// One record as a reader of a topic sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Into::into),
            payload: message.payload().unwrap_or_default().into(),
            headers: message.headers().map_or_else(Vec::new, |headers| {
                headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
            }),
        }
    }

    /// `pipeline/run/topic/partition/offset/n`: the id of the row too.
    pub fn id(&self) -> String {
        let (_, id) = self.headers.iter().find(|(name, _)| name == "millrace-id").expect("every record carries its id");
        String::from_utf8(id.clone()).unwrap()
    }

    pub fn value(&self) -> String {
        String::from_utf8(self.payload.clone()).unwrap()
    }
}

/// Partition and offset of the event that an id names.
pub fn source_of(id: &str) -> (i32, i64) {
    let mut parts = id.rsplit('/').skip(1);
    let mut number = || parts.next().unwrap().parse::<i64>().unwrap();
    let (offset, partition) = (number(), number());
    (partition as i32, offset)
}

/// Everything a `read_committed` reader sees in a topic now, from the beginning to the end of each partition.
pub fn read_committed(topic: &str) -> Vec<Seen> {
    read_committed_at(&brokers(), topic)
}

/// Waits until no transaction is open in a partition. Who commits one is answered before its markers are in the log, and a reader that comes at that moment
/// finds the end before its records. Some tests leave a transaction open for good: those are waited for a little.
fn settled(committed: &BaseConsumer, all: &BaseConsumer, topic: &str, partition: i32) {
    let deadline = Instant::now() + Duration::from_secs(3);
    let end = |reader: &BaseConsumer| reader.fetch_watermarks(topic, partition, WAIT).unwrap().1;
    let written = end(all);
    while end(committed) < written && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn read_committed_at(brokers: &str, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = client_of(brokers)
        .set("group.id", unique("reader"))
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).unwrap();
    let mut open: BTreeSet<i32> = metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
    let mut list = TopicPartitionList::new();
    for partition in &open {
        list.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    let all: BaseConsumer = client_of(brokers).set("isolation.level", "read_uncommitted").create().unwrap();
    for partition in &open {
        settled(&consumer, &all, topic, *partition);
    }
    consumer.assign(&list).unwrap();
    let (mut seen, deadline) = (Vec::new(), Instant::now() + WAIT);
    while !open.is_empty() {
        assert!(Instant::now() < deadline, "the end of {topic} was not reached in time, missing partitions {open:?}");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            Some(Ok(message)) => seen.push(Seen::of(&message)),
        }
    }
    seen
}
