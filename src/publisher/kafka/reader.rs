//! What is asked of Kafka: offsets of the group, ends of logs, topics.

mod fate;

use super::{CALL_TIMEOUT, KafkaPublisherSettings, TRANSACTION_TIMEOUT, lock};
use crate::event::TopicPartition;
use crate::publisher::{Committed, CommittedOffsets, PublishError, parse_offset_metadata};
use crate::source::LogBounds;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use fate::Fate;

/// Whether the transactions of a partition have ended up to an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    Ended,
    /// Not in time.
    Open,
    /// The log does not reach so far: the topic was made again, say.
    Beyond,
}

/// A consumer of the group that never subscribes.
pub struct Reader {
    consumer: BaseConsumer<LastReason>,
    /// How it was made.
    config: ClientConfig,
}

/// Keeps what librdkafka says of a broker, for the error of the call that fails because of it.
#[derive(Default)]
struct LastReason(Mutex<Option<String>>);

impl ClientContext for LastReason {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "The offset reader reports trouble.");
        *lock(&self.0) = Some(reason.to_owned());
    }
}

impl ConsumerContext for LastReason {}

impl Reader {
    pub fn new(settings: &KafkaPublisherSettings) -> Result<Self, PublishError> {
        let mut config = ClientConfig::new();
        for (name, value) in &settings.client {
            config.set(name, value);
        }
        config.set("group.id", &settings.group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.remove("group.protocol");
        let consumer = config
            .create_with_context(LastReason::default())
            .map_err(|error| PublishError::Fatal(format!("the offset reader cannot be made: {error}")))?;
        Ok(Self { consumer, config })
    }

    /// The first offset of the input log, and the one after its last.
    pub fn bounds(&self, partition: &TopicPartition) -> Result<LogBounds, PublishError> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(&partition.topic, partition.partition, CALL_TIMEOUT)
            .map_err(|error| self.unanswered(&format!("the ends of {partition} cannot be read"), &error))?;
        Ok(LogBounds { low, high })
    }

    /// Whether all transactions of a partition have ended up to an offset. Those of other producers hold that up as well, so it is waited for.
    pub fn is_ended(&self, (topic, partition, offset): (&str, i32, i64), deadline: Instant) -> Result<bool, PublishError> {
        let partition = TopicPartition::new(topic, partition);
        while self.bounds(&partition)?.high <= offset {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(true)
    }

    /// How the transactions of a partition stand up to an offset.
    pub fn stand(&self, place: (&str, i32, i64), deadline: Instant) -> Result<Stand, PublishError> {
        if self.is_ended(place, Instant::now())? {
            return Ok(Stand::Ended);
        }
        let (topic, partition, offset) = place;
        let failed = |error: KafkaError| self.unanswered(&format!("the end of {topic}/{partition} cannot be read"), &error);
        let all: BaseConsumer = self.config.clone().set("isolation.level", "read_uncommitted").create().map_err(failed)?;
        let (_, high) = all.fetch_watermarks(topic, partition, CALL_TIMEOUT).map_err(failed)?;
        if high <= offset {
            return Ok(Stand::Beyond);
        }
        Ok(if self.is_ended(place, deadline)? { Stand::Ended } else { Stand::Open })
    }

    /// K of each of these, with stable offsets.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<CommittedOffsets, PublishError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        // With stable offsets this waits for the predecessor's open transaction, which the broker ends after its time-out.
        let found = self
            .consumer
            .committed_offsets(list, TRANSACTION_TIMEOUT + Duration::from_secs(5))
            .map_err(|error| self.unanswered("the group's offsets cannot be read", &error))?;
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

    /// A question that Kafka did not answer, with the last reason that librdkafka gave, which it tells only when polled.
    fn unanswered(&self, what: &str, error: &KafkaError) -> PublishError {
        for _ in 0..16 {
            if self.consumer.poll(Duration::ZERO).is_none() {
                break;
            }
        }
        let reason = lock(&self.consumer.context().0).take().map_or(String::new(), |reason| format!(" ({reason})"));
        PublishError::Aborted { stale_lease: false, detail: format!("{what}: {error}{reason}") }
    }

    /// How many partitions a topic has; fatal where there is no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<i32, PublishError> {
        match self.look_up(topic)? {
            (0, _) => Err(PublishError::Fatal(format!(
                "the topic `{topic}` does not exist, or this user may not see it. Create it, or grant Describe."
            ))),
            (count, _) => Ok(count),
        }
    }

    /// The same; `None` where the broker that was asked knows no such topic. One that has just started may not know it yet.
    pub fn known_partitions(&self, topic: &str) -> Result<Option<i32>, PublishError> {
        match self.look_up(topic)? {
            (0, Some(RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(None),
            (0, why) => {
                let why = why.map_or_else(|| "no partitions are told".to_owned(), |code| code.to_string());
                let detail = format!("the topic `{topic}` cannot be looked up: {why}");
                Err(PublishError::Aborted { stale_lease: false, detail })
            }
            (count, _) => Ok(Some(count)),
        }
    }

    fn look_up(&self, topic: &str) -> Result<(i32, Option<RDKafkaErrorCode>), PublishError> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), CALL_TIMEOUT)
            .map_err(|error| self.unanswered(&format!("the topic `{topic}` cannot be looked up"), &error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        Ok(found.map_or((0, None), |found| (found.partitions().len() as i32, found.error().map(RDKafkaErrorCode::from))))
    }
}
