//! Log lines on stderr, and the same lines as OTLP log records.

use super::TelemetryError;
use crate::config::{LogFormat, Telemetry};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// The exporter must not export the lines that exporting makes.
const NO_FEEDBACK: &str = "hyper=off,h2=off,reqwest=off,rustls=off,tower=off,tonic=off,opentelemetry=off";

/// Starts the logs; once a process.
pub fn start(config: &Telemetry, otlp: Option<&SdkLoggerProvider>) -> Result<(), TelemetryError> {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // The SDK tells each failed export; `otlp::Collector` says it once instead. A level that names the SDK brings its lines back.
    let lines = lines.with_filter(filter(&config.level, &format!("opentelemetry=off,{}", config.level))?);
    let bridge = match otlp {
        Some(provider) => {
            let filter = filter(&config.level, &format!("{},{NO_FEEDBACK}", config.level))?;
            Some(OpenTelemetryTracingBridge::new(provider).with_filter(filter))
        }
        None => None,
    };
    let started = Registry::default().with(lines).with(bridge).try_init();
    started.map_err(|cause| TelemetryError::LogsStarted(cause.to_string()))
}

fn filter(level: &str, directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(directives).map_err(|cause| TelemetryError::Level { level: level.to_owned(), cause })
}
