//! What the page shows, gathered at one moment.

use super::history::{History, Marks, Now};
use super::points::Points;
use crate::admin::server::AdminState;
use crate::admin::{PartitionStatus, StatusBoard};
use crate::telemetry::{Counts, Limits, ModelGauges, RungTally, ShadowTally, Spread, Tallies};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A worker at one moment.
#[derive(Debug, Default)]
pub struct View {
    /// What keeps it from being ready.
    pub missing: Vec<String>,
    /// Pipelines whose poll thread stands still.
    pub stale: Vec<String>,
    pub pipelines: Vec<PipelineView>,
    pub models: ModelGauges,
}

#[derive(Debug)]
pub struct PipelineView {
    pub name: String,
    pub limits: Limits,
    pub counts: Counts,
    pub now: Now,
    pub lately: Marks,
    /// How long this worker has it.
    pub up: Duration,
    pub points: Points,
    /// Seconds of work that what is undecided is.
    pub work_seconds: Option<f64>,
    /// By `topic/partition`.
    pub partitions: BTreeMap<String, PartitionStatus>,
    pub shadow: Option<Arc<ShadowTally>>,
    pub rungs: Option<Arc<RungTally>>,
    /// Scores from before this worker started.
    pub past: Option<Arc<Spread>>,
}

/// The ages of the oldest undecided events, by pipeline.
pub fn lags(board: &StatusBoard) -> BTreeMap<String, f64> {
    let worst = |all: BTreeMap<String, PartitionStatus>| all.into_values().filter_map(|one| one.lag_seconds).reduce(f64::max);
    board.snapshot().into_iter().filter_map(|(pipeline, all)| Some((pipeline, worst(all)?))).collect()
}

/// The counts of all pipelines.
pub fn counts(tallies: &Tallies, now: Instant) -> BTreeMap<String, Counts> {
    tallies.all().into_iter().map(|(pipeline, tally)| (pipeline, tally.counts(now))).collect()
}

impl View {
    pub fn of(state: &AdminState, history: &History, now: Instant) -> Self {
        let mut board = state.status.snapshot();
        let one = |(name, tally): (String, Arc<crate::telemetry::Tally>)| {
            let (counts, track) = (tally.counts(now), history.of(&name));
            let lately = track
                .map_or_else(|| Marks { scores: counts.scores.clone(), labels: counts.labels.clone() }, |t| t.lately(&counts));
            let partitions = board.remove(&name).unwrap_or_default();
            let undecided: i64 = partitions.values().filter_map(|one| one.lag_undecided).sum();
            PipelineView {
                shadow: tally.shadow().cloned(),
                rungs: tally.rungs().cloned(),
                past: tally.past().cloned(),
                limits: tally.limits(),
                up: track.map(|track| track.up(now)).unwrap_or_default(),
                now: track.map(|track| track.now()).unwrap_or_default(),
                points: track.map(|track| track.points().clone()).unwrap_or_default(),
                work_seconds: tally.work_seconds(undecided.max(0) as u64),
                lately,
                counts,
                partitions,
                name,
            }
        };
        Self {
            missing: state.readiness.missing(),
            stale: state.liveness.stale(now),
            pipelines: state.metrics.tallies().all().into_iter().map(one).collect(),
            models: state.metrics.models(),
        }
    }

    /// Tells this set of pipelines from another: places on the page are numbered by it.
    pub fn set(&self) -> String {
        let mut names: Vec<&str> = self.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        names.push(env!("CARGO_PKG_VERSION"));
        let hash = names
            .iter()
            .flat_map(|name| name.bytes().chain([0]))
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

impl PipelineView {
    pub fn undecided(&self) -> Option<i64> {
        self.sum(|one| one.lag_undecided)
    }

    pub fn unpublished(&self) -> Option<i64> {
        self.sum(|one| one.lag_unpublished)
    }

    fn sum(&self, of: fn(&PartitionStatus) -> Option<i64>) -> Option<i64> {
        self.partitions.values().filter_map(of).reduce(|one, other| one + other)
    }

    /// Age of the oldest event that is not decided.
    pub fn lag_seconds(&self) -> Option<f64> {
        self.partitions.values().filter_map(|one| one.lag_seconds).reduce(f64::max)
    }

    pub fn in_state(&self, state: &str) -> usize {
        self.partitions.values().filter(|one| one.state == state).count()
    }
}
