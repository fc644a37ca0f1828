//! A WordPiece vocabulary without the tokens that nothing needs, and the proof that texts keep their pieces.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::collections::HashSet;
/// What [`tokenizer`] gives.
pub use tokenizers::Tokenizer;

/// A pruned tokenizer.json; `kept[new id] = old id`.
pub struct Pruned {
    pub json: Value,
    pub kept: Vec<u32>,
    /// How many tokens there are.
    pub tokens: usize,
}

impl Pruned {
    /// The rows of an embedding table, `[tokens, hidden]`, that stay.
    pub fn keep_rows(&self, table: &Tensor) -> Result<Tensor> {
        Ok(table.index_select(&Tensor::new(self.kept.as_slice(), &Device::Cpu)?, 0)?)
    }
}

/// Digits, punctuation and Latin letters stay; `[unused…]` and letters of other scripts go.
fn is_needed(token: &str) -> bool {
    let latin = |c: char| matches!(c as u32, 0..=0x24F | 0x1E00..=0x1EFF | 0xFB00..=0xFB06);
    !token.starts_with("[unused") && token.chars().all(|c| latin(c) || !c.is_alphanumeric())
}

/// Without padding or truncation, so that texts keep their own length.
pub fn tokenizer(json: &Value) -> Result<Tokenizer> {
    serde_json::from_value(bare(json.clone())).context("the tokenizer cannot be read")
}

fn bare(mut json: Value) -> Value {
    json["padding"] = Value::Null;
    json["truncation"] = Value::Null;
    json
}

/// Drops what `is_needed` refuses, except special tokens and the ids in `used`. Ids close up in the old order; with `keep_ids` they stay as they
/// are, so that the tables do too, and what is dropped is unknown alone.
pub fn prune(json: &Value, used: &HashSet<u32>, keep_ids: bool) -> Result<Pruned> {
    let mut json = bare(json.clone());
    let added = json["added_tokens"].as_array().context("no added_tokens")?;
    let special: HashSet<u32> = added.iter().filter_map(|t| t["id"].as_u64()).map(|id| id as u32).collect();
    let vocabulary = json["model"]["vocab"].as_object().context("no model.vocab")?;
    let mut tokens: Vec<(u32, String)> =
        vocabulary.iter().filter_map(|(token, id)| Some((id.as_u64()? as u32, token.clone()))).collect();
    tokens.sort_unstable();
    let rows = tokens.last().map_or(0, |(id, _)| id + 1);
    tokens.retain(|(id, token)| special.contains(id) || used.contains(id) || is_needed(token));
    let count = tokens.len();
    if keep_ids {
        json["model"]["vocab"] =
            tokens.into_iter().map(|(id, token)| (token, json!(id))).collect::<serde_json::Map<_, _>>().into();
        return Ok(Pruned { json, kept: (0..rows).collect(), tokens: count });
    }
    let kept: Vec<u32> = tokens.iter().map(|(id, _)| *id).collect();
    let new_id = |old: u64| kept.binary_search(&(old as u32)).map(|id| json!(id)).ok().context("a special token is gone");
    for token in json["added_tokens"].as_array_mut().into_iter().flatten() {
        token["id"] = new_id(token["id"].as_u64().context("an added token has no id")?)?;
    }
    for token in json["post_processor"]["special_tokens"].as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
        for id in token["ids"].as_array_mut().into_iter().flatten() {
            *id = new_id(id.as_u64().context("a special token has no id")?)?;
        }
    }
    let renumbered = tokens.into_iter().enumerate().map(|(id, (_, token))| (token, json!(id))).collect();
    json["model"]["vocab"] = Value::Object(renumbered);
    Ok(Pruned { json, kept, tokens: count })
}

/// How many of `texts` are cut into other pieces by `after` than by `before`, with the first few.
pub fn differing(before: &Tokenizer, after: &Pruned, texts: &[String]) -> Result<(usize, Vec<String>)> {
    let new = tokenizer(&after.json)?;
    let (mut count, mut first) = (0, Vec::new());
    for text in texts {
        let old = before.encode_fast(text.as_str(), true).map_err(anyhow::Error::msg)?;
        let now = new.encode_fast(text.as_str(), true).map_err(anyhow::Error::msg)?;
        let same = old.len() == now.len() && old.get_ids().iter().zip(now.get_ids()).all(|(o, n)| *o == after.kept[*n as usize]);
        if !same {
            count += 1;
            if first.len() < 5 {
                first.push(text.clone());
            }
        }
    }
    Ok((count, first))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn small() -> Value {
        let tokens = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "a", "film", "##s", "я", "!", "語", "re"];
        let vocabulary: serde_json::Map<String, Value> =
            tokens.iter().enumerate().map(|(i, t)| (t.to_string(), json!(i))).collect();
        let special = |id: usize| json!({"id": id, "content": tokens[id], "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
        json!({
            "version": "1.0", "truncation": null, "padding": null, "decoder": null,
            "added_tokens": [special(0), special(2), special(3), special(4)],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                    {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [3], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [4], "tokens": ["[SEP]"]}}},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary}
        })
    }

    #[test]
    fn latin_texts_keep_their_pieces_and_others_are_counted() {
        let before = tokenizer(&small()).unwrap();
        let pruned = prune(&small(), &HashSet::from([10]), false).unwrap();
        assert_eq!((pruned.kept.as_slice(), pruned.tokens), (&[0, 2, 3, 4, 5, 6, 7, 9, 10, 11][..], 10));
        let texts = ["A film!", "films re", "unknown", "", "語"].map(String::from);
        assert_eq!(differing(&before, &pruned, &texts).unwrap(), (0, vec![]));
        let other = ["я films".to_string()];
        assert_eq!(differing(&before, &pruned, &other).unwrap(), (1, other.to_vec()));
        // The same tokens under their old ids.
        let narrowed = prune(&small(), &HashSet::from([10]), true).unwrap();
        assert_eq!((narrowed.kept.as_slice(), narrowed.tokens), (&(0..12).collect::<Vec<u32>>()[..], 10));
        assert_eq!(differing(&before, &narrowed, &texts).unwrap(), (0, vec![]));
        let ids = |text: &str| tokenizer(&narrowed.json).unwrap().encode_fast(text, true).unwrap().get_ids().to_vec();
        assert_eq!((ids("я films"), ids("re!")), (vec![3, 2, 6, 7, 4], vec![3, 11, 9, 4]));
    }
}
