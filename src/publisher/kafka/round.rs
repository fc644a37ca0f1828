//! One round: what is sent, awaited, committed or aborted, and what an error means for the caller.

use super::alone;
use super::bounded::bounded;
use super::failed::{abort, is_stale, send_error, told, transaction_error};
use super::written::Traces;
use super::{CALL_TIMEOUT, TRANSACTION_TIMEOUT, lock, member};
use crate::publisher::{Publication, PublishError, offset_metadata};
use crate::record::{ID_HEADER, Record, TRACEPARENT_HEADER, record_id};
use crate::source::Lease;
use crate::source::kafka::KafkaLease;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a round says whose records got no report: the client waits for brokers, and for topics that are not there.
pub const NOT_DELIVERED: &str = "records were not delivered in time";

/// A producer that counts its delivery reports.
pub type Client = BaseProducer<Deliveries>;

/// Delivery reports of the running round.
#[derive(Default)]
pub struct Deliveries {
    pub traces: Mutex<Traces>,
    failed: Mutex<Vec<(usize, Box<str>, KafkaError)>>,
    /// Index of the publication that the newest failure is about, and the topic, where it does not tell the cause; see `alone.rs`.
    pub unclear: Mutex<Option<(usize, Box<str>)>>,
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
            Ok(message) => lock(&self.traces).wrote(message.topic(), message.partition(), message.offset()),
            Err((error, message)) => {
                lock(&self.traces).failed(error.rdkafka_error_code());
                lock(&self.failed).push((publication, message.topic().into(), error.clone()));
            }
        }
    }
}

impl Deliveries {
    /// Forgets the reports of an earlier round.
    pub fn clear(&self) {
        *lock(&self.traces) = Traces::default();
        self.clear_failed();
    }

    /// Forgets what failed, and nothing of what was written.
    pub fn clear_failed(&self) {
        lock(&self.failed).clear();
        *lock(&self.unclear) = None;
    }
}

/// Records and offsets in one transaction.
pub fn in_transaction(producer: &Arc<Client>, lease: &Arc<Lease>, round: &[Publication]) -> Result<(), PublishError> {
    producer.context().clear();
    producer.begin_transaction().map_err(|error| PublishError::Indefinite(format!("begin: {error}")))?;
    let sent = send_all(producer, round).and_then(|()| drain(producer)).and_then(|()| check_deliveries(producer, round));
    if let Err(error) = sent {
        let error = abort(producer, error);
        return Err(alone::certain_in_transaction(producer, round, error));
    }
    let offsets = offsets(round).map_err(|error| PublishError::Fatal(format!("offsets cannot be written down: {error}")))?;
    send_offsets(producer, lease, offsets)?
        .and_then(|()| producer.commit_transaction(CALL_TIMEOUT))
        .map_err(|error| transaction_error(producer, round, &error))
}

/// Key, headers and topic of a record, and the partition that they go to.
pub struct Place<'a> {
    pub index: usize,
    pub record: &'a Record,
    pub partition: i32,
}

/// Something into each of these places, and the round's offsets, in a transaction that is aborted once the brokers have it.
pub fn aborted(
    producer: &Arc<Client>,
    lease: &Arc<Lease>,
    round: &[Publication],
    places: &[Place<'_>],
) -> Result<(), PublishError> {
    producer.context().clear();
    producer.begin_transaction().map_err(|error| PublishError::Indefinite(format!("begin: {error}")))?;
    let deadline = Instant::now() + TRANSACTION_TIMEOUT;
    let send_one = |place: &Place<'_>| match round.get(place.index) {
        Some(publication) => send(producer, publication, place.index, place.record, Some(place.partition), deadline),
        None => Ok(()),
    };
    let sent = places.iter().try_for_each(send_one);
    if let Err(error) = sent.and_then(|()| drain(producer)).and_then(|()| check_deliveries(producer, round)) {
        return Err(abort(producer, error));
    }
    let offsets = offsets(round).map_err(|error| PublishError::Fatal(format!("offsets cannot be written down: {error}")))?;
    match send_offsets(producer, lease, offsets)? {
        // A group that refuses them was asked after its partition of the offsets had become part of the transaction.
        Err(error) if !is_stale(&error) => return Err(PublishError::Indefinite(format!("the offsets: {}", told(round, &error)))),
        _ => {}
    }
    producer.abort_transaction(CALL_TIMEOUT).map_err(|error| PublishError::Indefinite(format!("abort: {error}")))
}

/// Offsets into the open transaction. Ours is the bound that holds: see [`bounded`].
fn send_offsets(
    producer: &Arc<Client>,
    lease: &Arc<Lease>,
    offsets: TopicPartitionList,
) -> Result<Result<(), KafkaError>, PublishError> {
    let (producer, lease) = (producer.clone(), lease.clone());
    bounded("the offsets", TRANSACTION_TIMEOUT + Duration::from_secs(1), move || {
        let member = member(&lease)?;
        Ok(producer.send_offsets_to_transaction(&offsets, &member.metadata, TRANSACTION_TIMEOUT))
    })?
}

/// Records, and then the offsets by a plain commit.
pub fn plainly(producer: &Client, member: &KafkaLease, round: &[Publication]) -> Result<(), PublishError> {
    producer.context().clear();
    let sent = send_all(producer, round).and_then(|()| drain(producer)).and_then(|()| check_deliveries(producer, round));
    if let Err(error) = sent {
        // Nothing of this round may be left to report in the next.
        purge(producer);
        return Err(alone::certain_plainly(producer, round, error));
    }
    let offsets = offsets(round).map_err(|error| PublishError::Fatal(format!("offsets cannot be written down: {error}")))?;
    commit(member, &offsets)
}

/// A plain commit as this member, refused when a partition has left it since.
pub fn commit(member: &KafkaLease, offsets: &TopicPartitionList) -> Result<(), PublishError> {
    member
        .commit(offsets)
        .map_err(|error| PublishError::Aborted { stale_lease: is_stale(&error), detail: format!("commit: {error}") })
}

/// What a round commits.
pub fn offsets(round: &[Publication]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for publication in round {
        let mut element = list.add_partition(&publication.partition.topic, publication.partition.partition);
        element.set_offset(Offset::Offset(publication.to))?;
        element.set_metadata(offset_metadata(publication.records_total));
    }
    Ok(list)
}

/// Hands every record to librdkafka, in order; the key decides the partition.
fn send_all(producer: &Client, round: &[Publication]) -> Result<(), PublishError> {
    let deadline = Instant::now() + TRANSACTION_TIMEOUT;
    for (index, publication) in round.iter().enumerate() {
        for record in publication.records.iter().flat_map(|chunk| chunk.iter()) {
            send(producer, publication, index, record, None, deadline)?;
        }
    }
    Ok(())
}

pub fn send(
    producer: &Client,
    publication: &Publication,
    index: usize,
    record: &Record,
    partition: Option<i32>,
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
    // What is sent to be aborted needs no value.
    let value = if partition.is_some() { "{}" } else { &*record.value };
    let mut message = BaseRecord::<[u8], str, usize>::with_opaque_to(&record.out_topic, index).payload(value).headers(headers);
    if let Some(key) = &record.key {
        message = message.key(&**key);
    }
    if let Some(partition) = partition {
        message = message.partition(partition);
    }
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if Instant::now() < deadline => {
                message = back;
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_micros(500));
            }
            Err((error, _)) => return Err(send_error(&error, publication)),
        }
    }
}

/// Waits until every record has its delivery report. The client's own waits end in a busy loop for what is left of a
/// millisecond, and its `flush` in steps of 100 ms; this sleeps in between.
pub fn drain(producer: &Client) -> Result<(), PublishError> {
    let deadline = Instant::now() + TRANSACTION_TIMEOUT;
    loop {
        producer.poll(Duration::ZERO);
        if producer.flush(Duration::ZERO).is_ok() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(PublishError::Indefinite(NOT_DELIVERED.into()));
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

pub fn check_deliveries(producer: &Client, round: &[Publication]) -> Result<(), PublishError> {
    let mut failed: BTreeMap<usize, (Box<str>, KafkaError)> = BTreeMap::new();
    for (index, topic, error) in lock(&producer.context().failed).drain(..) {
        // A purge is the echo of another failure.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PurgeQueue) {
            failed.entry(index).or_insert((topic, error));
        }
    }
    let first = failed.into_iter().find_map(|(index, (topic, error))| Some((index, topic, round.get(index)?, error)));
    let Some((index, topic, publication, error)) = first else { return Ok(()) };
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::InvalidRecord) {
        *lock(&producer.context().unclear) = Some((index, topic));
    }
    Err(send_error(&error, publication))
}

/// Gives up what is queued or on its way, and waits until each has been reported.
pub fn purge(producer: &Client) {
    producer.purge(PurgeConfig::default().queue().inflight());
    while producer.flush(Duration::ZERO).is_err() {
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_micros(500));
    }
}
