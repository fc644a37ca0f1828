//! What of a record is payload: whatever stands there of the event, or of what somebody wrote. What is not known to be none is.
//!
//! Kept are the envelope, and of the functions' own fields those that tell of the answer: label and score, decision and reasons, counts.

use crate::config::FUNCTIONS;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// How payloads are allowed.
pub const NOTE: &str = "Payloads are hidden: keys, events, and what a record's value holds of them. `show_payloads = true` under [admin] shows them.";

/// Fields of the envelope.
const ENVELOPE: [&str; 6] = ["id", "pipeline", "function", "model", "event_time", "source"];
/// Fields of a dead letter beside them.
const OF_LETTER: [&str; 8] = [
    "reason",
    "timestamp",
    "timestamp_ms",
    "key_truncated",
    "headers_truncated",
    "payload_truncated",
    "payload_bytes",
    "event_time_ms",
];
/// Fields of the functions that hold a word or a number of their own.
const PLAIN: [&str; 26] = [
    "label",
    "score",
    "margin",
    "probability",
    "decision",
    "decision_source",
    "policy",
    "status",
    "fallback",
    "reason",
    "bank",
    "truncated",
    "folded",
    "context",
    "windows",
    "tokens",
    "prompt_tokens",
    "generated_tokens",
    "finish_reason",
    "seed",
    "dimensions",
    "turn",
    "waiting_ms",
    "support",
    "reference_time_ms",
    "rung",
];
/// Members of the lists and objects that functions write about their answers.
const PARTS: [&str; 9] = ["label", "score", "code", "feature", "contribution", "text", "model", "probability", "decision"];

/// Reasons whose detail quotes what a model's chat template or a library said, which may be what the event says.
const QUOTING: [&str; 2] = ["poison", "prompt_refused"];
/// What those say that quotes nothing.
const PANICKED: [&str; 2] = ["the function fails on this event: it panicked", "decoding fails on this event: it panicked"];

/// A value without what is payload, and how many fields were left out. `labels` are those that the function had before any event came.
pub fn value(value: Value, kind: &str, function: &str, labels: &BTreeSet<String>) -> (Value, usize) {
    let Value::Object(fields) = value else { return (Value::Null, 1) };
    let before = fields.len();
    let kept: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(name, value)| {
            let kept = match (ENVELOPE.contains(&name.as_str()), kind) {
                (true, _) => Some(value),
                (false, "dead_letter") => of_letter(&name, value),
                (false, _) => of_function(function, &name, value, labels),
            };
            kept.map(|value| (name, value))
        })
        .collect();
    let hidden = before - kept.len();
    (kept.into(), hidden)
}

fn of_letter(name: &str, mut value: Value) -> Option<Value> {
    if name == "reason" {
        let code = value["code"].as_str().unwrap_or_default().to_owned();
        let told = value["detail"].as_str().and_then(|told| detail(&code, told)).map(str::to_owned);
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, _| ["code", "field", "detail"].contains(&name.as_str()));
            fields.insert("detail".into(), told.into());
        }
    }
    OF_LETTER.contains(&name).then_some(value)
}

/// A dead letter's detail, where it quotes nothing.
pub fn detail<'a>(code: &str, detail: &'a str) -> Option<&'a str> {
    (!QUOTING.contains(&code) || PANICKED.contains(&detail)).then_some(detail)
}

/// Whether a label may be shown.
pub fn shows(function: &str, label: &str, labels: &BTreeSet<String>) -> bool {
    labels.contains(label) || is_plain(function) && function != "classify"
}

/// Whether no word of a function is an event's. What `copy` writes are fields of the event under names of their own, and what others write
/// nobody knows.
fn is_plain(function: &str) -> bool {
    function != "copy" && FUNCTIONS.iter().any(|(known, _)| *known == function)
}

fn of_function(function: &str, name: &str, value: Value, labels: &BTreeSet<String>) -> Option<Value> {
    if !is_plain(function) {
        return Some(value).filter(|value| name == "score" && value.is_number());
    }
    match name {
        // An event may bring its own labels.
        "label" | "labels" | "scores" if function == "classify" => known_labels(value, labels),
        "labels" | "scores" | "reasons" | "rules" | "shadow" | "intent" | "sentiment" => part(value),
        _ if PLAIN.contains(&name) => Some(value).filter(|value| !value.is_array() && !value.is_object()),
        _ => None,
    }
}

/// `label`, `labels` and `scores` without labels that are not known.
fn known_labels(value: Value, labels: &BTreeSet<String>) -> Option<Value> {
    let known = |label: &Value| label.as_str().is_some_and(|label| labels.contains(label));
    match value {
        Value::Array(items) => {
            let items: Vec<Value> = items.into_iter().filter(|item| known(&item["label"])).filter_map(part).collect();
            (!items.is_empty()).then(|| items.into())
        }
        Value::Object(fields) => {
            let fields: Map<String, Value> =
                fields.into_iter().filter(|(name, value)| labels.contains(name) && value.is_number()).collect();
            (!fields.is_empty()).then(|| fields.into())
        }
        label => Some(label).filter(|label| label.is_null() || known(label)),
    }
}

/// Lists and objects of labels, numbers and reasons. Names of members other than these are labels, and have a number.
fn part(value: Value) -> Option<Value> {
    match value {
        Value::Array(items) => Some(items.into_iter().filter_map(part).collect()),
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, value)| {
                PARTS.contains(&name.as_str()) && !value.is_object() && !value.is_array() || value.is_number() && name != "value"
            });
            Some(Value::Object(kept.collect()))
        }
        other => Some(other),
    }
}

/// Headers of a record, without a `traceparent` that is none.
pub fn headers(headers: Value) -> Value {
    let Value::Object(fields) = headers else { return Value::Null };
    let is_hex = |text: &str| text.chars().all(|sign| sign.is_ascii_hexdigit() || sign == '-');
    let kept = fields.into_iter().filter(|(name, value)| name == "traceparent" && value.as_str().is_some_and(is_hex));
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "4111-secret";

    fn kept(kind: &str, function: &str, fields: Value) -> Value {
        let (kept, hidden) = value(fields.clone(), kind, function, &["refund".to_owned()].into());
        assert_eq!(
            kept.as_object().map(Map::len).unwrap_or_default() + hidden,
            fields.as_object().map(Map::len).unwrap_or_default()
        );
        assert!(!kept.to_string().contains(SECRET), "{kept}");
        kept
    }

    /// Would catch: a text, an event, a feature or a copied field that shows; an answer that does not.
    #[test]
    fn what_stands_there_of_the_event_is_left_out() {
        let risk = json!({
            "id": "p/1/t/0/1/0", "source": { "topic": "t", "partition": 0, "offset": 1 }, "event_time": "2026-01-01T00:00:00Z",
            "event_id": SECRET, "event": { "text": SECRET }, "features": { SECRET: 1.0 }, "lists": [SECRET], "error": SECRET,
            "decision": "review", "probability": 0.5, "rules": ["r1"],
            "reasons": [{ "code": "R1", "feature": "n", "value": 4111.0, "contribution": 0.1, "text": "many payments" }],
        });
        let found = kept("prediction", "risk", risk);
        assert_eq!((&found["decision"], &found["rules"]), (&json!("review"), &json!(["r1"])));
        assert_eq!(found["reasons"], json!([{ "code": "R1", "feature": "n", "contribution": 0.1, "text": "many payments" }]));
        let copy = json!({ "label": SECRET, "status": SECRET, "score": 0.5, "event": { "a": SECRET }, "source": {} });
        assert_eq!(kept("prediction", "copy", copy), json!({ "score": 0.5, "source": {} }));
        let own = json!({ "label": SECRET, "score": SECRET });
        assert_eq!(kept("prediction", "somebody's", own), json!({}));
        let text =
            json!({ "generated_text": SECRET, "tokens": [{ "text": SECRET }], "generated_tokens": 3, "value": { "a": SECRET } });
        assert_eq!(kept("prediction", "generate", text), json!({ "generated_tokens": 3 }));
        let sentiment =
            json!({ "label": "positive", "scores": { "positive": 0.9 }, "labels": [{ "label": "positive", "score": 0.9 }] });
        assert_eq!(kept("prediction", "sentiment", sentiment.clone()), sentiment);
        for (function, field) in
            [("tag", "entities"), ("answer", "answers"), ("fill", "fills"), ("recommend", "items"), ("rerank", "ranks")]
        {
            assert_eq!(kept("prediction", function, json!({ field: [{ "word": SECRET, "text": SECRET }] })), json!({}));
        }
        assert_eq!(value(json!([SECRET]), "prediction", "risk", &BTreeSet::new()), (Value::Null, 1));
    }

    /// Would catch: a label that came with the event and shows, one of the model or of the options that does not.
    #[test]
    fn labels_of_an_event_are_payload() {
        let said = |label: &str| json!({ "label": label, "labels": [{ "label": label, "score": 0.7 }], "scores": { label: 0.7 }, "score": 0.7 });
        assert_eq!(kept("prediction", "classify", said(SECRET)), json!({ "score": 0.7 }));
        assert_eq!(kept("prediction", "classify", said("refund")), said("refund"));
        let mixed = json!({ "labels": [{ "label": "refund", "score": 0.7 }, { "label": SECRET, "score": 0.3 }] });
        assert_eq!(kept("prediction", "classify", mixed), json!({ "labels": [{ "label": "refund", "score": 0.7 }] }));
        let known = ["refund".to_owned()].into();
        for (function, label, shown) in [
            ("classify", SECRET, false),
            ("classify", "refund", true),
            ("own:mine", SECRET, false),
            ("copy", SECRET, false),
            ("sentiment", "of an earlier model", true),
        ] {
            assert_eq!(shows(function, label, &known), shown, "{function} {label}");
        }
    }

    /// Would catch: an event that shows through its dead letter, or through what a library says of it.
    #[test]
    fn a_dead_letter_tells_why_and_not_what() {
        let letter = |code: &str, detail: &str| {
            json!({
                "id": "p/1/t/0/1/0", "reason": { "code": code, "field": "amount", "detail": detail, "more": SECRET }, "timestamp_ms": 5,
                "key_base64": SECRET, "headers": [{ "name": SECRET }], "payload_base64": SECRET, "payload_truncated": true,
            })
        };
        let found = kept("dead_letter", "copy", letter("missing_field", "field `amount` is not there"));
        assert_eq!(
            found["reason"],
            json!({ "code": "missing_field", "field": "amount", "detail": "field `amount` is not there" })
        );
        assert_eq!(found["payload_truncated"], true);
        for code in QUOTING {
            assert_eq!(kept("dead_letter", "generate", letter(code, SECRET))["reason"]["detail"], Value::Null, "{code}");
        }
        assert_eq!(kept("dead_letter", "copy", letter("poison", PANICKED[0]))["reason"]["detail"], PANICKED[0]);
        assert_eq!(headers(json!({ "traceparent": "00-ab-01", "x": SECRET })), json!({ "traceparent": "00-ab-01" }));
        assert_eq!(headers(json!({ "traceparent": SECRET })), json!({}));
    }
}
