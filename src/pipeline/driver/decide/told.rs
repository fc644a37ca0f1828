//! What was sent of a partition, and whether it was carried out.

use crate::event::TopicPartition;
use crate::pipeline::memory::Brings;
use crate::pipeline::safety::{Safety, without};
use crate::store::PartitionRow;
use uuid::Uuid;

/// What was sent of one partition.
pub struct Sent {
    pub partition: TopicPartition,
    pub incarnation: u64,
    pub claim: Uuid,
    pub from: i64,
    pub to: i64,
    pub brings: Brings,
}

/// Whether a decide that reached P of the row was carried out. The row of one that stood still looks the same before and after it, until S
/// has reached P: then there is nothing left to write.
pub fn is_carried_out(row: &PartitionRow, from: i64) -> bool {
    from < row.next_offset || row.fold_from == row.next_offset || without(Safety::StandsStill)
}
