//! ROUGE (Lin 2004): what summaries have in common with those that people wrote. F1 of words (1), of pairs of words (2), and of the
//! longest words in the same order (L). Words are runs of letters and digits, in lower case, not stemmed; of Chinese and Japanese each sign is one.
//! For ASCII that is what rouge_score counts, which takes any other letter for a blank.

use super::Measure;
use super::examples::Example;
use super::words::{common, grams, references};
use crate::train::measure::f1;
use anyhow::Result;
use serde_json::{Map, Value};

/// Means over rows; where several summaries were given, of the best. Worth is ROUGE-L.
#[derive(Debug, Default)]
pub struct Rouge {
    rows: usize,
    sums: [f64; 3],
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for c in text.to_lowercase().chars() {
        // Kana, and the ideographs of the first planes.
        let alone =
            matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
        match words.last_mut() {
            Some(word) if open && c.is_alphanumeric() && !alone => word.push(c),
            _ if c.is_alphanumeric() => words.push(c.to_string()),
            _ => {}
        }
        open = c.is_alphanumeric() && !alone;
    }
    words
}

/// The length of the longest list that is in both, with gaps.
fn longest(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

fn scores(said: &[String], wanted: &[String]) -> [f64; 3] {
    let of = |n: usize| {
        let (a, b) = (grams(said, n), grams(wanted, n));
        f1(common(&a, &b), a.values().sum(), b.values().sum())
    };
    [of(1), of(2), f1(longest(said, wanted), said.len(), wanted.len())]
}

impl Measure for Rouge {
    fn take(&mut self, row: &Example, answer: Option<&Map<String, Value>>) -> Result<f64> {
        let said = words(answer.and_then(|answer| answer.get("summary_text")).and_then(Value::as_str).unwrap_or_default());
        let all = references(&row.wanted)?.into_iter().map(|text| scores(&said, &words(text)));
        let best = all.reduce(|a, b| std::array::from_fn(|i| a[i].max(b[i]))).unwrap_or_default();
        self.rows += 1;
        self.sums.iter_mut().zip(best).for_each(|(sum, score)| *sum += score);
        Ok(best[2])
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let mean = |sum: f64| 100.0 * sum / self.rows.max(1) as f64;
        ["ROUGE-1", "ROUGE-2", "ROUGE-L"].iter().zip(self.sums).map(|(name, sum)| ((*name).to_owned(), mean(sum))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// rouge_score 0.1.2 without stemming gives the same.
    #[test]
    fn summaries_are_compared_as_the_field_does() {
        let mut rouge = Rouge::default();
        let said = json!({ "summary_text": "On the mat the cat-sat was 3" });
        let worth = rouge.take(&Example::wanting(json!("The cat sat, on the mat 3.5")), said.as_object()).unwrap();
        assert_eq!(worth, 0.5);
        let expected = [("ROUGE-1", 87.5), ("ROUGE-2", 57.142_857_142_857_14), ("ROUGE-L", 50.0)];
        assert!(rouge.figures().iter().zip(expected).all(|((name, of), (is, want))| name == is && (of - want).abs() < 1e-9));
        // Of several the best; a refused row is worth nothing.
        assert_eq!(rouge.take(&Example::wanting(json!(["x", "ON the mat the cat sat WAS 3"])), said.as_object()).unwrap(), 1.0);
        assert_eq!(rouge.take(&Example::wanting(json!("x")), None).unwrap(), 0.0);
        assert!(
            rouge.take(&Example::wanting(json!([])), None).is_err() && rouge.take(&Example::wanting(json!(1)), None).is_err()
        );
    }

    #[test]
    fn signs_of_chinese_are_words() {
        assert_eq!(words("我爱 Über-Film2!"), ["我", "爱", "über", "film2"]);
        let same = scores(&words("猫坐在垫子上"), &words("猫在垫子"));
        assert_eq!(same[0], 0.8);
    }
}
