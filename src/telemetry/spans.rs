//! Spans of slices and rounds. A slice is a batch of many traces, so its span links to each event's own context.

use opentelemetry::trace::{
    FutureExt, Link, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::future::Future;
use std::time::{Duration, SystemTime};

/// Links of one span at most, as many as the SDK keeps.
const LINKS: usize = 128;

/// Makes spans; without OTLP it makes none and costs nothing.
#[derive(Clone, Default)]
pub struct Spans {
    tracer: Option<SdkTracer>,
}

/// A span that has begun. It ends when it is dropped.
#[derive(Debug)]
pub struct Span(Context);

/// What is told of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    pub pipeline: &'a str,
    pub function: &'static str,
    pub model: &'a str,
    pub events: usize,
}

impl Spans {
    pub fn new(provider: &SdkTracerProvider) -> Self {
        Self { tracer: Some(provider.tracer("millrace")) }
    }

    /// Begins the span of one call of a function. `traceparents` are the headers of its events, and are read only when spans are made.
    ///
    /// A slice of one event continues that event's trace; a larger one links to the traces of its events, 128 at most.
    pub fn slice<'a>(&self, of: Slice<'_>, traceparents: impl Iterator<Item = &'a str>) -> Option<Span> {
        let tracer = self.tracer.as_ref()?;
        let contexts = contexts(traceparents);
        let parent = match contexts.as_slice() {
            [only] if of.events == 1 => Context::new().with_remote_span_context(only.clone()),
            _ => Context::new(),
        };
        let builder = SpanBuilder::from_name("millrace.slice")
            .with_kind(SpanKind::Consumer)
            .with_links(contexts.into_iter().map(Link::with_context).collect())
            .with_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.consumer.group.name", of.pipeline.to_owned()),
                KeyValue::new("messaging.batch.message_count", of.events as i64),
                KeyValue::new("millrace.function", of.function),
                KeyValue::new("millrace.model", of.model.to_owned()),
            ]);
        let span = tracer.build_with_context(builder, &parent);
        Some(Span(Context::new().with_span(span)))
    }

    /// Tells of a round that has just ended; `name` is `millrace.decide` or `millrace.publish`.
    pub fn round(&self, name: &'static str, pipeline: &str, partitions: usize, seconds: f64, done: bool) {
        let Some(tracer) = &self.tracer else { return };
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_start_time(SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH))
            .with_attributes([
                KeyValue::new("millrace.pipeline", pipeline.to_owned()),
                KeyValue::new("millrace.partitions", partitions as i64),
            ]);
        let span = Span(Context::new().with_span(tracer.build_with_context(builder, &Context::new())));
        if !done {
            span.failed("round_failed");
        }
    }
}

impl Span {
    fn failed(&self, kind: &'static str) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(kind));
    }
}

/// Does the work inside the span, if there is one: its logs carry the trace, and an error marks the span. Causes are not
/// told, they could quote an event.
pub async fn traced<T, E>(
    span: Option<Span>,
    work: impl Future<Output = Result<T, E>>,
    kind: impl Fn(&E) -> &'static str,
) -> Result<T, E> {
    let Some(span) = span else { return work.await };
    let result = work.with_context(span.0.clone()).await;
    if let Err(error) = &result {
        span.failed(kind(error));
    }
    result
}

/// The different contexts among the headers, the first ones; what is not valid is left out.
fn contexts<'a>(traceparents: impl Iterator<Item = &'a str>) -> Vec<SpanContext> {
    let mut found: Vec<SpanContext> = Vec::new();
    for context in traceparents.filter_map(parse) {
        if found.len() == LINKS {
            break;
        }
        if found.iter().all(|other| (other.span_id(), other.trace_id()) != (context.span_id(), context.trace_id())) {
            found.push(context);
        }
    }
    found
}

/// Reads a `traceparent` of W3C Trace Context: `00-TRACE-SPAN-FLAGS`; later versions may append fields.
fn parse(header: &str) -> Option<SpanContext> {
    let mut parts = header.split('-');
    let mut hex = |digits: usize| {
        let part = parts.next()?;
        let valid = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then_some(part)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let sampled = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace, span, sampled, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests;
