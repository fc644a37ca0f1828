//! A tokeniser of single characters, made from a text: every character that it has is a token.

use super::beside::Beside;
use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Ends a text. Its id is 0.
pub const END: &str = "<|endoftext|>";

/// Stands for every character that the text did not have. Its id is 1. It is no control token: a text from anybody may have it.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// Characters at most: a text with more has no use for them as tokens.
const MOST: usize = 20_000;

/// The characters of texts but `UNKNOWN`, sorted; the first has id 2.
pub struct Characters(BTreeSet<char>);

impl Characters {
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self> {
        let all: BTreeSet<char> = texts.flat_map(str::chars).filter(|character| *character != UNKNOWN).collect();
        ensure!(!all.is_empty(), "there are no characters to make tokens of");
        ensure!(all.len() <= MOST, "{} different characters; up to {MOST} are made tokens of", all.len());
        Ok(Self(all))
    }

    /// Tokens, with [`END`] and that of unknown characters.
    pub fn tokens(&self) -> usize {
        self.0.len() + 2
    }

    /// A byte-pair tokeniser without pairs: a text falls into its characters, and tokens are put together without blanks between them.
    fn tokenizer(&self) -> Value {
        let mut vocabulary = Map::new();
        vocabulary.insert(END.into(), 0.into());
        for (character, id) in std::iter::once(&UNKNOWN).chain(&self.0).zip(1u32..) {
            vocabulary.insert(character.to_string(), id.into());
        }
        let end = json!({"id": 0, "content": END, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true});
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [end],
            "normalizer": null,
            "pre_tokenizer": null,
            "post_processor": null,
            "decoder": {"type": "Fuse"},
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": UNKNOWN.to_string(),
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": vocabulary,
                "merges": [],
            },
        })
    }

    /// tokenizer.json, tokenizer_config.json and generation_config.json, for a model that sees so many tokens.
    pub fn files(&self, positions: usize) -> Beside {
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": positions,
            "clean_up_tokenization_spaces": false,
            "bos_token": END,
            "eos_token": END,
            "pad_token": END,
        });
        let generation = json!({"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0});
        let files =
            [("tokenizer.json", self.tokenizer()), ("tokenizer_config.json", settings), ("generation_config.json", generation)];
        Beside::of(files.map(|(name, value)| (name, format!("{value:#}\n").into_bytes())).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::TextTokenizer;
    use crate::inference::generate::Vocabulary;

    #[test]
    fn a_text_is_its_characters_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let text = "Größe: 1 \n\n 语言 .. \"x\" ' s\t🙂\u{a0}!";
        let characters = Characters::of([text, "more"].into_iter()).unwrap();
        characters.files(64).write(folder.path()).unwrap();
        let vocabulary = Vocabulary::open(folder.path()).unwrap();
        assert_eq!((vocabulary.size(), vocabulary.ends()), (characters.tokens(), &[0][..]));
        let ids = vocabulary.plain(text, true).unwrap();
        assert_eq!(ids.len(), text.chars().count());
        assert!(ids.iter().all(|id| *id > 1));
        let tokenizer = TextTokenizer::open(folder.path(), 64).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        // By the bytes of each token too, as texts are written while they come.
        let bytes: Vec<u8> = ids.iter().flat_map(|id| vocabulary.bytes(*id).unwrap().to_vec()).collect();
        assert_eq!(bytes, text.as_bytes());
        let ids = vocabulary.plain("re Q ?", true).unwrap();
        assert_eq!((ids.len(), ids.iter().filter(|id| **id == 1).count()), (6, 2));
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "re \u{fffd} \u{fffd}");
    }

    #[test]
    fn a_text_that_names_the_end_holds_none() {
        let folder = tempfile::tempdir().unwrap();
        Characters::of(["a<|endoftext|>b"].into_iter()).unwrap().files(64).write(folder.path()).unwrap();
        let vocabulary = Vocabulary::open(folder.path()).unwrap();
        let ids = vocabulary.plain("a<|endoftext|>b", true).unwrap();
        assert_eq!((ids.len(), ids.contains(&0)), (15, false));
        assert!(Characters::of(std::iter::empty()).is_err());
    }
}
