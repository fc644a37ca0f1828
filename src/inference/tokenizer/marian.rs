//! Marian's tokeniser: `source.spm` cuts a text into pieces, `vocab.json` numbers them (not the SentencePiece model), and `target.spm`
//! cut the texts that were learnt to write. A vocabulary of several target languages has a code such as `>>fra<<` for each, which
//! stands before the text.

use super::forms::{malformed, read};
use super::kind::Kind;
use super::settings::Settings;
use super::{CHARACTERS_A_TOKEN, contained, head, sentence_piece};
use crate::inference::InferenceError;
use ahash::AHashMap;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::Tokenizer;

/// What stands for a blank in a piece.
const BLANK: char = '▁';

/// The tokeniser of a Marian folder.
pub struct Marian {
    source: Tokenizer,
    ids: AHashMap<String, u32>,
    /// The tokens that can be written, by id.
    tokens: Vec<Option<String>>,
    unknown: u32,
    end: u32,
    /// Ids that add nothing to a text.
    special: Vec<u32>,
    /// Without `>>` and `<<`, sorted.
    languages: Vec<String>,
    max_tokens: usize,
}

/// A text as a network reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub ids: Vec<u32>,
    /// Whether its end was left out.
    pub truncated: bool,
}

impl Marian {
    pub fn open(folder: &Path, max_tokens: usize) -> Result<Self, InferenceError> {
        let settings = Settings::open(folder)?;
        let (source, _) = sentence_piece::bare(&folder.join("source.spm"), &settings, Kind::Marian)?;
        // What it cut is written by the names of its pieces; it is read so that a damaged folder is found now.
        let (_, bytes) = sentence_piece::bare(&folder.join("target.spm"), &settings, Kind::Marian)?;
        let path = folder.join("vocab.json");
        if bytes {
            let cause = "target.spm falls back to bytes for what it does not know; such models are not written with here";
            return Err(InferenceError::Unsupported { path: folder.join("target.spm"), cause: cause.to_owned() });
        }
        let ids = vocabulary(&path)?;
        let target = folder.join("target_vocab.json");
        let apart = settings.flag("separate_vocabs")?.unwrap_or(false);
        let written = if apart { vocabulary(&target)? } else { ids.clone() };
        let id = |key: &str| {
            let token = settings.content(key, Kind::Marian)?;
            ids.get(&token).copied().ok_or_else(|| malformed(&path, format!("it has no token `{token}`, the {key}")))
        };
        let (unknown, end) = (id("unk_token")?, id("eos_token")?);
        let special = ["unk_token", "eos_token", "pad_token"].into_iter();
        let special = special.map(|key| settings.content(key, Kind::Marian)).collect::<Result<Vec<_>, _>>()?;
        let special = special.iter().filter_map(|token| written.get(token).copied()).collect();
        let mut languages: Vec<String> = ids.keys().filter_map(|token| Some(code_of(token)?.to_owned())).collect();
        languages.sort_unstable();
        let count = written.values().max().map_or(0, |&id| id as usize + 1);
        let mut tokens = vec![None; count];
        written.into_iter().for_each(|(token, id)| tokens[id as usize] = Some(token));
        if max_tokens < 2 {
            let cause = format!("the model sees {max_tokens} tokens; a text and its end take 2");
            return Err(InferenceError::Unsupported { path, cause });
        }
        Ok(Self { source, ids, tokens, unknown, end, special, languages, max_tokens })
    }

    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// One more than the highest id of a source.
    pub fn vocabulary(&self) -> usize {
        self.ids.values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The languages that the model writes, as its codes name them; none for a model of one language.
    pub fn languages(&self) -> &[String] {
        &self.languages
    }

    /// The language whose code a text begins with, as its authors may write it.
    pub fn language_of<'a>(&self, text: &'a str) -> Option<&'a str> {
        let (token, _) = leading(text)?;
        self.ids.contains_key(token).then(|| code_of(token)).flatten()
    }

    /// A text up to `most` tokens, with its end. `language` puts that code before it, and the text is nothing but words; else a code at its
    /// beginning is one.
    pub fn encode(&self, text: &str, language: Option<&str>, most: usize) -> Result<Source, InferenceError> {
        let most = most.min(self.max_tokens).max(2);
        let (code, words) = match language {
            Some(language) => (Some(format!(">>{language}<<")), text),
            None => leading(text).map_or((None, text), |(code, rest)| (Some(code.to_owned()), rest)),
        };
        let mut ids: Vec<u32> = code.iter().map(|code| self.id(code)).collect();
        let room = most - 1;
        let kept = head(words, room.saturating_mul(CHARACTERS_A_TOKEN));
        // SentencePiece puts a blank before every text, the tokenizers library before none that begins with its sign.
        let signed = kept.trim_start().strip_prefix(BLANK).map(|_| format!("{BLANK}{}", kept.trim_start()));
        let read = signed.as_deref().unwrap_or(kept);
        let encoding = contained(|| self.source.encode(read, false)).map_err(InferenceError::Poison)?;
        ids.extend(encoding.get_tokens().iter().map(|token| self.id(token)));
        let truncated = kept.len() < words.len() || ids.len() > room;
        ids.truncate(room);
        ids.push(self.end);
        Ok(Source { ids, truncated })
    }

    fn id(&self, token: &str) -> u32 {
        self.ids.get(token).copied().unwrap_or(self.unknown)
    }

    /// The text of ids that were written, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens =
            ids.iter().filter(|id| !self.special.contains(id)).filter_map(|&id| self.tokens.get(id as usize)?.as_deref());
        let text: String = tokens.collect();
        text.replace(BLANK, " ").trim().to_owned()
    }
}

/// The language of a token that is a code.
fn code_of(token: &str) -> Option<&str> {
    token.strip_prefix(">>")?.strip_suffix("<<").filter(|language| !language.is_empty())
}

/// What has the form of a code at the beginning of a text, and the rest.
fn leading(text: &str) -> Option<(&str, &str)> {
    let end = text.strip_prefix(">>")?.find("<<")? + 4;
    Some(text.split_at(end))
}

fn vocabulary(path: &Path) -> Result<AHashMap<String, u32>, InferenceError> {
    let ids: BTreeMap<String, u32> = serde_json::from_slice(&read(path)?).map_err(|e| malformed(path, e))?;
    match ids.iter().find(|(_, id)| **id > 1 << 24) {
        Some((token, id)) => Err(malformed(path, format!("token `{token}` has the id {id}; ids up to 16,777,216 are read"))),
        None => Ok(ids.into_iter().collect()),
    }
}
