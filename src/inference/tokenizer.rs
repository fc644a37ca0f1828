//! `tokenizer.json` with our own limits: never any padding, and bounded work for a text of any length.

use super::InferenceError;
use std::path::Path;
use tokenizers::{Tokenizer, TruncationParams};

/// Characters looked at for each token that may be kept. An English word has about five; a text that needs more than this many
/// (long runs of blanks) is cut early and says so.
const CHARACTERS_A_TOKEN: usize = 32;

/// The token ids of one text, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Between 1 and the tokeniser's maximum.
    pub ids: Vec<u32>,
    /// Whether some of the text was left out.
    pub truncated: bool,
}

/// A tokeniser that keeps at most a given number of tokens.
pub struct TextTokenizer {
    inner: Tokenizer,
    max_tokens: usize,
}

impl TextTokenizer {
    /// Reads `folder/tokenizer.json`; the padding and truncation that the file asks for are overridden.
    pub fn open(folder: &Path, max_tokens: usize) -> Result<Self, InferenceError> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
        let malformed = |e: tokenizers::Error| InferenceError::Malformed { path: path.clone(), cause: e.to_string() };
        let mut inner = Tokenizer::from_bytes(&bytes).map_err(malformed)?;
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        inner.with_padding(None).with_truncation(Some(truncation)).map_err(malformed)?;
        Ok(Self { inner, max_tokens })
    }

    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Number of ids the tokeniser can give.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    pub fn encode(&self, text: &str) -> Result<Tokens, InferenceError> {
        let kept = head(text, self.max_tokens * CHARACTERS_A_TOKEN);
        let encoding = self.inner.encode_fast(kept, true).map_err(|e| InferenceError::Poison(e.to_string()))?;
        let truncated = kept.len() < text.len() || !encoding.get_overflowing().is_empty();
        Ok(Tokens { ids: encoding.get_ids().to_vec(), truncated })
    }
}

/// The first `characters` characters.
fn head(text: &str, characters: usize) -> &str {
    match text.char_indices().nth(characters) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(head("naïve 中文", 3), "naï");
        assert_eq!(head("中文", 9), "中文");
    }
}
