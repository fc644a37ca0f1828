//! Where a halted partition stood: what is behind it grows meanwhile, and is told.

use super::partition::Running;
use crate::store::PartitionRow;

/// As far as it is known: nothing is where a claim halted before there was a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stood {
    /// P.
    pub next_offset: Option<i64>,
    /// S, in a pipeline with a fold.
    pub fold_from: Option<i64>,
}

impl Stood {
    pub fn at(row: &PartitionRow, folds: bool) -> Self {
        Self { next_offset: Some(row.next_offset), fold_from: folds.then_some(row.fold_from) }
    }

    pub fn of(running: &Running) -> Self {
        Self { next_offset: Some(running.decided), fold_from: running.memory.as_ref().map(|_| running.fold_from) }
    }
}
