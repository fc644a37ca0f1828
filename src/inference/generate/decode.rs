//! Bytes of tokens into text, never half a character.

/// Holds back the bytes of a character that is not whole yet.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// The text that is whole now. Bytes that begin no character become U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    match error.error_len() {
                        None => {
                            self.pending = rest.to_vec();
                            return text;
                        }
                        Some(wrong) => {
                            text.push('\u{fffd}');
                            self.pending = rest[wrong..].to_vec();
                        }
                    }
                }
            }
        }
    }

    /// What is left when no more comes.
    pub fn end(&mut self) -> &'static str {
        let left = !self.pending.is_empty();
        self.pending.clear();
        if left { "\u{fffd}" } else { "" }
    }
}

/// Finds stop strings in a text that comes in pieces, and lets out only what can be none.
#[derive(Debug, Default)]
pub struct Stops {
    strings: Vec<String>,
    held: String,
}

impl Stops {
    pub fn new(strings: &[String]) -> Self {
        Self { strings: strings.iter().filter(|string| !string.is_empty()).cloned().collect(), held: String::new() }
    }

    /// What may go out, and whether a stop string has come: what stands before the first of them is then all.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.strings.iter().filter_map(|string| self.held.find(string.as_str())).min();
        if let Some(at) = found {
            let out = self.held[..at].to_owned();
            self.held.clear();
            return (out, true);
        }
        let begins = |at: &usize| self.strings.iter().any(|string| string.starts_with(&self.held[*at..]));
        let at = self.held.char_indices().map(|(at, _)| at).find(begins).unwrap_or(self.held.len());
        let kept = self.held.split_off(at);
        (std::mem::replace(&mut self.held, kept), false)
    }

    /// What was held back when no more comes.
    pub fn end(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// The text up to the end of its last whole sentence; the text itself where none ends.
pub fn complete_sentence(text: &str) -> &str {
    let mut end = None;
    let mut characters = text.char_indices().peekable();
    while let Some((_, character)) = characters.next() {
        let wide = matches!(character, '。' | '！' | '？');
        if !wide && !matches!(character, '.' | '!' | '?' | '…') {
            continue;
        }
        // Closing signs belong to the sentence.
        while characters
            .next_if(|(_, next)| matches!(next, '.' | '!' | '?' | '"' | '\'' | ')' | ']' | '”' | '’' | '」' | '』'))
            .is_some()
        {}
        if wide || characters.peek().is_none_or(|(_, next)| next.is_whitespace()) {
            end = Some(characters.peek().map_or(text.len(), |(at, _)| *at));
        }
    }
    end.map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Would catch: half a character let out, a byte lost, at any border between tokens.
        #[test]
        fn text_comes_out_whole_however_it_is_cut(text in "[a中🎉é<|]{0,24}", cuts in prop::collection::vec(1usize..4, 0..40)) {
            let (mut decoder, mut out, mut left, mut cuts) = (Decoder::default(), String::new(), text.as_bytes(), cuts.into_iter());
            while !left.is_empty() {
                let (piece, rest) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
                let piece = decoder.push(piece);
                prop_assert_eq!(piece.find(char::REPLACEMENT_CHARACTER), None);
                out += &piece;
                left = rest;
            }
            prop_assert_eq!(out + decoder.end(), text);
        }

        /// Would catch: a stop string that is missed at a border, or of which a part goes out.
        #[test]
        fn nothing_behind_a_stop_string_goes_out(text in "[abcx]{0,20}", sizes in prop::collection::vec(1usize..4, 1..20)) {
            let strings = ["abc".to_owned(), "ca".to_owned(), "bb".to_owned()];
            let expected = strings.iter().filter_map(|string| text.find(string.as_str()).map(|at| (at + string.len(), at))).collect::<Vec<_>>();
            let (mut stops, mut out, mut left, mut sizes, mut stopped) = (Stops::new(&strings), String::new(), text.as_str(), sizes.into_iter().cycle(), false);
            while !left.is_empty() && !stopped {
                let (piece, rest) = left.split_at(sizes.next().unwrap().min(left.len()));
                let (some, stop) = stops.push(piece);
                (out, left, stopped) = (out + &some, rest, stop);
            }
            prop_assert_eq!(stopped, !expected.is_empty());
            if stopped {
                prop_assert!(expected.iter().any(|(_, at)| out == text[..*at]), "{} of {}", out, text);
            } else {
                prop_assert_eq!(out + &stops.end(), text);
            }
        }
    }

    #[test]
    fn wrong_bytes_become_the_replacement_character() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"a\xff\xe4\xb8"), "a\u{fffd}");
        assert_eq!(decoder.push(b"x"), "\u{fffd}x");
        assert_eq!(decoder.push(b"\xf0\x9f"), "");
        assert_eq!(decoder.end(), "\u{fffd}");
    }

    #[test]
    fn a_text_is_cut_behind_its_last_sentence() {
        for (text, cut) in [
            ("It is late. We are sor", "It is late."),
            ("He said \"no.\" Then he le", "He said \"no.\""),
            ("Version 3.14 of the", "Version 3.14 of the"),
            ("你好。我们很", "你好。"),
            ("Why?! Becau", "Why?!"),
            ("All said.", "All said."),
            ("", ""),
        ] {
            assert_eq!(complete_sentence(text), cut);
        }
    }
}
