//! What was folded again, beside what the record says.

use super::past::History;
use crate::event::{RawEvent, Rejection};
use crate::function::Outcome;
use crate::function::offline::output;
use crate::record::{Kind, RESERVED, Record};
use crate::worker::ladder::FIELD;
use anyhow::Context;
use serde_json::{Map, Value, json};

/// Fields of an answer that no second run can repeat.
const NOT_COMPARED: &[&str] = &["timings_us"];

/// Fields that hold an event as it came. Nobody asked to see it.
const HIDDEN: &[&str] = &["event", "payload_base64", "key_base64", "headers"];

/// A feature of the event.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    /// NaN stands for "no value".
    pub value: f64,
}

/// A field that the record has otherwise.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Which of the event's records.
    pub n: usize,
    pub field: String,
    /// Both are left out where the field holds the event.
    pub folded_again: Option<Value>,
    pub in_record: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Same,
    Differs,
    /// The event is decided, and has no record: it was skipped.
    NoRecord,
    NotDecided,
    /// The log does not hold all that was folded then, so nothing follows from what differs.
    Incomplete,
    /// The worker made the event a dead letter: it killed the process, or its record could not be stored.
    EndedByWorker,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Report {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub run: i32,
    pub event_id: Option<String>,
    pub event_time_ms: Option<i64>,
    /// The rung of its pipeline's ladder that scored it; `None` is the top, or nobody.
    pub rung: Option<String>,
    pub history: Option<History>,
    /// In the order of the declared features.
    pub numbers: Vec<f64>,
    pub features: Vec<Named>,
    pub late: bool,
    pub truncated: bool,
    pub rejected: Option<Rejection>,
    pub outcome: Option<Outcome>,
    /// Why the function gave none.
    pub failed: Option<String>,
    /// What the function says now: an object a record.
    pub answers: Vec<Value>,
    /// The records as they stand in Postgres.
    pub records: Vec<Value>,
    /// The models of record and config, when they are not the same: then scores may differ.
    pub other_model: Option<(String, String)>,
    pub differences: Vec<Difference>,
    pub verdict: Verdict,
}

impl Report {
    pub fn of(raw: &RawEvent, run: i32) -> Self {
        Self {
            topic: raw.position.topic.to_string(),
            partition: raw.position.partition,
            offset: raw.position.offset,
            run,
            event_id: None,
            event_time_ms: None,
            rung: None,
            history: None,
            numbers: Vec::new(),
            features: Vec::new(),
            late: false,
            truncated: false,
            rejected: None,
            outcome: None,
            failed: None,
            answers: Vec::new(),
            records: Vec::new(),
            other_model: None,
            differences: Vec::new(),
            verdict: Verdict::NotDecided,
        }
    }

    /// Holds what the function says against the event's records.
    pub fn compare(&mut self, records: &[Record], model: &str, decided: bool) -> anyhow::Result<()> {
        if let Some(Outcome::Reject(rejection)) = &self.outcome {
            self.rejected = Some(rejection.clone());
        }
        if let (Some(rung), Some(Outcome::Emit(predictions))) = (&self.rung, &mut self.outcome) {
            // As the ladder marks what it scores.
            predictions.iter_mut().for_each(|prediction| drop(prediction.fields.insert(FIELD.to_owned(), rung.as_str().into())));
        }
        self.answers = match (&self.rejected, self.outcome.take()) {
            (Some(why), _) => vec![json!({ "reason": { "code": why.code, "field": why.field.as_deref() } })],
            (None, Some(Outcome::Skip(_)) | None) => Vec::new(),
            (None, Some(outcome)) => match output(outcome) {
                Value::Array(several) => several,
                one => vec![one],
            },
        };
        for record in records {
            self.records.push(serde_json::from_str(&record.value).context("a record in Postgres is not JSON")?);
        }
        if records.is_empty() {
            self.verdict = match (decided, self.answers.is_empty()) {
                (false, _) => Verdict::NotDecided,
                (true, true) => Verdict::NoRecord,
                (true, false) => Verdict::Differs,
            };
            return Ok(());
        }
        let scored_by = self.records[0]["model"].as_str().unwrap_or_default();
        if scored_by != model {
            self.other_model = Some((scored_by.to_owned(), model.to_owned()));
        }
        let is_dead = records.iter().any(|record| record.kind == Kind::DeadLetter);
        if is_dead && self.rejected.is_none() {
            self.verdict = Verdict::EndedByWorker;
            return Ok(());
        }
        for n in 0..self.answers.len().max(self.records.len()) {
            let (answer, record) = (object(self.answers.get(n)), object(self.records.get(n)));
            self.differences.extend(if is_dead { reasons(n, &answer, &record) } else { fields(n, &answer, &record) });
        }
        let has_gap = self.history.as_ref().is_some_and(|history| history.gone.is_some());
        self.verdict = match (self.differences.is_empty(), has_gap) {
            (true, _) => Verdict::Same,
            (false, true) => Verdict::Incomplete,
            (false, false) => Verdict::Differs,
        };
        Ok(())
    }

    pub fn json(&self) -> Value {
        let features: Map<String, Value> =
            self.features.iter().map(|feature| (feature.name.clone(), feature.value.into())).collect();
        json!({
            "event_id": self.event_id,
            "source": { "topic": self.topic, "partition": self.partition, "offset": self.offset },
            "run": self.run,
            "event_time_ms": self.event_time_ms,
            "rung": self.rung,
            "history": self.history,
            "features": features,
            "late": self.late,
            "truncated": self.truncated,
            "rejected": self.rejected.as_ref().map(|why| json!({ "code": why.code, "field": why.field, "detail": why.detail })),
            "failed": self.failed,
            "answers": self.answers.iter().map(shown).collect::<Vec<_>>(),
            "records": self.records.iter().map(shown).collect::<Vec<_>>(),
            "other_model": self.other_model.as_ref().map(|(record, config)| json!({ "record": record, "config": config })),
            "differences": self.differences,
            "verdict": self.verdict,
        })
    }
}

/// A record without the event itself.
fn shown(record: &Value) -> Value {
    let mut fields = object(Some(record));
    fields.retain(|name, _| !HIDDEN.contains(&name.as_str()));
    fields.into()
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Fields of an answer and a record that are not equal, without the envelope.
fn fields(n: usize, answer: &Map<String, Value>, record: &Map<String, Value>) -> Vec<Difference> {
    let names = answer.keys().chain(record.keys().filter(|name| !answer.contains_key(*name)));
    let names = names.filter(|name| !RESERVED.contains(&name.as_str()) && !NOT_COMPARED.contains(&name.as_str()));
    // As it would stand in a record: numbers are read back from their digits.
    let written = |value: &Value| serde_json::from_str::<Value>(&value.to_string()).unwrap_or_default();
    let of = |name: &String| (answer.get(name).map(written), record.get(name).cloned());
    names
        .map(|name| (name, of(name)))
        .filter(|(_, (now, then))| now != then)
        .map(|(name, values)| {
            let (folded_again, in_record) = if HIDDEN.contains(&name.as_str()) { (None, None) } else { values };
            Difference { n, field: name.clone(), folded_again, in_record }
        })
        .collect()
}

/// Of a dead letter the code and the field tell; its sentence may hold what only that moment knew.
fn reasons(n: usize, answer: &Map<String, Value>, record: &Map<String, Value>) -> Vec<Difference> {
    let of = |from: &Map<String, Value>, part: &str| from.get("reason").and_then(|reason| reason.get(part)).cloned();
    let parts = ["code", "field"].into_iter();
    parts
        .map(|part| (part, of(answer, part), of(record, part)))
        .filter(|(_, now, then)| now != then)
        .map(|(part, folded_again, in_record)| Difference { n, field: format!("reason.{part}"), folded_again, in_record })
        .collect()
}
