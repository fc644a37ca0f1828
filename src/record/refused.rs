//! The last resort: the dead letter of an event of which Postgres would not hold the dead letter either.
//!
//! An event whose prediction is refused is read again, and its dead letter keeps key, headers and payload as every other. Only
//! when that letter is refused too is there nothing of the event that may be written: any part of it may be what is refused.

use super::{Kind, Provenance, Record};
use crate::event::Position;
use std::sync::Arc;

/// Without the event's bytes, and says so; they still stand in the input topic at the position given.
pub fn refused(provenance: &Provenance, position: &Position, out_topic: &Arc<str>, detail: &str) -> Record {
    let value = serde_json::json!({
        "id": super::record_id(&provenance.pipeline, provenance.run, &position.topic, position.partition, position.offset, 0),
        "pipeline": &*provenance.pipeline,
        "function": &*provenance.function,
        "reason": { "code": "refused_by_store", "field": null, "detail": detail.replace('\0', "") },
        "key_base64": null,
        "headers": [],
        "headers_truncated": true,
        "payload_base64": null,
        "payload_truncated": true,
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
        model: None,
        config: None,
    }
}

/// Whether a dead letter is such a one: nothing smaller can be written. Every other has its reason as label.
pub fn is_bare(letter: &Record) -> bool {
    letter.kind == Kind::DeadLetter && letter.label.is_none()
}
