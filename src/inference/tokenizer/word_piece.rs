//! `vocab.txt`: one piece a line, the line's number is its id. Words are cut into the longest pieces that are known.

use super::forms::{malformed, read_text, unknown};
use super::frame::{FIRST, SECOND, frame, part};
use super::kind::Kind;
use super::settings::Settings;
use crate::inference::InferenceError;
use ahash::AHashMap;
use serde_json::json;
use std::path::Path;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

pub fn open(path: &Path, settings: &Settings, kind: Kind) -> Result<Tokenizer, InferenceError> {
    if !matches!(kind, Kind::Bert | Kind::Mpnet) {
        return Err(unknown(path, &format!("{kind:?}")));
    }
    let text = read_text(path)?;
    let mut vocabulary = AHashMap::new();
    for (line, id) in text.lines().zip(0u32..) {
        vocabulary.insert(line.to_owned(), id);
    }
    let unk = settings.content("unk_token", kind)?;
    if !vocabulary.contains_key(&unk) {
        return Err(malformed(path, format!("it has no token `{unk}`, which stands for what is unknown")));
    }
    let model = WordPiece::builder().vocab(vocabulary).unk_token(unk).build().map_err(|e| malformed(path, e))?;
    let mut tokenizer = Tokenizer::new(model);
    // Without BERT's own splitting nothing of it is left but the cleaning.
    let basic = settings.flag("do_basic_tokenize")?.unwrap_or(true);
    let normalizer: NormalizerWrapper = part(
        path,
        json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": basic && settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
            "strip_accents": if basic { settings.flag("strip_accents")? } else { Some(false) },
            "lowercase": basic && settings.flag("do_lower_case")?.unwrap_or(true),
        }),
    )?;
    tokenizer.with_normalizer(Some(normalizer)).map_err(|e| malformed(path, e))?;
    tokenizer.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(path, json!({"type": "BertPreTokenizer"}))?));
    tokenizer.with_decoder(Some(part::<DecoderWrapper>(path, json!({"type": "WordPiece", "prefix": "##", "cleanup": true}))?));
    settings.add(&mut tokenizer, kind)?;
    let (cls, sep) = (settings.content("cls_token", kind)?, settings.content("sep_token", kind)?);
    let (cls, sep) = (cls.as_str(), sep.as_str());
    let single = [(cls, 0), (FIRST, 0), (sep, 0)];
    let processor = match kind {
        Kind::Mpnet => frame(path, &tokenizer, &single, &[(cls, 0), (FIRST, 0), (sep, 0), (sep, 0), (SECOND, 1), (sep, 1)])?,
        _ => frame(path, &tokenizer, &single, &[(cls, 0), (FIRST, 0), (sep, 0), (SECOND, 1), (sep, 1)])?,
    };
    tokenizer.with_post_processor(Some(processor));
    Ok(tokenizer)
}
