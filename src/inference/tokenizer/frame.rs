//! What is put around texts, and the parts of tokenisers written as they stand in `tokenizer.json`.

use super::forms::malformed;
use crate::inference::InferenceError;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::Path;
use tokenizers::{PostProcessorWrapper, Tokenizer};

/// A part from its form in `tokenizer.json`; `path` is named in errors.
pub fn part<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T, InferenceError> {
    serde_json::from_value(value).map_err(|e| malformed(path, e))
}

/// Where a text stands in a frame.
pub const FIRST: &str = "$A";
pub const SECOND: &str = "$B";

/// The frame of a text and that of a pair: special tokens, [`FIRST`] and [`SECOND`], each with its segment. The tokens must be in the
/// vocabulary.
pub fn frame(
    path: &Path,
    tokenizer: &Tokenizer,
    single: &[(&str, u32)],
    pair: &[(&str, u32)],
) -> Result<PostProcessorWrapper, InferenceError> {
    let piece = |&(name, segment): &(&str, u32)| match name {
        FIRST | SECOND => json!({"Sequence": {"id": &name[1..], "type_id": segment}}),
        token => json!({"SpecialToken": {"id": token, "type_id": segment}}),
    };
    let mut tokens = serde_json::Map::new();
    for (name, _) in single.iter().chain(pair).filter(|(name, _)| ![FIRST, SECOND].contains(name)) {
        let id = id(path, tokenizer, name)?;
        tokens.insert((*name).to_owned(), json!({"id": name, "ids": [id], "tokens": [name]}));
    }
    let (single, pair): (Vec<Value>, Vec<Value>) = (single.iter().map(piece).collect(), pair.iter().map(piece).collect());
    part(path, json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}))
}

/// The id of a token that has to be there.
pub fn id(path: &Path, tokenizer: &Tokenizer, token: &str) -> Result<u32, InferenceError> {
    tokenizer.token_to_id(token).ok_or_else(|| malformed(path, format!("it has no token `{token}`")))
}

/// Refuses a frame that its own code would stumble over: a special token without ids, or the second text in the frame of a single one.
pub fn check(frame: &PostProcessorWrapper) -> Result<(), String> {
    let mut open = vec![serde_json::to_value(frame).map_err(|e| e.to_string())?];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                for (template, seconds) in [("single", false), ("pair", true)] {
                    let mut pieces = fields.get(template).and_then(Value::as_array).into_iter().flatten();
                    pieces.try_for_each(|piece| check_piece(piece, &fields["special_tokens"], seconds))?;
                }
                open.extend(fields.into_iter().map(|(_, value)| value));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_piece(piece: &Value, tokens: &Value, seconds: bool) -> Result<(), String> {
    let id = |kind: &str| piece.get(kind).and_then(|piece| piece["id"].as_str());
    match (id("SpecialToken"), id("Sequence")) {
        (Some(token), _) if tokens.get(token).is_none() => {
            Err(format!("its post-processor puts a token `{token}` around texts and does not say which ids that has"))
        }
        (_, Some("B")) if !seconds => Err("its post-processor wants a second text where there is one alone".to_owned()),
        _ => Ok(()),
    }
}
