//! Events into the topic, and how far the pipeline is.

use crate::Anyhow;
use crate::latency::now_ms;
use crate::stage::{PARTITIONS, Stage};
use anyhow::ensure;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::postgres::PgConnection;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CURRENCIES: [&str; 4] = ["EUR", "USD", "GBP", "CHF"];
const WAIT: Duration = Duration::from_secs(60);

/// How events are spread over keys and event time.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub accounts: u64,
    pub step_ms: i64,
}

/// Event time of the first one: 2026-03-01T00:00:00Z.
const FIRST_MS: i64 = 1_772_323_200_000;

/// Sends transactions.
pub struct Load {
    producer: BaseProducer,
    topic: String,
    spread: Spread,
    sent: u64,
}

impl Load {
    /// `linger_ms`: how long the producer gathers; long for a backlog, short for a steady rate.
    pub fn new(stage: &Stage, linger_ms: u32, spread: Spread) -> Anyhow<Self> {
        let producer = stage
            .client()
            .set("compression.type", "lz4")
            .set("linger.ms", linger_ms.to_string())
            .set("batch.size", "262144")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "500000")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .create()?;
        Ok(Self { producer, topic: stage.name.clone(), spread, sent: 0 })
    }

    /// Hands the next events over, waiting for room.
    pub fn send(&mut self, count: u64) -> Anyhow<()> {
        let last = FIRST_MS + (self.sent + count) as i64 * self.spread.step_ms;
        ensure!(
            last <= now_ms() as i64,
            "event times are ahead of the clock, so that events become dead letters: give it a smaller --step-ms"
        );
        for n in self.sent..self.sent + count {
            // A spread that looks random and is the same in every run.
            let draw = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let key = format!("account-{:06}", draw % self.spread.accounts);
            let body = format!(
                "{{\"id\":\"tx-{n:012}\",\"account\":\"{key}\",\"amount\":{}.{:02},\"currency\":\"{}\",\"merchant\":\"merchant-{:05}\",\
                 \"time\":\"{}\",\"country\":\"CH\",\"channel\":\"online\"}}",
                draw % 997,
                n % 100,
                CURRENCIES[(draw % 4) as usize],
                draw % 20_011,
                jiff::Timestamp::from_millisecond(FIRST_MS + n as i64 * self.spread.step_ms)?,
            );
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(&body);
            while let Err((error, back)) = self.producer.send(record) {
                ensure!(error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "producing: {error}");
                record = back;
                self.producer.poll(Duration::from_millis(5));
            }
        }
        self.sent += count;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Sends at a steady rate, a hundred times a second, until `stop`; returns how many.
    pub fn steadily(&mut self, rate: u64, stop: &AtomicBool) -> Anyhow<u64> {
        let (started, from) = (Instant::now(), self.sent);
        while !stop.load(Ordering::Relaxed) {
            let due = from + (started.elapsed().as_secs_f64() * rate as f64) as u64;
            self.send(due - self.sent)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        self.flush()?;
        Ok(self.sent - from)
    }

    pub fn flush(&self) -> Anyhow<()> {
        Ok(self.producer.flush(WAIT)?)
    }
}

/// Events decided over all partitions.
pub async fn decided(connection: &mut PgConnection) -> Anyhow<u64> {
    let events: i64 = sqlx::query_scalar("SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition")
        .fetch_one(connection)
        .await?;
    Ok(events as u64)
}

/// Sum of the group's offsets: events whose records are published, since the topic is filled without transactions.
pub fn published(reader: &BaseConsumer, topic: &str) -> Anyhow<u64> {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition(topic, partition);
    }
    let found = reader.committed_offsets(list, WAIT)?;
    Ok(found.elements().iter().filter_map(|element| element.offset().to_raw()).filter(|offset| *offset > 0).sum::<i64>() as u64)
}

/// A consumer of a whole topic from its beginning, with the settings that the worker's own has.
pub fn reader(stage: &Stage, topic: &str) -> Anyhow<BaseConsumer> {
    let consumer: BaseConsumer = stage
        .client()
        .set("group.id", format!("{}-reader", stage.name))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.wait.max.ms", "5")
        .set("fetch.message.max.bytes", "2097152")
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Reads every partition to its end, once; returns how many messages there were.
pub fn read_all(consumer: &BaseConsumer, mut each: impl FnMut(&BorrowedMessage<'_>)) -> Anyhow<u64> {
    let (mut open, mut count) = (vec![true; PARTITIONS as usize], 0);
    while open.contains(&true) {
        match consumer.poll(WAIT) {
            Some(Ok(message)) => {
                each(&message);
                count += 1;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => open[partition as usize] = false,
            Some(Err(error)) => return Err(error.into()),
            None => anyhow::bail!("the end of the topic was not reached in {WAIT:?}"),
        }
    }
    Ok(count)
}
