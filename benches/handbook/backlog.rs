//! Events that stand in topics before a worker starts.

use crate::Anyhow;
use crate::stage::Stage;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

/// A producer that writes each event once, and each key into the partition that Kafka's own clients take for it.
pub struct Backlog {
    producer: BaseProducer,
    sent: usize,
}

impl Backlog {
    pub fn new(stage: &Stage) -> Anyhow<Self> {
        let producer = stage
            .client()
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "50")
            .set("batch.size", "262144")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "500000")
            .create()?;
        Ok(Self { producer, sent: 0 })
    }

    pub fn put(&mut self, topic: &str, key: &str, body: &str) -> Anyhow<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(body);
        self.sent += 1;
        if self.sent.is_multiple_of(10_000) {
            self.producer.poll(Duration::ZERO);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Waits until the brokers have all, and returns how many.
    pub fn end(self) -> Anyhow<i64> {
        self.producer.flush(Duration::from_secs(60))?;
        Ok(self.sent as i64)
    }
}
