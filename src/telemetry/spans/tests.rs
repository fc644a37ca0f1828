use super::*;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SpanData, SpanExporter};
use std::sync::{Arc, Mutex};

/// Keeps what ended.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn spans(sampler: Sampler) -> (Spans, Kept) {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(kept.clone()).build();
    (Spans::new(&provider), kept)
}

fn header(n: u64) -> String {
    format!("00-{:032x}-{n:016x}-01", 7)
}

fn of(events: usize) -> Slice<'static> {
    Slice { pipeline: "p", function: "copy", model: "", events }
}

/// Would catch: a header taken that the standard calls invalid, or a later version refused.
#[test]
fn only_valid_headers_are_read() {
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let context = parse(&format!("00-{trace}-{span}-01")).unwrap();
    assert!(context.is_sampled() && context.is_remote() && context.trace_id().to_string() == trace);
    assert!(!parse(&format!("00-{trace}-{span}-00")).unwrap().is_sampled());
    assert!(parse(&format!("cc-{trace}-{span}-01-later")).is_some());
    for bad in [
        String::new(),
        format!("ff-{trace}-{span}-01"),
        format!("00-{trace}-{span}-01-more"),
        format!("00-{}-{span}-01", trace.to_uppercase()),
        format!("00-{}-{span}-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{trace}-+0f067aa0ba902b7-01"),
        format!("00-{trace}-{span}"),
    ] {
        assert!(parse(&bad).is_none(), "{bad}");
    }
}

/// Would catch: links without bound, a link twice, a slice that takes one event's trace for all, an error that is not marked.
#[tokio::test]
async fn a_slice_links_to_its_events_and_tells_failure() {
    let (spans, kept) = spans(Sampler::AlwaysOn);
    let mut headers: Vec<String> = (1..=300).map(header).collect();
    headers.insert(0, header(1));
    headers.insert(0, "nonsense".into());
    let span = spans.slice(of(302), headers.iter().map(String::as_str));
    let failed = traced(span, async { Err::<(), _>("secret payload") }, |_| "poison").await;
    assert!(failed.is_err());
    spans.round("millrace.publish", "p", 3, 0.5, true);
    let kept = kept.0.lock().unwrap();
    let [slice, round] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((slice.name.as_ref(), slice.links.len(), slice.links.dropped_count), ("millrace.slice", 128, 0));
    assert_eq!(slice.links[1].span_context.span_id().to_string(), format!("{:016x}", 2));
    assert_eq!((slice.parent_span_id, slice.status.clone()), (SpanId::INVALID, Status::error("poison")));
    assert!(slice.attributes.contains(&KeyValue::new("messaging.batch.message_count", 302)));
    assert!(!format!("{slice:?}").contains("secret"));
    assert_eq!(round.end_time.duration_since(round.start_time).unwrap().as_millis() / 100, 5);
    assert_eq!(round.status, Status::Unset);
}

/// Would catch: a sampler that overrides what the producer decided.
#[test]
fn a_lone_event_is_the_parent_and_its_flag_decides() {
    let (spans, kept) = spans(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    drop(spans.slice(of(1), [header(5).as_str()].into_iter()));
    drop(spans.slice(of(1), [header(6).replace("-01", "-00").as_str()].into_iter()));
    drop(spans.slice(of(2), [header(8).as_str()].into_iter()));
    let kept = kept.0.lock().unwrap();
    let [only] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((only.parent_span_id.to_string(), only.links.len()), (format!("{:016x}", 5), 1));
}

/// Would catch: work for telemetry that nobody receives.
#[tokio::test]
async fn without_otlp_no_header_is_read() {
    let unread = std::iter::from_fn(|| -> Option<&str> { panic!("a header was read") });
    assert!(Spans::default().slice(of(1), unread).is_none());
    assert_eq!(traced(None, async { Ok::<_, ()>(1) }, |_| "").await, Ok(1));
}
