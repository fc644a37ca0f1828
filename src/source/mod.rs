//! Where events come from.

pub mod bounded;
pub mod kafka;
#[cfg(test)]
pub mod memory;
pub mod readied;
mod seldom;

use crate::event::{RawEvent, TopicPartition};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the group gave this member: made by the poll thread inside the rebalance callback and nowhere else, immutable.
/// A transaction takes metadata and partitions from one lease, and never refreshes one without the other.
#[derive(Clone)]
pub struct Lease {
    /// Grows with each lease of this process.
    pub number: u64,
    /// What is held, and the number of the lease with which it came: a partition that went and came back is another stay.
    pub partitions: BTreeMap<TopicPartition, u64>,
    /// Group metadata as the publisher of the same kind understands it (for Kafka: `ConsumerGroupMetadata`).
    pub metadata: Option<Arc<dyn Any + Send + Sync>>,
}

impl Lease {
    /// Whether the partition is held.
    pub fn holds(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("number", &self.number).field("partitions", &self.partitions).finish()
    }
}

/// What a source tells the pipeline, in order.
#[derive(Debug)]
pub enum SourceEvent {
    /// Records in offset order per partition. Records of a partition come only after its `Start`.
    Records(Vec<RawEvent>),
    /// New partitions, assigned and paused: they wait for a `Start`. The list may be empty (only the lease changed).
    Assigned { lease: Arc<Lease>, partitions: Vec<TopicPartition> },
    /// A `Start` was obeyed: what follows of this partition begins at `offset`. Records before this belong to an earlier stay.
    Started { partition: TopicPartition, offset: i64 },
    /// Partitions that go away. The new lease (without them) is already in force. The source waits a bounded while for
    /// `done` (or its drop) before it unassigns.
    Revoked { lease: Arc<Lease>, partitions: Vec<TopicPartition>, lost: bool, done: tokio::sync::oneshot::Sender<()> },
    /// The end of the partition was reached at this offset (the next offset that would be read).
    CaughtUp { partition: TopicPartition, offset: i64 },
    /// The next event of the partition is there and cannot be handed over yet: the partition is not at its end, whatever was told before.
    Waits { partition: TopicPartition },
    /// The source cannot go on; the text says what and what to do.
    Failed(SourceError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceCommand {
    /// Seek an assigned partition to `offset` and let it flow. Records below `offset` never reach the pipeline after this.
    Start {
        partition: TopicPartition,
        offset: i64,
    },
    Pause(Vec<TopicPartition>),
    Resume(Vec<TopicPartition>),
    /// Leave the group and stop.
    Stop,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The position is not in the log any more (or not yet): `auto.offset.reset=error`.
    #[error("{partition}: the log does not hold the wanted position: {detail}")]
    OutOfRange { partition: TopicPartition, detail: String },
    #[error("{0}")]
    Fatal(String),
}

/// Offsets the broker holds for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// First offset still in the log.
    pub low: i64,
    /// End under the reader's isolation (high watermark, or last stable offset).
    pub high: i64,
}

/// How far the source has read each partition without finding an event behind those that it has handed on: markers of transactions take offsets too. Told
/// now and then, for what is shown: it may be of an earlier stay of the partition.
#[derive(Debug, Default)]
pub struct ReadTo(std::sync::Mutex<std::collections::BTreeMap<TopicPartition, i64>>);

impl ReadTo {
    pub fn of(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(partition).copied()
    }

    pub fn replace(&self, all: std::collections::BTreeMap<TopicPartition, i64>) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = all;
    }
}

/// The pipeline's end of a source.
pub struct SourceHandle {
    pub events: tokio::sync::mpsc::Receiver<SourceEvent>,
    pub commands: tokio::sync::mpsc::UnboundedSender<SourceCommand>,
    /// The lease in force.
    pub lease: Arc<arc_swap::ArcSwap<Lease>>,
    /// Last time the poll loop turned, milliseconds since the process started (`/livez` reads it).
    pub polled_at_ms: Arc<std::sync::atomic::AtomicU64>,
    pub read_to: Arc<ReadTo>,
}
