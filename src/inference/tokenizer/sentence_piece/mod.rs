//! SentencePiece models (`spiece.model` and its other names): the pieces as the family numbers them, and its rules for text. The rules
//! are those with which transformers makes its fast tokenisers of these files.

mod charsmap;
mod model;
mod rules;

pub use charsmap::normaliser;

use self::model::{Algorithm, Model, Type};
use super::forms::{malformed, read, unknown};
use super::kind::Kind;
use super::settings::Settings;
use crate::inference::InferenceError;
use ahash::{AHashMap, AHashSet};
use std::cmp::Reverse;
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::{AddedToken, Tokenizer};

type Pieces = Vec<(String, f64)>;

pub fn open(path: &Path, settings: &Settings, kind: Kind) -> Result<Tokenizer, InferenceError> {
    use Kind::{Albert, Camembert, DebertaV2, Llama, T5, XlNet, XlmRoberta};
    if !matches!(kind, Albert | Camembert | DebertaV2 | Llama | T5 | XlNet | XlmRoberta) {
        return Err(unknown(path, &format!("{kind:?}")));
    }
    let model = Model::read(&read(path)?).map_err(|e| malformed(path, e))?;
    let pieces = pieces(&model, settings, kind)?;
    // Only Llama's fast tokeniser falls back to bytes, whatever the file says.
    let bytes = kind == Llama && model.byte_fallback;
    let unknown = match kind {
        XlmRoberta | Camembert => 3,
        Llama => 0,
        _ => model.unk_id,
    };
    let mut tokenizer = cutting(path, &model, pieces, (unknown, bytes))?;
    let added = model.pieces.iter().filter(|piece| matches!(piece.kind, Type::Control | Type::UserDefined));
    let added = added.map(|piece| AddedToken::from(piece.text.clone(), piece.kind == Type::Control).normalized(false));
    tokenizer.add_tokens(added.collect::<Vec<_>>()).map_err(|e| malformed(path, e))?;
    rules::apply(path, &mut tokenizer, &model.charsmap, settings, kind)?;
    settings.add(&mut tokenizer, kind)?;
    rules::frame_of(path, &mut tokenizer, settings, kind)?;
    Ok(tokenizer)
}

/// A model alone, without special tokens and frame, and whether it falls back to bytes: pieces that are never made from text are not found
/// in one. For families whose ids are not those of the model. A unigram model leaves the fall to its caller, who knows what was cut as a
/// token that is no piece: the tokenizers library would find the names of bytes in texts.
pub fn bare(path: &Path, settings: &Settings, kind: Kind) -> Result<(Tokenizer, bool), InferenceError> {
    let model = Model::read(&read(path)?).map_err(|e| malformed(path, e))?;
    let falls = model.byte_fallback && model.algorithm == Algorithm::Bpe;
    let made = |kind: Type| matches!(kind, Type::Normal | Type::UserDefined) || (kind == Type::Byte && falls);
    let piece = |(at, piece): (usize, &model::Piece)| match made(piece.kind) {
        true => (piece.text.clone(), f64::from(piece.score)),
        // No text has the sign of number 0.
        false => (format!("\0{at}"), 0.0),
    };
    let pieces = model.pieces.iter().enumerate().map(piece).collect();
    let mut tokenizer = cutting(path, &model, pieces, (model.unk_id, falls))?;
    rules::apply(path, &mut tokenizer, &model.charsmap, settings, kind)?;
    Ok((tokenizer, model.byte_fallback))
}

/// What cuts a text into these pieces, of which the `unknown`th stands for what is none.
fn cutting(path: &Path, model: &Model, pieces: Pieces, (unknown, bytes): (usize, bool)) -> Result<Tokenizer, InferenceError> {
    match model.algorithm {
        Algorithm::Unigram => Unigram::from(pieces, Some(unknown), bytes).map(Tokenizer::new),
        Algorithm::Bpe => {
            let merges = merges(&pieces, model);
            let unknown = pieces.get(unknown).map_or_else(|| model.unk_piece.clone(), |(piece, _)| piece.clone());
            let ids: AHashMap<String, u32> = pieces.into_iter().map(|(piece, _)| piece).zip(0u32..).collect();
            let builder = BPE::builder().vocab_and_merges(ids, merges).unk_token(unknown);
            builder.fuse_unk(true).byte_fallback(bytes).build().map(Tokenizer::new)
        }
    }
    .map_err(|e| malformed(path, e))
}

/// The pieces with their scores in the order of the family's ids.
fn pieces(model: &Model, settings: &Settings, kind: Kind) -> Result<Pieces, InferenceError> {
    let own = |skip: usize| model.pieces.iter().skip(skip).map(|piece| (piece.text.clone(), f64::from(piece.score)));
    let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 0.0)).collect::<Pieces>();
    let mut pieces = Pieces::new();
    match kind {
        Kind::XlmRoberta => {
            pieces.extend(named(&["<s>", "<pad>", "</s>", "<unk>"]));
            pieces.extend(own(3));
            pieces.extend(named(&["<mask>"]));
        }
        Kind::Camembert => {
            pieces.extend(named(&["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>"]));
            pieces.push(("<unk>NOTUSED".to_owned(), -100.0));
            pieces.extend(own(1));
            pieces.extend(named(&["<mask>"]));
        }
        Kind::Albert | Kind::XlNet => {
            // A number with a comma behind it is to be cut before the comma.
            let number = |piece: &str| {
                let mut end = piece.chars().rev();
                end.next() == Some(',') && end.next().is_some_and(char::is_numeric)
            };
            pieces.extend(own(0).map(|(piece, score)| if number(&piece) { (piece, score - 100.0) } else { (piece, score) }));
        }
        Kind::T5 => {
            pieces.extend(own(0));
            pieces.extend((0..settings.extra_ids()?).rev().map(|i| (format!("<extra_id_{i}>"), 0.0)));
        }
        Kind::Llama => {
            pieces.extend(model.pieces.iter().take(3).map(|piece| (piece.text.clone(), 0.0)));
            pieces.extend(own(3));
        }
        _ => pieces.extend(own(0)),
    }
    Ok(pieces)
}

/// The merges of a BPE model, which SentencePiece does not store: every way to make a piece of two others, the best pieces first.
fn merges(pieces: &[(String, f64)], model: &Model) -> Vec<(String, String)> {
    let ids: AHashMap<&str, usize> = model.pieces.iter().enumerate().map(|(id, piece)| (piece.text.as_str(), id)).collect();
    let mut merges: Vec<(f64, usize, usize, &str, &str)> = Vec::new();
    let mut seen = AHashSet::new();
    for (piece, score) in pieces.iter().filter(|(piece, _)| seen.insert(piece.as_str())) {
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let mut ways: Vec<(usize, usize, &str, &str)> =
            cuts.filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?, left, right))).collect();
        ways.sort_by_key(|&(left, right, ..)| (left, right));
        merges
            .extend(ways.into_iter().map(|(.., left, right)| (*score, left.chars().count(), right.chars().count(), left, right)));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| Reverse((a.1, a.2)).cmp(&Reverse((b.1, b.2)))));
    merges.into_iter().map(|(.., left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// The pieces of a file with their scores.
#[cfg(test)]
pub fn pieces_of(bytes: &[u8]) -> Result<Vec<(String, f32)>, String> {
    Ok(Model::read(bytes)?.pieces.into_iter().map(|piece| (piece.text, piece.score)).collect())
}
