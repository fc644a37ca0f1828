//! Every metric's name, and the methods that record them.

use super::TelemetryError;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Encoder, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The names that dashboards rely on: `millrace_<noun>_<unit>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    EventsConsumed,
    Predictions,
    Skipped,
    DeadLetters,
    DecideDuration,
    PublishDuration,
    EventAge,
    SliceSize,
    CallDuration,
    Retries,
    Halts,
    LagUndecided,
    LagUnpublished,
    Partitions,
    PausedPartitions,
    BudgetBytes,
    Skew,
    CacheHits,
    CacheMisses,
    CacheBytes,
    ModelBytes,
    ModelUnloads,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Metric::EventsConsumed => "millrace_events_consumed_total",
            Metric::Predictions => "millrace_predictions_total",
            Metric::Skipped => "millrace_events_skipped_total",
            Metric::DeadLetters => "millrace_dead_letters_total",
            Metric::DecideDuration => "millrace_decide_duration_seconds",
            Metric::PublishDuration => "millrace_publish_duration_seconds",
            Metric::EventAge => "millrace_event_age_seconds",
            Metric::SliceSize => "millrace_slice_events",
            Metric::CallDuration => "millrace_call_duration_seconds",
            Metric::Retries => "millrace_retries_total",
            Metric::Halts => "millrace_halts_total",
            Metric::LagUndecided => "millrace_lag_undecided_events",
            Metric::LagUnpublished => "millrace_lag_unpublished_events",
            Metric::Partitions => "millrace_partitions",
            Metric::PausedPartitions => "millrace_paused_partitions",
            Metric::BudgetBytes => "millrace_budget_used_bytes",
            Metric::Skew => "millrace_event_time_skew_seconds",
            Metric::CacheHits => "millrace_result_cache_hits_total",
            Metric::CacheMisses => "millrace_result_cache_misses_total",
            Metric::CacheBytes => "millrace_result_cache_bytes",
            Metric::ModelBytes => "millrace_model_loaded_bytes",
            Metric::ModelUnloads => "millrace_model_unloads_total",
        }
    }
}

const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
const EVENTS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// States of a held partition: a gauge of each is there even when it is 0.
const STATES: [&str; 3] = ["claiming", "running", "halted"];

/// A partition that is held now; a lag that is not known is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionGauges {
    pub topic: String,
    pub partition: i32,
    pub state: String,
    /// Whether an operator has paused it.
    pub paused: bool,
    pub undecided: Option<i64>,
    pub unpublished: Option<i64>,
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
}

/// A network that is loaded now, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadedModel {
    /// Its memory; 0 when it is not loaded.
    pub bytes: u64,
    /// How often it had to make room for another.
    pub unloads: u64,
}

/// The instruments; share it in an `Arc`.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    meter: Meter,
    consumed: Counter<u64>,
    predictions: Counter<u64>,
    skipped: Counter<u64>,
    dead: Counter<u64>,
    decide: Histogram<f64>,
    publish: Histogram<f64>,
    age: Histogram<f64>,
    slice: Histogram<f64>,
    call: Histogram<f64>,
    retries: Counter<u64>,
    halts: Counter<u64>,
    budget: Gauge<u64>,
    skew: Gauge<f64>,
    messaging: Messaging,
}

/// The same work under the names of the OpenTelemetry conventions, for dashboards that know no Millrace.
struct Messaging {
    consumed: Counter<u64>,
    sent: Counter<u64>,
    process: Histogram<f64>,
}

impl Metrics {
    /// To be scraped alone.
    pub fn new() -> Result<Self, TelemetryError> {
        Self::build(Resource::builder_empty().build(), |provider| provider)
    }

    /// To be scraped, and read by a second reader that pushes.
    pub fn with_push(push: impl MetricReader, resource: Resource) -> Result<Self, TelemetryError> {
        Self::build(resource, |provider| provider.with_reader(push))
    }

    fn build(
        resource: Resource,
        more: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder,
    ) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        let scrape = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|cause| TelemetryError::Metrics(cause.to_string()))?;
        let provider = more(SdkMeterProvider::builder().with_resource(resource).with_reader(scrape)).build();
        let meter = provider.meter("millrace");
        Ok(Self {
            registry,
            consumed: counter(&meter, Metric::EventsConsumed),
            predictions: counter(&meter, Metric::Predictions),
            skipped: counter(&meter, Metric::Skipped),
            dead: counter(&meter, Metric::DeadLetters),
            decide: histogram(&meter, Metric::DecideDuration, SECONDS),
            publish: histogram(&meter, Metric::PublishDuration, SECONDS),
            age: histogram(&meter, Metric::EventAge, SECONDS),
            slice: histogram(&meter, Metric::SliceSize, EVENTS),
            call: histogram(&meter, Metric::CallDuration, SECONDS),
            retries: counter(&meter, Metric::Retries),
            halts: counter(&meter, Metric::Halts),
            budget: meter.u64_gauge(Metric::BudgetBytes.name()).build(),
            skew: meter.f64_gauge(Metric::Skew.name()).build(),
            messaging: Messaging {
                consumed: meter.u64_counter("messaging.client.consumed.messages").with_unit("{message}").build(),
                sent: meter.u64_counter("messaging.client.sent.messages").with_unit("{message}").build(),
                process: meter
                    .f64_histogram("messaging.process.duration")
                    .with_unit("s")
                    .with_boundaries(SECONDS.to_vec())
                    .build(),
            },
            provider,
            meter,
        })
    }

    /// Sends what is still here to the reader that pushes; nothing is recorded after it.
    pub(super) fn shutdown(&self, timeout: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(timeout) {
            tracing::debug!(%error, "The last metrics were not sent.");
        }
    }

    pub fn consumed(&self, pipeline: &str, events: u64) {
        self.consumed.add(events, &[label("pipeline", pipeline)]);
        self.messaging.consumed.add(events, &messaging("poll", pipeline));
    }

    pub fn predictions(&self, pipeline: &str, records: u64) {
        self.predictions.add(records, &[label("pipeline", pipeline)]);
    }

    pub fn skipped(&self, pipeline: &str, reason: &str, events: u64) {
        self.skipped.add(events, &[label("pipeline", pipeline), label("reason", reason)]);
    }

    pub fn dead(&self, pipeline: &str, reason: &str, events: u64) {
        self.dead.add(events, &[label("pipeline", pipeline), label("reason", reason)]);
    }

    pub fn decided(&self, pipeline: &str, seconds: f64) {
        self.decide.record(seconds, &[label("pipeline", pipeline)]);
    }

    pub fn published(&self, pipeline: &str, records: u64, seconds: f64) {
        self.publish.record(seconds, &[label("pipeline", pipeline)]);
        self.messaging.sent.add(records, &messaging("send", pipeline));
    }

    /// From the record's own timestamp to the committed row.
    pub fn event_age(&self, pipeline: &str, seconds: f64) {
        self.age.record(seconds, &[label("pipeline", pipeline)]);
    }

    pub fn called(&self, pipeline: &str, events: usize, seconds: f64) {
        self.slice.record(events as f64, &[label("pipeline", pipeline)]);
        self.call.record(seconds, &[label("pipeline", pipeline)]);
        self.messaging.process.record(seconds, &messaging("process", pipeline));
    }

    /// `stage` is `call`, `decide` or `publish`.
    pub fn retried(&self, pipeline: &str, stage: &'static str) {
        self.retries.add(1, &[label("pipeline", pipeline), label("stage", stage)]);
    }

    pub fn halted(&self, pipeline: &str, reason: &str) {
        self.halts.add(1, &[label("pipeline", pipeline), label("reason", reason)]);
    }

    /// Lag and number of the partitions: read when somebody looks, so that one that has moved away is not told of any more.
    pub fn follow_partitions(&self, held: Arc<Held>) {
        self.lag(Metric::LagUndecided, &held, |partition| partition.undecided);
        self.lag(Metric::LagUnpublished, &held, |partition| partition.unpublished);
        let all = held.clone();
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in all() {
                let paused = partitions.iter().filter(|partition| partition.paused).count();
                observer.observe(paused as i64, &[label("pipeline", &pipeline)]);
            }
        };
        self.meter.i64_observable_gauge(Metric::PausedPartitions.name()).with_callback(observe).build();
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

    fn lag(&self, metric: Metric, held: &Arc<Held>, of: fn(&PartitionGauges) -> Option<i64>) {
        let held = held.clone();
        let observe = move |observer: &dyn AsyncInstrument<i64>| {
            for (pipeline, partitions) in held() {
                for (partition, lag) in partitions.iter().filter_map(|partition| Some((partition, of(partition)?))) {
                    let number = KeyValue::new("partition", i64::from(partition.partition));
                    observer.observe(lag, &[label("pipeline", &pipeline), label("topic", &partition.topic), number]);
                }
            }
        };
        self.meter.i64_observable_gauge(metric.name()).with_callback(observe).build();
    }

    /// Read when somebody looks.
    pub fn follow_models(&self, now: Arc<dyn Fn() -> ModelGauges + Send + Sync>) {
        self.observed_total(Metric::CacheHits, &now, |of| of.cache_hits);
        self.observed_total(Metric::CacheMisses, &now, |of| of.cache_misses);
        self.observed(Metric::CacheBytes, &now, |of| of.cache_bytes);
        let all = now.clone();
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            all().loaded.iter().for_each(|(model, of)| observer.observe(of.bytes, &[label("model", model)]));
        };
        self.meter.u64_observable_gauge(Metric::ModelBytes.name()).with_callback(observe).build();
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            now().loaded.iter().for_each(|(model, of)| observer.observe(of.unloads, &[label("model", model)]));
        };
        let name = Metric::ModelUnloads.name().trim_end_matches("_total");
        self.meter.u64_observable_counter(name).with_callback(observe).build();
    }

    fn observed(&self, metric: Metric, now: &Arc<dyn Fn() -> ModelGauges + Send + Sync>, of: fn(&ModelGauges) -> u64) {
        let now = now.clone();
        let observe = move |observer: &dyn AsyncInstrument<u64>| observer.observe(of(&now()), &[]);
        self.meter.u64_observable_gauge(metric.name()).with_callback(observe).build();
    }

    fn observed_total(&self, metric: Metric, now: &Arc<dyn Fn() -> ModelGauges + Send + Sync>, of: fn(&ModelGauges) -> u64) {
        let now = now.clone();
        let observe = move |observer: &dyn AsyncInstrument<u64>| observer.observe(of(&now()), &[]);
        self.meter.u64_observable_counter(metric.name().trim_end_matches("_total")).with_callback(observe).build();
    }

    /// Of a pipeline that is aligned: event time between the partition furthest ahead and the slowest one.
    pub fn skew(&self, pipeline: &str, seconds: f64) {
        self.skew.record(seconds, &[label("pipeline", pipeline)]);
    }

    pub fn budget_used(&self, bytes: usize) {
        self.budget.record(bytes as u64, &[]);
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> Result<String, TelemetryError> {
        let failed = |cause: &dyn std::fmt::Display| TelemetryError::Metrics(cause.to_string());
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out).map_err(|cause| failed(&cause))?;
        String::from_utf8(out).map_err(|cause| failed(&cause))
    }
}

fn label(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_string())
}

fn messaging(operation: &'static str, pipeline: &str) -> [KeyValue; 3] {
    [
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", operation),
        label("messaging.consumer.group.name", pipeline),
    ]
}

/// Without the suffix `_total`: it belongs to Prometheus, and the scrape adds it.
fn counter(meter: &Meter, metric: Metric) -> Counter<u64> {
    meter.u64_counter(metric.name().trim_end_matches("_total")).build()
}

fn histogram(meter: &Meter, metric: Metric, bounds: &[f64]) -> Histogram<f64> {
    meter.f64_histogram(metric.name()).with_boundaries(bounds.to_vec()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a partition that has moved away and is told of for ever, a halted one that is not counted.
    #[test]
    fn only_what_is_held_now_is_told() {
        let (metrics, moved) = (Metrics::new().unwrap(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let held = moved.clone();
        metrics.follow_partitions(Arc::new(move || {
            let one = |partition, state: &str| PartitionGauges {
                topic: "in".into(),
                partition,
                state: state.into(),
                paused: partition == 1,
                undecided: Some(7),
                unpublished: None,
            };
            let first = (!held.load(std::sync::atomic::Ordering::Relaxed)).then(|| one(0, "running"));
            [("p".to_owned(), first.into_iter().chain([one(1, "halted")]).collect())].into()
        }));
        let of = |partition| format!("millrace_lag_undecided_events{{partition=\"{partition}\",pipeline=\"p\",topic=\"in\"}} 7");
        let text = metrics.render().unwrap();
        assert!(text.contains(&of(0)) && text.contains(&of(1)), "{text}");
        assert!(text.contains("millrace_partitions{pipeline=\"p\",state=\"halted\"} 1"), "{text}");
        assert!(text.contains("millrace_paused_partitions{pipeline=\"p\"} 1"), "{text}");
        moved.store(true, std::sync::atomic::Ordering::Relaxed);
        let text = metrics.render().unwrap();
        assert!(!text.contains(&of(0)) && text.contains(&of(1)), "{text}");
        assert!(text.contains("millrace_partitions{pipeline=\"p\",state=\"running\"} 0"), "{text}");
        assert!(!text.contains("unpublished"), "{text}");
    }

    #[test]
    fn models_are_looked_at_when_somebody_reads() {
        let metrics = Metrics::new().unwrap();
        metrics.follow_models(Arc::new(|| ModelGauges {
            cache_hits: 3,
            cache_misses: 2,
            cache_bytes: 1000,
            loaded: [("m".to_owned(), LoadedModel { bytes: 77, unloads: 5 }), ("n".to_owned(), LoadedModel::default())].into(),
        }));
        let text = metrics.render().unwrap();
        for line in [
            "millrace_result_cache_hits_total 3",
            "millrace_result_cache_misses_total 2",
            "millrace_result_cache_bytes 1000",
            "millrace_model_loaded_bytes{model=\"m\"} 77",
            "millrace_model_loaded_bytes{model=\"n\"} 0",
            "millrace_model_unloads_total{model=\"m\"} 5",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    /// Would catch: a renamed series, a suffix twice or not at all, a label of the SDK's own.
    #[test]
    fn metrics_read_under_their_names() {
        let metrics = Metrics::new().unwrap();
        metrics.consumed("p", 3);
        metrics.dead("p", "poison", 1);
        metrics.decided("p", 0.003);
        metrics.budget_used(5);
        let text = metrics.render().unwrap();
        assert!(text.contains("millrace_events_consumed_total{pipeline=\"p\"} 3"), "{text}");
        assert!(text.contains("millrace_budget_used_bytes 5"), "{text}");
        assert!(text.contains("millrace_decide_duration_seconds_bucket"), "{text}");
        let labels = "messaging_consumer_group_name=\"p\",messaging_operation_name=\"poll\",messaging_system=\"kafka\"";
        assert!(text.contains(&format!("messaging_client_consumed_messages_total{{{labels}}} 3")), "{text}");
    }
}
