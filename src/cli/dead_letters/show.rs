//! How dead letters are printed.

use crate::cli::common::{escaped, print_json};
use crate::record::{Original, RecordId, decode_dead_letter};
use crate::store::postgres::DeadLetter;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

pub fn list(letters: &[DeadLetter], more: bool, json: bool) -> anyhow::Result<()> {
    if json {
        if more {
            eprintln!("millrace: there are more: see --limit");
        }
        return letters.iter().try_for_each(|letter| print_json(&summary(letter)));
    }
    let width = letters.iter().map(|letter| letter.id.to_string().len()).max().unwrap_or(0);
    for letter in letters {
        let text = |text: &Option<String>| escaped(text.as_deref().unwrap_or("-"));
        let (reason, field, detail) = (text(&letter.reason), text(&letter.field), text(&letter.detail));
        println!(
            "{:width$}  {}  {:9}  {reason:16}  {field}  {detail}",
            letter.id.to_string(),
            letter.decided_at,
            letter.handling
        );
    }
    println!("{} dead letters{}", letters.len(), if more { ", and there are more: see --limit" } else { "" });
    Ok(())
}

pub fn one(letter: &DeadLetter, payload: bool, json: bool) -> anyhow::Result<()> {
    let mut out = summary(letter);
    let original = decode_dead_letter(&letter.value);
    if let (Some(fields), Ok(original)) = (out.as_object_mut(), &original) {
        fields.extend(of_event(original, payload));
    }
    if json {
        return print_json(&out);
    }
    for (name, value) in out.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => println!("{name:14} {}", escaped(text)),
            other => println!("{name:14} {}", escaped(&other.to_string())),
        }
    }
    if let Err(cause) = original {
        println!("{:14} {cause}; the event stands at {}/{}/{}", "event", letter.id.topic, letter.id.partition, letter.id.offset);
    }
    Ok(())
}

pub fn handled(id: &RecordId, handling: &str, done: bool, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&json!({ "id": id.to_string(), "handling": handling, "done": done }));
    }
    println!("{id}  {}{handling}", if done { "" } else { "left as it is: " });
    Ok(())
}

fn summary(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id.to_string(),
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "function": letter.function,
        "model": letter.model,
        "decided_at": letter.decided_at,
        "handling": letter.handling,
        "handled_at": letter.handled_at,
        "handled_by": letter.handled_by,
        "note": letter.note,
    })
}

fn of_event(original: &Original, payload: bool) -> Vec<(String, Value)> {
    let headers: Vec<Value> = original
        .headers
        .iter()
        .map(|header| json!({ "name": header.name, "value": readable(header.value.as_deref()) }))
        .collect();
    let mut fields = vec![
        ("truncated".to_owned(), original.truncated.into()),
        ("key".to_owned(), readable(original.key.as_deref())),
        ("headers".to_owned(), headers.into()),
        ("payload_bytes".to_owned(), original.payload.as_ref().map(|payload| payload.len()).into()),
    ];
    if payload {
        fields.push(("payload".to_owned(), readable(original.payload.as_deref())));
    }
    fields
}

/// Text as text, other bytes as base64.
fn readable(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => json!({ "base64": STANDARD.encode(bytes.unwrap_or_default()) }),
    }
}
