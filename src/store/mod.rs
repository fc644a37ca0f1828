//! Postgres decides.

#[cfg(test)]
pub mod memory;
mod pause;
pub mod postgres;
pub(crate) mod spread;
mod version;

use crate::event::TopicPartition;
use crate::record::{Kind, Provenance, Record};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use uuid::Uuid;

pub use crate::record::Mode;
pub use crate::state::StoredRow as StateRow;
pub use pause::{Pause, pause_of};
pub use version::{Canary, Swap, Taken, taken_at};

/// The row of `stream_partition` that a claim returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRow {
    pub claim: Uuid,
    pub epoch: i64,
    pub owner: String,
    /// P: all below is decided.
    pub next_offset: i64,
    /// Q: a late copy of K, below which all is published. Never above K.
    pub published_offset: i64,
    /// Lowest offset an unwritten state key needs; equals P for stateless pipelines.
    pub fold_from: i64,
    /// Decided up to P: events = emitted + skipped + dead; `records` counts rows of `record`, dead letters among them.
    pub events: i64,
    pub records: i64,
    pub skipped: i64,
    pub dead: i64,
    /// Claims since the last progress; from the third on the partition goes one event at a time. With a suspect: how often
    /// that event was put in work alone.
    pub idle_claims: i32,
    /// The event that is in work alone. Whoever finds it here knows that its owner died with it.
    pub suspect_offset: Option<i64>,
    pub mode: Mode,
    /// Digest of the fold that decided last here; `None` without one.
    pub fold: Option<String>,
}

/// Identity of one partition's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionKey {
    pub pipeline: Arc<str>,
    pub run: i32,
    pub partition: TopicPartition,
}

/// How far one partition moves in a decide round: [from, to) is decided, with these endings.
#[derive(Debug, Clone)]
pub struct Advance {
    pub partition: TopicPartition,
    pub claim: Uuid,
    pub from: i64,
    pub to: i64,
    /// Newest record timestamp in [from, to), milliseconds; `None` when nothing had one that is a time.
    pub event_time_ms: Option<i64>,
    pub events: i64,
    pub skipped: i64,
    pub dead: i64,
    /// Q, as known now.
    pub published_offset: i64,
    /// In offset order, `n` ascending.
    pub records: Arc<Vec<Record>>,
    /// S once this is written: the lowest offset that an unwritten state needs. `to` without a fold.
    pub fold_from: i64,
    /// States to write; each key once.
    pub states: KeyedStates,
}

/// Where a partition stands in event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub partition: TopicPartition,
    pub claim: Uuid,
    /// Event time of the first event that is not done, milliseconds; the largest number when the partition is caught up.
    pub head_ms: i64,
}

/// What a worker learns when it tells its heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// The smallest head of all partitions that are not in `held`: the smallest number when one is not known, `None` when there are
    /// no others.
    pub others: Option<i64>,
    /// Those that were told under the claim that is in force.
    pub held: Vec<TopicPartition>,
}

/// Partitions and their rows.
pub type Rows = Vec<(TopicPartition, PartitionRow)>;

/// Keys and their states.
pub type KeyedStates = Vec<(Box<str>, StateRow)>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Connection lost, time-out, fail-over, deadlock: try again (after reading the row, when a decide was under way).
    #[error("Postgres is away or busy: {0}")]
    Transient(String),
    /// Postgres refuses the data itself (for example a text it cannot hold): bisect.
    #[error("Postgres refuses the data: {0}")]
    Data(String),
    /// Schema, rights or settings are wrong: the text says what to do.
    #[error("{0}")]
    Fatal(String),
}

pub trait Store: Send + Sync {
    /// The current run of a pipeline (the highest in `stream_partition`), or `None` for a pipeline without rows.
    fn current_run<'a>(&'a self, pipeline: &'a str) -> BoxFuture<'a, Result<Option<i32>, StoreError>>;

    /// Creates the rows of a pipeline's partitions at the given start offsets (P = Q = fold_from = start); rows that exist stay as they are.
    fn open<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        mode: Mode,
        starts: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The partitions of this topic that have rows, without claiming anything.
    fn partitions<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        topic: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(i32, PartitionRow)>, StoreError>>;

    /// Writes a random claim, adds 1 to the epoch, and returns the row; `None` when there is no row. Without a suspect, and
    /// when the owner before was another one, it adds 1 to `idle_claims`: so `owner` must be unique to the life of a process.
    fn claim<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<Option<PartitionRow>, StoreError>>;

    /// A partition of which nothing is folded yet begins to fold at `from`, further up than its row says: retention has taken what stood before. A store
    /// without folds notes nothing.
    fn folds_from<'a>(&'a self, _: &'a PartitionKey, _claim: Uuid, _from: i64) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// Reads the rows of these partitions as they are, in one statement, on one connection that is known to be new when `fresh`. A partition
    /// without a row is not in the answer.
    fn read_all<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        partitions: &'a [TopicPartition],
        fresh: bool,
    ) -> BoxFuture<'a, Result<Rows, StoreError>>;

    /// Reads one of them.
    fn read<'a>(&'a self, key: &'a PartitionKey, fresh: bool) -> BoxFuture<'a, Result<Option<PartitionRow>, StoreError>> {
        Box::pin(async move {
            let mut rows = self.read_all(&key.pipeline, key.run, std::slice::from_ref(&key.partition), fresh).await?;
            Ok(rows.pop().map(|(_, row)| row))
        })
    }

    /// Names the event that is about to be called alone, under the claim, for the `times`-th time. Saying it twice changes
    /// nothing. Returns whether the claim still held.
    fn suspect<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        offset: i64,
        times: i32,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// One round: every advance whose claim and `from` still match is applied together with its records and states; the others
    /// write nothing. An advance may stand still (`from` = `to`) and only bring states. Resets `idle_claims` and `suspect_offset` of what moved past the suspect. Returns the partitions that moved.
    fn decide<'a>(
        &'a self,
        provenance: &'a Provenance,
        round: &'a [Advance],
    ) -> BoxFuture<'a, Result<Vec<TopicPartition>, StoreError>>;

    /// Writes Q alone, under the claim, for partitions that are idle or handed over. What is handed over in good order has no
    /// suspect; else only one below Q is cleared.
    fn published<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        published_offset: i64,
        handover: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Records of [from, to) of one partition after `(offset, n)`, in order, at most `limit`.
    fn records<'a>(
        &'a self,
        key: &'a PartitionKey,
        from: i64,
        to: i64,
        after: Option<(i64, i16)>,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// Tells where partitions of this worker stand, and returns where the others of these topics do. Until every topic has rows nothing
    /// is known. A claim that is not in force any more tells nothing.
    fn heads<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        topics: &'a [String],
        mine: &'a [Head],
    ) -> BoxFuture<'a, Result<Heads, StoreError>>;

    /// What an operator has paused of a pipeline, the widest first.
    fn pauses<'a>(&'a self, pipeline: &'a str) -> BoxFuture<'a, Result<Vec<Pause>, StoreError>>;

    /// The version that an operator wants of a pipeline, once there was a swap. A store of one that has no versions knows of none.
    fn wish<'a>(&'a self, _pipeline: &'a str) -> BoxFuture<'a, Result<Option<Swap>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// What a partition has taken over, in the order of the numbers.
    fn all_taken<'a>(&'a self, _key: &'a PartitionKey) -> BoxFuture<'a, Result<Vec<Taken>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Records, under the claim, that a partition takes a wish over; saying it twice changes nothing. Returns all that it has taken over, or
    /// `None` when the claim is gone: then nothing was written, and nothing will be.
    fn take<'a>(
        &'a self,
        _key: &'a PartitionKey,
        _claim: Uuid,
        _new: &'a Taken,
    ) -> BoxFuture<'a, Result<Option<Vec<Taken>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Takes the last step of a swap back, if the wish of that number is in force. Whether it was.
    fn roll_back<'a>(
        &'a self,
        _pipeline: &'a str,
        _number: i64,
        _reason: &'a str,
        _by: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }

    /// The states of these keys of one partition; a key without one is not in the answer.
    fn states<'a>(&'a self, key: &'a PartitionKey, keys: &'a [Box<str>]) -> BoxFuture<'a, Result<KeyedStates, StoreError>>;
}

/// How kinds are written in the column `kind`.
pub fn kind_from_str(kind: &str) -> Option<Kind> {
    match kind {
        "prediction" => Some(Kind::Prediction),
        "dead_letter" => Some(Kind::DeadLetter),
        _ => None,
    }
}
