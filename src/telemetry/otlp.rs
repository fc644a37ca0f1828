//! OTLP over HTTP: where the collector is, the exporters, and what happens while it is away.

mod collector;

use super::{Spans, TelemetryError};
use crate::config;
use collector::Collector;
pub use collector::origin;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One URL a signal. A URL may hold a token: no log shows more than its [`origin`].
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub traces: String,
    pub metrics: String,
    pub logs: String,
}

impl Endpoints {
    /// From the config, else from the environment's standard names; `None` when neither names a collector.
    pub fn find(config: &config::Telemetry, env: &BTreeMap<String, String>) -> Result<Option<Self>, TelemetryError> {
        let of_env = |name: &str| env.get(name).filter(|value| !value.is_empty());
        if of_env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let of_config = config.otlp_endpoint.as_ref().map(|value| ("[telemetry] otlp_endpoint", value));
        let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let Some((name, base)) = of_config.or_else(|| of_env(name).map(|value| (name, value))) else { return Ok(None) };
        let signal = |signal: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.to_uppercase());
            // As the standard has it: a signal's own URL is taken as it is, the common one gets the signal's path.
            match of_env(&own).filter(|_| config.otlp_endpoint.is_none()) {
                Some(value) => checked(&own, value.clone()),
                None => checked(name, format!("{}/v1/{signal}", base.trim_end_matches('/'))),
            }
        };
        Ok(Some(Self { traces: signal("traces")?, metrics: signal("metrics")?, logs: signal("logs")? }))
    }
}

fn checked(name: &str, url: String) -> Result<String, TelemetryError> {
    match config::http_url(&url) {
        Ok(()) => Ok(url),
        Err(what) => Err(TelemetryError::Endpoint { name: name.into(), what }),
    }
}

/// The providers that push. Their queues are bounded and drop what does not fit: they never hold up the work.
pub struct Otlp {
    resource: Resource,
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
}

impl Otlp {
    /// Sets up all three signals; the reader is for the meter that the scrape reads too.
    pub fn start(
        endpoints: &Endpoints,
        sample_ratio: f64,
        env: &BTreeMap<String, String>,
    ) -> Result<(Self, PeriodicReader<MetricExporter>), TelemetryError> {
        let failed = |cause: &dyn std::fmt::Display| TelemetryError::Otlp(cause.to_string());
        // One client for all, so that a collector that is away is told of once.
        let client: Arc<dyn opentelemetry_http::HttpClient> = Arc::new(Collector::new(endpoints, timeout(env))?);
        let spans = SpanExporter::builder().with_http().with_endpoint(&endpoints.traces);
        let spans = spans.with_shared_http_client(client.clone()).build().map_err(|cause| failed(&cause))?;
        let metrics = MetricExporter::builder().with_http().with_endpoint(&endpoints.metrics);
        let metrics = metrics.with_shared_http_client(client.clone()).build().map_err(|cause| failed(&cause))?;
        let logs = LogExporter::builder().with_http().with_endpoint(&endpoints.logs);
        let logs = logs.with_shared_http_client(client).build().map_err(|cause| failed(&cause))?;
        let resource = resource(env);
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
        let traces = SdkTracerProvider::builder().with_resource(resource.clone()).with_sampler(sampler);
        let traces = traces.with_batch_exporter(spans).build();
        let logs = SdkLoggerProvider::builder().with_resource(resource.clone()).with_batch_exporter(logs).build();
        Ok((Self { resource, traces, logs }, PeriodicReader::builder(metrics).build()))
    }

    pub fn resource(&self) -> Resource {
        self.resource.clone()
    }

    pub fn spans(&self) -> Spans {
        Spans::new(&self.traces)
    }

    pub fn tracer_provider(&self) -> &SdkTracerProvider {
        &self.traces
    }

    pub fn logger_provider(&self) -> &SdkLoggerProvider {
        &self.logs
    }
}

/// Who sends: our names, then what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say.
fn resource(env: &BTreeMap<String, String>) -> Resource {
    let ours = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", "millrace"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ]);
    let given = ours.with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match env.get("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()) {
        Some(name) => given.with_service_name(name.clone()).build(),
        None => given.build(),
    }
}

/// Longest wait for one answer.
fn timeout(env: &BTreeMap<String, String>) -> Duration {
    let given = env.get("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|value| value.parse().ok());
    Duration::from_millis(given.unwrap_or(10_000))
}

/// Runs each job on a thread of its own; the future ends when all have.
pub async fn in_threads<const N: usize>(jobs: [Box<dyn FnOnce() + Send>; N]) {
    let (done, mut all_done) = tokio::sync::mpsc::channel::<()>(1);
    for job in jobs {
        let done = done.clone();
        let thread = std::thread::Builder::new().name("otlp-flush".into()).spawn(move || {
            job();
            drop(done);
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "A thread to send the last telemetry cannot be started.");
        }
    }
    drop(done);
    all_done.recv().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(endpoint: Option<&str>, env: &[(&str, &str)]) -> Result<Option<Endpoints>, TelemetryError> {
        let config = config::Telemetry { otlp_endpoint: endpoint.map(Into::into), ..config::Telemetry::default() };
        Endpoints::find(&config, &env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    /// Would catch: a token of a URL in a log line or an error.
    #[test]
    fn no_more_than_the_origin_of_a_url_is_told() {
        assert_eq!(origin("https://user:hunter2@collector.example:4318/base?key=hunter2"), "https://collector.example:4318");
        let error = find(Some("ftp://user:hunter2@collector"), &[]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    /// Would catch: a blocking client made inside a runtime, TLS without a provider; both panic.
    #[tokio::test]
    async fn an_encrypted_collector_can_be_named() {
        let endpoints = find(Some("https://127.0.0.1:1"), &[]).unwrap().unwrap();
        Otlp::start(&endpoints, 1.0, &BTreeMap::new()).unwrap();
    }

    /// Would catch: OTLP that is on by itself, a config that loses to the environment, a path that is added twice or not at all.
    #[test]
    fn the_config_wins_then_the_signal_then_the_common_variable() {
        assert_eq!(find(None, &[]).unwrap(), None);
        assert_eq!(find(Some("http://a:1"), &[("OTEL_SDK_DISABLED", "true")]).unwrap(), None);
        let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:2/x/"), ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c:3/own")];
        let found = find(None, &env).unwrap().unwrap();
        assert_eq!((found.traces.as_str(), found.logs.as_str()), ("http://b:2/x/v1/traces", "http://c:3/own"));
        let found = find(Some("http://a:1"), &env).unwrap().unwrap();
        assert_eq!((found.metrics.as_str(), found.logs.as_str()), ("http://a:1/v1/metrics", "http://a:1/v1/logs"));
        let error = find(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]).unwrap_err().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && error.contains("http://"), "{error}");
    }
}
