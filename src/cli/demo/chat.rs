//! Chat messages of a support channel, again and again: see SOURCE.md.

use super::streams::{Ends, Message};
use anyhow::Context;
use serde::Deserialize;

const SAMPLE: &str = include_str!("messages.jsonl");

/// What is sent that cannot be scored, and what it is.
pub const BAD: [(&str, &str); 4] = [
    ("half a JSON document", r#"{"id": "half a docum"#),
    ("no text", r#"{"id": "no-text", "conversation": "user-0", "time": "2026-01-01T00:00:00Z"}"#),
    ("a number as text", r#"{"id": "number", "conversation": "user-0", "text": 7, "time": "2026-01-01T00:00:00Z"}"#),
    ("lists 40 deep", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
];

#[derive(Deserialize)]
struct Line {
    user: String,
    text: String,
}

/// Without end; each says the time at which it is taken.
pub fn messages() -> anyhow::Result<impl Iterator<Item = Message> + Send> {
    let lines: Vec<Line> =
        SAMPLE.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("the sample of messages is damaged")?;
    let numbers = 0..if lines.is_empty() { 0 } else { u64::MAX };
    Ok(numbers.map(move |n| {
        let Line { user, text } = &lines[n as usize % lines.len()];
        let time = jiff::Timestamp::now().to_string();
        let body = serde_json::json!({ "id": format!("m-{n}"), "conversation": user, "user": user, "text": text, "time": time });
        Message { key: user.clone(), body: body.to_string(), ends: Ends::Prediction }
    }))
}
