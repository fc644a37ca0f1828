//! Publishing to Kafka: in transactions, or with idempotent produce and plain commits.
//!
//! Transaction calls block, so they run on blocking threads; one at a time, behind a mutex.

mod alone;
mod bounded;
mod failed;
mod reader;
mod round;
mod unended;
mod written;

use super::{Committed, CommittedOffsets, Publication, PublishError, Publisher};
use crate::event::TopicPartition;
use crate::source::kafka::KafkaLease;
use crate::source::{Lease, LogBounds};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer;
use reader::Reader;
use round::{Client, Deliveries};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use unended::{End, Ends, Unended};
use written::Traces;

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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The producer, which has one transaction at a time.
#[derive(Default)]
struct Slot {
    /// `None` until the first use, and after an outcome that is not known.
    producer: Option<Arc<Client>>,
    /// What must be closed before the next transaction.
    unended: Option<Unended>,
    /// Where what was committed ends.
    ends: Ends,
}

struct Inner {
    settings: KafkaPublisherSettings,
    slot: Mutex<Slot>,
    reader: Reader,
}

/// See the module.
#[derive(Clone)]
pub struct KafkaPublisher {
    inner: Arc<Inner>,
}

impl KafkaPublisher {
    /// Makes the clients. Brokers are asked only on first use.
    pub fn new(settings: KafkaPublisherSettings) -> Result<Self, PublishError> {
        let reader = Reader::new(&settings)?;
        Ok(Self { inner: Arc::new(Inner { settings, slot: Mutex::default(), reader }) })
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
        self.blocking(move |inner| inner.publish(&lease, round)).boxed()
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
        let publication = nothing_but(partition.clone(), committed);
        self.blocking(move |inner| inner.publish(&lease, vec![publication])).boxed()
    }

    fn hint<'a>(
        &'a self,
        lease: Arc<Lease>,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        self.blocking(move |_| {
            let round: Vec<Publication> =
                offsets.into_iter().map(|(partition, committed)| nothing_but(partition, committed)).collect();
            let offsets = round::offsets(&round)
                .map_err(|error| PublishError::Fatal(format!("offsets cannot be written down: {error}")))?;
            round::commit(member(&lease)?, &offsets)
        })
        .boxed()
    }

    fn tidy(&self) -> BoxFuture<'_, ()> {
        let tidied = self.blocking(Inner::tidy);
        async move {
            if let Err(error) = tidied.await {
                tracing::warn!(%error, "It is tried again.");
            }
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<LogBounds, PublishError>> {
        let partition = partition.clone();
        self.blocking(move |inner| inner.reader.bounds(&partition)).boxed()
    }

    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, PublishError>> {
        let topic = topic.to_owned();
        self.blocking(move |inner| inner.reader.partition_count(&topic)).boxed()
    }
}

/// A publication without records: only the offset moves.
fn nothing_but(partition: TopicPartition, committed: Committed) -> Publication {
    Publication {
        pipeline: "".into(),
        run: 0,
        partition,
        to: committed.offset,
        records_total: committed.records_total.unwrap_or(0),
        records: Vec::new(),
    }
}

fn member(lease: &Lease) -> Result<&KafkaLease, PublishError> {
    let member = lease.metadata.as_ref().and_then(|metadata| metadata.downcast_ref::<KafkaLease>());
    member.ok_or_else(|| PublishError::Aborted { stale_lease: true, detail: "there is no lease".into() })
}

impl Inner {
    fn committed(&self, partitions: &[TopicPartition]) -> Result<CommittedOffsets, PublishError> {
        self.end_earlier_transactions()?;
        self.reader.committed(partitions)
    }

    /// An earlier life of this instance may have left a transaction open, which would hold the answer back until its time-out.
    /// Initialising the producer ends it. A round that runs holds the lock, and has a producer.
    fn end_earlier_transactions(&self) -> Result<(), PublishError> {
        if self.settings.guarantee == Guarantee::AtLeastOnce {
            return Ok(());
        }
        let Ok(mut slot) = self.slot.try_lock() else { return Ok(()) };
        self.attempt(&mut slot.producer, |_| Ok(()))?;
        // K may be readable all the same.
        if let Err(error) = self.close_unended(&mut slot) {
            tracing::warn!(%error, "It is tried again before the next round.");
        }
        Ok(())
    }

    /// Closes what is open while nothing else is under way.
    fn tidy(&self) -> Result<(), PublishError> {
        match self.slot.try_lock() {
            Ok(mut slot) => self.close_unended(&mut slot),
            Err(_) => Ok(()),
        }
    }

    fn publish(&self, lease: &Arc<Lease>, round: Vec<Publication>) -> Result<(), PublishError> {
        let member = member(lease)?;
        let mut slot = lock(&self.slot);
        self.close_unended(&mut slot)?;
        let mut traces = Traces::default();
        let result = self.attempt(&mut slot.producer, |producer| match self.settings.guarantee {
            Guarantee::ExactlyOnce => {
                let result = round::in_transaction(producer, lease, &round);
                traces = lock(&producer.context().traces).clone();
                result
            }
            Guarantee::AtLeastOnce => round::plainly(producer, member, &round),
        });
        let result = result.map_err(|error| self.with_missing_topics(error, &round));
        if self.settings.guarantee == Guarantee::ExactlyOnce {
            if result.is_ok() {
                slot.ends.note(&traces.written);
            }
            slot.unended = Unended::of(lease, round, traces, &result);
        }
        result
    }

    fn new_producer(&self) -> Result<Arc<Client>, PublishError> {
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
        Ok(Arc::new(producer))
    }

    /// Work of the producer. After an outcome that is not known it is dropped: the next one fences it and ends its transaction.
    fn attempt(
        &self,
        slot: &mut Option<Arc<Client>>,
        work: impl FnOnce(&Arc<Client>) -> Result<(), PublishError>,
    ) -> Result<(), PublishError> {
        let producer = match slot.take() {
            Some(producer) => producer,
            None => self.new_producer()?,
        };
        let result = work(&producer);
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

    /// Closes what an earlier round may have left open; what was committed is left alone.
    fn close_unended(&self, slot: &mut Slot) -> Result<(), PublishError> {
        let Slot { producer, unended, ends } = slot;
        let Some(open) = unended else { return Ok(()) };
        // Once there is a new producer the old transaction has its end.
        self.attempt(producer, |_| Ok(())).map_err(unended::not_begun)?;
        match open.end(&self.reader, ends) {
            End::Unknown(why) => {
                return Err(unended::not_begun(PublishError::Indefinite(why)));
            }
            End::Committed => {}
            End::Aborted => {
                self.attempt(producer, |producer| open.close(producer, &self.reader, ends)).map_err(unended::not_begun)?;
            }
        }
        *unended = None;
        Ok(())
    }

    /// The client does not say that a topic was deleted: it waits for it, longer than a round may take.
    fn with_missing_topics(&self, error: PublishError, round: &[Publication]) -> PublishError {
        match error {
            PublishError::Indefinite(detail) if detail == round::NOT_DELIVERED => {
                let topics: BTreeSet<&str> = round
                    .iter()
                    .flat_map(|publication| publication.records.iter().flat_map(|chunk| chunk.iter()))
                    .map(|record| &*record.out_topic)
                    .collect();
                let gone = topics.into_iter().find_map(|topic| match self.reader.partition_count(topic) {
                    Err(PublishError::Fatal(gone)) => Some(gone),
                    _ => None,
                });
                PublishError::Indefinite(gone.map_or(detail.clone(), |gone| format!("{detail}: {gone}")))
            }
            other => other,
        }
    }
}
