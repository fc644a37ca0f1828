//! Records into bytes, once, by hand: the envelope has no tree of values.

use super::text::{push_escaped, push_int, push_str, push_time, put};
use super::{Kind, Provenance, Record, TRACEPARENT_HEADER};
use crate::event::{Event, Header, Position, RawEvent, Rejection};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Names of the envelope; a function's field of such a name is left out.
pub const RESERVED: &[&str] = &["id", "pipeline", "function", "model", "event_time", "source"];

/// Encodes one prediction. `key` overrides the event's key, `model` the pipeline's.
#[expect(clippy::too_many_arguments, reason = "the parts of a prediction; this room does not know the function's type")]
pub fn prediction(
    by: &Provenance,
    event: &Event,
    n: i16,
    out_topic: &Arc<str>,
    key: Option<&str>,
    fields: &Map<String, Value>,
    label: Option<Box<str>>,
    score: Option<f64>,
    model: Option<&Arc<str>>,
) -> Record {
    let mut out = String::with_capacity(320 + 32 * fields.len());
    envelope(&mut out, by, model, &event.raw.position, n);
    out.push_str(",\"event_time\":");
    push_time(&mut out, event.event_time_ms);
    for (name, value) in fields.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())) {
        out.push(',');
        push_str(&mut out, name);
        out.push(':');
        match value {
            Value::String(text) => push_str(&mut out, text),
            Value::Number(number) => put(&mut out, format_args!("{number}")),
            other => put(&mut out, format_args!("{other}")),
        }
    }
    out.push('}');
    let key = key.or(event.key.as_deref()).map(|key| key.as_bytes().into());
    let key = key.or_else(|| event.raw.key.clone());
    record(&event.raw, n, Kind::Prediction, out_topic, key, out, label, score, model)
}

/// Encodes a dead letter of at most `max_bytes` with its key: the payload is cut, and where that is not enough the headers go. `model` is
/// the one that would not have the event, when it is not the pipeline's own.
pub fn dead_letter(
    by: &Provenance,
    raw: &RawEvent,
    n: i16,
    out_topic: &Arc<str>,
    why: &Rejection,
    max_bytes: usize,
    model: Option<&Arc<str>>,
) -> Record {
    let key_max = max_bytes / 8;
    let key = raw.key.as_deref().unwrap_or_default();
    let record_key = raw.key.clone().filter(|key| key.len() <= key_max);
    let mut out = String::with_capacity(512 + raw.cost_bytes() * 3 / 2);
    envelope(&mut out, by, model, &raw.position, n);
    out.push_str(",\"reason\":{\"code\":");
    push_str(&mut out, why.code);
    out.push_str(",\"field\":");
    push_opt(&mut out, why.field.as_deref().map(|field| cut(field, 256)));
    out.push_str(",\"detail\":");
    push_str(&mut out, cut(&why.detail, 1024));
    out.push_str("},\"timestamp\":");
    push_time(&mut out, raw.timestamp_ms);
    put(&mut out, format_args!(",\"timestamp_ms\":{}", raw.timestamp_ms));
    push_base64(&mut out, "key", raw.key.as_ref().map(|_| &key[..key.len().min(key_max)]));
    if key.len() > key_max {
        out.push_str(",\"key_truncated\":true");
    }
    let budget = max_bytes.saturating_sub(OVERHEAD_BYTES + 96 + record_key.as_ref().map_or(0, |key| key.len()));
    let headers: usize =
        raw.headers.iter().map(|h| h.name.len() * 6 + h.value.as_ref().map_or(4, |v| v.len() * 4 / 3 + 4) + 32).sum();
    if out.len() + headers <= budget {
        push_headers(&mut out, &raw.headers);
    } else {
        out.push_str(",\"headers\":[],\"headers_truncated\":true");
    }
    let payload = raw.payload.as_deref().unwrap_or_default();
    let room = budget.saturating_sub(out.len()) / 4 * 3;
    push_base64(&mut out, "payload", raw.payload.as_ref().map(|_| &payload[..payload.len().min(room)]));
    if payload.len() > room {
        put(&mut out, format_args!(",\"payload_truncated\":true,\"payload_bytes\":{}", payload.len()));
    }
    out.push('}');
    record(raw, n, Kind::DeadLetter, out_topic, record_key, out, Some(why.code.into()), None, model)
}

/// What a dead letter keeps of the event that it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    pub key: Option<Box<[u8]>>,
    pub payload: Option<Box<[u8]>>,
    pub headers: Vec<Header>,
    /// Some bytes are gone: this is not the event as it came, and must not be driven again.
    pub truncated: bool,
}

/// Reads a dead letter's value back.
pub fn decode_dead_letter(value: &str) -> Result<Original, String> {
    let value: Value = serde_json::from_str(value).map_err(|cause| format!("the dead letter is not JSON: {cause}"))?;
    let bytes = |value: Option<&Value>, what: &str| match value {
        Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            STANDARD.decode(text).map(|b| Some(b.into_boxed_slice())).map_err(|cause| format!("{what} is not base64: {cause}"))
        }
        _ => Err(format!("the dead letter has no {what}")),
    };
    let list = value.get("headers").and_then(Value::as_array).ok_or("the dead letter has no headers")?;
    let header = |header: &Value| {
        let name = header.get("name").and_then(Value::as_str).ok_or("a header has no name")?;
        Ok(Header { name: name.into(), value: bytes(header.get("value_base64"), "value_base64")? })
    };
    Ok(Original {
        key: bytes(value.get("key_base64"), "key_base64")?,
        payload: bytes(value.get("payload_base64"), "payload_base64")?,
        headers: list.iter().map(header).collect::<Result<_, String>>()?,
        truncated: ["payload", "headers", "key"].iter().any(|part| value.get(format!("{part}_truncated")).is_some()),
    })
}

/// Bytes allowed for what Kafka adds: the record's frame and the headers `millrace-id` and `traceparent`.
const OVERHEAD_BYTES: usize = 640;

/// Whether a record goes into a topic that takes messages of `max_bytes`; checked before anything is decided.
pub fn fits(record: &Record, max_bytes: usize) -> bool {
    record.value.len() + record.key.as_ref().map_or(0, |key| key.len()) + OVERHEAD_BYTES <= max_bytes
}

#[expect(clippy::too_many_arguments, reason = "the fields of a record, in its order")]
fn record(
    raw: &RawEvent,
    n: i16,
    kind: Kind,
    out_topic: &Arc<str>,
    key: Option<Box<[u8]>>,
    value: String,
    label: Option<Box<str>>,
    score: Option<f64>,
    model: Option<&Arc<str>>,
) -> Record {
    let (partition, offset) = (raw.position.partition, raw.position.offset);
    let traceparent = raw.header_str(TRACEPARENT_HEADER).filter(|text| text.len() <= 64 && !text.contains('\0')).map(Into::into);
    let (out_topic, model) = (out_topic.clone(), model.cloned());
    Record { partition, offset, n, kind, out_topic, key, traceparent, value: value.into(), label, score, model, config: None }
}

fn envelope(out: &mut String, by: &Provenance, model: Option<&Arc<str>>, at: &Position, n: i16) {
    out.push_str("{\"id\":\"");
    push_escaped(out, &by.pipeline);
    out.push('/');
    push_int(out, by.run.into());
    out.push('/');
    push_escaped(out, &at.topic);
    for number in [i64::from(at.partition), at.offset, i64::from(n)] {
        out.push('/');
        push_int(out, number);
    }
    out.push('"');
    let model = model.unwrap_or(&by.model);
    for (name, value) in [(",\"pipeline\":", &by.pipeline), (",\"function\":", &by.function), (",\"model\":", model)] {
        out.push_str(name);
        push_str(out, value);
    }
    out.push_str(",\"source\":{\"topic\":");
    push_str(out, &at.topic);
    out.push_str(",\"partition\":");
    push_int(out, at.partition.into());
    out.push_str(",\"offset\":");
    push_int(out, at.offset);
    out.push('}');
}

fn push_headers(out: &mut String, headers: &[Header]) {
    out.push_str(",\"headers\":[");
    for (i, header) in headers.iter().enumerate() {
        out.push_str(if i == 0 { "{\"name\":" } else { ",{\"name\":" });
        push_str(out, &header.name);
        push_base64(out, "value", header.value.as_deref());
        out.push('}');
    }
    out.push(']');
}

fn push_base64(out: &mut String, name: &str, bytes: Option<&[u8]>) {
    put(out, format_args!(",\"{name}_base64\":"));
    match bytes {
        None => out.push_str("null"),
        Some(bytes) => {
            out.push('"');
            STANDARD.encode_string(bytes, out);
            out.push('"');
        }
    }
}

fn push_opt(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => push_str(out, text),
        None => out.push_str("null"),
    }
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by() -> Provenance {
        Provenance {
            pipeline: "p".into(),
            run: 2,
            function: "copy/1".into(),
            model: "".into(),
            config: "c".into(),
            fold: None,
            keeps_latest: false,
        }
    }

    fn raw(payload: usize) -> RawEvent {
        let header = |name: &str, value: Option<&[u8]>| Header { name: name.into(), value: value.map(Into::into) };
        RawEvent {
            position: Position { topic: "in".into(), partition: 3, offset: 9 },
            timestamp_ms: 1_704_067_200_123,
            key: Some([0xff, 0][..].into()),
            payload: Some(vec![0xfe; payload].into()),
            headers: vec![header("a\"", None), header("b", Some(&[0, 0xff])), header("traceparent", Some(b"00-x"))],
        }
    }

    #[test]
    fn a_prediction_is_json_with_provenance() {
        let event = Event {
            body: None,
            raw: raw(2),
            id: "e".into(),
            key: Some("k".into()),
            event_time_ms: 1_704_067_200_123,
            text: None,
        };
        let mut fields = Map::new();
        fields.insert("t".into(), "a\"\n".into());
        fields.insert("x".into(), 1.5.into());
        fields.insert("id".into(), "forged".into());
        let record = prediction(&by(), &event, 0, &"out".into(), None, &fields, Some("l".into()), Some(1.5), None);
        let value: Value = serde_json::from_str(&record.value).unwrap();
        assert_eq!((&value["id"], &value["t"], &value["x"]), (&"p/2/in/3/9/0".into(), &"a\"\n".into(), &1.5.into()));
        assert_eq!(value["event_time"], "2024-01-01T00:00:00.123Z");
        assert_eq!((record.key.as_deref(), record.traceparent.as_deref()), (Some(&b"k"[..]), Some("00-x")));
        assert!(fits(&record, 2000) && !fits(&record, 700));
    }

    /// Would catch: a record that names the pipeline's model though another one made it, in its value or for its row.
    #[test]
    fn a_record_names_the_model_that_made_it() {
        let event = Event { raw: raw(2), id: "e".into(), key: None, event_time_ms: 1, text: None, body: None };
        let by = Provenance { model: "own@1".into(), ..by() };
        let of = |model: Option<&Arc<str>>| {
            let why = Rejection::new("poison", "x");
            let letter = dead_letter(&by, &event.raw, 0, &"dead".into(), &why, 10_000, model);
            [prediction(&by, &event, 0, &"out".into(), None, &Map::new(), None, None, model), letter]
        };
        for (model, named) in [(None, "own@1"), (Some(Arc::from("other@2")), "other@2")] {
            for record in of(model.as_ref()) {
                let value: Value = serde_json::from_str(&record.value).unwrap();
                assert_eq!((value["model"].as_str(), &record.model), (Some(named), &model), "{:?}", record.kind);
            }
        }
    }

    /// Would catch: an id that is escaped in another way than its parts, numbers without their sign.
    #[test]
    fn the_id_is_the_record_id() {
        let by = Provenance { pipeline: "p\"\n".into(), ..by() };
        for (offset, n) in [(0, 0), (i64::MAX, i16::MAX), (i64::MIN, -1)] {
            let at = Position { topic: "t\\é".into(), partition: -3, offset };
            let mut out = String::new();
            envelope(&mut out, &by, None, &at, n);
            let value: Value = serde_json::from_str(&(out + "}")).unwrap();
            assert_eq!(value["id"], super::super::record_id(&by.pipeline, by.run, &at.topic, at.partition, at.offset, n));
            assert_eq!((value["source"]["offset"].as_i64(), &value["pipeline"]), (Some(offset), &(*by.pipeline).into()));
        }
    }

    #[test]
    fn a_dead_letter_gives_back_the_bytes_and_null_headers() {
        let raw = raw(100);
        let record = dead_letter(&by(), &raw, 0, &"dead".into(), &Rejection::new("poison", "x\0y").at("f"), 10_000, None);
        let original = decode_dead_letter(&record.value).unwrap();
        assert_eq!(original, Original { key: raw.key, payload: raw.payload, headers: raw.headers, truncated: false });
    }

    #[test]
    fn a_large_dead_letter_is_cut_to_fit_and_says_so() {
        for max in [4096, 5000, 20_000] {
            let mut raw = raw(50_000);
            raw.key = Some(vec![1; 3000].into());
            let record = dead_letter(&by(), &raw, 0, &"dead".into(), &Rejection::new("too_large", "y"), max, None);
            assert!(fits(&record, max) && decode_dead_letter(&record.value).unwrap().truncated);
        }
    }
}
