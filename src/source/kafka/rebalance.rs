//! What librdkafka calls back on the poll thread: partitions come and go, and each time the lease is made anew before anything else happens.

use super::lease::{Gate, KafkaLease};
use super::{PollConsumer, lock};
use crate::event::TopicPartition;
use crate::source::seldom::Seldom;
use crate::source::{Lease, ReadTo, SourceError, SourceEvent};
use arc_swap::ArcSwap;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// State that the rebalance callback and the poll loop share; both run on the poll thread.
#[derive(Default)]
pub(super) struct Assignment {
    pub(super) held: BTreeMap<TopicPartition, u64>,
    /// Started partitions, and the next offset the pipeline may see of each.
    pub(super) expected: BTreeMap<TopicPartition, i64>,
    leases: u64,
}

pub(super) struct PollContext {
    pub(super) events: mpsc::Sender<SourceEvent>,
    pub(super) lease: Arc<ArcSwap<Lease>>,
    pub(super) assignment: Arc<Mutex<Assignment>>,
    pub(super) consumer: Arc<Mutex<Weak<PollConsumer>>>,
    pub(super) gate: Arc<Gate>,
    pub(super) revoke_wait: Duration,
    pub(super) polled_at_ms: Arc<AtomicU64>,
    pub(super) read_to: Arc<ReadTo>,
    pub(super) started: Instant,
    /// Of the client, and of polling.
    pub(super) trouble: Mutex<Seldom>,
    pub(super) failures: Mutex<Seldom>,
}

impl ClientContext for PollContext {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return; // No trouble: the end of a partition.
        }
        // While Kafka is away the client says so several times a second.
        if let Some(times) = lock(&self.trouble).met(Instant::now()) {
            tracing::warn!(%error, reason, times, "The Kafka consumer reports trouble; it goes on by itself.");
        }
    }

    fn stats(&self, statistics: Statistics) {
        let assignment = lock(&self.assignment);
        let mut all = BTreeMap::new();
        for (topic, told) in &statistics.topics {
            // What was fetched and not handed on yet may be events; below 0 no end was met.
            let met = told.partitions.values().filter(|one| one.fetchq_cnt == 0 && one.eof_offset >= 0);
            for one in met {
                let partition = TopicPartition::new(topic.as_str(), one.partition);
                if assignment.expected.get(&partition).is_some_and(|expected| *expected <= one.eof_offset) {
                    all.insert(partition, one.eof_offset);
                }
            }
        }
        self.read_to.replace(all);
    }
}

impl ConsumerContext for PollContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, tpl: &mut TopicPartitionList) {
        let partitions: Vec<TopicPartition> =
            tpl.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let lease = self.new_lease(consumer, &partitions, true);
            self.gate.open(&partitions, lease.number);
            // An explicit offset, since `auto.offset.reset=error` refuses to guess. Nothing read from it passes before `Start`.
            let assigned = tpl
                .set_all_offsets(Offset::Beginning)
                .and_then(|()| consumer.incremental_assign(tpl))
                .and_then(|()| consumer.pause(tpl));
            if let Err(error) = assigned {
                self.send(SourceEvent::Failed(SourceError::Fatal(format!("partitions could not be assigned: {error}"))));
                return;
            }
            self.send(SourceEvent::Assigned { lease, partitions });
            return;
        }
        let lost = consumer.assignment_lost();
        {
            let mut assignment = lock(&self.assignment);
            for partition in &partitions {
                assignment.held.remove(partition);
                assignment.expected.remove(partition);
            }
            if lost {
                assignment.held.clear();
            }
        }
        // In force before the partitions go: no transaction begins under the old one any more.
        let lease = self.new_lease(consumer, &[], !lost);
        let number = lease.number;
        let (done, finished) = oneshot::channel();
        self.send(SourceEvent::Revoked { lease, partitions: partitions.clone(), lost, done });
        if !lost {
            self.wait(finished);
        }
        self.gate.close(&partitions, number, self.revoke_wait);
        if let Err(error) = consumer.incremental_unassign(tpl) {
            tracing::warn!(%error, "Partitions could not be given back in good order.");
        }
    }
}

impl PollContext {
    /// What the callback does when the group gives partitions, once and without a group.
    pub(super) fn assign_alone(&self, consumer: &PollConsumer, partitions: Vec<TopicPartition>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Beginning)?;
        }
        let lease = self.new_lease(consumer, &partitions, true);
        self.gate.open(&partitions, lease.number);
        consumer.incremental_assign(&list)?;
        consumer.pause(&list)?;
        self.send(SourceEvent::Assigned { lease, partitions });
        Ok(())
    }

    /// `arrived` comes with this lease.
    fn new_lease(&self, consumer: &BaseConsumer<Self>, arrived: &[TopicPartition], with_metadata: bool) -> Arc<Lease> {
        let mut assignment = lock(&self.assignment);
        assignment.leases += 1;
        let number = assignment.leases;
        assignment.held.extend(arrived.iter().map(|partition| (partition.clone(), number)));
        let metadata = if with_metadata { consumer.group_metadata() } else { None };
        let lease = Arc::new(Lease {
            number: assignment.leases,
            partitions: if metadata.is_some() { assignment.held.clone() } else { BTreeMap::new() },
            metadata: metadata.map(|metadata| {
                let consumer = lock(&self.consumer).clone();
                Arc::new(KafkaLease { metadata, number: assignment.leases, gate: self.gate.clone(), consumer }) as _
            }),
        });
        self.lease.store(lease.clone());
        lease
    }

    /// Hands an event over. The pipeline listens but while its memory budget is full (`driver/membership.rs`); a queue that stays full
    /// shows in `/livez`.
    pub(super) fn send(&self, mut event: SourceEvent) -> bool {
        loop {
            match self.events.try_send(event) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(back)) => {
                    event = back;
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }

    fn wait(&self, mut finished: oneshot::Receiver<()>) {
        let deadline = Instant::now() + self.revoke_wait;
        while Instant::now() < deadline {
            match finished.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(2)),
                Ok(()) | Err(oneshot::error::TryRecvError::Closed) => return,
            }
        }
        tracing::warn!("A publish round was still running when its partitions had to go; Kafka decides whether it counts.");
    }

    pub(super) fn tick(&self) {
        self.polled_at_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}
