//! Taking a partition over (steps 1 to 4 of the protocol).
//!
//! Kafka is asked before Postgres: a worker that cannot reach Kafka must not take a claim.

use super::Settings;
use super::safety::{Safety, without};
use crate::config::{OnLostCommits, Start};
use crate::event::TopicPartition;
use crate::flow::Budget;
use crate::publisher::{Committed, PublishError, Publisher};
use crate::record::Record;
use crate::source::Lease;
use crate::store::{Mode, PartitionKey, PartitionRow, Store, StoreError};
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
    Halt(String),
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
            open(settings, store, publisher, &key, group, bounds.low).await?;
            store
                .claim(&key, claim, &settings.owner)
                .await?
                .ok_or_else(|| ClaimError::Transient("the row that was just opened is not there".into()))?
        }
    };
    // Again: until the claim the predecessor may have read and decided further.
    let bounds = publisher.bounds(partition).await?;
    let who = format!("pipeline {} run {} {partition}", key.pipeline, key.run);
    if row.mode != settings.mode {
        return Err(ClaimError::Halt(format!(
            "{who}: the pipeline was running in mode {} and is now configured as {}. Rows and records would not match. Restore \
             the mode, or stop the workers and start a new run with `millrace adopt`.",
            row.mode.as_str(),
            settings.mode.as_str()
        )));
    }
    let folds = settings.provenance.fold.as_deref();
    if row.events > 0 && row.fold.as_deref() != folds {
        return Err(ClaimError::Halt(format!(
            "{who}: what was decided so far was folded by {}, and the pipeline is now configured with {}: an old state is never \
             continued by another fold. Restore the settings of the fold, or stop the workers and start a new run with `millrace adopt`, \
             which folds the log again.",
            fold_name(row.fold.as_deref()),
            fold_name(folds)
        )));
    }
    if folds.is_some() {
        let (now, then) = (
            publisher.partition_count(&partition.topic).await?,
            store.partitions(&key.pipeline, key.run, &partition.topic).await?,
        );
        if now as usize != then.len() {
            return Err(ClaimError::Halt(format!(
                "{who}: the topic has {now} partitions and had {} when the run began: keys have moved to other partitions, away from their \
                 states. Stop the workers and start a new run with `millrace adopt`, which folds the log again.",
                then.len()
            )));
        }
    }
    let (p, q) = (row.next_offset, row.published_offset);
    if p > bounds.high {
        return Err(ClaimError::Halt(format!(
            "{who}: Postgres has decided up to offset {p}, but the log ends at {}. The topic was deleted and made again, or the \
             broker lost records. Check the topic; to go on with the new log stop the workers and start a new run with \
             `millrace adopt`.",
            bounds.high
        )));
    }
    if p < bounds.low {
        return Err(ClaimError::Halt(format!(
            "{who}: offset {p} is the next to decide, but the log starts at {}: {} offsets were removed by retention before they \
             were decided. To go on without them stop the workers and start a new run with `millrace adopt`.",
            bounds.low,
            bounds.low - p
        )));
    }
    if folds.is_some() && row.fold_from < bounds.low {
        return Err(ClaimError::Halt(format!(
            "{who}: states need the events from offset {} on, but the log starts at {}: they were removed by retention before the states \
             were written. To go on without them stop the workers and start a new run with `millrace adopt`; keep events longer than a \
             worker may be away.",
            row.fold_from, bounds.low
        )));
    }
    if settings.mode == Mode::Postgres {
        let published = Committed { offset: p, records_total: Some(row.records) };
        return Ok(Claimed { claim, row, published, unpublished: Vec::new(), turn: None });
    }
    let published = match group {
        None if q == p || without(Safety::LostOffset) => {
            let first = Committed { offset: p, records_total: Some(row.records) };
            publisher.commit(lease, partition, first).await?;
            first
        }
        None => {
            return Err(ClaimError::Halt(format!(
                "{who}: the group has no committed offset any more, and records of [{q}, {p}) may or may not have been published. \
                 Offsets expired or were deleted. {}",
                look_it_up(&key)
            )));
        }
        Some(k) => k,
    };
    let k = published.offset;
    if k < q && !without(Safety::MovedBack) {
        return Err(ClaimError::Halt(format!(
            "{who}: the group's offset {k} is below {q}, and all below {q} was published, perhaps more: the offsets were moved back. \
             Publishing from there would double records. {} To decide and publish all of it once more, under ids of their own, start a \
             new run with `millrace adopt`.",
            look_it_up(&key)
        )));
    }
    if p < k && without(Safety::LostCommits) {
        let published = Committed { offset: p, records_total: Some(row.records) };
        return Ok(Claimed { claim, row, published, unpublished: Vec::new(), turn: None });
    }
    if p < k {
        return match settings.on_lost_commits {
            OnLostCommits::Reprocess => Ok(Claimed { claim, row, published, unpublished: Vec::new(), turn: None }),
            OnLostCommits::Halt => Err(ClaimError::Halt(format!(
                "{who}: the group has published up to {k}, but Postgres has decided only up to {p}: the database lost commits (a \
                 fail-over, a restored backup), is another one, or the offsets were moved forward. Restore the database, or set \
                 `on_lost_commits = \"reprocess\"` to decide [{p}, {k}) again without publishing it."
            ))),
        };
    }
    let turn = if k < p { Some(room.wait().await) } else { None };
    let mut unpublished = bring_back(store, &key, k, p).await?;
    if without(Safety::BringBack) {
        unpublished.clear();
    }
    let found = unpublished.len() as i64;
    let Some(below_k) = published.records_total else {
        return Err(ClaimError::Halt(format!(
            "{who}: the group's offset {k} was not written by Millrace, so it does not tell what was published. {}",
            look_it_up(&key)
        )));
    };
    if found != row.records - below_k && !without(Safety::CountRows) && !without(Safety::BringBack) {
        return Err(ClaimError::Halt(format!(
            "{who}: [{k}, {p}) should hold {} records and Postgres has {found}: rows were deleted or added by hand. Restore them from \
             a backup; nothing newer of this partition is published before.",
            row.records - below_k
        )));
    }
    Ok(Claimed { claim, row, published, unpublished, turn })
}

fn fold_name(digest: Option<&str>) -> String {
    digest.map_or("no fold".into(), |digest| format!("the fold {digest}"))
}

/// What to do when the group does not tell how far a partition is published. The topics do; Q does not, being a late copy of K.
fn look_it_up(key: &PartitionKey) -> String {
    format!(
        "Stop the workers, run `millrace verify` if in doubt, and set the group's offset by what the output holds with \
         `millrace adopt --config FILE --pipeline {} --published auto`: it shows what it would do, and does it with --yes.",
        key.pipeline
    )
}

/// Stores where a new pipeline, or a new partition of an old one, begins: as a number.
async fn open(
    settings: &Settings,
    store: &dyn Store,
    publisher: &dyn Publisher,
    key: &PartitionKey,
    group: Option<Committed>,
    low: i64,
) -> Result<(), ClaimError> {
    let topic = &key.partition.topic;
    if let Some(k) = group {
        return Err(ClaimError::Halt(format!(
            "pipeline {} run {} {}: the group has committed offset {} but Postgres has no row for it: this is another database, or the \
             group was used by another program. Stop the workers and take it over with `millrace adopt` (with `--run N` above the newest \
             run of a database that was lost), or give the pipeline another name.",
            key.pipeline, key.run, key.partition, k.offset
        )));
    }
    let known = store.partitions(&key.pipeline, key.run, topic).await?;
    let mut starts = Vec::new();
    if known.is_empty() {
        for number in 0..publisher.partition_count(topic).await? {
            let partition = TopicPartition::new(topic.clone(), number);
            let bounds = publisher.bounds(&partition).await?;
            let start = match settings.start {
                Start::Earliest => bounds.low,
                Start::Latest => bounds.high,
            };
            starts.push((partition, start));
        }
    } else if settings.provenance.fold.is_some() {
        return Err(ClaimError::Halt(format!(
            "pipeline {} run {} {}: the topic has got a new partition: keys have moved to other partitions, away from their states. Stop \
             the workers and start a new run with `millrace adopt`, which folds the log again.",
            key.pipeline, key.run, key.partition
        )));
    } else {
        starts.push((key.partition.clone(), low));
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
