//! The vocabulary of a llama2.c model: its exported `tok*.bin`, or the SentencePiece model that was exported from.

use super::super::sentencepiece::{CONTROL, SentencePiece, UNKNOWN, USER_DEFINED};
use super::super::tokenizer::{Pieces, Token};
use super::super::{Fault, ImportError, damaged, unsupported};
use serde_json::{Value, json};
use std::path::Path;

/// The largest vocabulary file that is read.
const MAX_BYTES: u64 = 64 << 20;
/// The ids that llama2.c fixes; texts begin with the second, and the third stands between texts.
const UNKNOWN_ID: usize = 0;
const BOS: usize = 1;
const EOS: usize = 2;

/// The two files.
pub struct Vocabulary {
    pub tokenizer: Value,
    pub config: Value,
    pub notes: Vec<String>,
}

/// Reads either kind. `expected` is the number of tokens of the model.
pub fn build(path: &Path, expected: usize, context: usize) -> Result<Vocabulary, ImportError> {
    let read = |error: std::io::Error| ImportError::Read { path: path.to_owned(), cause: error.to_string() };
    if std::fs::metadata(path).map_err(read)?.len() > MAX_BYTES {
        return Err(unsupported("it is too large for a vocabulary").at(path));
    }
    let bytes = std::fs::read(path).map_err(read)?;
    let is_model = path.extension().is_some_and(|extension| extension == "model");
    let built = if is_model { of_model(&bytes, expected, context) } else { of_export(&bytes, expected, context) };
    built.map_err(|fault| fault.at(path))
}

fn of_model(bytes: &[u8], expected: usize, context: usize) -> Result<Vocabulary, Fault> {
    let model = SentencePiece::parse(bytes)?;
    let token = |piece: &super::super::sentencepiece::Piece| Token {
        text: piece.text.clone(),
        special: matches!(piece.kind, CONTROL | UNKNOWN),
        added: matches!(piece.kind, CONTROL | UNKNOWN | USER_DEFINED),
    };
    let tokens: Vec<Token> = model.pieces.iter().map(token).collect();
    let scores: Vec<f32> = model.pieces.iter().map(|piece| piece.score).collect();
    let charsmap = (!model.charsmap.is_empty()).then_some(model.charsmap.as_slice());
    let unknown = model.pieces.iter().position(|piece| piece.kind == UNKNOWN);
    let (dummy_prefix, squeeze) = (model.dummy_prefix, model.squeeze);
    let pieces = Pieces { tokens: &tokens, scores: &scores, unknown, dummy_prefix, squeeze, charsmap };
    files(&pieces, expected, context)
}

/// A maximum length, then for each token its score, its length and its bytes, with blanks as blanks.
fn of_export(bytes: &[u8], expected: usize, context: usize) -> Result<Vocabulary, Fault> {
    let (mut tokens, mut scores, mut left) = (Vec::new(), Vec::new(), bytes);
    let mut take = |count: usize| {
        let (taken, rest) = left.split_at_checked(count)?;
        left = rest;
        Some(taken)
    };
    let cut = || damaged(format!("it ends before token {expected}; it is cut off, or of another model"));
    take(4).ok_or_else(cut)?;
    for id in 0..expected {
        let head: [u8; 8] = take(8).and_then(|head| head.try_into().ok()).ok_or_else(cut)?;
        let ([a, b, c, d], [e, f, g, h]) = split(head);
        let score = f32::from_le_bytes([a, b, c, d]);
        let length = usize::try_from(i32::from_le_bytes([e, f, g, h]))
            .map_err(|_| damaged(format!("token {id} has a negative length")))?;
        let text = take(length).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| damaged(format!("token {id} is not UTF-8")))?;
        if !score.is_finite() {
            return Err(damaged(format!("the score of token {id} is not a finite number")));
        }
        let special = id <= EOS;
        // The export writes line ends around these two.
        let text = if special { text.trim().to_owned() } else { text.replace(' ', "\u{2581}") };
        tokens.push(Token { text, special, added: special });
        scores.push(score);
    }
    if take(1).is_some() {
        return Err(damaged(format!("it goes on after token {expected}; it is of another model")));
    }
    let pieces = Pieces {
        tokens: &tokens,
        scores: &scores,
        unknown: Some(UNKNOWN_ID),
        dummy_prefix: true,
        squeeze: false,
        charsmap: None,
    };
    files(&pieces, expected, context)
}

fn split([a, b, c, d, e, f, g, h]: [u8; 8]) -> ([u8; 4], [u8; 4]) {
    ([a, b, c, d], [e, f, g, h])
}

fn files(pieces: &Pieces<'_>, expected: usize, context: usize) -> Result<Vocabulary, Fault> {
    let tokens = pieces.tokens;
    if tokens.len() != expected || expected <= EOS {
        return Err(damaged(format!("it has {} tokens, the model has {expected}", tokens.len())));
    }
    let built = pieces.build()?.with_ends(tokens, Some(BOS), None);
    let config = json!({
        "add_bos_token": true,
        "add_eos_token": false,
        "bos_token": tokens[BOS].text,
        "clean_up_tokenization_spaces": false,
        "eos_token": tokens[EOS].text,
        // Without it a tokeniser of this class makes `token_type_ids`, which causal models refuse.
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": context,
        "pad_token": null,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": pieces.unknown.map(|id| &tokens[id].text),
    });
    Ok(Vocabulary { tokenizer: built.tokenizer, config, notes: built.notes })
}
