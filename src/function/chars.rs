//! Spans of a text: bytes inside, characters (Unicode scalars) in answers.

use std::ops::Range;

/// The characters of a text by their bytes.
pub struct Chars<'a> {
    text: &'a str,
    /// First byte of each character; empty for a text of ASCII, where both counts are the same.
    starts: Vec<usize>,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Characters before it.
    pub start: usize,
    /// Characters up to its end.
    pub end: usize,
    /// `text[start..end]`.
    pub text: String,
}

impl<'a> Chars<'a> {
    pub fn new(text: &'a str) -> Self {
        let starts = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(byte, _)| byte).collect() };
        Self { text, starts }
    }

    /// Characters that begin before a byte.
    fn before(&self, byte: usize) -> usize {
        if self.starts.is_empty() { byte.min(self.text.len()) } else { self.starts.partition_point(|start| *start < byte) }
    }

    /// The piece between two bytes, without white space at its ends; a character that a byte cuts belongs to it.
    pub fn span(&self, bytes: Range<usize>) -> Span {
        let mut start = bytes.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = bytes.end.clamp(start, self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        let piece = &self.text[start..end];
        let trimmed = piece.trim();
        let start = start + (piece.len() - piece.trim_start().len()).min(piece.len() - trimmed.len());
        Span { start: self.before(start), end: self.before(start + trimmed.len()), text: trimmed.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Would catch: bytes that are given for characters, a span whose ends do not cut its text out, a panic inside a character.
        #[test]
        fn a_span_is_its_own_text(text in "[a ß中😀ש\u{301}]{0,12}", a in 0usize..60, b in 0usize..60) {
            let span = Chars::new(&text).span(a.min(b)..a.max(b));
            let cut: String = text.chars().skip(span.start).take(span.end - span.start).collect();
            proptest::prop_assert_eq!(&cut, &span.text);
            proptest::prop_assert_eq!(span.text.trim(), &span.text);
        }
    }
}
