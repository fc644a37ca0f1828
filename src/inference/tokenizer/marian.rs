//! Marian's tokeniser: `source.spm` cuts a text into pieces, `vocab.json` numbers them (not the SentencePiece model), and `target.spm`
//! cut the texts that were learnt to write. A vocabulary of several target languages has a code such as `>>fra<<` for each, which
//! stands before the text. Models that fall back to bytes read what no piece has as `<0xE4>` and so on, and write it so too.

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
    /// Whether what no piece has is read as bytes.
    source_bytes: bool,
    ids: AHashMap<String, u32>,
    /// The tokens that can be written, by id.
    tokens: Vec<Option<String>>,
    /// Whether what is written may hold single bytes.
    bytes: bool,
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
        let (source, source_bytes) = sentence_piece::bare(&folder.join("source.spm"), &settings, Kind::Marian)?;
        // What it cut is written by the names of its pieces; beside those only whether it falls back to bytes matters.
        let (_, bytes) = sentence_piece::bare(&folder.join("target.spm"), &settings, Kind::Marian)?;
        let path = folder.join("vocab.json");
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
        Ok(Self { source, source_bytes, ids, tokens, bytes, unknown, end, special, languages, max_tokens })
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
        let bare = kept.trim_start_matches(' ');
        let signed = bare.starts_with(BLANK).then(|| format!("{BLANK}{bare}"));
        let read = signed.as_deref().unwrap_or(kept);
        let encoding = contained(|| self.source.encode(read, false)).map_err(InferenceError::Poison)?;
        for token in encoding.get_tokens() {
            if self.source_bytes && self.source.token_to_id(token).is_none() {
                ids.extend(token.bytes().map(|byte| self.id(&format!("<0x{byte:02X}>"))));
            } else {
                ids.push(self.id(token));
            }
        }
        let truncated = kept.len() < words.len() || ids.len() > room;
        ids.truncate(room);
        ids.push(self.end);
        Ok(Source { ids, truncated })
    }

    fn id(&self, token: &str) -> u32 {
        self.ids.get(token).copied().unwrap_or(self.unknown)
    }

    /// The text of ids that were written, without special tokens. Bytes that are no character become U+FFFD, each by itself, as
    /// SentencePiece has it.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens =
            ids.iter().filter(|id| !self.special.contains(id)).filter_map(|&id| self.tokens.get(id as usize)?.as_deref());
        let (mut text, mut bytes) = (String::new(), Vec::new());
        for token in tokens {
            match byte_of(token).filter(|_| self.bytes) {
                Some(byte) => bytes.push(byte),
                None => {
                    characters(&mut bytes, &mut text);
                    text.push_str(token);
                }
            }
        }
        characters(&mut bytes, &mut text);
        text.replace(BLANK, " ").trim().to_owned()
    }
}

/// The byte that a token such as `<0xE4>` stands for.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Moves bytes behind a text, as characters.
fn characters(bytes: &mut Vec<u8>, text: &mut String) {
    let mut rest = bytes.as_slice();
    while let Err(error) = std::str::from_utf8(rest) {
        let (good, bad) = rest.split_at(error.valid_up_to());
        text.push_str(&String::from_utf8_lossy(good));
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &bad[1..];
    }
    text.push_str(&String::from_utf8_lossy(rest));
    bytes.clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Row {
        ids: Vec<u32>,
        text: String,
    }

    #[derive(serde::Deserialize)]
    struct Expected {
        read: Vec<Row>,
        written: Vec<Row>,
    }

    /// What transformers reads and writes with models that fall back to bytes (`tests/fixtures/seq2seq/make_bytes.py`). Would catch: a
    /// character that is unknown all the same, bytes that stay names, one mark for several bytes that are none.
    #[test]
    fn what_no_piece_has_is_bytes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/seq2seq/marian_bytes");
        let marian = Marian::open(&folder, 64).unwrap();
        let expected: Expected = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        assert!(expected.read.len() > 10 && expected.written.len() > 8);
        for Row { ids, text } in &expected.read {
            assert_eq!(marian.encode(text, None, 64).unwrap().ids, *ids, "{text:?}");
        }
        for Row { ids, text } in &expected.written {
            assert_eq!(marian.decode(ids), *text, "{ids:?}");
        }
    }

    #[test]
    fn bytes_are_told_by_their_names() {
        assert_eq!(["<0x00>", "<0xFf>"].map(byte_of), [Some(0), Some(255)]);
        assert!(["<0x+1>", "<0x1>", "<0x123>", "0x12", "<0x\u{e9}>"].into_iter().all(|token| byte_of(token).is_none()));
    }
}
