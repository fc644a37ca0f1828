//! What the driver sees of a fold: states by key, erased.
//!
//! How the driver calls it, for one partition:
//! 1. After a claim: a new cache; seek to `fold_from` of the row. Every event of [fold_from, P) is read and
//!    [replayed](States::replay); from P on they are advanced and scored.
//! 2. For a slice: [`read`](States::read) each event, ask [`prefetch_keys`](States::prefetch_keys), query them once,
//!    [`load`](States::load) each, a key without a row with `None`. Then [`advance`](States::advance) in offset order; at
//!    [`Step::Missing`] load those keys and advance the same event again. Nothing is evicted meanwhile; [`evict`](States::evict) after.
//! 3. A decide that reaches P takes the [`rows`](States::rows) that are [`due`](States::due) at P and writes
//!    [`fold_from_after`](States::fold_from_after) them beside it, both in the one statement. Postgres has said so: [`confirmed`](States::confirmed).
//!    Its row tells it, since the reply was lost: [`written_below`](States::written_below). Rows are handed out again until then.
//!    While [`fold_from`, P) is replayed a decide that stands still at P does the same, with a part of them, so that a long past needs no
//!    memory for all its keys.
//! 4. To hand a partition over with nothing left to fold: [`flush`](States::flush), then decide, until nothing is left. On revoke: drop the cache.

use super::{At, Features, Keys, StoredError};
use crate::event::{Event, Rejection};
use std::any::Any;
use std::sync::Arc;

/// What was read of an event; only the cache that made it knows the type.
pub type Facts = Box<dyn Any + Send>;

/// A state as the store holds it: all events of its key below `as_of` are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    pub as_of: i64,
    /// Event time of the newest event that was folded into it, milliseconds.
    pub newest_ms: i64,
    pub bytes: Arc<[u8]>,
}

/// Rows that wait to be written, or how many may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    pub rows: usize,
    pub bytes: usize,
}

impl Amount {
    pub const ALL: Self = Self { rows: usize::MAX, bytes: usize::MAX };

    /// Whether there are as many of one or the other.
    pub fn reaches(self, most: Self) -> bool {
        self.rows >= most.rows || self.bytes >= most.bytes
    }
}

/// What became of an event.
#[derive(Debug, PartialEq)]
pub enum Step {
    Ready(Features),
    /// No state was touched: load these keys, and advance the same event again.
    Missing(Keys),
}

/// Facts that another fold's cache has read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the facts of this event were read by another fold")]
pub struct WrongFacts;

/// The states of one partition.
pub trait States: Send {
    /// See [`Fold::digest`](super::Fold::digest).
    fn digest(&self) -> &str;
    fn read(&self, event: &Event) -> Result<Facts, Rejection>;
    /// Keys of ring one that are not in memory.
    fn prefetch_keys(&self, facts: &Facts) -> Result<Keys, WrongFacts>;
    /// What the store has of a key. A key that is in memory stays as it is.
    fn load(&mut self, key: &str, row: Option<StoredRow>) -> Result<(), StoredError>;
    fn advance(&mut self, facts: &mut Facts, at: At) -> Result<Step, WrongFacts>;
    /// The same for an event that is not scored: its features are left out.
    fn replay(&mut self, facts: &mut Facts, at: At) -> Result<Step, WrongFacts>;
    /// How many of the rows that wait, the oldest, a decide brings which reaches `to`: at most so many, but one if there is one, and all of one
    /// boundary where the fold [links](super::Fold::links).
    fn due(&self, to: i64, most: Amount) -> usize;
    /// So many of the oldest rows that wait; of each key the newest of them.
    fn rows(&self, count: usize) -> Vec<(Box<str>, StoredRow)>;
    /// S once a decide that reaches `to` has written so many of them: the lowest offset that a key needs which is then unwritten; `to` when
    /// there is none.
    fn fold_from_after(&self, to: i64, count: usize) -> i64;
    /// So many of the oldest rows are written.
    fn confirmed(&mut self, count: usize);
    /// Some decide has written S: so each row is written that holds a change below it. None that was left out of that decide, and none that was
    /// taken since, holds one: else S would not have been so high.
    fn written_below(&mut self, fold_from: i64);
    /// Offset after the last event that was advanced or replayed; 0 before the first.
    fn boundary(&self) -> i64;
    /// What waits to be written and may be when P stands at `to`.
    fn waiting(&self, to: i64) -> Amount;
    /// Takes the bytes of what has changed since it was last taken: of up to `most` keys, those first that have been dirty for longest;
    /// of all where the fold [links](super::Fold::links), whose keys are written together.
    fn flush(&mut self, most: usize);
    /// Bytes of memory, about: states, keys, and bytes that wait to be written.
    fn cost_bytes(&self) -> usize;
    /// Forgets the least recently used of the keys whose last change is committed, until the cost is within `budget_bytes` or
    /// none of them is left.
    fn evict(&mut self, budget_bytes: usize);
}
