//! What a replay says otherwise than the live run, event by event.

use super::sketch::Sketch;
use crate::record::{Kind, RESERVED, Record};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Fields of an answer that no second run can repeat.
const NOT_COMPARED: &[&str] = &["timings_us"];
/// How many changed events are told by name, and how many of the largest shifts.
const TOLD: usize = 20;
const LARGEST: usize = 10;

/// From what to what, and how often.
pub type Moves = BTreeMap<String, BTreeMap<String, u64>>;

#[derive(Debug, Default)]
pub struct Diff {
    /// Events that have a record on one side at least.
    pub events: u64,
    /// Events whose records say the same.
    pub equal: u64,
    /// Fields that differ, and in how many predictions.
    pub fields: BTreeMap<String, u64>,
    pub labels: Moves,
    pub decisions: Moves,
    /// Differences of scores, without their sign, and their sum with it.
    pub shift: Sketch,
    pub shift_sum: f64,
    pub largest: Vec<Shifted>,
    /// Predictions that one side alone has.
    pub only_live: u64,
    pub only_replay: u64,
    /// Dead letters by their reason: new ones, those that are none any more, those whose reason is another.
    pub dead_gained: BTreeMap<String, u64>,
    pub dead_lost: BTreeMap<String, u64>,
    pub dead_changed: Moves,
    /// The first changed events.
    pub changed: Vec<String>,
}

/// A prediction and how its score moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shifted {
    pub id: String,
    pub live: f64,
    pub replay: f64,
}

impl Shifted {
    fn by(&self) -> f64 {
        (self.replay - self.live).abs()
    }
}

impl Diff {
    /// One event; `place` is topic/partition/offset. Records in the order of `n`; none where it was skipped.
    pub fn event(&mut self, place: &str, live: &[Record], replay: &[Record]) -> anyhow::Result<()> {
        self.events += 1;
        let (was_dead, is_dead) = (dead(live), dead(replay));
        let same = match (was_dead, is_dead) {
            (Some(was), Some(is)) if reason(was)? == reason(is)? => true,
            (Some(was), Some(is)) => {
                moved(&mut self.dead_changed, code(was), code(is));
                false
            }
            (None, Some(is)) => {
                *self.dead_gained.entry(code(is).to_owned()).or_default() += 1;
                false
            }
            (Some(was), None) => {
                *self.dead_lost.entry(code(was).to_owned()).or_default() += 1;
                false
            }
            (None, None) => self.predictions(place, live, replay)?,
        };
        if same {
            self.equal += 1;
        } else if self.changed.len() < TOLD {
            self.changed.push(place.to_owned());
        }
        Ok(())
    }

    fn predictions(&mut self, place: &str, live: &[Record], replay: &[Record]) -> anyhow::Result<bool> {
        let numbers: BTreeSet<i16> = live.iter().chain(replay).map(|record| record.n).collect();
        let of = |records: &[Record], n: i16| records.iter().find(|record| record.n == n).cloned();
        let mut same = true;
        for n in numbers {
            same &= match (of(live, n), of(replay, n)) {
                (Some(was), Some(is)) => self.prediction(place, &was, &is)?,
                (Some(_), None) => {
                    self.only_live += 1;
                    false
                }
                _ => {
                    self.only_replay += 1;
                    false
                }
            };
        }
        Ok(same)
    }

    fn prediction(&mut self, place: &str, was: &Record, is: &Record) -> anyhow::Result<bool> {
        let (before, after) = (fields(was)?, fields(is)?);
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut same = was.key == is.key;
        if !same {
            *self.fields.entry("(key)".to_owned()).or_default() += 1;
        }
        for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
            *self.fields.entry(name.clone()).or_default() += 1;
            same = false;
        }
        let word = |text: Option<&str>| text.unwrap_or("(none)").to_owned();
        let (from, to) = (word(was.label.as_deref()), word(is.label.as_deref()));
        if from != to {
            moved(&mut self.labels, &from, &to);
        }
        let decision = |fields: &Map<String, Value>| word(fields.get("decision").and_then(Value::as_str));
        let (from, to) = (decision(&before), decision(&after));
        if from != to {
            moved(&mut self.decisions, &from, &to);
        }
        if let (Some(live), Some(replay)) = (was.score, is.score) {
            self.shift.add((replay - live).abs());
            self.shift_sum += replay - live;
            self.keep(Shifted { id: format!("{place}/{}", was.n), live, replay });
        }
        Ok(same)
    }

    /// Among the largest, in their order; of equals the first.
    fn keep(&mut self, shifted: Shifted) {
        if shifted.by() == 0.0 {
            return;
        }
        let at = self.largest.partition_point(|other| other.by() >= shifted.by());
        if at < LARGEST {
            self.largest.insert(at, shifted);
            self.largest.truncate(LARGEST);
        }
    }

    pub fn changed_events(&self) -> u64 {
        self.events - self.equal
    }
}

/// How often something moved.
pub fn count(moves: &Moves) -> u64 {
    moves.values().flat_map(BTreeMap::values).sum()
}

fn moved(moves: &mut Moves, from: &str, to: &str) {
    *moves.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default() += 1;
}

fn dead(records: &[Record]) -> Option<&Record> {
    records.iter().find(|record| record.kind == Kind::DeadLetter)
}

/// Every dead letter but a bare one has its reason as label.
fn code(letter: &Record) -> &str {
    letter.label.as_deref().unwrap_or("refused_by_store")
}

/// Code and field tell; the sentence may hold what only that moment knew.
fn reason(letter: &Record) -> anyhow::Result<(Value, Value)> {
    let value: Value = serde_json::from_str(&letter.value)?;
    Ok((value["reason"]["code"].clone(), value["reason"]["field"].clone()))
}

/// The function's own fields.
fn fields(record: &Record) -> anyhow::Result<Map<String, Value>> {
    let mut fields: Map<String, Value> = serde_json::from_str(&record.value)?;
    fields.retain(|name, _| !RESERVED.contains(&name.as_str()) && !NOT_COMPARED.contains(&name.as_str()));
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(n: i16, value: Value) -> Record {
        let text = |name: &str| value[name].as_str().map(Into::into);
        Record {
            partition: 0,
            offset: 1,
            n,
            kind: if value["reason"].is_object() { Kind::DeadLetter } else { Kind::Prediction },
            out_topic: "out".into(),
            key: None,
            traceparent: None,
            label: text("label").or_else(|| value["reason"]["code"].as_str().map(Into::into)),
            score: value["score"].as_f64(),
            model: value["model"].as_str().map(Into::into),
            config: None,
            value: value.to_string().into(),
        }
    }

    fn of(pairs: &[(&[Value], &[Value])]) -> Diff {
        let mut diff = Diff::default();
        let all = |values: &[Value]| values.iter().zip(0..).map(|(value, n)| record(n, value.clone())).collect::<Vec<_>>();
        for (number, (live, replay)) in pairs.iter().enumerate() {
            diff.event(&format!("t/0/{number}"), &all(live), &all(replay)).unwrap();
        }
        diff
    }

    /// Would catch: an envelope that counts as a change, a change that is lost, a dead letter on the wrong side.
    #[test]
    fn each_kind_of_change_is_counted_once() {
        let good = |label: &str, score: f64| json!({ "id": "x", "model": "m", "label": label, "score": score, "timings_us": 3 });
        let other = |label: &str, score: f64| json!({ "id": "y", "model": "n", "label": label, "score": score, "timings_us": 4 });
        let dead = |code: &str| json!({ "id": "x", "reason": { "code": code, "field": null, "detail": "d" } });
        let risk = |decision: &str| json!({ "decision": decision, "score": 7 });
        let diff = of(&[
            (&[good("a", 0.5)], &[other("a", 0.5)]),
            (&[good("a", 0.5)], &[other("b", 0.25)]),
            (&[good("a", 0.5)], &[other("a", 0.875)]),
            (&[risk("approve")], &[risk("decline")]),
            (&[good("a", 0.5)], &[dead("too_large")]),
            (&[dead("poison")], &[good("a", 0.5)]),
            (&[dead("poison")], &[dead("poison")]),
            (&[dead("poison")], &[dead("too_large")]),
            (&[good("a", 0.5)], &[]),
            (&[], &[good("a", 0.5), good("b", 0.5)]),
        ]);
        assert_eq!((diff.events, diff.equal, diff.changed_events()), (10, 2, 8));
        assert_eq!(diff.labels["a"]["b"], 1);
        assert_eq!((count(&diff.labels), diff.decisions["approve"]["decline"]), (1, 1));
        assert_eq!((diff.only_live, diff.only_replay), (1, 2));
        assert_eq!(
            (diff.dead_gained["too_large"], diff.dead_lost["poison"], diff.dead_changed["poison"]["too_large"]),
            (1, 1, 1)
        );
        assert_eq!(diff.fields, BTreeMap::from([("decision".into(), 1), ("label".into(), 1), ("score".into(), 2)]));
        assert_eq!((diff.shift.count(), diff.shift_sum), (4, 0.125));
        let ids: Vec<&str> = diff.largest.iter().map(|shifted| shifted.id.as_str()).collect();
        assert_eq!(ids, ["t/0/2/0", "t/0/1/0"]);
        assert_eq!(diff.changed.first().map(String::as_str), Some("t/0/1"));
    }
}
