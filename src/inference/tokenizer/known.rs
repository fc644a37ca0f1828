//! Whether a tokeniser knows anything of a text: a model answers one of another script with as much confidence as any other.

use super::TextTokenizer;

/// Words of more bytes are unknown to some tokenisers as a whole (WordPiece: 100 characters).
const WORD: usize = 100;

impl TextTokenizer {
    /// The id that stands for what is not in the vocabulary; byte-level tokenisers have none.
    pub fn unknown(&self) -> Option<u32> {
        ["[UNK]", "<unk>"].into_iter().find_map(|token| self.id(token))
    }

    /// Whether at least one token of a text is in the vocabulary. A text that the tokeniser fails on counts as known: who tokenises it
    /// next tells the error.
    pub fn knows(&self, text: &str) -> bool {
        let Some(unknown) = self.unknown() else { return !text.trim().is_empty() };
        let plain = |word: &str| word.len() <= WORD && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if text.split_ascii_whitespace().any(plain) && self.knows_ascii(unknown) {
            return true;
        }
        self.plain(text, self.max_tokens()).map_or(true, |(ids, _)| ids.iter().any(|id| *id != unknown))
    }

    /// Whether every word of ASCII's letters and digits has a known token: then such a text need not be tokenised to be known.
    fn knows_ascii(&self, unknown: u32) -> bool {
        *self.ascii.get_or_init(|| {
            let known =
                |text: &str| self.plain(text, self.max_tokens()).is_ok_and(|(ids, _)| !ids.is_empty() && !ids.contains(&unknown));
            let signs = (b'0'..=b'9').chain(b'a'..=b'z').chain(b'A'..=b'Z').map(char::from);
            // A sign that begins a word, and one that goes on with it, may be two tokens.
            signs.into_iter().all(|sign| known(&sign.to_string()) && known(&format!("q{sign}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::TextTokenizer;
    use std::path::Path;

    #[test]
    fn a_text_of_another_script_is_not_known() {
        let starter = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
            TextTokenizer::open(&folder, 64).unwrap()
        };
        let english = starter("sentiment-en");
        assert!(english.unknown().is_some_and(|unknown| english.knows_ascii(unknown)));
        for known in ["good", "a", "9", "😡 good", "naïve", "good-bye", "!", "好good 好"] {
            assert!(english.knows(known), "{known:?}");
        }
        let long = "a".repeat(1_000);
        for unknown in ["房间很脏", "😡😡😡", "אני שונא", "\u{200b}\u{200b}", " ", long.as_str()] {
            assert!(!english.knows(unknown), "{unknown:?}");
        }
        assert!(starter("sentiment-zh").knows("房间很脏"));
    }
}
