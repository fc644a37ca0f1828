//! What a lease carries for the publisher, and the gate that keeps late plain commits from partitions that have gone.

use super::{PollConsumer, lock};
use crate::event::TopicPartition;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// Partitions that may be committed plainly, and the number of the lease that each came with. Kafka checks a plain commit
/// against the member alone, so a late one could set back a partition that has moved on; this binds it to the lease.
#[derive(Default)]
pub(super) struct Gate {
    since: Mutex<BTreeMap<TopicPartition, u64>>,
    /// No commit of a lease below this begins: set when a partition had to go while a commit held `since`.
    floor: AtomicU64,
}

impl Gate {
    /// These came with this lease.
    pub(super) fn open(&self, partitions: &[TopicPartition], lease: u64) {
        lock(&self.since).extend(partitions.iter().map(|partition| (partition.clone(), lease)));
    }

    /// No plain commit of these begins any more; waits for one that is under way, so long at most.
    pub(super) fn close(&self, partitions: &[TopicPartition], lease: u64, wait: Duration) {
        let deadline = Instant::now() + wait;
        loop {
            match self.since.try_lock() {
                Ok(mut since) => {
                    since.retain(|partition, _| !partitions.contains(partition));
                    return;
                }
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => {
                    self.floor.store(lease, Ordering::SeqCst);
                    tracing::warn!("A plain commit was still under way when its partitions had to go; it may set them back.");
                    return;
                }
            }
        }
    }

    /// Whether each of these has stayed since this lease was made.
    fn lets(&self, since: &BTreeMap<TopicPartition, u64>, offsets: &TopicPartitionList, lease: u64) -> bool {
        let stayed = |partition: &TopicPartition| since.get(partition).is_some_and(|came_with| *came_with <= lease);
        let all = offsets.elements().iter().all(|element| stayed(&TopicPartition::new(element.topic(), element.partition())));
        all && lease >= self.floor.load(Ordering::SeqCst)
    }
}

/// What a lease carries for the publisher: the member's metadata, and the consumer for plain commits.
pub struct KafkaLease {
    pub metadata: ConsumerGroupMetadata,
    pub(super) number: u64,
    pub(super) gate: Arc<Gate>,
    pub(super) consumer: Weak<PollConsumer>,
}

impl KafkaLease {
    /// Commits offsets as this member of the group, and waits for the answer. Refused when one of the partitions has left
    /// since this lease was made, even if it has come back.
    pub fn commit(&self, offsets: &TopicPartitionList) -> Result<(), KafkaError> {
        // Held until the answer is there: that is what a revocation waits for.
        let since = lock(&self.gate.since);
        if !self.gate.lets(&since, offsets, self.number) {
            return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::IllegalGeneration));
        }
        match self.consumer.upgrade() {
            Some(consumer) => consumer.commit(offsets, CommitMode::Sync),
            None => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId)),
        }
    }
}
