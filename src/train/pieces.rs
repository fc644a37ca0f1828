//! A tokeniser of its own for a network that is trained from nothing.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::str::FromStr;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{AddedToken, Tokenizer};

/// Special tokens; their ids are their places.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// Pieces that are rarer than this stay cut.
const LEAST: u64 = 3;

/// Byte-pair encoding (Sennrich et al. 2016) with so many tokens at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces(pub usize);

impl FromStr for Pieces {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.strip_prefix("bpe:").and_then(|count| count.parse().ok());
        let count = count.filter(|count| (100..=1_000_000).contains(count));
        count.map(Self).ok_or_else(|| "it is bpe:N, with 100 to 1000000 tokens".to_owned())
    }
}

impl std::fmt::Display for Pieces {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "bpe:{}", self.0)
    }
}

impl Pieces {
    /// A tokenizer.json that follows from the texts and their order alone.
    pub fn learnt(self, texts: &[&str]) -> Result<Value> {
        let mut tokenizer = read(json!({
            "type": "BPE", "dropout": null, "unk_token": "[UNK]", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": {}, "merges": []
        }))?;
        let special = SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect();
        let trainer = BpeTrainer::builder().vocab_size(self.0).min_frequency(LEAST).show_progress(false).special_tokens(special);
        let mut trainer = TrainerWrapper::BpeTrainer(trainer.build());
        tokenizer.train(&mut trainer, texts.iter()).map_err(|cause| anyhow!("the tokeniser cannot be trained: {cause}"))?;
        let characters = tokenizer.get_vocab_size(true);
        ensure!(
            characters <= self.0,
            "the texts have {characters} characters and special tokens; --tokenizer needs as many tokens"
        );
        let mut learnt = serde_json::to_value(&tokenizer).context("the tokeniser cannot be written")?;
        learnt["post_processor"] = around();
        Ok(learnt)
    }
}

/// Cuts texts into words, to read files with before there are pieces.
pub fn words() -> Result<Tokenizer> {
    read(json!({"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}))
}

/// White space and punctuation bound words. Chinese characters are not words of their own, so that pieces can be words of several.
fn read(model: Value) -> Result<Tokenizer> {
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null, "decoder": null,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": false, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Punctuation", "behavior": "Isolated"}]},
        "model": model
    });
    serde_json::from_value(json).context("the tokeniser cannot be made")
}

/// [CLS] text [SEP], and [CLS] text [SEP] text [SEP].
fn around() -> Value {
    let special = |token: &str, kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let known = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let single = [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)];
    let pair = [&single[..], &[text("B", 1), special("[SEP]", 1)]].concat();
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {"[CLS]": known("[CLS]", 2), "[SEP]": known("[SEP]", 3)}
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::vocabulary::tokenizer;

    /// Would catch: Chinese words that are never one token, special tokens out of their places, another tokeniser each time.
    #[test]
    fn frequent_words_become_tokens_and_the_rest_is_cut() {
        let texts = ["这个酒店很好，服务很好。", "酒店的服务不好！", "服务很好 Hotel", "酒店 hotel", "the HOTEL, 酒店"];
        let learnt = Pieces(100).learnt(&texts).unwrap();
        assert_eq!(learnt, Pieces(100).learnt(&texts).unwrap());
        let tokenizer = tokenizer(&learnt).unwrap();
        for (id, token) in SPECIAL.iter().enumerate() {
            assert_eq!(tokenizer.token_to_id(token), Some(id as u32));
        }
        let tokens = |text: &str| tokenizer.encode(text, true).unwrap().get_tokens().to_vec();
        assert_eq!(tokens("酒店 服务；Hotel"), ["[CLS]", "酒店", "服务", "[UNK]", "hotel", "[SEP]"]);
        let pair = tokenizer.encode(("很好", "酒店"), true).unwrap();
        assert_eq!((pair.get_ids()[0], pair.get_type_ids().last()), (2, Some(&1)));
        assert_eq!(words().unwrap().encode("服务很好 Hotel!", false).unwrap().len(), 3);
    }

    #[test]
    fn a_size_is_said_as_bpe() {
        assert_eq!("bpe:8000".parse(), Ok(Pieces(8000)));
        for wrong in ["8000", "bpe:", "bpe:9", "bpe:-1", "wordpiece:100"] {
            assert!(wrong.parse::<Pieces>().is_err(), "{wrong}");
        }
    }
}
