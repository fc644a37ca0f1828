//! Predictions in words.

use super::clicks::Sample;
use super::streams::Stream;
use super::view::{Answer, Seen};
use serde_json::Value;

/// Films of a list that are shown.
const FILMS: usize = 3;
/// Characters of a message that are shown.
const MESSAGE: usize = 52;

/// How the answers are spread.
pub fn labels(stream: &Stream, seen: &Seen) -> Vec<String> {
    let total: u64 = seen.labels.values().sum();
    let share = |count: u64| count as f64 / total.max(1) as f64;
    if stream.function == "sentiment" {
        let bar = |(label, count): (&String, &u64)| {
            let width = (share(*count) * 30.0) as usize;
            format!("{label:>10} {:<30} {:>4.0} %", "▇".repeat(width), share(*count) * 100.0)
        };
        return seen.labels.iter().map(bar).collect();
    }
    let parts: Vec<String> = seen.labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
    vec![format!("{total} {}: {}", stream.unit, if parts.is_empty() { "none yet".into() } else { parts.join(", ") })]
}

/// One answer.
pub fn lines(stream: &Stream, answer: &Answer, sample: &Sample) -> Vec<String> {
    let told: Value = serde_json::from_str(&answer.value).unwrap_or_default();
    match stream.function {
        "risk" => risk(answer, &told),
        "recommend" => list(answer, &told, sample),
        _ => {
            let (label, score, at) = (&answer.label, answer.score, &answer.partition);
            let place = || format!("{}, partition {}, offset {}", at.topic, at.partition, answer.offset);
            vec![format!("{label:>10} {score:.3}  {}", answer.text.as_deref().map_or_else(place, shortened))]
        }
    }
}

/// A message on one line.
fn shortened(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.chars().count() > MESSAGE {
        true => words.chars().take(MESSAGE - 1).chain(['…']).collect(),
        false => words,
    }
}

/// `934 decline: card-017, 412.10 EUR`, and why.
fn risk(answer: &Answer, told: &Value) -> Vec<String> {
    let amount = told["features"]["amount"].as_f64().unwrap_or_default();
    let mut reasons: Vec<&str> = Vec::new();
    for text in told["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["text"].as_str()) {
        if !reasons.contains(&text) {
            reasons.push(text);
        }
    }
    let what = format!("{:>4} {}: {}, {amount:.2} EUR", told["score"], answer.label, answer.key);
    vec![what, format!("     {}", reasons.join("; "))]
}

/// `u77 after 12 ratings`, and the first films of the list with their reasons.
fn list(answer: &Answer, told: &Value, sample: &Sample) -> Vec<String> {
    let films = told["items"]
        .as_array()
        .into_iter()
        .flatten()
        .take(FILMS)
        .filter_map(|item| Some(format!("{} [{}]", sample.title(item["item"].as_str()?), item["reason"].as_str()?)));
    let films: Vec<String> = films.collect();
    let what = format!("for {} after {} ratings: {}", answer.key, told["support"], answer.label);
    vec![what, format!("     {}", films.join("; "))]
}
