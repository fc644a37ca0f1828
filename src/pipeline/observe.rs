//! What the pipeline tells those who watch it. No payload is kept by who watches.

use crate::event::TopicPartition;
use crate::function::{Input, Prediction, Spec};
use crate::record::Record;
use crate::store::{Pause, Taken};
use crate::telemetry::Span;
use std::sync::Arc;

/// One partition as a status page shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionView {
    pub topic: String,
    pub partition: i32,
    /// `claiming`, `running` or `halted`.
    pub state: &'static str,
    /// P: next offset to decide. Below 0 where it is not known.
    pub next_offset: i64,
    /// K: next offset to publish, `None` in mode `postgres`.
    pub published_offset: Option<i64>,
    /// End of the log, as the source told when it was reached last.
    pub end_offset: Option<i64>,
    pub epoch: i64,
    pub events: i64,
    pub records: i64,
    pub skipped: i64,
    pub dead: i64,
    /// Events read and not yet decided.
    pub undecided: usize,
    /// The log's timestamp of the oldest of them.
    pub oldest_ms: Option<i64>,
    /// Whether the source is told to wait: for room, for other partitions, or by an operator.
    pub paused: bool,
    /// Who has paused it, and why.
    pub pause: Option<Arc<Pause>>,
    /// The version that scores the next event, and its canary; `None` before the first swap.
    pub version: Option<Taken>,
    /// Why it is not at the version that is wanted, or stands for want of one.
    pub waits_for: Option<String>,
    /// Whether it stands for want of one, or will at its next event: what it has taken over names a version that is not in memory.
    pub held: bool,
    /// S, in a pipeline with a fold: what the log has from here on is folded again by the next claim.
    pub fold_from: Option<i64>,
    /// Memory of the states that are at hand, in a pipeline with a fold.
    pub state_bytes: Option<usize>,
    /// Why it is halted, and what to do.
    pub reason: Option<String>,
}

impl PartitionView {
    /// A partition of which nothing is known but its state.
    pub fn new(partition: &TopicPartition, state: &'static str) -> Self {
        Self {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            state,
            next_offset: -1,
            published_offset: None,
            end_offset: None,
            epoch: 0,
            events: 0,
            records: 0,
            skipped: 0,
            dead: 0,
            undecided: 0,
            oldest_ms: None,
            paused: false,
            pause: None,
            version: None,
            waits_for: None,
            held: false,
            fold_from: None,
            state_bytes: None,
            reason: None,
        }
    }
}

/// All methods have empty bodies: watch what you need. They are called from the pipeline's own task and must not block.
pub trait Observer: Send + Sync {
    fn received(&self, _events: usize) {}
    /// A function is about to be called. The call is made inside the span that comes back.
    fn calling(&self, _spec: &Spec, _inputs: &[Input]) -> Option<Span> {
        None
    }
    fn called(&self, _events: usize, _seconds: f64) {}
    fn retried(&self, _stage: &'static str) {}
    fn rejected(&self, _code: &'static str) {}
    /// What a function said about an event; a record of each goes to be decided.
    fn emitted(&self, _predictions: &[Prediction]) {}
    /// A version has scored events of a pipeline that was swapped: how many were emitted, skipped and dead.
    fn scored(&self, _version: &str, _endings: [u64; 3]) {}
    /// A canary broke its limits here, and its step is taken back.
    fn took_back(&self) {}
    /// A function had nothing to say about an event.
    fn skipped(&self, _reason: &'static str) {}
    /// A round is committed in Postgres: its records, how long the statement took, and the log's timestamp of each event.
    fn decided(&self, _partition: &TopicPartition, _records: &[Record], _seconds: f64, _timestamps_ms: &[i64]) {}
    fn published(&self, _records: usize, _seconds: f64) {}
    /// A round has ended, well or not; `stage` is `decide` or `publish`.
    fn round_ended(&self, _stage: &'static str, _partitions: usize, _seconds: f64, _done: bool) {}
    /// How far the partition that is furthest ahead in event time is ahead of the slowest one of the group, in an aligned pipeline.
    fn skewed(&self, _milliseconds: i64) {}
    fn halted(&self, _partition: &TopicPartition, _reason: &str) {}
    /// The whole picture, when it changed and at most some times a second.
    fn status(&self, _partitions: Vec<PartitionView>, _budget_bytes: usize) {}
}

/// Watches nothing.
impl Observer for () {}
