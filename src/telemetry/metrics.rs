//! The methods that record metrics, under their names.
//!
//! `names` lists them · `observed` has those that are read when somebody looks, `beside` those of shadows and ladders among them.

mod beside;
mod names;
mod observed;
#[cfg(test)]
mod tests;

pub use names::Metric;
pub use observed::{LoadedModel, ModelGauges, PartitionGauges};

use super::TelemetryError;
use super::spread::SCORES;
use super::tally::{Tallies, Tally};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Encoder, Registry, TextEncoder};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
const EVENTS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// What may have to be tried again, and why a partition may be halted: counters of these are there from the start, at 0, for an increase from
/// nothing to the first is none to Prometheus.
const STAGES: [&str; 8] = ["claim", "suspect", "call", "decide", "publish", "version", "take", "roll_back"];
const HALTS: [&str; 1] = ["safety"];

/// The instruments; share it in an `Arc`.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    meter: Meter,
    consumed: Counter<u64>,
    predictions: Counter<u64>,
    skipped: Counter<u64>,
    swapped: Counter<u64>,
    taken_back: Counter<u64>,
    dead: Counter<u64>,
    decide: Histogram<f64>,
    publish: Histogram<f64>,
    age: Histogram<f64>,
    slice: Histogram<f64>,
    call: Histogram<f64>,
    scores: Histogram<f64>,
    retries: Counter<u64>,
    halts: Counter<u64>,
    neighbour_up: Gauge<u64>,
    budget: Gauge<u64>,
    budget_limit: Gauge<u64>,
    skew: Gauge<f64>,
    messaging: Messaging,
    tallies: Tallies,
    models: OnceLock<Arc<dyn Fn() -> ModelGauges + Send + Sync>>,
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
        let tallies = Tallies::default();
        observed::of_tallies(&meter, &tallies);
        beside::of_tallies(&meter, &tallies);
        Ok(Self {
            registry,
            consumed: counter(&meter, Metric::EventsConsumed),
            predictions: counter(&meter, Metric::Predictions),
            skipped: counter(&meter, Metric::Skipped),
            swapped: counter(&meter, Metric::SwapEvents),
            taken_back: counter(&meter, Metric::CanariesTakenBack),
            dead: counter(&meter, Metric::DeadLetters),
            decide: histogram(&meter, Metric::DecideDuration, SECONDS),
            publish: histogram(&meter, Metric::PublishDuration, SECONDS),
            age: histogram(&meter, Metric::EventAge, SECONDS),
            slice: histogram(&meter, Metric::SliceSize, EVENTS),
            call: histogram(&meter, Metric::CallDuration, SECONDS),
            scores: histogram(&meter, Metric::Scores, SCORES),
            retries: counter(&meter, Metric::Retries),
            halts: counter(&meter, Metric::Halts),
            neighbour_up: meter.u64_gauge(Metric::NeighbourUp.name()).build(),
            budget: meter.u64_gauge(Metric::BudgetBytes.name()).build(),
            budget_limit: meter.u64_gauge(Metric::BudgetLimit.name()).build(),
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
            tallies,
            models: OnceLock::new(),
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

    /// What the page reads of a pipeline, and some of the metrics. Asked for when a pipeline starts.
    pub fn tally(&self, pipeline: &str) -> Arc<Tally> {
        STAGES.iter().for_each(|stage| self.retries.add(0, &[label("pipeline", pipeline), label("stage", stage)]));
        HALTS.iter().for_each(|reason| self.halts.add(0, &[label("pipeline", pipeline), label("reason", reason)]));
        self.taken_back.add(0, &[label("pipeline", pipeline)]);
        self.tallies.of(pipeline)
    }

    /// Of all pipelines.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// What the models hold now.
    pub fn models(&self) -> ModelGauges {
        self.models.get().map(|now| now()).unwrap_or_default()
    }

    pub fn consumed(&self, pipeline: &str, events: u64) {
        self.consumed.add(events, &[label("pipeline", pipeline)]);
        self.messaging.consumed.add(events, &messaging("poll", pipeline));
    }

    pub fn predictions(&self, pipeline: &str, records: u64) {
        self.predictions.add(records, &[label("pipeline", pipeline)]);
    }

    /// Events that a version of a pipeline that was swapped has scored; `ending` is `emitted`, `skipped` or `dead`.
    pub fn swapped(&self, pipeline: &str, version: &str, ending: &str, events: u64) {
        self.swapped.add(events, &[label("pipeline", pipeline), label("version", version), label("ending", ending)]);
    }

    /// A canary whose step this worker has taken back by itself.
    pub fn took_back(&self, pipeline: &str) {
        self.taken_back.add(1, &[label("pipeline", pipeline)]);
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

    /// Of a prediction that is committed.
    pub fn score(&self, pipeline: &str, score: f64) {
        self.scores.record(score, &[label("pipeline", pipeline)]);
    }

    /// `stage` is one of `STAGES`.
    pub fn retried(&self, pipeline: &str, stage: &'static str) {
        self.retries.add(1, &[label("pipeline", pipeline), label("stage", stage)]);
    }

    pub fn halted(&self, pipeline: &str, reason: &str) {
        self.halts.add(1, &[label("pipeline", pipeline), label("reason", reason)]);
    }

    /// Whether Kafka or Postgres answers a pipeline; `neighbour` is one of `kafka` and `postgres`.
    pub fn neighbour_up(&self, pipeline: &str, neighbour: &'static str, up: bool) {
        self.neighbour_up.record(u64::from(up), &[label("pipeline", pipeline), label("neighbour", neighbour)]);
    }

    /// Of a pipeline that is aligned: event time between the partition furthest ahead and the slowest one.
    pub fn skew(&self, pipeline: &str, seconds: f64) {
        self.skew.record(seconds, &[label("pipeline", pipeline)]);
    }

    pub fn budget_used(&self, bytes: usize) {
        self.budget.record(bytes as u64, &[]);
    }

    /// `budget_bytes` of `[memory]`, once: what the use is compared with.
    pub fn budget_limit(&self, bytes: usize) {
        self.budget_limit.record(bytes as u64, &[]);
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

fn counter(meter: &Meter, metric: Metric) -> Counter<u64> {
    meter.u64_counter(metric.stem()).build()
}

fn histogram(meter: &Meter, metric: Metric, bounds: &[f64]) -> Histogram<f64> {
    meter.f64_histogram(metric.name()).with_boundaries(bounds.to_vec()).build()
}
