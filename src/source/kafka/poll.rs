//! The loop of the poll thread: commands are obeyed, records are copied out of librdkafka and handed over in batches.

use super::rebalance::Assignment;
use super::{PollConsumer, lock};
use crate::event::{Header, Position, RawEvent, TopicPartition};
use crate::source::{SourceCommand, SourceError, SourceEvent};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Rest of the poll thread while nothing comes: what it adds to the age of an event, and what it costs, about 1 % of a core.
const IDLE_SLEEP: Duration = Duration::from_millis(1);

/// Payload bytes in one batch, about: what waits in the queue is outside the memory budget.
const BATCH_BYTES: usize = 1 << 20;

pub(super) struct Poll {
    consumer: Arc<PollConsumer>,
    /// Paused by command: assigning anew forgets it.
    paused: BTreeSet<TopicPartition>,
    /// Started partitions whose position must be looked at, after an error that does not say which of them it means.
    doubtful: BTreeSet<TopicPartition>,
    look_not_before: Instant,
    assignment: Arc<Mutex<Assignment>>,
    commands: mpsc::UnboundedReceiver<SourceCommand>,
    /// The topic of the last record: its name is shared by all that follow.
    topic: Arc<str>,
    batch_max: usize,
}

impl Poll {
    pub(super) fn new(
        consumer: Arc<PollConsumer>,
        assignment: Arc<Mutex<Assignment>>,
        commands: mpsc::UnboundedReceiver<SourceCommand>,
        batch_max: usize,
    ) -> Self {
        let (paused, doubtful) = (BTreeSet::new(), BTreeSet::new());
        Self {
            consumer,
            paused,
            doubtful,
            look_not_before: Instant::now(),
            assignment,
            commands,
            topic: Arc::from(""),
            batch_max,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.consumer.context().tick();
            loop {
                match self.commands.try_recv() {
                    Ok(SourceCommand::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return,
                    Ok(command) => self.obey(command),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                }
            }
            if let Err(error) = self.look() {
                tracing::warn!(%error, "A partition could not be assigned anew.");
            }
            let mut batch = Vec::new();
            let consumer = self.consumer.clone();
            let mut bytes = 0;
            while batch.len() < self.batch_max && bytes < BATCH_BYTES {
                // A wait of the client ends in a busy loop for what is left of a millisecond.
                match consumer.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => {
                        bytes += message.payload_len();
                        self.take(&message, &mut batch);
                    }
                    Some(Err(error)) => {
                        // What was read before the error comes first.
                        self.flush(&mut batch);
                        if !self.on_error(error) {
                            return;
                        }
                    }
                }
            }
            if batch.is_empty() {
                std::thread::sleep(IDLE_SLEEP);
            } else if !self.flush(&mut batch) {
                return;
            }
        }
    }

    fn flush(&self, batch: &mut Vec<RawEvent>) -> bool {
        batch.is_empty() || self.consumer.context().send(SourceEvent::Records(std::mem::take(batch)))
    }

    fn obey(&mut self, command: SourceCommand) {
        match &command {
            SourceCommand::Pause(partitions) => self.paused.extend(partitions.iter().cloned()),
            SourceCommand::Resume(partitions) => self.paused.retain(|partition| !partitions.contains(partition)),
            SourceCommand::Start { partition, .. } => drop(self.paused.remove(partition)),
            SourceCommand::Stop => {}
        }
        let result = match &command {
            SourceCommand::Start { partition, offset } => self.start(partition, *offset),
            SourceCommand::Pause(partitions) => self.consumer.pause(&self.held(partitions)),
            SourceCommand::Resume(partitions) => self.consumer.resume(&self.held(partitions)),
            SourceCommand::Stop => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!(?command, %error, "A command to the consumer failed.");
            self.consumer
                .context()
                .send(SourceEvent::Failed(SourceError::Fatal(format!("the consumer refuses a command: {error}"))));
        }
    }

    /// Starts a partition at an offset. Assigning it anew at the explicit offset, rather than seeking while it is paused,
    /// leaves no room for a position that an earlier fetch had set.
    fn start(&self, partition: &TopicPartition, offset: i64) -> Result<(), KafkaError> {
        if !lock(&self.assignment).held.contains_key(partition) {
            return Ok(()); // Revoked meanwhile.
        }
        self.assign_at(partition, offset)?;
        lock(&self.assignment).expected.insert(partition.clone(), offset);
        self.consumer.context().send(SourceEvent::Started { partition: partition.clone(), offset });
        Ok(())
    }

    fn assign_at(&self, partition: &TopicPartition, offset: i64) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.partition);
        self.consumer.incremental_unassign(&list)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))?;
        self.consumer.incremental_assign(&list)?;
        self.consumer.resume(&list)
    }

    fn held(&self, partitions: &[TopicPartition]) -> TopicPartitionList {
        let assignment = lock(&self.assignment);
        let mut list = TopicPartitionList::new();
        for partition in partitions.iter().filter(|partition| assignment.held.contains_key(partition)) {
            list.add_partition(&partition.topic, partition.partition);
        }
        list
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, batch: &mut Vec<RawEvent>) {
        if *self.topic != *message.topic() {
            self.topic = Arc::from(message.topic());
        }
        let (partition, offset) = (message.partition(), message.offset());
        {
            let mut assignment = lock(&self.assignment);
            let key = TopicPartition { topic: self.topic.clone(), partition };
            match assignment.expected.get_mut(&key) {
                Some(expected) if offset >= *expected => *expected = offset + 1,
                _ => return,
            }
        }
        batch.push(raw_event(message, &self.topic));
    }

    /// Looks at one doubtful partition: its position is not in the log, which is for the pipeline to judge, or fetching begins
    /// anew where it was. Kafka may be busy: then it is looked at later.
    fn look(&mut self) -> Result<(), KafkaError> {
        if Instant::now() < self.look_not_before {
            return Ok(());
        }
        let Some(partition) = self.doubtful.pop_first() else { return Ok(()) };
        let Some(expected) = lock(&self.assignment).expected.get(&partition).copied() else { return Ok(()) };
        match self.consumer.fetch_watermarks(&partition.topic, partition.partition, Duration::from_secs(1)) {
            Err(error) => {
                tracing::warn!(%partition, %error, "The ends of a partition cannot be read; it is looked at again.");
                self.look_not_before = Instant::now() + Duration::from_secs(1);
                self.doubtful.insert(partition);
            }
            Ok((low, high)) if expected < low || expected > high => {
                let detail = format!("offset {expected} is wanted, the log holds [{low}, {high})");
                self.consumer.context().send(SourceEvent::Failed(SourceError::OutOfRange { partition, detail }));
            }
            Ok(_) => {
                self.assign_at(&partition, expected)?;
                if self.paused.contains(&partition) {
                    self.consumer.pause(&self.held(std::slice::from_ref(&partition)))?;
                }
            }
        }
        Ok(())
    }

    /// Whether the log is known to end at or before `offset`.
    fn is_end(&self, partition: &TopicPartition, offset: i64) -> bool {
        match self.consumer.fetch_watermarks(&partition.topic, partition.partition, Duration::from_secs(1)) {
            Ok((_, high)) => offset >= high,
            Err(_) => false,
        }
    }

    /// Returns whether polling goes on.
    fn on_error(&mut self, error: KafkaError) -> bool {
        let consumer = self.consumer.clone();
        let context = consumer.context();
        match &error {
            KafkaError::PartitionEOF(number) => {
                let started = lock(&self.assignment).expected.clone();
                let candidates: Vec<_> = started.into_iter().filter(|(partition, _)| partition.partition == *number).collect();
                // The error names the partition without its topic: with several topics the ends of the log decide.
                let alone = candidates.len() == 1;
                candidates
                    .into_iter()
                    .filter(|(partition, offset)| alone || self.is_end(partition, *offset))
                    .all(|(partition, offset)| context.send(SourceEvent::CaughtUp { partition, offset }))
            }
            KafkaError::MessageConsumptionFatal(code) => {
                context.send(SourceEvent::Failed(SourceError::Fatal(format!("the consumer cannot go on: {code}"))));
                false
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                // librdkafka does not say which partition, and has stopped fetching it: each that was started is looked at.
                self.doubtful.extend(lock(&self.assignment).expected.keys().cloned());
                true
            }
            KafkaError::MessageConsumption(
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition),
            ) => {
                context.send(SourceEvent::Failed(SourceError::Fatal(format!(
                    "the broker refuses to let this group read: {code}. Check that the topic exists and that the user may read it and the group."
                ))));
                false
            }
            other => {
                if let Some(times) = lock(&context.failures).met(Instant::now()) {
                    tracing::warn!(error = %other, times, "Reading from Kafka failed for now; polling goes on.");
                }
                true
            }
        }
    }
}

/// A record of the log, copied out of librdkafka.
pub fn raw_event(message: &BorrowedMessage<'_>, topic: &Arc<str>) -> RawEvent {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| Header { name: header.key.into(), value: header.value.map(Into::into) }).collect()
    });
    RawEvent {
        position: Position { topic: topic.clone(), partition: message.partition(), offset: message.offset() },
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(Into::into),
        payload: message.payload().map(Into::into),
        headers,
    }
}
