//! `vocab.json` and `merges.txt`: pairs of bytes that grow together, in the order of the merges.

use super::forms::{contained, malformed, read, read_text, unknown};
use super::frame::{FIRST, SECOND, frame, id, part};
use super::kind::Kind;
use super::settings::Settings;
use crate::inference::InferenceError;
use ahash::AHashMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

/// How Qwen2 cuts a text into words: contractions, letters with one sign before them, single digits, signs, line ends, blanks.
const QWEN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub fn open(path: &Path, merges: &Path, settings: &Settings, kind: Kind) -> Result<Tokenizer, InferenceError> {
    if !matches!(kind, Kind::Roberta | Kind::Gpt2 | Kind::Qwen2) {
        return Err(unknown(path, &format!("{kind:?}")));
    }
    let vocabulary: BTreeMap<String, u32> = serde_json::from_slice(&read(path)?).map_err(|e| malformed(path, e))?;
    let vocabulary: AHashMap<String, u32> = vocabulary.into_iter().collect();
    let pairs = pairs(merges)?;
    let model = contained(|| BPE::builder().vocab_and_merges(vocabulary, pairs).build()).map_err(|e| malformed(merges, e))?;
    let mut tokenizer = Tokenizer::new(model);
    let prefix = settings.flag("add_prefix_space")?.unwrap_or(false);
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex});
    let words: Value = match kind {
        Kind::Qwen2 => {
            let split = json!({"type": "Split", "pattern": {"Regex": QWEN}, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
        }
        _ => bytes(true),
    };
    if kind == Kind::Qwen2 {
        let normalizer: NormalizerWrapper = part(path, json!({"type": "NFC"}))?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(|e| malformed(path, e))?;
    }
    tokenizer.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(path, words)?));
    tokenizer.with_decoder(Some(part::<DecoderWrapper>(path, bytes(true))?));
    settings.add(&mut tokenizer, kind)?;
    let processor: PostProcessorWrapper = match kind {
        Kind::Roberta => {
            let (cls, sep) = (settings.content("cls_token", kind)?, settings.content("sep_token", kind)?);
            let (cls_id, sep_id) = (id(path, &tokenizer, &cls)?, id(path, &tokenizer, &sep)?);
            let trim = settings.flag("trim_offsets")?.unwrap_or(true);
            part(
                path,
                json!({"type": "RobertaProcessing", "cls": [cls, cls_id], "sep": [sep, sep_id], "trim_offsets": trim,
                    "add_prefix_space": prefix}),
            )?
        }
        Kind::Gpt2 if settings.flag("add_bos_token")?.unwrap_or(false) => {
            let bos = settings.content("bos_token", kind)?;
            let bos = bos.as_str();
            frame(path, &tokenizer, &[(bos, 0), (FIRST, 0)], &[(bos, 0), (FIRST, 0), (SECOND, 1)])?
        }
        _ => part(path, json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}))?,
    };
    tokenizer.with_post_processor(Some(processor));
    Ok(tokenizer)
}

/// One merge a line, two pieces with a blank between them. The first line may name a version.
fn pairs(path: &Path) -> Result<Vec<(String, String)>, InferenceError> {
    let text = read_text(path)?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
                pairs.push((left.to_owned(), right.to_owned()));
            }
            _ => return Err(malformed(path, format!("line {} is not two pieces with a blank between them", number + 1))),
        }
    }
    Ok(pairs)
}
