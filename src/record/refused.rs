//! The dead letter of an event whose record Postgres would not hold.

use super::{Kind, Provenance, Record};
use crate::event::Position;
use std::sync::Arc;

/// Without its payload, which is gone by then, and says so; it still stands in the input topic at the position given.
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
    }
}
