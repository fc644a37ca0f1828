//! Log lines on stderr, and the same lines as OTLP log records.

use super::TelemetryError;
use crate::config::{LogFormat, Telemetry};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use std::io::IsTerminal;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// Who speaks while telemetry is sent: the exporter must not export the lines that exporting makes. `log` is the target
/// that every line of the crate `log` comes under here, the HTTP client's among them.
const EXPORTERS: [&str; 7] = ["hyper", "h2", "reqwest", "rustls", "tower", "opentelemetry", "log"];

/// Starts the logs; once a process.
///
/// One filter for all. Filters of single layers lose lines: sqlx asks whether a line of the crate `log` would be heard, and
/// the answer of a layer's own filter stays behind and hits that thread's next line.
pub fn start(config: &Telemetry, otlp: Option<&SdkLoggerProvider>) -> Result<(), TelemetryError> {
    // The SDK tells each failed export; `otlp::Collector` says it once instead. A level that names the SDK brings its lines back.
    let filter = EnvFilter::try_new(format!("opentelemetry=off,{}", config.level))
        .map_err(|cause| TelemetryError::Level { level: config.level.clone(), cause })?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match config.log {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let bridge = otlp.map(|provider| NoFeedback(OpenTelemetryTracingBridge::new(provider)));
    let started = Registry::default().with(filter).with(lines).with(bridge).try_init();
    started.map_err(|cause| TelemetryError::LogsStarted(cause.to_string()))
}

/// Keeps the exporters' own lines from a layer, whatever the level.
struct NoFeedback<L>(L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for NoFeedback<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !EXPORTERS.iter().any(|name| event.metadata().target().starts_with(name)) {
            self.0.on_event(event, context);
        }
    }
}
