//! Kafka publishes: in transactions, or with idempotent produce and plain commits.

pub mod kafka;
#[cfg(test)]
pub mod memory;

use crate::event::TopicPartition;
use crate::record::Chunk;
use crate::source::Lease;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// What one partition brings to a publish round: records of [from, to), and the offset to commit with them.
#[derive(Debug, Clone)]
pub struct Publication {
    pub pipeline: Arc<str>,
    pub run: i32,
    pub partition: TopicPartition,
    /// The new K.
    pub to: i64,
    /// records(K) after this round: how many rows the partition has below `to`; travels as the offset's metadata.
    pub records_total: i64,
    /// In chunks, each in offset order.
    pub records: Vec<Chunk>,
}

/// K of one partition, with the record count that its metadata carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// `None` when the metadata is not ours.
    pub records_total: Option<i64>,
}

/// K of each partition asked for; `None` where the group has no offset.
pub type CommittedOffsets = Vec<(TopicPartition, Option<Committed>)>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// Nothing was done, or it was aborted. `stale_lease`: the generation was refused, wait for a newer lease.
    #[error("{detail}")]
    Aborted { stale_lease: bool, detail: String },
    /// The outcome is not known, or the producer is dead: it has been rebuilt; read K, it tells.
    #[error("the outcome of the transaction is not known: {0}")]
    Indefinite(String),
    /// These records can never go (size, topic): the partition stops.
    #[error("{partition}: records that can never be published: {detail}")]
    Impossible { partition: TopicPartition, detail: String },
    #[error("{0}")]
    Fatal(String),
}

pub trait Publisher: Send + Sync {
    /// One round under one lease: records, dead letters, and offsets with counts, all or nothing (with `exactly_once`).
    fn publish<'a>(&'a self, lease: Arc<Lease>, round: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>>;

    /// K of these partitions, read with stable offsets (waits for an open transaction of the predecessor, bounded).
    fn committed<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<CommittedOffsets, PublishError>>;

    /// Commits K = `offset` for one partition outside a round: the first K of a partition.
    fn commit<'a>(
        &'a self,
        lease: Arc<Lease>,
        partition: &'a TopicPartition,
        committed: Committed,
    ) -> BoxFuture<'a, Result<(), PublishError>>;

    /// Commits offsets that nothing relies on: in mode `postgres` they tell lag tools how far the group is.
    fn hint<'a>(
        &'a self,
        lease: Arc<Lease>,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> BoxFuture<'a, Result<(), PublishError>>;

    /// Ends what a round that did not go through may have left behind, while no other is under way. A round that comes does the same first.
    fn tidy(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Bounds of the input log.
    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<crate::source::LogBounds, PublishError>>;

    /// Number of partitions of a topic.
    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, PublishError>>;
}

/// The text that travels as an offset's metadata: `millrace records=N`.
pub fn offset_metadata(records_total: i64) -> String {
    format!("millrace records={records_total}")
}

/// Reads what [`offset_metadata`] wrote.
pub fn parse_offset_metadata(metadata: &str) -> Option<i64> {
    metadata.strip_prefix("millrace records=")?.parse().ok()
}
