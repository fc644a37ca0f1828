//! How records are written: one JSON document each, encoded once.

use super::{Kind, Provenance, Record};
use crate::event::{Event, Position, RawEvent, Rejection};
use std::sync::Arc;

/// What a function says about an event.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub key: Option<Box<str>>,
    pub fields: serde_json::Map<String, serde_json::Value>,
    pub label: Option<Box<str>>,
    pub score: Option<f64>,
}

pub fn prediction(provenance: &Provenance, event: &Event, n: i16, out_topic: &Arc<str>, content: Content) -> Record {
    let position = &event.raw.position;
    let mut value = serde_json::Map::new();
    value.insert("id".into(), event.id.to_string().into());
    value.insert("pipeline".into(), provenance.pipeline.to_string().into());
    value.extend(content.fields);
    Record {
        partition: position.partition,
        offset: position.offset,
        n,
        kind: Kind::Prediction,
        out_topic: out_topic.clone(),
        key: content.key.or_else(|| event.key.clone()).map(|k| k.into_string().into_bytes().into()),
        traceparent: None,
        value: serde_json::Value::Object(value).to_string().into(),
        label: content.label,
        score: content.score,
    }
}

pub fn dead_letter(
    provenance: &Provenance,
    raw: &RawEvent,
    n: i16,
    out_topic: &Arc<str>,
    rejection: &Rejection,
    _max: usize,
) -> Record {
    let mut record = refused(provenance, &raw.position, out_topic, &rejection.detail);
    record.n = n;
    record
}

/// The dead letter of an event whose record Postgres would not hold: without its payload, which is gone by then; it still
/// stands in the input topic at the position given.
pub fn refused(provenance: &Provenance, position: &Position, out_topic: &Arc<str>, detail: &str) -> Record {
    let value = serde_json::json!({
        "id": position.to_string(),
        "pipeline": &*provenance.pipeline,
        "function": &*provenance.function,
        "reason": { "code": "refused_by_store", "field": null, "detail": detail.replace('\0', "") },
        "source": { "topic": &*position.topic, "partition": position.partition, "offset": position.offset },
    });
    Record {
        partition: position.partition,
        offset: position.offset,
        n: 0,
        kind: Kind::DeadLetter,
        out_topic: out_topic.clone(),
        key: None,
        traceparent: None,
        value: value.to_string().into(),
        label: None,
        score: None,
    }
}

pub fn fits(record: &Record, max: usize) -> bool {
    record.value.len() + record.key.as_ref().map_or(0, |k| k.len()) <= max
}
