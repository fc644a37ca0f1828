//! What was sent of a partition, and who says that it was carried out.

use crate::event::TopicPartition;
use crate::pipeline::memory::{Brings, Memory};
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

/// Who says that a decide was carried out.
#[derive(Clone, Copy)]
pub enum Told {
    /// The reply to the statement: what that brought is written.
    ByReply(Brings),
    /// The row, with this S. It may speak of an earlier statement of the same stretch, made before more was folded: that brought fewer rows. And
    /// it looks the same before and after a decide that stands still, but for S: what was not written is brought by the next one.
    ByRow(i64),
}

impl Told {
    pub fn by_row(row: &PartitionRow, brings: Brings) -> Self {
        if without(Safety::ToldByRow) { Self::ByReply(brings) } else { Self::ByRow(row.fold_from) }
    }

    /// Lets go of the states that are written, and returns S as Postgres has it at least.
    pub fn written(self, memory: Option<&Memory>) -> i64 {
        match (self, memory) {
            (Self::ByReply(brings), Some(memory)) => {
                memory.confirmed(brings);
                brings.fold_from
            }
            (Self::ByReply(brings), None) => brings.fold_from,
            (Self::ByRow(fold_from), memory) => {
                if let Some(memory) = memory {
                    memory.written_below(fold_from);
                }
                fold_from
            }
        }
    }
}
