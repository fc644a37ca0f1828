//! Metrics that are read when somebody looks: nothing is told for ever of what has gone.

use super::names::Metric;
use super::{Metrics, label};
use crate::telemetry::tally::{Counts, Tallies};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// The commit of the program, where the build named one (`MILLRACE_REVISION`).
const REVISION: &str = match option_env!("MILLRACE_REVISION") {
    Some(named) => named,
    None => "unknown",
};

/// States of a held partition: a gauge of each is there even when it is 0.
const STATES: [&str; 3] = ["claiming", "running", "halted"];

/// A partition that is held now; a lag that is not known is not shown.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionGauges {
    pub topic: String,
    pub partition: i32,
    pub state: String,
    /// By an operator.
    pub paused: bool,
    /// The version that scores its next event, and its canary or an empty word; `None` before the first swap.
    pub version: Option<(String, String)>,
    /// Whether it is not at the version that is wanted, or stands for want of one.
    pub waits_for: bool,
    pub undecided: Option<i64>,
    pub unpublished: Option<i64>,
    /// Age of the oldest event that is not decided; 0 where there is none.
    pub behind_seconds: Option<f64>,
    /// P less the first offset that the log still has: what retention has yet to drop before it reaches what is not decided.
    pub headroom: Option<i64>,
    /// Memory of the states that are at hand; `None` in a pipeline that remembers nothing.
    pub state_bytes: Option<i64>,
}

/// Reads what is held, by pipeline.
type Held = dyn Fn() -> BTreeMap<String, Vec<PartitionGauges>> + Send + Sync;

/// What the models of this worker hold, and how often they were spared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelGauges {
    /// Answers that were kept, and those that had to be computed.
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// Memory of the answers that are kept now.
    pub cache_bytes: u64,
    /// By the name under which a network was opened first.
    pub loaded: BTreeMap<String, LoadedModel>,
    /// Those that are open, as `name@digest`.
    pub open: Vec<String>,
}

/// A network that is loaded now, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadedModel {
    /// Its memory; 0 when it is not loaded.
    pub bytes: u64,
    /// How often it had to make room for another.
    pub unloads: u64,
}

impl Metrics {
    /// Lag, states and number of the partitions: read when somebody looks, so that one that has moved away is not told of any more.
    pub fn follow_partitions(&self, held: Arc<Held>) {
        self.of_partitions(Metric::LagUndecided, &held, |partition| partition.undecided);
        self.of_partitions(Metric::LagUnpublished, &held, |partition| partition.unpublished);
        self.of_partitions(Metric::LogHeadroom, &held, |partition| partition.headroom);
        self.of_partitions(Metric::StateBytes, &held, |partition| partition.state_bytes);
        self.lag_seconds(held.clone());
        self.lag_work(held.clone());
        let all = held.clone();
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in all() {
                let paused = partitions.iter().filter(|partition| partition.paused).count();
                observer.observe(paused as i64, &[label("pipeline", &pipeline)]);
            }
        };
        self.meter.i64_observable_gauge(Metric::PausedPartitions.name()).with_callback(observe).build();
        self.swaps(&held);
        self.stopped(held.clone());
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in held() {
                for state in STATES {
                    let count = partitions.iter().filter(|partition| partition.state == state).count();
                    observer.observe(count as i64, &[label("pipeline", &pipeline), label("state", state)]);
                }
            }
        };
        self.meter.i64_observable_gauge(Metric::Partitions.name()).with_callback(observe).build();
    }

    /// Which partitions stand because somebody or something stopped them: those that run have no series.
    fn stopped(&self, held: Arc<Held>) {
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in held() {
                for partition in &partitions {
                    let why = match (partition.state.as_str(), partition.paused) {
                        ("halted", _) => "halted",
                        (_, true) => "paused",
                        _ => continue,
                    };
                    let number = KeyValue::new("partition", i64::from(partition.partition));
                    let of = [label("pipeline", &pipeline), label("topic", &partition.topic), number, label("why", why)];
                    observer.observe(1, &of);
                }
            }
        };
        self.meter.i64_observable_gauge(Metric::PartitionStopped.name()).with_callback(observe).build();
    }

    fn swaps(&self, held: &Arc<Held>) {
        let all = held.clone();
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in all() {
                let mut counts: BTreeMap<(String, String), i64> = BTreeMap::new();
                for version in partitions.into_iter().filter_map(|partition| partition.version) {
                    *counts.entry(version).or_default() += 1;
                }
                for ((version, canary), count) in counts {
                    let labels = [label("pipeline", &pipeline), label("version", &version), label("canary", &canary)];
                    observer.observe(count, &labels);
                }
            }
        };
        self.meter.i64_observable_gauge(Metric::SwapPartitions.name()).with_callback(observe).build();
        let all = held.clone();
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in all() {
                let waiting = partitions.iter().filter(|partition| partition.waits_for).count();
                observer.observe(waiting as i64, &[label("pipeline", &pipeline)]);
            }
        };
        self.meter.i64_observable_gauge(Metric::SwapWaiting.name()).with_callback(observe).build();
    }

    fn of_partitions(&self, metric: Metric, held: &Arc<Held>, of: fn(&PartitionGauges) -> Option<i64>) {
        let held = held.clone();
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in held() {
                for (partition, now) in partitions.iter().filter_map(|partition| Some((partition, of(partition)?))) {
                    let number = KeyValue::new("partition", i64::from(partition.partition));
                    observer.observe(now, &[label("pipeline", &pipeline), label("topic", &partition.topic), number]);
                }
            }
        };
        self.meter.i64_observable_gauge(metric.name()).with_callback(observe).build();
    }

    fn lag_seconds(&self, held: Arc<Held>) {
        let observe = move |observer: &dyn AsyncInstrument<f64>| {
            for (pipeline, partitions) in held() {
                for partition in &partitions {
                    let Some(seconds) = partition.behind_seconds else { continue };
                    let number = KeyValue::new("partition", i64::from(partition.partition));
                    observer.observe(seconds, &[label("pipeline", &pipeline), label("topic", &partition.topic), number]);
                }
            }
        };
        self.meter.f64_observable_gauge(Metric::LagSeconds.name()).with_callback(observe).build();
    }

    /// Not shown before anything was called: nobody knows then what an event costs.
    fn lag_work(&self, held: Arc<Held>) {
        let tallies = self.tallies.clone();
        let observe = move |observer: &dyn AsyncInstrument<f64>| {
            for (pipeline, partitions) in held() {
                let undecided: i64 = partitions.iter().filter_map(|partition| partition.undecided).sum();
                if let Some(seconds) = tallies.of(&pipeline).work_seconds(undecided.max(0) as u64) {
                    observer.observe(seconds, &[label("pipeline", &pipeline)]);
                }
            }
        };
        self.meter.f64_observable_gauge(Metric::LagWork.name()).with_callback(observe).build();
    }

    /// Whether the worker is ready, as `/readyz` says it: asked when somebody looks.
    pub fn follow_readiness(&self, ready: Arc<dyn Fn() -> bool + Send + Sync>) {
        let observe = move |observer: &dyn AsyncInstrument<u64>| observer.observe(u64::from(ready()), &[]);
        self.meter.u64_observable_gauge(Metric::Ready.name()).with_callback(observe).build();
    }

    /// Read when somebody looks.
    pub fn follow_models(&self, now: Arc<dyn Fn() -> ModelGauges + Send + Sync>) {
        self.observed_total(Metric::CacheHits, &now, |of| of.cache_hits);
        self.observed_total(Metric::CacheMisses, &now, |of| of.cache_misses);
        self.observed(Metric::CacheBytes, &now, |of| of.cache_bytes);
        self.models.get_or_init(|| now.clone());
        self.model_info(now.clone());
        let all = now.clone();
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            all().loaded.iter().for_each(|(model, of)| observer.observe(of.bytes, &[label("model", model)]));
        };
        self.meter.u64_observable_gauge(Metric::ModelBytes.name()).with_callback(observe).build();
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            now().loaded.iter().for_each(|(model, of)| observer.observe(of.unloads, &[label("model", model)]));
        };
        self.meter.u64_observable_counter(Metric::ModelUnloads.stem()).with_callback(observe).build();
    }

    fn observed(&self, metric: Metric, now: &Arc<dyn Fn() -> ModelGauges + Send + Sync>, of: fn(&ModelGauges) -> u64) {
        let now = now.clone();
        let observe = move |observer: &dyn AsyncInstrument<u64>| observer.observe(of(&now()), &[]);
        self.meter.u64_observable_gauge(metric.name()).with_callback(observe).build();
    }

    fn observed_total(&self, metric: Metric, now: &Arc<dyn Fn() -> ModelGauges + Send + Sync>, of: fn(&ModelGauges) -> u64) {
        let now = now.clone();
        let observe = move |observer: &dyn AsyncInstrument<u64>| observer.observe(of(&now()), &[]);
        self.meter.u64_observable_counter(metric.stem()).with_callback(observe).build();
    }

    /// Of the open models, and of those that functions name.
    fn model_info(&self, now: Arc<dyn Fn() -> ModelGauges + Send + Sync>) {
        let tallies = self.tallies.clone();
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            let named = tallies.all().into_values().map(|tally| tally.limits().model);
            let all: BTreeSet<String> = now().open.into_iter().chain(named).collect();
            for (model, digest) in all.iter().filter_map(|id| id.rsplit_once('@')) {
                observer.observe(1, &[label("model", model), label("digest", digest)]);
            }
        };
        self.meter.u64_observable_gauge(Metric::ModelInfo.name()).with_callback(observe).build();
    }
}

/// What is read of the tallies, and of the program.
pub(super) fn of_tallies(meter: &Meter, tallies: &Tallies) {
    let built = [label("version", env!("CARGO_PKG_VERSION")), label("revision", REVISION)];
    let observe = move |observer: &dyn AsyncInstrument<u64>| observer.observe(1, &built);
    meter.u64_observable_gauge(Metric::BuildInfo.name()).with_callback(observe).build();
    let began = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let observe = move |observer: &dyn AsyncInstrument<f64>| observer.observe(began, &[]);
    meter.f64_observable_gauge(Metric::StartTime.name()).with_callback(observe).build();
    let all = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<u64>| {
        for (pipeline, tally) in all.all() {
            observer.observe(tally.limits().slice as u64, &[label("pipeline", &pipeline)]);
        }
    };
    meter.u64_observable_gauge(Metric::SliceLimit.name()).with_callback(observe).build();
    let all = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<f64>| {
        for (pipeline, tally) in all.all() {
            observer.observe(tally.counts(Instant::now()).busy_seconds, &[label("pipeline", &pipeline)]);
        }
    };
    meter.f64_observable_counter(Metric::BusySeconds.stem()).with_callback(observe).build();
    total(meter, tallies, Metric::Tokens, |counts| counts.tokens);
    // Every network works on packed texts: there are tokens, and never padding between them.
    total(meter, tallies, Metric::PaddingTokens, |_| 0);
    named(meter, tallies, Metric::Labels, "label", |counts| &counts.labels);
    named(meter, tallies, Metric::Fallbacks, "reason", |counts| &counts.fallbacks);
}

fn total(meter: &Meter, tallies: &Tallies, metric: Metric, of: fn(&Counts) -> u64) {
    let tallies = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<u64>| {
        for (pipeline, tally) in tallies.all() {
            observer.observe(of(&tally.counts(Instant::now())), &[label("pipeline", &pipeline)]);
        }
    };
    meter.u64_observable_counter(metric.stem()).with_callback(observe).build();
}

fn named(meter: &Meter, tallies: &Tallies, metric: Metric, by: &'static str, of: fn(&Counts) -> &BTreeMap<Box<str>, u64>) {
    let tallies = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<u64>| {
        for (pipeline, tally) in tallies.all() {
            for (name, count) in of(&tally.counts(Instant::now())) {
                observer.observe(*count, &[label("pipeline", &pipeline), label(by, name)]);
            }
        }
    };
    meter.u64_observable_counter(metric.stem()).with_callback(observe).build();
}
