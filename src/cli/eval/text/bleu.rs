//! BLEU (Papineni and others 2002) as sacreBLEU counts it (Post 2018): words of the tokeniser `13a`, up to four in a row, exponential
//! smoothing, over the whole set. Beside it chrF, which needs no words and is the one to look at where a language has no blanks.

use super::examples::Example;
use super::words::{common, grams, references};
use super::{Measure, chrf};
use anyhow::Result;
use serde_json::{Map, Value};

const ORDERS: usize = 4;

/// Counts over all rows. Worth is the row's own chrF.
#[derive(Debug, Default)]
pub struct Translations {
    /// Runs that were said, and those of them that a reference has, by length.
    grams: [(usize, usize); ORDERS],
    said: usize,
    /// Words of the references, of each row the one that is nearest in length.
    wanted: usize,
    characters: chrf::Counts,
}

impl Translations {
    fn bleu(&self) -> f64 {
        let mut smooth = 1.0;
        let mut logs = 0.0;
        for (all, right) in self.grams {
            if all == 0 {
                return 0.0;
            }
            let precision = match right {
                0 => {
                    smooth *= 2.0;
                    1.0 / (smooth * all as f64)
                }
                _ => right as f64 / all as f64,
            };
            logs += precision.ln();
        }
        if self.grams.iter().all(|(_, right)| *right == 0) {
            return 0.0;
        }
        let short = if self.said < self.wanted { 1.0 - self.wanted as f64 / self.said as f64 } else { 0.0 };
        (short + logs / ORDERS as f64).exp()
    }
}

impl Measure for Translations {
    fn take(&mut self, row: &Example, answer: Option<&Map<String, Value>>) -> Result<f64> {
        let said = answer.and_then(|answer| answer.get("translation_text")).and_then(Value::as_str).unwrap_or_default();
        let references = references(&row.wanted)?;
        let (words, others): (Vec<String>, Vec<Vec<String>>) =
            (tokens(said), references.iter().map(|text| tokens(text)).collect());
        for (n, (all, right)) in (1..).zip(&mut self.grams) {
            let of = grams(&words, n);
            *all += of.values().sum::<usize>();
            // Each run counts at most as often as in the reference that has it most often.
            let mut most = std::collections::HashMap::new();
            for other in &others {
                for (gram, count) in grams(other, n) {
                    let seen = most.entry(gram).or_insert(0);
                    *seen = count.max(*seen);
                }
            }
            *right += common(&of, &most);
        }
        self.said += words.len();
        let nearest = others.iter().map(Vec::len).min_by_key(|len| (len.abs_diff(words.len()), *len));
        self.wanted += nearest.unwrap_or(0);
        let own = chrf::counts(said, &references);
        for (sum, own) in self.characters.iter_mut().zip(own) {
            *sum = (sum.0 + own.0, sum.1 + own.1, sum.2 + own.2);
        }
        Ok(chrf::score(&own))
    }

    fn figures(&self) -> Vec<(String, f64)> {
        vec![("BLEU".to_owned(), 100.0 * self.bleu()), ("chrF2".to_owned(), 100.0 * chrf::score(&self.characters))]
    }
}

/// The tokeniser `13a` of sacreBLEU, which follows that of mteval-v13a: signs stand alone, but for points and commas in numbers and dashes
/// behind letters.
fn tokens(text: &str) -> Vec<String> {
    let text = text.trim_end().replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let signs = |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let mut apart = String::new();
    for c in format!(" {text} ").chars() {
        if signs(c) {
            apart.extend([' ', c, ' ']);
        } else {
            apart.push(c);
        }
    }
    let mark = |c: char| matches!(c, '.' | ',');
    let apart = pairs(&apart, |a, b| !a.is_ascii_digit() && mark(b), |a, b| vec![a, ' ', b, ' ']);
    let apart = pairs(&apart, |a, b| mark(a) && !b.is_ascii_digit(), |a, b| vec![' ', a, ' ', b]);
    let apart = pairs(&apart, |a, b| a.is_ascii_digit() && b == '-', |a, b| vec![a, ' ', b, ' ']);
    apart.split_whitespace().map(str::to_owned).collect()
}

/// Puts something else for each pair of neighbours that fits, from the left; a sign is in one pair at most.
fn pairs(text: &str, fits: impl Fn(char, char) -> bool, put: impl Fn(char, char) -> Vec<char>) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text.chars().peekable();
    while let Some(a) = rest.next() {
        match rest.peek().copied().filter(|b| fits(a, *b)) {
            Some(b) => {
                out.extend(put(a, b));
                rest.next();
            }
            None => out.push(a),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(rows: &[(&str, Value)]) -> (f64, f64) {
        let mut all = Translations::default();
        for (said, wanted) in rows {
            all.take(&Example::wanting(wanted.clone()), json!({ "translation_text": said }).as_object()).unwrap();
        }
        let figures = all.figures();
        (figures[0].1, figures[1].1)
    }

    /// sacreBLEU 2.6 (`corpus_bleu`, `corpus_chrf`) gives the same.
    #[test]
    fn translations_are_compared_as_sacrebleu_does() {
        let said = ["The cat sat on the mat.", "It is raining, today!", "我 喜欢 你"];
        let first = ["The cat is on the mat.", "It rains today!", "我喜欢他"];
        let second = ["There is a cat on the mat.", "Today it is raining.", "我爱你"];
        let one: Vec<(&str, Value)> = said.iter().zip(first).map(|(a, b)| (*a, json!(b))).collect();
        let two: Vec<(&str, Value)> = (0..3).map(|i| (said[i], json!([first[i], second[i]]))).collect();
        for (rows, bleu, chrf) in
            [(one, 28.039_501_199_940_04, 57.310_532_252_313_216), (two, 30.856_960_108_358_766, 63.027_480_080_515_79)]
        {
            let found = of(&rows);
            assert!((found.0 - bleu).abs() < 1e-9 && (found.1 - chrf).abs() < 1e-9, "{found:?}");
        }
        let short = [
            ("The cat sat on the mat today.", json!("The cat is on the mat now.")),
            ("hello there my friend", json!("hi")),
            ("yes indeed", json!("yes")),
        ];
        assert!((of(&short).1 - 48.157_384_275_160_894).abs() < 1e-9);
        assert_eq!(of(&[("a b", json!("c d e f g"))]).0, 0.0);
        assert!((of(&[("a b c d x y", json!("a q c d e f g"))]).0 - 15.207_218_222_740_094).abs() < 1e-9);
        assert_eq!(of(&[("", json!("a"))]), (0.0, 0.0));
    }

    #[test]
    fn words_are_those_of_13a() {
        let words = |text: &str| tokens(text).join(" ");
        let long = "Hello, world! It's 3.5-4 (see a.b.c), U.S. e-mail x&amp;y; 1,000.";
        assert_eq!(words(long), "Hello , world ! It's 3.5 - 4 ( see a . b . c ) , U . S . e-mail x & y ; 1,000 .");
        assert_eq!(words("a.. b,,c 5- 5-a -5 . "), "a . . b , , c 5 - 5 - a -5 .");
        assert_eq!(words("“Grüße” – 10%/day [x]{y}~z`"), "“Grüße” – 10 % / day [ x ] { y } ~ z `");
    }
}
