//! Which files of a repository are a model.

use super::{HubError, Repo};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The parts of weights that were saved in several files.
pub const INDEX: &str = "model.safetensors.index.json";
/// Weights in one file.
pub const WEIGHTS: &str = "model.safetensors";
pub const CONFIG: &str = "config.json";

/// Files beside config and weights, each fetched where it is there.
const BESIDE: [&str; 20] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
    "source.spm",
    "target.spm",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "README.md",
];

/// One of these, or of the pairs, is a tokeniser.
const TOKENIZERS: [&str; 8] = [
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
    "source.spm",
];

/// Whether one of these names is a tokeniser's.
pub fn has_tokenizer(has: impl Fn(&str) -> bool) -> bool {
    TOKENIZERS.iter().any(|name| has(name))
}

/// Whether a file's name is that of weights which can run code.
pub fn is_pickle(name: &str) -> bool {
    [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|end| name.ends_with(end))
}

/// The files to fetch, small ones first; weights in parts are named by their index, which is among them then.
pub fn wanted(repo: &Repo, there: &BTreeSet<String>) -> Result<Vec<&'static str>, HubError> {
    let has = |name: &str| there.contains(name);
    let missing = |what: &str| HubError::Incomplete { repo: repo.to_string(), missing: what.to_owned() };
    if !has(CONFIG) {
        return Err(missing(CONFIG));
    }
    let weights = match (has(WEIGHTS), has(INDEX), there.iter().find(|name| !name.contains('/') && is_pickle(name))) {
        (true, ..) => WEIGHTS,
        (_, true, _) => INDEX,
        (.., Some(found)) => return Err(HubError::OnlyPickle { repo: repo.to_string(), found: found.clone() }),
        _ => return Err(missing("model.safetensors")),
    };
    if !has_tokenizer(has) {
        return Err(missing("tokeniser (tokenizer.json, vocab.txt, vocab.json, or a SentencePiece model)"));
    }
    let beside = BESIDE.into_iter().filter(|name| has(name));
    Ok([CONFIG].into_iter().chain(beside).chain([weights]).collect())
}

/// The files that an index names, all in the model's folder: what can be fetched with it. Other names are refused.
pub fn parts(index: &[u8]) -> Result<BTreeSet<String>, String> {
    named(index, plain)
}

/// The same for a folder that is here: it may share files with one beside it, `../NAME/FILE`.
pub fn parts_here(index: &[u8]) -> Result<BTreeSet<String>, String> {
    named(index, |name| match name.strip_prefix("../").and_then(|beside| beside.split_once('/')) {
        Some((folder, file)) => !folder.is_empty() && !folder.starts_with('.') && plain(file),
        None => plain(name),
    })
}

fn plain(name: &str) -> bool {
    let sign = |sign: char| sign.is_ascii_alphanumeric() || "-_.".contains(sign);
    name.chars().all(sign) && !name.starts_with('.') && name.ends_with(".safetensors")
}

fn named(index: &[u8], allowed: impl Fn(&str) -> bool) -> Result<BTreeSet<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|cause| format!("{INDEX}: {cause}"))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| !allowed(name)) {
        Some(odd) => Err(format!("{INDEX} names {odd:?}, which is no file of safetensors beside it")),
        None if names.is_empty() => Err(format!("{INDEX} names no file")),
        None => Ok(names),
    }
}
