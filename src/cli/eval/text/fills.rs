//! Words behind masks: where in the list the right one stands.

use super::Measure;
use super::examples::Example;
use super::ranks::Ranks;
use super::words::references;
use anyhow::{Result, ensure};
use serde_json::{Map, Value};

/// Share of masks whose word is first, and among the first five; mean of one by its place (MRR), among the ten that are asked for.
#[derive(Debug, Default)]
pub struct Fills {
    ranks: Ranks,
}

impl Measure for Fills {
    fn take(&mut self, row: &Example, answer: Option<&Map<String, Value>>) -> Result<f64> {
        let wanted = references(&row.wanted)?;
        let fills = answer.and_then(|answer| answer.get("fills")).and_then(Value::as_array);
        let several = fills.is_some_and(|fills| fills.first().is_some_and(Value::is_array));
        let masks = match fills {
            None => 0,
            Some(fills) if several => fills.len(),
            Some(_) => 1,
        };
        ensure!(fills.is_none() || masks == wanted.len(), "{} words for {masks} masks", wanted.len());
        let mut sum = 0.0;
        for (mask, word) in wanted.iter().enumerate() {
            let list = fills.and_then(|fills| if several { fills[mask].as_array() } else { Some(fills) });
            let right =
                |fill: &Value| fill.get("token_str").and_then(Value::as_str).is_some_and(|said| said.trim() == word.trim());
            sum += self.ranks.take(list.and_then(|list| list.iter().position(right)).map(|place| place + 1));
        }
        Ok(sum / wanted.len().max(1) as f64)
    }

    fn figures(&self) -> Vec<(String, f64)> {
        self.ranks.figures("hits", &[1, 5])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_mask_has_a_place() {
        let fill = |words: &[&str]| words.iter().map(|word| json!({ "token_str": word })).collect::<Vec<_>>();
        let mut fills = Fills::default();
        let one = json!({ "fills": fill(&["cat", " dog"]) });
        assert_eq!(fills.take(&Example::wanting(json!("dog")), one.as_object()).unwrap(), 0.5);
        let two = json!({ "fills": [fill(&["a"]), fill(&["b", "c", "d", "e", "f", "g"])] });
        assert_eq!(fills.take(&Example::wanting(json!(["a", "g"])), two.as_object()).unwrap(), (1.0 + 1.0 / 6.0) / 2.0);
        assert_eq!(fills.take(&Example::wanting(json!("x")), None).unwrap(), 0.0);
        let mrr = 100.0 * (0.5 + 1.0 + 1.0 / 6.0) / 4.0;
        assert_eq!(fills.figures(), [("MRR".into(), mrr), ("hits@1".into(), 25.0), ("hits@5".into(), 50.0)]);
        assert!(
            fills.take(&Example::wanting(json!(["a"])), two.as_object()).unwrap_err().to_string().contains("1 words for 2 masks")
        );
        assert!(fills.take(&Example::wanting(json!(3)), None).is_err());
    }
}
