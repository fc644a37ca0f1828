//! Logs on stderr; metrics read as Prometheus text; logs, metrics and traces over OTLP when a collector is named.
//!
//! Knows nothing about how the work is done. Payloads never come here: not in a log, a label or a span.

mod logs;
mod metrics;
mod otlp;
mod panics;
mod rungs;
mod shadow;
mod shift;
mod spans;
mod spread;
mod tally;

pub use metrics::{LoadedModel, Metric, Metrics, ModelGauges, PartitionGauges};
pub use panics::hide_panic_messages;
pub use rungs::RungTally;
pub use shadow::{ShadowCounts, ShadowState, ShadowTally};
pub use shift::{ks, psi};
pub use spans::{Slice, Span, Spans, traced};
pub use spread::Spread;
pub use tally::{Counts, Limits, OTHER, Tallies, Tally};

use crate::config;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a collector when the process ends.
const FLUSH: Duration = Duration::from_secs(2);

/// Why telemetry cannot start. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("[telemetry] level {level:?}: {cause}")]
    Level { level: String, cause: tracing_subscriber::filter::ParseError },
    #[error("logs are already started: {0}")]
    LogsStarted(String),
    #[error("metrics: {0}")]
    Metrics(String),
    #[error("{name}: {what}")]
    Endpoint { name: String, what: String },
    #[error("OTLP cannot be set up: {0}")]
    Otlp(String),
}

/// What the parts of a worker record with.
#[derive(Clone)]
pub struct Instruments {
    pub metrics: Arc<Metrics>,
    pub spans: Spans,
}

impl Instruments {
    /// Metrics to be scraped, no spans: nothing leaves the process by itself.
    pub fn local() -> Result<Self, TelemetryError> {
        Ok(Self { metrics: Arc::new(Metrics::new()?), spans: Spans::default() })
    }
}

/// The telemetry of a process.
pub struct Telemetry {
    instruments: Instruments,
    otlp: Option<otlp::Otlp>,
}

impl Telemetry {
    /// Starts logs, metrics and traces; once a process. OTLP is on when the config or the environment names a collector.
    pub fn start(config: &config::Telemetry, env: &BTreeMap<String, String>) -> Result<Self, TelemetryError> {
        let Some(endpoints) = otlp::Endpoints::find(config, env)? else {
            logs::start(config, None)?;
            return Ok(Self { instruments: Instruments::local()?, otlp: None });
        };
        let (otlp, reader) = otlp::Otlp::start(&endpoints, config.sample_ratio, env)?;
        let metrics = Arc::new(Metrics::with_push(reader, otlp.resource())?);
        logs::start(config, Some(otlp.logger_provider()))?;
        tracing::info!(collector = otlp::origin(&endpoints.traces), "Logs, metrics and traces go out over OTLP.");
        Ok(Self { instruments: Instruments { metrics, spans: otlp.spans() }, otlp: Some(otlp) })
    }

    pub fn instruments(&self) -> Instruments {
        self.instruments.clone()
    }

    /// Sends what is still here, in 2 seconds at most: a collector that is away must not hold up the end of the process.
    pub async fn flush(self) {
        let Some(otlp) = self.otlp else { return };
        let metrics = self.instruments.metrics;
        // Threads, because the exporters block; the process ends without those that a collector holds up.
        let ended = otlp::in_threads([
            Box::new(move || metrics.shutdown(FLUSH)) as Box<dyn FnOnce() + Send>,
            Box::new({
                let traces = otlp.tracer_provider().clone();
                move || drop(traces.shutdown_with_timeout(FLUSH))
            }),
            Box::new(move || drop(otlp.logger_provider().shutdown_with_timeout(FLUSH))),
        ]);
        if tokio::time::timeout(FLUSH, ended).await.is_err() {
            tracing::warn!("The OTLP collector did not take the last telemetry in {FLUSH:?}; it is dropped.");
        }
    }
}
