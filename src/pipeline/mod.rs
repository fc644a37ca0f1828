//! The one sentence: decode, call, decide, publish.
//!
//! Three offsets a partition. **P** (`next_offset` in Postgres): all below is decided. **K** (the group's committed offset):
//! all below is published. **Q** (`published_offset` in Postgres): a late copy of K. Always Q <= K <= P; a breach stops
//! the partition and says what happened.
//!
//! - `claim` takes a partition over: reads K, claims the row, compares, and brings what is decided but not published.
//! - `verdict` says from P, K, Q and the log how a partition goes on, or why it stands.
//! - `call` runs one slice through the function: again when it may help, halved when one event spoils it.
//! - `driver` is the loop: compute, decide and publish overlap, each clocked by itself.
//!
//! Knows nothing about Kafka, Postgres or networks: it sees them as `Source`, `Store`, `Publisher` and `Function`.

mod call;
mod claim;
mod driver;
mod memory;
mod observe;
mod partition;
mod patient;
mod safety;
#[cfg(test)]
mod simulation;
mod stood;
mod verdict;
mod version;

pub use driver::{Align, run};
pub use memory::Folding;
pub use observe::{Observer, PartitionView};
pub use verdict::{Found, Told, Verdict};
pub use version::{BaseAlone, CanaryLimits, Strain, Version, Versions};

use crate::config::{OnLostCommits, Start};
use crate::event::{Event, RawEvent, Rejection};
use crate::flow::Budget;
use crate::function::Function;
use crate::publisher::Publisher;
use crate::record::Provenance;
use crate::source::SourceHandle;
use crate::store::{Mode, Store};
use std::sync::Arc;
use std::time::Duration;

/// Turns a raw event into one that can be scored, or says why not.
pub type Decode = dyn Fn(RawEvent) -> Result<Event, (RawEvent, Rejection)> + Send + Sync;

/// What one pipeline is told.
#[derive(Debug, Clone)]
pub struct Settings {
    pub provenance: Provenance,
    pub mode: Mode,
    pub output_topic: Arc<str>,
    pub dead_letter_topic: Arc<str>,
    pub start: Start,
    pub on_lost_commits: OnLostCommits,
    /// Who holds the claim: host, process, and something that makes it unique to this life of the process.
    pub owner: Arc<str>,
    /// Events a partition may hold undecided before it is paused.
    pub window: usize,
    /// Events a partition brings to one decide round at most.
    pub decide_events: usize,
    /// Largest record, key and value, in bytes. A larger prediction is rejected; a dead letter's body is cut to fit.
    pub record_bytes: usize,
    /// Share of dead letters among the last 1,000 events of a partition above which it stops; 1.0 turns the check off.
    pub max_dead_share: f64,
    /// Keeps partitions together in event time; `None` lets each run.
    pub align: Option<Align>,
    /// How long it stays to be looked at once all its partitions on this worker are halted, before it ends by itself; `None`: it does not end,
    /// since the worker has other pipelines to go on with.
    pub ends_halted_after: Option<Duration>,
    /// Time to finish what is in work once a stop was asked for.
    pub drain: Duration,
    /// How long a reply of the store may take: longer than its own bound on a statement.
    pub store_patience: Duration,
    /// First wait after a failure; doubles up to 32 times as long.
    pub backoff: Duration,
}

impl Settings {
    /// What a verdict over a partition needs of them.
    pub fn told(&self) -> Told<'_> {
        Told {
            pipeline: &self.provenance.pipeline,
            run: self.provenance.run,
            mode: self.mode,
            fold: self.provenance.fold.as_deref(),
            start: self.start,
            on_lost_commits: self.on_lost_commits,
        }
    }
}

/// What one pipeline is made of.
pub struct Parts {
    pub source: SourceHandle,
    pub store: Arc<dyn Store>,
    pub publisher: Arc<dyn Publisher>,
    /// That of the pipeline's own settings.
    pub function: Arc<dyn Function>,
    /// Those that a swap may put in its place.
    pub versions: Arc<dyn Versions>,
    /// What the pipeline remembers of each key; its topic is one then.
    pub folding: Option<Folding>,
    pub decode: Arc<Decode>,
    pub budget: Budget,
    pub observer: Arc<dyn Observer>,
}

/// How a pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was decided is published, and the group was left.
    Drained,
    /// The drain deadline passed, or a second signal came. Nothing is lost: the next owner goes on from P and K.
    Abandoned,
    /// Every assigned partition is halted for safety; the text tells of the first one.
    Halted(String),
    /// A function, broker or database said that going on is pointless.
    Failed(String),
}
