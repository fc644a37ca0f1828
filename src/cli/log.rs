//! Reads a topic once, from its beginning to the end it had at the start or between given offsets, as `read_committed` readers see it.

use crate::cli::kafka::{Kafka, is_outage};
use crate::record::{ID_HEADER, RecordId};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// How long a transaction may hold back the end of a topic, and how long a broker may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is read of each partition of a topic.
#[derive(Debug, Clone)]
pub struct Extent {
    pub topic: String,
    /// First offset, and the offset after the last.
    pub partitions: BTreeMap<i32, (i64, i64)>,
}

/// What the reader brings.
pub enum Next<'a> {
    Record(BorrowedMessage<'a>),
    /// Nothing at the moment; a broker that restarts is waited for.
    Idle,
    End,
}

/// The id that a record carries, when it is one of this pipeline.
pub fn id_of(pipeline: &str, message: &BorrowedMessage<'_>) -> Option<RecordId> {
    let value = header(message, ID_HEADER)?;
    let id: RecordId = std::str::from_utf8(value).ok()?.parse().ok()?;
    (*id.pipeline == *pipeline).then_some(id)
}

/// The value of a header, the first of that name.
pub fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    message.headers()?.iter().find(|header| header.key == name).and_then(|header| header.value)
}

/// Looks how far a topic goes, and waits until no open transaction stands below that.
pub async fn extent(kafka: &Kafka, topic: &str) -> anyhow::Result<Extent> {
    let mut partitions = BTreeMap::new();
    for partition in kafka.partitions(&[topic.to_owned()])? {
        let bounds = kafka.bounds_with_open(&partition)?;
        let deadline = Instant::now() + PATIENCE;
        while kafka.bounds(&partition)?.high < bounds.high {
            if Instant::now() >= deadline {
                bail!(
                    "a transaction that does not end holds back {partition} below offset {}; end it, or wait for its time-out",
                    bounds.high
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        partitions.insert(partition.partition, (bounds.low, bounds.high));
    }
    Ok(Extent { topic: topic.to_owned(), partitions })
}

pub struct Reader {
    consumer: BaseConsumer,
    /// Partitions that are still read, each with the offset after its last.
    open: BTreeMap<i32, i64>,
    topic: String,
    heard: Instant,
    /// What the client complained of since it heard anything.
    trouble: Option<KafkaError>,
    bar: ProgressBar,
}

/// Whether it passes when the brokers are back; one that has just started may not know its topics yet.
fn passes(error: &KafkaError) -> bool {
    is_outage(error) || error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition)
}

impl Reader {
    pub fn open(kafka: &Kafka, extent: &Extent, what: &str) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = kafka
            .reader()
            .set("check.crcs", "true")
            .set("fetch.queue.backoff.ms", "10")
            .create()
            .context("the Kafka client cannot be made")?;
        let mut list = TopicPartitionList::new();
        let (mut open, mut total) = (BTreeMap::new(), 0);
        for (partition, (low, end)) in extent.partitions.iter().filter(|(_, (low, end))| low < end) {
            list.add_partition_offset(&extent.topic, *partition, Offset::Offset(*low))?;
            open.insert(*partition, *end);
            total += (end - low) as u64;
        }
        consumer.assign(&list)?;
        let bar = ProgressBar::new(total).with_prefix(format!("{what} {}", extent.topic)).with_style(
            ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Ok(Self { consumer, open, topic: extent.topic.clone(), heard: Instant::now(), trouble: None, bar })
    }

    pub fn next(&mut self) -> anyhow::Result<Next<'_>> {
        if self.open.is_empty() {
            self.bar.finish_and_clear();
            return Ok(Next::End);
        }
        match block_in_place(|| self.consumer.poll(Duration::from_millis(100))) {
            None | Some(Err(_)) if self.heard.elapsed() > PATIENCE => {
                let trouble = self.trouble.as_ref().map_or_else(|| "they say nothing".to_owned(), ToString::to_string);
                let left: Vec<&i32> = self.open.keys().collect();
                bail!(
                    "topic {} was not read to its end, the brokers do not answer ({trouble}); partitions left: {left:?}",
                    self.topic
                )
            }
            None => Ok(Next::Idle),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.heard = Instant::now();
                self.open.remove(&partition);
                Ok(Next::Idle)
            }
            Some(Err(error)) if passes(&error) => {
                self.trouble = Some(error);
                Ok(Next::Idle)
            }
            Some(Err(error)) => Err(error).with_context(|| format!("reading topic {}", self.topic)),
            Some(Ok(message)) => {
                self.heard = Instant::now();
                self.trouble = None;
                self.bar.inc(1);
                // What came after the start is for the next review.
                match self.open.get(&message.partition()) {
                    Some(end) if message.offset() < *end => Ok(Next::Record(message)),
                    _ => {
                        self.open.remove(&message.partition());
                        Ok(Next::Idle)
                    }
                }
            }
        }
    }
}
