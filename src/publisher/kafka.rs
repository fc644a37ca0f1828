//! Publishing to Kafka: in transactions, or with idempotent produce and plain commits.
//!
//! Transaction calls block, so they run on blocking threads; one at a time, behind a mutex.

use super::{Committed, CommittedOffsets, Publication, PublishError, Publisher, offset_metadata, parse_offset_metadata};
use crate::event::TopicPartition;
use crate::record::{ID_HEADER, Record, TRACEPARENT_HEADER, record_id};
use crate::source::kafka::KafkaLease;
use crate::source::{Lease, LogBounds};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What readers of the output can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Records and offsets in one transaction.
    ExactlyOnce,
    /// Idempotent produce, then a plain commit: a crash between the two repeats records.
    AtLeastOnce,
}

/// How a publisher is made.
#[derive(Debug, Clone)]
pub struct KafkaPublisherSettings {
    pub guarantee: Guarantee,
    /// The consumer group whose offsets are K.
    pub group: String,
    /// Unique for a pipeline and instance; fences an earlier life of this one.
    pub transactional_id: String,
    /// librdkafka properties: `bootstrap.servers`, security.
    pub client: Vec<(String, String)>,
}

/// A transaction that is not over by then is aborted by the broker.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Bound of one blocking call.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Deliveries {
    delivered: AtomicUsize,
    failed: Mutex<Vec<(usize, KafkaError)>>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "The Kafka producer reports trouble.");
    }
}

impl ProducerContext for Deliveries {
    /// Index of the publication that the record belongs to.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, publication: usize) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => lock(&self.failed).push((publication, error.clone())),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Client = BaseProducer<Deliveries>;

struct Inner {
    settings: KafkaPublisherSettings,
    /// `None` until the first use, and after an outcome that is not known.
    producer: Mutex<Option<Client>>,
    /// Reads offsets and bounds; never subscribes.
    reader: BaseConsumer,
}

/// See the module.
#[derive(Clone)]
pub struct KafkaPublisher {
    inner: Arc<Inner>,
}

impl KafkaPublisher {
    /// Makes the clients. Brokers are asked only on first use.
    pub fn new(settings: KafkaPublisherSettings) -> Result<Self, PublishError> {
        let mut config = ClientConfig::new();
        for (name, value) in &settings.client {
            config.set(name, value);
        }
        config.set("group.id", &settings.group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.remove("group.protocol");
        let reader =
            config.create().map_err(|error| PublishError::Fatal(format!("the offset reader cannot be made: {error}")))?;
        Ok(Self { inner: Arc::new(Inner { settings, producer: Mutex::new(None), reader }) })
    }

    /// Runs blocking work of librdkafka off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, PublishError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|error| Err(PublishError::Indefinite(format!("the publishing thread ended badly: {error}"))))
    }
}

impl Publisher for KafkaPublisher {
    fn publish<'a>(&'a self, lease: Arc<Lease>, round: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>> {
        self.blocking(move |inner| inner.publish(&lease, &round)).boxed()
    }

    fn committed<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<CommittedOffsets, PublishError>> {
        let partitions = partitions.to_vec();
        self.blocking(move |inner| inner.committed(&partitions)).boxed()
    }

    fn commit<'a>(
        &'a self,
        lease: Arc<Lease>,
        partition: &'a TopicPartition,
        committed: Committed,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let publication = Publication {
            pipeline: "".into(),
            run: 0,
            partition: partition.clone(),
            to: committed.offset,
            records_total: committed.records_total.unwrap_or(0),
            records: Vec::new(),
        };
        self.blocking(move |inner| inner.publish(&lease, &[publication])).boxed()
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<LogBounds, PublishError>> {
        let partition = partition.clone();
        self.blocking(move |inner| {
            let (low, high) =
                inner.reader.fetch_watermarks(&partition.topic, partition.partition, CALL_TIMEOUT).map_err(|error| {
                    PublishError::Aborted { stale_lease: false, detail: format!("bounds of {partition}: {error}") }
                })?;
            Ok(LogBounds { low, high })
        })
        .boxed()
    }

    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, PublishError>> {
        let topic = topic.to_owned();
        self.blocking(move |inner| inner.partition_count(&topic)).boxed()
    }
}

impl Inner {
    fn partition_count(&self, topic: &str) -> Result<i32, PublishError> {
        let metadata = self
            .reader
            .fetch_metadata(Some(topic), CALL_TIMEOUT)
            .map_err(|error| PublishError::Aborted { stale_lease: false, detail: format!("metadata of {topic}: {error}") })?;
        let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
        if count == 0 {
            return Err(PublishError::Fatal(format!(
                "the topic `{topic}` does not exist, or this user may not see it. Create it, or grant Describe."
            )));
        }
        Ok(count as i32)
    }

    fn committed(&self, partitions: &[TopicPartition]) -> Result<CommittedOffsets, PublishError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        // With stable offsets this waits for the predecessor's open transaction, which the broker ends after its time-out.
        let found = self
            .reader
            .committed_offsets(list, TRANSACTION_TIMEOUT + Duration::from_secs(5))
            .map_err(|error| PublishError::Aborted { stale_lease: false, detail: format!("committed offsets: {error}") })?;
        Ok(found
            .elements()
            .iter()
            .map(|element| {
                let committed = match element.offset() {
                    Offset::Offset(offset) => {
                        Some(Committed { offset, records_total: parse_offset_metadata(element.metadata()) })
                    }
                    _ => None,
                };
                (TopicPartition::new(element.topic(), element.partition()), committed)
            })
            .collect())
    }

    fn new_producer(&self) -> Result<Client, PublishError> {
        let settings = &self.settings;
        let mut config = ClientConfig::new();
        config
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.kbytes", "32768")
            .set("queue.buffering.max.messages", "200000")
            .set("batch.num.messages", "10000");
        for (name, value) in &settings.client {
            config.set(name, value);
        }
        for consumer_only in
            ["group.protocol", "session.timeout.ms", "heartbeat.interval.ms", "fetch.wait.max.ms", "max.poll.interval.ms"]
        {
            config.remove(consumer_only);
        }
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        if settings.guarantee == Guarantee::ExactlyOnce {
            config
                .set("transactional.id", &settings.transactional_id)
                .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
                .set("message.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        }
        let producer: Client = config
            .create_with_context(Deliveries::default())
            .map_err(|error| PublishError::Fatal(format!("the producer cannot be made: {error}")))?;
        if settings.guarantee == Guarantee::ExactlyOnce {
            producer.init_transactions(CALL_TIMEOUT).map_err(|error| {
                let detail = format!("transactions cannot be initialised: {error}");
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => PublishError::Fatal(format!(
                        "{detail}. Grant Write and Describe on the transactional id `{}`.",
                        settings.transactional_id
                    )),
                    _ => PublishError::Aborted { stale_lease: false, detail },
                }
            })?;
        }
        Ok(producer)
    }

    fn publish(&self, lease: &Lease, round: &[Publication]) -> Result<(), PublishError> {
        let Some(member) = lease.metadata.as_ref().and_then(|metadata| metadata.downcast_ref::<KafkaLease>()) else {
            return Err(PublishError::Aborted { stale_lease: true, detail: "there is no lease".into() });
        };
        let mut slot = lock(&self.producer);
        let producer = match slot.take() {
            Some(producer) => producer,
            None => self.new_producer()?,
        };
        producer.context().delivered.store(0, Ordering::Relaxed);
        lock(&producer.context().failed).clear();
        let result = match self.settings.guarantee {
            Guarantee::ExactlyOnce => in_transaction(&producer, member, round),
            Guarantee::AtLeastOnce => plainly(&producer, member, round),
        };
        // After an outcome that is not known the producer is dropped: the next one fences it and ends its transaction.
        if matches!(result, Err(PublishError::Indefinite(_))) {
            drop(producer);
            match self.new_producer() {
                Ok(fresh) => *slot = Some(fresh),
                Err(error) => tracing::warn!(%error, "The producer is rebuilt at the next round."),
            }
        } else {
            *slot = Some(producer);
        }
        result
    }
}

fn in_transaction(producer: &Client, member: &KafkaLease, round: &[Publication]) -> Result<(), PublishError> {
    producer.begin_transaction().map_err(|error| PublishError::Indefinite(format!("begin: {error}")))?;
    let sent = send_all(producer, round).and_then(|()| drain(producer)).and_then(|()| check_deliveries(producer, round));
    if let Err(error) = sent {
        return Err(abort(producer, error));
    }
    let offsets = offsets(round).map_err(|error| PublishError::Fatal(format!("offsets cannot be written down: {error}")))?;
    let committed = producer
        .send_offsets_to_transaction(&offsets, &member.metadata, CALL_TIMEOUT)
        .and_then(|()| producer.commit_transaction(CALL_TIMEOUT));
    committed.map_err(|error| transaction_error(producer, &error))
}

fn plainly(producer: &Client, member: &KafkaLease, round: &[Publication]) -> Result<(), PublishError> {
    let sent = send_all(producer, round).and_then(|()| drain(producer)).and_then(|()| check_deliveries(producer, round));
    if let Err(error) = sent {
        // Nothing of this round may be left to report in the next.
        purge(producer);
        return Err(error);
    }
    let offsets = offsets(round).map_err(|error| PublishError::Fatal(format!("offsets cannot be written down: {error}")))?;
    member
        .commit(&offsets)
        .map_err(|error| PublishError::Aborted { stale_lease: is_stale(&error), detail: format!("commit: {error}") })
}

fn offsets(round: &[Publication]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for publication in round {
        let mut element = list.add_partition(&publication.partition.topic, publication.partition.partition);
        element.set_offset(Offset::Offset(publication.to))?;
        element.set_metadata(offset_metadata(publication.records_total));
    }
    Ok(list)
}

/// Hands every record to librdkafka, in order.
fn send_all(producer: &Client, round: &[Publication]) -> Result<(), PublishError> {
    let deadline = Instant::now() + TRANSACTION_TIMEOUT;
    for (index, publication) in round.iter().enumerate() {
        for record in publication.records.iter().flat_map(|chunk| chunk.iter()) {
            send(producer, publication, index, record, deadline)?;
        }
    }
    Ok(())
}

fn send(
    producer: &Client,
    publication: &Publication,
    index: usize,
    record: &Record,
    deadline: Instant,
) -> Result<(), PublishError> {
    let id = record_id(
        &publication.pipeline,
        publication.run,
        &publication.partition.topic,
        record.partition,
        record.offset,
        record.n,
    );
    let mut headers = OwnedHeaders::new_with_capacity(2).insert(Header { key: ID_HEADER, value: Some(&id) });
    if let Some(trace) = &record.traceparent {
        headers = headers.insert(Header { key: TRACEPARENT_HEADER, value: Some(&**trace) });
    }
    let mut message =
        BaseRecord::<[u8], str, usize>::with_opaque_to(&record.out_topic, index).payload(&*record.value).headers(headers);
    if let Some(key) = &record.key {
        message = message.key(&**key);
    }
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if Instant::now() < deadline => {
                message = back;
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(send_error(&error, publication)),
        }
    }
}

/// Waits until every record has its delivery report. `flush` would wait in steps of 100 ms; this does not.
fn drain(producer: &Client) -> Result<(), PublishError> {
    let deadline = Instant::now() + TRANSACTION_TIMEOUT;
    while producer.flush(Duration::ZERO).is_err() {
        if Instant::now() >= deadline {
            return Err(PublishError::Indefinite("records were not delivered in time".into()));
        }
        producer.poll(Duration::from_micros(500));
    }
    Ok(())
}

fn check_deliveries(producer: &Client, round: &[Publication]) -> Result<(), PublishError> {
    let mut failed: BTreeMap<usize, KafkaError> = BTreeMap::new();
    for (index, error) in lock(&producer.context().failed).drain(..) {
        // A purge is the echo of another failure.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PurgeQueue) {
            failed.entry(index).or_insert(error);
        }
    }
    match failed.iter().find_map(|(index, error)| Some((round.get(*index)?, error))) {
        Some((publication, error)) => Err(send_error(error, publication)),
        None => Ok(()),
    }
}

fn send_error(error: &KafkaError, publication: &Publication) -> PublishError {
    let forever = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidRecord
        )
    );
    if forever {
        PublishError::Impossible { partition: publication.partition.clone(), detail: error.to_string() }
    } else {
        PublishError::Aborted { stale_lease: false, detail: format!("a record was not delivered: {error}") }
    }
}

/// Aborts after `cause`. Only after a first delivery report: before it the broker may not know the transaction, and
/// librdkafka takes its answer as fatal.
fn abort(producer: &Client, cause: PublishError) -> PublishError {
    if matches!(cause, PublishError::Indefinite(_)) {
        return cause;
    }
    purge(producer);
    if producer.context().delivered.load(Ordering::Relaxed) == 0 {
        return match cause {
            // Nothing reached the broker; the producer is rebuilt with the next round all the same.
            PublishError::Impossible { .. } => match producer.abort_transaction(CALL_TIMEOUT) {
                Ok(()) => cause,
                Err(error) => PublishError::Indefinite(format!("{cause}; and the abort failed: {error}")),
            },
            other => PublishError::Indefinite(other.to_string()),
        };
    }
    match producer.abort_transaction(CALL_TIMEOUT) {
        Ok(()) => cause,
        Err(error) => PublishError::Indefinite(format!("{cause}; and the abort failed: {error}")),
    }
}

/// Gives up what is queued or on its way, and waits until each has been reported.
fn purge(producer: &Client) {
    producer.purge(PurgeConfig::default().queue().inflight());
    while producer.flush(Duration::from_millis(100)).is_err() {
        producer.poll(Duration::ZERO);
    }
}

fn is_stale(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::StaleMemberEpoch
                | RDKafkaErrorCode::FencedMemberEpoch
        )
    )
}

fn transaction_error(producer: &Client, error: &KafkaError) -> PublishError {
    let detail = error.to_string();
    match error {
        KafkaError::Transaction(cause) if !cause.is_fatal() && cause.txn_requires_abort() => {
            abort(producer, PublishError::Aborted { stale_lease: is_stale(error), detail })
        }
        _ => PublishError::Indefinite(detail),
    }
}
