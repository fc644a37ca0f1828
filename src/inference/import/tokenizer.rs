//! `tokenizer.json` for two kinds of vocabulary: byte-level BPE, and the BPE of SentencePiece.

use super::{Fault, damaged, unsupported};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// A token as the file spells it.
#[derive(Debug, Clone)]
pub struct Token {
    pub text: String,
    /// Never comes from a text by itself, and is left out when ids become text.
    pub special: bool,
    /// Found whole in a text before anything is split.
    pub added: bool,
}

/// How a text is split before bytes are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splits {
    Gpt2,
    /// Digits stand alone first.
    Digits,
    Llama3,
    Qwen2,
}

/// Contractions, words with one sign before them, up to three digits, signs, line ends, blanks.
const LLAMA3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Splits {
    /// By llama.cpp's name for it; a wrong guess would give other tokens, so an unknown one is an error.
    pub fn of(name: &str) -> Result<Self, Fault> {
        match name {
            "gpt-2" | "gpt2" | "olmo" | "phi-2" | "jina-es" | "jina-de" => Ok(Self::Gpt2),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => Ok(Self::Digits),
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "dbrx" | "smaug-bpe" => Ok(Self::Llama3),
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" => Ok(Self::Qwen2),
            other => Err(unsupported(format!(
                "its texts are split as `{}`; known: gpt-2, smollm, starcoder, llama-bpe, qwen2",
                other.chars().take(40).collect::<String>()
            ))),
        }
    }

    fn json(self) -> Value {
        let byte_level =
            |regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex });
        let split = |pattern: &str| {
            json!({ "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
                byte_level(false),
            ]})
        };
        match self {
            Self::Gpt2 => byte_level(true),
            Self::Digits => {
                json!({ "type": "Sequence", "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level(true)] })
            }
            Self::Llama3 => split(LLAMA3),
            Self::Qwen2 => split(QWEN2),
        }
    }
}

/// What becomes of a vocabulary.
pub struct TokenizerFiles {
    pub tokenizer: Value,
    pub notes: Vec<String>,
}

impl TokenizerFiles {
    /// Adds the tokens that begin and end every text.
    pub fn with_ends(mut self, tokens: &[Token], bos: Option<usize>, eos: Option<usize>) -> Self {
        if bos.is_none() && eos.is_none() {
            return self;
        }
        let special = |id: usize| json!({ "SpecialToken": { "id": tokens[id].text, "type_id": 0 } });
        let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
        let around =
            |inner: Vec<Value>| -> Vec<Value> { bos.map(special).into_iter().chain(inner).chain(eos.map(special)).collect() };
        let mut known = serde_json::Map::new();
        for id in bos.into_iter().chain(eos) {
            let text = &tokens[id].text;
            known.insert(text.clone(), json!({ "id": text, "ids": [id], "tokens": [text] }));
        }
        self.tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": around(vec![sequence("A")]),
            "pair": around(vec![sequence("A"), sequence("B")]),
            "special_tokens": known,
        });
        self
    }
}

/// Ids by text; a text that stands twice keeps its first id, and a note says so.
fn vocabulary(tokens: &[Token]) -> Result<(serde_json::Map<String, Value>, Vec<String>), Fault> {
    let (mut vocabulary, mut twice) = (serde_json::Map::new(), 0);
    for (id, token) in tokens.iter().enumerate() {
        match vocabulary.contains_key(&token.text) {
            false => drop(vocabulary.insert(token.text.clone(), id.into())),
            true => twice += 1,
        }
    }
    if vocabulary.is_empty() {
        return Err(damaged("its vocabulary is empty"));
    }
    let notes =
        if twice == 0 { vec![] } else { vec![format!("{twice} tokens stand twice in the vocabulary; the first id is used.")] };
    Ok((vocabulary, notes))
}

/// `signed`: blanks are signs of their own in this vocabulary, so that what is made of them is found behind the normaliser.
fn added(tokens: &[Token], signed: bool) -> Value {
    let mut seen = HashSet::new();
    let of = |(id, token): (usize, &Token)| {
        let first = token.added && !token.text.is_empty() && seen.insert(token.text.clone());
        first.then(|| {
            json!({
                "id": id, "content": token.text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": signed && !token.special && token.text.contains('\u{2581}'), "special": token.special,
            })
        })
    };
    tokens.iter().enumerate().filter_map(of).collect()
}

/// Byte-level BPE with its list of merges.
pub struct ByteLevel<'a> {
    pub tokens: &'a [Token],
    /// Two parts with a blank between.
    pub merges: &'a [String],
    pub splits: Splits,
}

impl ByteLevel<'_> {
    pub fn build(self) -> Result<TokenizerFiles, Fault> {
        let (vocabulary, notes) = vocabulary(self.tokens)?;
        let mut merges = Vec::with_capacity(self.merges.len());
        for (rank, merge) in self.merges.iter().enumerate() {
            let (left, right) = merge.split_once(' ').ok_or_else(|| damaged(format!("merge {rank} has no two parts")))?;
            if [left, right, &format!("{left}{right}")].iter().any(|part| !vocabulary.contains_key(*part)) {
                return Err(damaged(format!("merge {rank} names a token that the vocabulary does not have")));
            }
            merges.push(json!([left, right]));
        }
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added(self.tokens, false),
            "normalizer": null,
            "pre_tokenizer": self.splits.json(),
            "post_processor": null,
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": self.splits == Splits::Llama3,
                "vocab": vocabulary, "merges": merges,
            },
        });
        Ok(TokenizerFiles { tokenizer, notes })
    }
}

/// The BPE of SentencePiece: of the pairs whose join is a piece, the one with the highest score is joined first.
pub struct Pieces<'a> {
    /// Blanks spelled as U+2581.
    pub tokens: &'a [Token],
    pub scores: &'a [f32],
    pub unknown: Option<usize>,
    /// A blank is put before every text.
    pub dummy_prefix: bool,
    /// Blanks at the ends go, runs of blanks become one.
    pub squeeze: bool,
    /// SentencePiece's compiled table of replacements.
    pub charsmap: Option<&'a [u8]>,
}

impl Pieces<'_> {
    pub fn build(&self) -> Result<TokenizerFiles, Fault> {
        use base64::Engine;
        let (vocabulary, notes) = vocabulary(self.tokens)?;
        let byte_fallback = (0..=255).all(|byte| vocabulary.contains_key(&format!("<0x{byte:02X}>")));
        let replace = |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        let mut steps = Vec::new();
        if let Some(charsmap) = self.charsmap {
            let table = base64::engine::general_purpose::STANDARD.encode(charsmap);
            steps.push(json!({ "type": "Precompiled", "precompiled_charsmap": table }));
        }
        if self.squeeze {
            steps.push(replace(json!({ "Regex": "^ +| +$" }), ""));
            steps.push(replace(json!({ "Regex": " {2,}" }), " "));
        }
        if self.dummy_prefix {
            steps.push(json!({ "type": "Prepend", "prepend": "\u{2581}" }));
        }
        steps.push(replace(json!({ "String": " " }), "\u{2581}"));
        let mut decoders =
            vec![replace(json!({ "String": "\u{2581}" }), " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
        if self.dummy_prefix {
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added(self.tokens, true),
            "normalizer": { "type": "Sequence", "normalizers": steps },
            "pre_tokenizer": null,
            "post_processor": null,
            "decoder": { "type": "Sequence", "decoders": decoders },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": self.unknown.map(|id| &self.tokens[id].text),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": byte_fallback,
                "ignore_merges": false, "merges": self.merges(), "vocab": vocabulary,
            },
        });
        Ok(TokenizerFiles { tokenizer, notes })
    }

    /// Every way to split a piece into two pieces, the highest score first. Special tokens and bytes have no part in it.
    fn merges(&self) -> Vec<Value> {
        let plain = |token: &Token| !token.added && !token.text.is_empty();
        let mut ids: HashMap<&str, usize> = HashMap::new();
        for (id, token) in self.tokens.iter().enumerate().filter(|(_, token)| plain(token)) {
            ids.entry(&token.text).or_insert(id);
        }
        let mut merges: Vec<(f32, usize, usize, usize, &str, &str)> = Vec::new();
        for (text, id) in &ids {
            for (at, _) in text.char_indices().skip(1) {
                let (left, right) = text.split_at(at);
                if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                    merges.push((self.scores[*id], *id, *l, *r, left, right));
                }
            }
        }
        let longer = |text: &str| std::cmp::Reverse(text.chars().count());
        merges.sort_by(|a, b| {
            let by_score = b.0.total_cmp(&a.0);
            by_score.then_with(|| longer(a.4).cmp(&longer(b.4))).then_with(|| (a.1, a.2, a.3).cmp(&(b.1, b.2, b.3)))
        });
        merges.into_iter().map(|(_, _, _, _, left, right)| json!([left, right])).collect()
    }
}
