//! Lists with what is relevant in them.

use super::Measure;
use super::examples::Example;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

/// Places of the first right one.
#[derive(Debug, Default)]
pub struct Ranks {
    places: Vec<Option<usize>>,
}

impl Ranks {
    /// Takes a place, from 1 on; one by it is its worth.
    pub fn take(&mut self, place: Option<usize>) -> f64 {
        self.places.push(place);
        worth(place)
    }

    /// The mean of one by the place (MRR), and the shares of those that are among the first so many, in points.
    pub fn figures(&self, name: &str, depths: &[usize]) -> Vec<(String, f64)> {
        let mean = |sum: f64| 100.0 * sum / self.places.len().max(1) as f64;
        let mrr = ("MRR".to_owned(), mean(self.places.iter().map(|place| worth(*place)).sum()));
        let among = |depth: &usize| {
            let found = self.places.iter().flatten().filter(|place| **place <= *depth).count();
            (format!("{name}@{depth}"), mean(found as f64))
        };
        std::iter::once(mrr).chain(depths.iter().map(among)).collect()
    }
}

fn worth(place: Option<usize>) -> f64 {
    place.map_or(0.0, |place| 1.0 / place as f64)
}

/// `rerank`: NDCG@10 with the gain 2^grade - 1 (Burges and others 2005), and the place of the first relevant text. Worth is NDCG@10.
#[derive(Debug, Default)]
pub struct Texts {
    first: Ranks,
    gains: f64,
}

/// Grades of so many texts, by the numbers of those that are relevant, or by number and grade.
fn grades(wanted: &Value, texts: usize) -> Result<Vec<f64>> {
    let wrong = "it must be a list of the relevant texts' numbers from 0 on, or an object of number and grade";
    let mut grades = vec![0.0; texts];
    let mut set = |number: usize, grade: f64| {
        ensure!((0.0..=30.0).contains(&grade), "a grade must be between 0 and 30, not {grade}");
        *grades.get_mut(number).with_context(|| format!("there is no text {number}, only {texts} from 0 on"))? = grade;
        Ok(())
    };
    match wanted {
        Value::Object(all) => {
            for (number, grade) in all {
                set(number.parse().ok().context(wrong)?, grade.as_f64().context(wrong)?)?;
            }
        }
        other => {
            for number in other.as_array().context(wrong)? {
                set(number.as_u64().context(wrong)? as usize, 1.0)?;
            }
        }
    }
    ensure!(grades.iter().any(|grade| *grade > 0.0), "no text is relevant; leave such a row out");
    Ok(grades)
}

/// The discounted gain of the first ten.
fn gain(grades: impl Iterator<Item = f64>) -> f64 {
    grades.take(10).enumerate().map(|(place, grade)| (grade.exp2() - 1.0) / (place as f64 + 2.0).log2()).sum()
}

impl Measure for Texts {
    fn take(&mut self, row: &Example, answer: Option<&Map<String, Value>>) -> Result<f64> {
        let ranks = answer.and_then(|answer| answer.get("ranks")).and_then(Value::as_array);
        let order: Vec<usize> =
            ranks.into_iter().flatten().filter_map(|ranked| Some(ranked.get("index")?.as_u64()? as usize)).collect();
        if answer.is_none() {
            return Ok(self.first.take(None));
        }
        let texts = row.event.get("texts").and_then(Value::as_array).map_or(order.len(), Vec::len);
        let mut ideal = grades(&row.wanted, texts)?;
        let said: Vec<f64> = order.iter().map(|text| ideal.get(*text).copied().unwrap_or(0.0)).collect();
        self.first.take(said.iter().position(|grade| *grade > 0.0).map(|place| place + 1));
        ideal.sort_by(|a, b| b.total_cmp(a));
        let best = gain(ideal.into_iter());
        let worth = gain(said.into_iter()) / best;
        self.gains += worth;
        Ok(worth)
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let ndcg = 100.0 * self.gains / self.first.places.len().max(1) as f64;
        std::iter::once(("NDCG@10".to_owned(), ndcg)).chain(self.first.figures("hits", &[1])).collect()
    }
}

/// `reply`: where among the suggestions the reply stands that somebody gave, by its `id` in the bank or its text.
#[derive(Debug, Default)]
pub struct Replies {
    first: Ranks,
}

impl Measure for Replies {
    fn take(&mut self, row: &Example, answer: Option<&Map<String, Value>>) -> Result<f64> {
        let wrong = "it must be a reply's id or text, or a list of them";
        let one = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let wanted: Vec<String> = match &row.wanted {
            Value::Array(all) => all.iter().map(|of| one(of).context(wrong)).collect::<Result<_>>()?,
            of => vec![one(of).context(wrong)?],
        };
        let suggestions = answer.and_then(|answer| answer.get("suggestions")).and_then(Value::as_array);
        let right = |suggestion: &Value| {
            let is = |field: &str| suggestion.get(field).and_then(one).is_some_and(|said| wanted.contains(&said));
            is("source") || is("text")
        };
        Ok(self.first.take(suggestions.and_then(|all| all.iter().position(right)).map(|place| place + 1)))
    }

    fn figures(&self) -> Vec<(String, f64)> {
        self.first.figures("hits", &[1, 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// sklearn.metrics.ndcg_score with gains 2^grade - 1, k = 10.
    #[test]
    fn texts_are_graded() {
        let ranks =
            |order: &[usize]| json!({ "ranks": order.iter().map(|i| json!({ "index": i, "score": 0.0 })).collect::<Vec<_>>() });
        let mut texts = Texts::default();
        assert_eq!(texts.take(&Example::wanting(json!([2])), ranks(&[2, 0, 1]).as_object()).unwrap(), 1.0);
        let second = texts.take(&Example::wanting(json!([1])), ranks(&[2, 1, 0]).as_object()).unwrap();
        assert!((second - 1.0 / 3f64.log2()).abs() < 1e-12);
        let graded = texts.take(&Example::wanting(json!({ "0": 3, "1": 1 })), ranks(&[1, 2, 0]).as_object()).unwrap();
        assert!((graded - (1.0 + 7.0 / 2.0) / (7.0 + 1.0 / 3f64.log2())).abs() < 1e-12);
        let figures = texts.figures();
        assert_eq!(figures[0].0, "NDCG@10");
        assert!((figures[0].1 - 100.0 * (1.0 + second + graded) / 3.0).abs() < 1e-9);
        assert!((figures[1].1 - 100.0 * 2.5 / 3.0).abs() < 1e-9);
        assert!(
            texts
                .take(&Example::wanting(json!([3])), ranks(&[2, 1, 0]).as_object())
                .unwrap_err()
                .to_string()
                .contains("no text 3")
        );
        // A list that was cut still is held against all texts of the row.
        let five = Example { event: json!({ "texts": ["a", "b", "c", "d", "e"] }), ..Example::wanting(json!([2, 4])) };
        let cut = Texts::default().take(&five, ranks(&[4]).as_object()).unwrap();
        assert!((cut - 1.0 / (1.0 + 1.0 / 3f64.log2())).abs() < 1e-12);
        assert!(
            texts
                .take(&Example::wanting(json!([])), ranks(&[0]).as_object())
                .unwrap_err()
                .to_string()
                .contains("leave such a row out")
        );
        assert!(texts.take(&Example::wanting(json!("x")), ranks(&[0]).as_object()).is_err());
    }

    #[test]
    fn replies_are_found_by_id_or_text() {
        let said = json!({ "suggestions": [{ "source": "a", "text": "A!" }, { "source": "7", "text": "B!" }] });
        let mut replies = Replies::default();
        let worth: Vec<f64> = [json!("A!"), json!(7), json!(["x", "B!"]), json!("c")]
            .iter()
            .map(|wanted| replies.take(&Example::wanting(wanted.clone()), said.as_object()).unwrap())
            .collect();
        assert_eq!(worth, [1.0, 0.5, 0.5, 0.0]);
        assert_eq!(replies.figures(), [("MRR".into(), 50.0), ("hits@1".into(), 25.0), ("hits@3".into(), 75.0)]);
        assert!(replies.take(&Example::wanting(json!({})), None).is_err());
    }
}
