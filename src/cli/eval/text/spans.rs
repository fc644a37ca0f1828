//! Labelled pieces of texts: right where beginning, end and label are, as the shared task of CoNLL 2003 counts.

use super::Measure;
use super::examples::Example;
use crate::train::measure::f1;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    right: usize,
    answered: usize,
    wanted: usize,
}

impl Counts {
    fn f1(self) -> f64 {
        f1(self.right, self.answered, self.wanted)
    }
}

/// Precision, recall and F1 over all pieces, and F1 of each label.
#[derive(Debug, Default)]
pub struct Spans {
    all: Counts,
    labels: BTreeMap<String, Counts>,
}

type Piece = (u64, u64, String);

/// `[start, end, label]`, or an object with those names.
fn piece(span: &Value) -> Option<Piece> {
    let of = |place: usize, names: &[&str]| match span {
        Value::Array(parts) => parts.get(place),
        other => names.iter().find_map(|name| other.get(name)),
    };
    let label = of(2, &["label", "entity_group", "entity"])?.as_str()?;
    Some((of(0, &["start"])?.as_u64()?, of(1, &["end"])?.as_u64()?, label.trim().to_owned()))
}

/// Characters of what the function reads: a text, or words with a blank between.
fn characters(event: &Value) -> Option<u64> {
    let count = |text: &Value| text.as_str().map_or(0, |text| text.chars().count() as u64);
    match event.get("words").and_then(Value::as_array) {
        Some(words) => Some(words.iter().map(|word| count(word) + 1).sum::<u64>().saturating_sub(1)),
        None => event.get("text").map(count),
    }
}

impl Measure for Spans {
    fn take(&mut self, row: &Example, answer: Option<&Map<String, Value>>) -> Result<f64> {
        let wrong = "it must be a list of [start, end, label], in characters";
        let wanted = row.wanted.as_array().context(wrong)?.iter().map(|span| piece(span).context(wrong));
        let wanted: BTreeSet<Piece> = wanted.collect::<Result<_>>()?;
        if let Some(all) = characters(&row.event) {
            let outside = wanted.iter().find(|(start, end, _)| start >= end || *end > all);
            ensure!(outside.is_none(), "{outside:?} does not lie within the {all} characters of the text");
        }
        let said = answer.and_then(|answer| answer.get("entities")).and_then(Value::as_array);
        let said: BTreeSet<Piece> = said.into_iter().flatten().filter_map(piece).collect();
        let mut here = Counts::default();
        for (piece, is_said) in said.iter().map(|piece| (piece, true)).chain(wanted.iter().map(|piece| (piece, false))) {
            let right = usize::from(is_said && wanted.contains(piece));
            for counts in [&mut here, &mut self.all, self.labels.entry(piece.2.clone()).or_default()] {
                counts.right += right;
                counts.answered += usize::from(is_said);
                counts.wanted += usize::from(!is_said);
            }
        }
        Ok(if said.is_empty() && wanted.is_empty() { 1.0 } else { here.f1() })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let Counts { right, answered, wanted } = self.all;
        let share = |of: usize| 100.0 * right as f64 / of.max(1) as f64;
        let all = [("F1", 100.0 * self.all.f1()), ("precision", share(answered)), ("recall", share(wanted))];
        let labels = self.labels.iter().map(|(label, counts)| (format!("F1 of {label}"), 100.0 * counts.f1()));
        all.into_iter().map(|(name, figure)| (name.to_owned(), figure)).chain(labels).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// By hand: two of three that were said are right, of four that were wanted.
    #[test]
    fn pieces_are_right_as_a_whole() {
        let mut spans = Spans::default();
        let said = json!({ "entities": [
            { "entity_group": "city", "start": 0, "end": 4, "word": "Bonn", "score": 0.9 },
            { "entity_group": "city", "start": 9, "end": 12, "word": "Ulm", "score": 0.9 },
            { "entity_group": "who", "start": 20, "end": 22, "word": "Jo", "score": 0.9 }] });
        let wanted = json!([[0, 4, "city"], [9, 12, "city"], [20, 25, "who"], { "start": 30, "end": 31, "label": "who" }]);
        let worth = spans.take(&Example::wanting(wanted), said.as_object()).unwrap();
        assert!((worth - 4.0 / 7.0).abs() < 1e-12);
        let expected =
            [("F1", 400.0 / 7.0), ("precision", 200.0 / 3.0), ("recall", 50.0), ("F1 of city", 100.0), ("F1 of who", 0.0)];
        for ((name, figure), (right, of)) in spans.figures().iter().zip(expected) {
            assert!(name == right && (figure - of).abs() < 1e-9, "{name} {figure}");
        }
        // Nothing said where nothing is wanted is right; a refused row has nothing right.
        assert_eq!(spans.take(&Example::wanting(json!([])), json!({ "entities": [] }).as_object()).unwrap(), 1.0);
        assert_eq!(spans.take(&Example::wanting(json!([[0, 1, "x"]])), None).unwrap(), 0.0);
        let beyond = |event: Value| Example { event, ..Example::wanting(json!([[0, 5, "x"]])) };
        let refused = |event: Value| Spans::default().take(&beyond(event), None).unwrap_err().to_string();
        assert!(
            refused(json!({ "text": "four" })).contains("the 4 characters")
                && refused(json!({ "words": ["a", "b"] })).contains("the 3")
        );
        assert!(
            spans.take(&Example::wanting(json!([[0, 1]])), None).is_err()
                && spans.take(&Example::wanting(json!("x")), None).is_err()
        );
    }
}
