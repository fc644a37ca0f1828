//! A tokeniser from both sides: prompts into ids, control tokens only where a template has put them, and ids back into bytes.

use super::super::template::Rendered;
use super::super::tokenizer::{check_tables, contained};
use super::super::{InferenceError, elsewhere};
use super::bytes;
use super::decode::Decoder;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// A special token of the tokeniser.
#[derive(Debug)]
struct Special {
    text: String,
    id: u32,
    /// White space on that side belongs to the token.
    left: bool,
    right: bool,
}

/// The vocabulary of a causal model.
pub struct Vocabulary {
    /// Finds no special token in a text.
    first: Tokenizer,
    /// The same for a text that goes on behind a special token, where it is another.
    rest: Option<Tokenizer>,
    specials: Vec<Special>,
    controls: Vec<String>,
    bytes: Vec<Option<Box<[u8]>>>,
    /// What the tokeniser puts before a text that has no template.
    prefix: Vec<u32>,
    ends: Vec<u32>,
}

impl Vocabulary {
    /// Reads `tokenizer.json`, and which tokens end a text: `eos_token_id` of `generation_config.json`, else of `config.json`, and
    /// the `eos_token` of `tokenizer_config.json`.
    pub fn open(folder: &Path) -> Result<Self, InferenceError> {
        let path = folder.join("tokenizer.json");
        let text =
            std::fs::read_to_string(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
        let mut vocabulary = Self::parse(&text, &path)?;
        let config = |name: &str| -> Result<Value, InferenceError> {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| InferenceError::Malformed { path, cause: e.to_string() }),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
                Err(e) => Err(InferenceError::Read { path, cause: e.to_string() }),
            }
        };
        let listed = |value: &Value| -> Vec<u32> {
            let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
            value.as_array().map_or_else(|| one(value).into_iter().collect(), |list| list.iter().filter_map(one).collect())
        };
        let mut ends = listed(&config("generation_config.json")?["eos_token_id"]);
        if ends.is_empty() {
            ends = listed(&config("config.json")?["eos_token_id"]);
        }
        let eos = &config("tokenizer_config.json")?["eos_token"];
        ends.extend(eos.as_str().or_else(|| eos["content"].as_str()).and_then(|text| vocabulary.first.token_to_id(text)));
        ends.sort_unstable();
        ends.dedup();
        vocabulary.ends = ends;
        Ok(vocabulary)
    }

    /// From the text of a `tokenizer.json`, without ends.
    pub fn parse(text: &str, path: &Path) -> Result<Self, InferenceError> {
        let malformed = |cause: String| InferenceError::Malformed { path: PathBuf::from(path), cause };
        if let Some(cause) = elsewhere::pointer(text.as_bytes()) {
            return Err(malformed(cause));
        }
        let mut document: Value = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
        if !document.is_object() {
            return Err(malformed("it is no object, as that of a tokeniser is".to_owned()));
        }
        check_tables(text.as_bytes()).map_err(malformed)?;
        document["truncation"] = Value::Null;
        document["padding"] = Value::Null;
        let build = |document: &Value| {
            let mut built = contained(|| Tokenizer::from_bytes(document.to_string().as_bytes())).map_err(malformed)?;
            built.set_encode_special_tokens(true);
            Ok(built)
        };
        let first = build(&document)?;
        let rest = behind(&mut document["pre_tokenizer"]).then(|| build(&document)).transpose()?;
        let mut specials: Vec<Special> = Vec::new();
        for (id, token) in
            first.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special && !token.content.is_empty())
        {
            specials.push(Special { text: token.content, id, left: token.lstrip, right: token.rstrip });
        }
        // The longest is found first.
        specials.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then_with(|| a.id.cmp(&b.id)));
        let controls = specials.iter().map(|special| special.text.clone()).collect();
        let prefix = match contained(|| first.encode_fast("", true)) {
            Ok(empty) => empty.get_ids().first().copied().into_iter().collect(),
            Err(cause) => return Err(malformed(cause)),
        };
        let tokens: HashMap<String, u32> = first.get_vocab(true);
        let special: Vec<u32> = specials.iter().map(|special| special.id).collect();
        let bytes = bytes::by_id(&tokens, &special, &document["decoder"]).map_err(malformed)?;
        Ok(Self { first, rest, specials, controls, bytes, prefix, ends: Vec::new() })
    }

    /// Ids that end a text.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// What the tokeniser puts before a text that has no template.
    pub fn begin(&self) -> &[u32] {
        &self.prefix
    }

    /// The texts of the special tokens, which no message may contain as such.
    pub fn controls(&self) -> &[String] {
        &self.controls
    }

    /// One more than the highest id.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What a token adds to a text; `None` for special tokens and for ids without a token.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes.get(id as usize)?.as_deref()
    }

    /// The text of ids, without special tokens.
    pub fn text(&self, ids: &[u32]) -> String {
        let mut decoder = Decoder::default();
        let mut text: String = ids.iter().filter_map(|id| self.bytes(*id)).map(|bytes| decoder.push(bytes)).collect();
        text.push_str(decoder.end());
        text
    }

    /// A prompt: special tokens as the template has them, everything else as plain text. `begin` puts the tokeniser's own first
    /// token before it, as a text without a template gets it.
    pub fn encode(&self, prompt: &Rendered, begin: bool) -> Result<Vec<u32>, InferenceError> {
        let mut ids = if begin { self.prefix.clone() } else { Vec::new() };
        let mut rest = prompt.marked();
        let (mut is_first, mut trim) = (true, false);
        loop {
            let found = rest.char_indices().find_map(|(at, _)| {
                self.specials.iter().find(|special| rest[at..].starts_with(&special.text)).map(|special| (at, special))
            });
            let mut piece = found.map_or(rest, |(at, _)| &rest[..at]);
            if trim {
                piece = piece.trim_start();
            }
            if found.is_some_and(|(_, special)| special.left) {
                piece = piece.trim_end();
            }
            if !piece.is_empty() {
                ids.extend(self.plain(&prompt.undone(piece), is_first)?);
            }
            let Some((at, special)) = found else { return Ok(ids) };
            ids.push(special.id);
            (is_first, trim) = (false, special.right);
            rest = &rest[at + special.text.len()..];
        }
    }

    /// A text without any special token, as it stands at the beginning or behind one.
    pub fn plain(&self, text: &str, is_first: bool) -> Result<Vec<u32>, InferenceError> {
        let (mut ids, mut left) = (Vec::new(), vec![(text, is_first)]);
        while let Some((part, is_first)) = left.pop() {
            let found = self.pieces(part, is_first)?;
            let Some(special) = self.specials.iter().find(|special| found.contains(&special.id)) else {
                ids.extend(found);
                continue;
            };
            // A model of pieces may have the text of a special token as a piece: then it is cut behind the first character of each.
            let mut parts = Vec::new();
            let mut rest = part;
            while let Some(cut) = behind_first(rest, &special.text).filter(|cut| *cut < rest.len()) {
                let (before, after) = rest.split_at(cut);
                parts.push((before, is_first && parts.is_empty()));
                rest = after;
            }
            if parts.is_empty() {
                let cause =
                    format!("a text without control tokens was read as `{}`, which is the tokeniser's own doing", special.text);
                return Err(InferenceError::Poison(cause));
            }
            parts.push((rest, false));
            left.extend(parts.into_iter().rev());
        }
        Ok(ids)
    }

    fn pieces(&self, text: &str, is_first: bool) -> Result<Vec<u32>, InferenceError> {
        let tokenizer = self.rest.as_ref().filter(|_| !is_first).unwrap_or(&self.first);
        let encoding = contained(|| tokenizer.encode_fast(text, false)).map_err(InferenceError::Poison)?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// Where the first character ends with which a text that is looked for begins.
fn behind_first(text: &str, wanted: &str) -> Option<usize> {
    let at = text.find(wanted)?;
    Some(at + text[at..].chars().next()?.len_utf8())
}

/// Changes a pre-tokeniser that puts a blank before the first word alone into one that puts none; whether it was one.
fn behind(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) if fields.get("prepend_scheme").and_then(Value::as_str) == Some("first") => {
            fields.insert("prepend_scheme".into(), "never".into());
            true
        }
        Value::Object(fields) => fields.values_mut().map(behind).fold(false, |any, one| any | one),
        Value::Array(list) => list.iter_mut().map(behind).fold(false, |any, one| any | one),
        _ => false,
    }
}
