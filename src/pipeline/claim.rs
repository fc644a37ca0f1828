//! Taking a partition over (steps 1 to 4 of the protocol).
//!
//! Kafka is asked before Postgres: a worker that cannot reach Kafka must not take a claim.

use super::Settings;
use super::safety::{Safety, without};
use super::stood::Stood;
use super::verdict::{Found, Verdict, folds_from};
use crate::event::TopicPartition;
use crate::flow::Budget;
use crate::publisher::{Committed, PublishError, Publisher};
use crate::record::Record;
use crate::source::{Lease, LogBounds};
use crate::store::{Mode, PartitionKey, PartitionRow, Store, StoreError, Taken};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Rows read at a time when [K, P) is brought back.
const CHUNK_ROWS: i64 = 5_000;

/// A partition that is ours, and what it still has to publish.
#[derive(Debug)]
pub struct Claimed {
    pub claim: Uuid,
    pub row: PartitionRow,
    /// K, and the number of rows below it.
    pub published: Committed,
    /// Records of [K, P), in order: to be published before anything newer.
    pub unpublished: Vec<Record>,
    /// What the partition has taken over of swaps.
    pub taken: Vec<Taken>,
    /// Held until the records are charged to the budget.
    pub turn: Option<OwnedSemaphorePermit>,
}

/// Who may bring records back: one claim at a time, and while the budget has room. Rounds that are under way make some.
#[derive(Debug, Clone)]
pub struct Room {
    pub budget: Budget,
    /// What the budget held for this pipeline when it was last full.
    pub held: Arc<AtomicUsize>,
    pub turn: Arc<Semaphore>,
    /// An aligned pipeline does not wait for the budget: what fills it may wait for the partition that is claimed.
    pub waits: bool,
}

impl Room {
    async fn wait(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(turn) = self.turn.clone().try_acquire_owned()
                && !(self.waits && self.budget.is_full_for(|| self.held.load(Ordering::Relaxed)))
            {
                return turn;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Why a claim did not come about.
#[derive(Debug)]
pub enum ClaimError {
    /// Kafka or Postgres is away: try again.
    Transient(String),
    /// Going on would lose or double something. The text says what happened and what to do.
    Halt(String, Stood),
    Fatal(String),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Transient(detail) => ClaimError::Transient(detail),
            StoreError::Data(detail) | StoreError::Fatal(detail) => ClaimError::Fatal(detail),
        }
    }
}

impl From<PublishError> for ClaimError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Fatal(detail) => ClaimError::Fatal(detail),
            other => ClaimError::Transient(other.to_string()),
        }
    }
}

/// Claims `partition` under `lease` and compares P, K, Q and the log.
pub async fn claim(
    settings: &Settings,
    store: &dyn Store,
    publisher: &dyn Publisher,
    room: &Room,
    lease: Arc<Lease>,
    partition: &TopicPartition,
) -> Result<Claimed, ClaimError> {
    let key = PartitionKey {
        pipeline: settings.provenance.pipeline.clone(),
        run: settings.provenance.run,
        partition: partition.clone(),
    };
    let group = match settings.mode {
        Mode::Both => publisher
            .committed(std::slice::from_ref(partition))
            .await?
            .into_iter()
            .find_map(|(of, k)| (of == *partition).then_some(k)?),
        Mode::Postgres => None,
    };
    let bounds = publisher.bounds(partition).await?;
    let claim = Uuid::new_v4();
    let row = match store.claim(&key, claim, &settings.owner).await? {
        Some(row) => row,
        None => {
            open(settings, store, publisher, &key, group, bounds).await?;
            store
                .claim(&key, claim, &settings.owner)
                .await?
                .ok_or_else(|| ClaimError::Transient("the row that was just opened is not there".into()))?
        }
    };
    // Again: until the claim the predecessor may have read and decided further.
    let bounds = publisher.bounds(partition).await?;
    let told = settings.told();
    let partitions = match told.fold {
        Some(_) => {
            let rows = store.partitions(&key.pipeline, key.run, &partition.topic).await?;
            (publisher.partition_count(&partition.topic).await? as usize, rows.len())
        }
        None => (0, 0),
    };
    let (p, stood) = (row.next_offset, Stood::at(&row, told.fold.is_some()));
    let halt = |reason: String| ClaimError::Halt(reason, stood);
    let asked = row.fold_from;
    let from = if told.fold.is_some() { folds_from(&row, bounds) } else { asked };
    let row = PartitionRow { fold_from: from, ..row };
    // After the claim: a predecessor can take nothing over any more.
    let taken = store.all_taken(&key).await?;
    let none = |row, published, taken| Ok(Claimed { claim, row, published, unpublished: Vec::new(), taken, turn: None });
    let found = Found { row: &row, group, bounds, partitions };
    let verdict = told.verdict(partition, &found).map_err(halt)?;
    // Not before it is known that this is the log of the row: one of other brokers would raise S for good.
    if from > asked {
        tracing::warn!(%partition, asked, from, "A new run is folded from the log's start: retention has taken what stood before it since the run was made.");
        store.folds_from(&key, claim, from).await?;
    }
    let published = match verdict {
        Verdict::Alone => {
            let published = Committed { offset: p, records_total: Some(row.records) };
            return none(row, published, taken);
        }
        Verdict::Again(k) => return none(row, k, taken),
        Verdict::CommitFirst(first) => {
            publisher.commit(lease, partition, first).await?;
            first
        }
        Verdict::Publish(k) => k,
    };
    let k = published.offset;
    let turn = if k < p { Some(room.wait().await) } else { None };
    let mut unpublished = bring_back(store, &key, k, p).await?;
    if without(Safety::BringBack) {
        unpublished.clear();
    }
    told.counted(partition, &row, published, unpublished.len() as i64).map_err(halt)?;
    Ok(Claimed { claim, row, published, unpublished, taken, turn })
}

/// Stores where a new pipeline, or a new partition of an old one, begins: as a number.
async fn open(
    settings: &Settings,
    store: &dyn Store,
    publisher: &dyn Publisher,
    key: &PartitionKey,
    group: Option<Committed>,
    bounds: LogBounds,
) -> Result<(), ClaimError> {
    let topic = &key.partition.topic;
    let told = settings.told();
    let known = store.partitions(&key.pipeline, key.run, topic).await?.len();
    let unknown = |reason: String| ClaimError::Halt(reason, Stood::default());
    let own = told.begins(&key.partition, group, known, bounds).map_err(unknown)?;
    let mut starts = Vec::new();
    if known == 0 {
        // The first of a run opens all: so `latest` means one moment.
        for number in 0..publisher.partition_count(topic).await? {
            let partition = TopicPartition::new(topic.clone(), number);
            let bounds = publisher.bounds(&partition).await?;
            let start = told.begins(&partition, None, known, bounds).map_err(unknown)?;
            starts.push((partition, start));
        }
    } else {
        starts.push((key.partition.clone(), own));
    }
    Ok(store.open(&key.pipeline, key.run, settings.mode, &starts).await?)
}

/// Reads the records of [from, to) in chunks. What one worker had decided and not published fitted its memory budget; what
/// several left behind is brought back one partition after the other.
async fn bring_back(store: &dyn Store, key: &PartitionKey, from: i64, to: i64) -> Result<Vec<Record>, ClaimError> {
    let (mut records, mut after): (Vec<Record>, _) = (Vec::new(), None);
    if from >= to {
        return Ok(records);
    }
    loop {
        let chunk = store.records(key, from, to, after, CHUNK_ROWS).await?;
        let full = chunk.len() as i64 == CHUNK_ROWS;
        after = chunk.last().map(|last| (last.offset, last.n));
        records.extend(chunk);
        if !full {
            return Ok(records);
        }
    }
}
