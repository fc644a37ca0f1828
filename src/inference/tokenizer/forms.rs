//! Which form a folder's tokeniser has, and the tokeniser made of it.

use super::kind::Kind;
use super::settings::Settings;
use super::{byte_pairs, sentence_piece, word_piece};
use crate::inference::{InferenceError, elsewhere};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Names under which SentencePiece models are saved.
const SENTENCE_PIECE: [&str; 4] = ["spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model"];

/// The tokeniser of a folder, and the file that it was made of: `tokenizer.json` where that is there, else one of the older forms,
/// with what `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` say.
pub fn open(folder: &Path) -> Result<(PathBuf, Tokenizer), InferenceError> {
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    if let Some(path) = there("tokenizer.json") {
        let bytes = read(&path)?;
        check_tables(&bytes).map_err(|e| malformed(&path, e))?;
        let tokenizer = contained(|| Tokenizer::from_bytes(bytes)).map_err(|e| malformed(&path, e))?;
        return Ok((path, tokenizer));
    }
    if let Some(path) = there("vocab.txt") {
        let (settings, kind) = settings(folder, &path)?;
        let tokenizer = word_piece::open(&path, &settings, kind)?;
        return Ok((path, tokenizer));
    }
    if let (Some(path), Some(merges)) = (there("vocab.json"), there("merges.txt")) {
        let (settings, kind) = settings(folder, &path)?;
        let tokenizer = byte_pairs::open(&path, &merges, &settings, kind)?;
        return Ok((path, tokenizer));
    }
    if let Some(path) = SENTENCE_PIECE.into_iter().find_map(there) {
        let (settings, kind) = settings(folder, &path)?;
        let tokenizer = sentence_piece::open(&path, &settings, kind)?;
        return Ok((path, tokenizer));
    }
    let names = SENTENCE_PIECE.join(", ");
    let cause = format!("no tokeniser is there; looked for tokenizer.json, vocab.txt, vocab.json with merges.txt, {names}");
    Err(InferenceError::Read { path: folder.to_owned(), cause })
}

/// What the tokenizers library answers. It panics on some files that are JSON but no tokeniser, and on what such a file makes of texts.
pub fn contained<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match std::panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(|e| e.to_string()),
        Err(_) => Err("the tokeniser panicked; its file is damaged".to_owned()),
    }
}

/// Tables of normalisation are trusted by what runs them, so they are looked at first, wherever they stand in the normaliser.
pub fn check_tables(bytes: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct File {
        normalizer: Option<Value>,
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let mut open: Vec<Value> = file.normalizer.into_iter().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(mut fields) => {
                if let Some(Value::String(table)) = fields.remove("precompiled_charsmap") {
                    let table = BASE64_STANDARD.decode(table).map_err(|e| e.to_string())?;
                    sentence_piece::normaliser(&table)?;
                }
                open.extend(fields.into_iter().map(|(_, value)| value));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the folder says about its tokeniser. Files of the older forms do not tell by themselves how text is prepared.
fn settings(folder: &Path, path: &Path) -> Result<(Settings, Kind), InferenceError> {
    let settings = Settings::open(folder)?;
    let named = settings.named(folder)?;
    match Kind::named(&named) {
        Some(kind) => Ok((settings, kind)),
        None => Err(unknown(path, &named)),
    }
}

/// A tokeniser whose rules are not known in this form.
pub fn unknown(path: &Path, named: &str) -> InferenceError {
    let cause = format!(
        "the rules of a tokeniser `{named}` in this form are not known here; save it as tokenizer.json \
         (AutoTokenizer.from_pretrained(folder).save_pretrained(folder) in transformers)"
    );
    InferenceError::Unsupported { path: path.to_owned(), cause }
}

pub fn read(path: &Path) -> Result<Vec<u8>, InferenceError> {
    let bytes = std::fs::read(path).map_err(|e| InferenceError::Read { path: path.to_owned(), cause: e.to_string() })?;
    match elsewhere::pointer(&bytes) {
        Some(cause) => Err(malformed(path, cause)),
        None => Ok(bytes),
    }
}

/// The text of a file; it must be UTF-8.
pub fn read_text(path: &Path) -> Result<String, InferenceError> {
    String::from_utf8(read(path)?).map_err(|e| malformed(path, e))
}

pub fn malformed(path: &Path, cause: impl ToString) -> InferenceError {
    InferenceError::Malformed { path: path.to_owned(), cause: cause.to_string() }
}
