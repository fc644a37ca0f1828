//! Logs on stderr; metrics through OpenTelemetry, read as Prometheus text.

mod metrics;

pub use metrics::{Metric, Metrics, MetricsError};

use crate::config::{LogFormat, Telemetry};
use tracing_subscriber::EnvFilter;

/// Starts the logs; once a process. The error says what to change.
pub fn init(config: &Telemetry) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|cause| format!("[telemetry] level {:?}: {cause}", config.level))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log {
        LogFormat::Human => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(|cause| format!("logs are already started: {cause}"))
}
