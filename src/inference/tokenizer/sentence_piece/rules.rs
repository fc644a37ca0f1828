//! How each family prepares a text for its pieces, and what it puts around it.

use super::super::forms::malformed;
use super::super::frame::{FIRST, SECOND, frame, part};
use super::super::kind::Kind;
use super::super::settings::Settings;
use super::charsmap;
use crate::inference::InferenceError;
use serde_json::{Value, json};
use std::path::Path;
use tokenizers::normalizers::Sequence;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// What stands for a blank in a piece.
const BLANK: &str = "▁";

/// Normaliser, pre-tokeniser and decoder.
pub fn apply(
    path: &Path,
    tokenizer: &mut Tokenizer,
    table: &[u8],
    settings: &Settings,
    kind: Kind,
) -> Result<(), InferenceError> {
    let legacy = settings.flag("legacy")?.unwrap_or(true);
    let prefix = settings.flag("add_prefix_space")?.unwrap_or(true);
    let steps = normalisers(path, table, settings, kind, (legacy, prefix))?;
    if !steps.is_empty() {
        tokenizer.with_normalizer(Some(Sequence::new(steps))).map_err(|e| malformed(path, e))?;
    }
    let legacy = legacy || !matches!(kind, Kind::Llama | Kind::T5);
    let scheme = match (prefix, legacy) {
        (true, true) => "always",
        (true, false) => "first",
        (false, _) => "never",
    };
    let split = kind != Kind::Llama;
    let blanks = json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme, "split": split});
    let words = match kind {
        Kind::Llama if legacy => None,
        Kind::DebertaV2 if settings.flag("split_by_punct")?.unwrap_or(false) => {
            let signs = json!({"type": "Punctuation", "behavior": "Isolated"});
            Some(json!({"type": "Sequence", "pretokenizers": [signs, blanks]}))
        }
        _ => Some(blanks.clone()),
    };
    if let Some(words) = words {
        tokenizer.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(path, words)?));
    }
    let decoder = match kind {
        Kind::Llama => {
            let mut steps = vec![
                json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
                json!({"type": "ByteFallback"}),
                json!({"type": "Fuse"}),
            ];
            if prefix {
                steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            }
            json!({"type": "Sequence", "decoders": steps})
        }
        _ => blanks,
    };
    tokenizer.with_decoder(Some(part::<DecoderWrapper>(path, decoder)?));
    Ok(())
}

fn normalisers(
    path: &Path,
    table: &[u8],
    settings: &Settings,
    kind: Kind,
    (legacy, prefix): (bool, bool),
) -> Result<Vec<NormalizerWrapper>, InferenceError> {
    let step = |value: Value| part::<NormalizerWrapper>(path, value);
    let replace = |text: &str, by: &str| step(json!({"type": "Replace", "pattern": {"String": text}, "content": by}));
    let runs = |by: &str| step(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": by}));
    let mut steps = Vec::new();
    let strip = |left: bool| step(json!({"type": "Strip", "strip_left": left, "strip_right": true}));
    match kind {
        Kind::Llama => {
            if legacy && prefix {
                steps.push(step(json!({"type": "Prepend", "prepend": BLANK}))?);
            }
            if legacy {
                steps.push(replace(" ", BLANK)?);
            }
            return Ok(steps);
        }
        Kind::Albert | Kind::XlNet => {
            steps.extend([replace("``", "\"")?, replace("''", "\"")?]);
            if !settings.flag("keep_accents")?.unwrap_or(false) {
                steps.extend([step(json!({"type": "NFKD"}))?, step(json!({"type": "StripAccents"}))?]);
            }
            if settings.flag("do_lower_case")?.unwrap_or(kind == Kind::Albert) {
                steps.push(step(json!({"type": "Lowercase"}))?);
            }
        }
        Kind::DebertaV2 => {
            if settings.flag("do_lower_case")?.unwrap_or(false) {
                steps.push(step(json!({"type": "Lowercase"}))?);
            }
            steps.push(strip(true)?);
        }
        _ => {}
    }
    if !table.is_empty() {
        steps.push(charsmap::normaliser(table).map_err(|e| malformed(path, e))?.into());
    }
    match kind {
        Kind::Albert | Kind::XlNet | Kind::DebertaV2 => steps.push(runs(" ")?),
        // SentencePiece itself takes blanks alone from the end, the fast tokenisers all white space.
        Kind::Marian => {
            let blanks = step(json!({"type": "Replace", "pattern": {"Regex": " +$"}, "content": ""}))?;
            steps.extend([blanks, runs(BLANK)?]);
        }
        _ => steps.extend([strip(false)?, runs(BLANK)?]),
    }
    Ok(steps)
}

/// Tokens and texts, each with its segment.
type Frame<'a> = Vec<(&'a str, u32)>;

/// The frame.
pub fn frame_of(path: &Path, tokenizer: &mut Tokenizer, settings: &Settings, kind: Kind) -> Result<(), InferenceError> {
    let (bos, eos);
    let (single, pair): (Frame<'_>, Frame<'_>) = match kind {
        Kind::XlmRoberta | Kind::Camembert => (
            vec![("<s>", 0), (FIRST, 0), ("</s>", 0)],
            vec![("<s>", 0), (FIRST, 0), ("</s>", 0), ("</s>", 0), (SECOND, 0), ("</s>", 0)],
        ),
        Kind::XlNet => (
            vec![(FIRST, 0), ("<sep>", 0), ("<cls>", 2)],
            vec![(FIRST, 0), ("<sep>", 0), (SECOND, 1), ("<sep>", 1), ("<cls>", 2)],
        ),
        Kind::T5 => (vec![(FIRST, 0), ("</s>", 0)], vec![(FIRST, 0), ("</s>", 0), (SECOND, 0), ("</s>", 0)]),
        Kind::Llama => {
            bos = if settings.flag("add_bos_token")?.unwrap_or(true) { Some(settings.content("bos_token", kind)?) } else { None };
            eos =
                if settings.flag("add_eos_token")?.unwrap_or(false) { Some(settings.content("eos_token", kind)?) } else { None };
            let around = |text: &'static str, segment: u32| {
                let (before, after) = (bos.as_deref().map(|t| (t, segment)), eos.as_deref().map(|t| (t, segment)));
                before.into_iter().chain([(text, segment)]).chain(after)
            };
            (around(FIRST, 0).collect(), around(FIRST, 0).chain(around(SECOND, 1)).collect())
        }
        _ => (
            vec![("[CLS]", 0), (FIRST, 0), ("[SEP]", 0)],
            vec![("[CLS]", 0), (FIRST, 0), ("[SEP]", 0), (SECOND, 1), ("[SEP]", 1)],
        ),
    };
    let processor = frame(path, tokenizer, &single, &pair)?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}
