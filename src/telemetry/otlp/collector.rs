//! The HTTP client of the exporters. Says once that the collector is away, and once that it is back.

use super::{Endpoints, TelemetryError};
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Blocking, for the SDK's own threads.
#[derive(Debug)]
pub struct Collector {
    client: reqwest::blocking::Client,
    address: String,
    away: AtomicBool,
}

impl Collector {
    pub fn new(endpoints: &Endpoints, timeout: Duration) -> Result<Self, TelemetryError> {
        if rustls::crypto::CryptoProvider::get_default().is_none()
            && rustls::crypto::ring::default_provider().install_default().is_err()
        {
            tracing::debug!("Another thread has installed the TLS provider first.");
        }
        let encrypted = [&endpoints.traces, &endpoints.metrics, &endpoints.logs].iter().any(|url| url.starts_with("https:"));
        let mut builder = reqwest::blocking::Client::builder().timeout(timeout).user_agent("millrace");
        if !encrypted {
            // Without https the system's authorities need not be there.
            builder = builder.tls_certs_only([]);
        }
        // Its own thread: the blocking client may not be made inside a runtime.
        let client = std::thread::scope(|scope| scope.spawn(|| builder.build()).join());
        let client = client.map_err(|_| TelemetryError::Otlp("the HTTP client's thread panicked".into()))?;
        let client = client.map_err(|cause| TelemetryError::Otlp(format!("HTTP client: {}", deepest(&cause))))?;
        Ok(Self { client, address: origin(&endpoints.traces), away: AtomicBool::new(false) })
    }

    fn heard(&self, problem: Option<String>) {
        match problem {
            Some(problem) if !self.away.swap(true, Ordering::Relaxed) => tracing::warn!(
                collector = self.address,
                problem,
                "The OTLP collector takes no telemetry; the work goes on, telemetry is dropped until it does."
            ),
            None if self.away.swap(false, Ordering::Relaxed) => {
                tracing::info!(collector = self.address, "The OTLP collector takes telemetry again.");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.client.send_bytes(request).await;
        self.heard(match &result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(deepest(&**error)),
        });
        result
    }
}

/// The innermost cause: the outer ones repeat the URL, which may hold a token.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Scheme, host and port.
pub fn origin(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}
