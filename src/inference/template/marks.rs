//! Marks: characters of a private plane that stand for the first character of a control token's text, wherever a message has it.

/// First of the characters that marks are taken from; each stands in no message.
const PLANE: u32 = 0xF_0000;

/// The marks of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// The plane's characters from here on are in no message.
    base: u32,
    /// Every character that a mark may stand for is found by its place here.
    originals: Vec<char>,
}

impl Marks {
    /// Marks that are in none of these texts.
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let highest = texts.flat_map(str::chars).map(u32::from).filter(|c| (PLANE..0x10_0000).contains(c)).max();
        // A text that has the last character of the plane leaves no room above it; then the characters of the next plane are taken.
        let base = highest.map_or(PLANE, |highest| if highest < 0xF_FF00 { highest + 1 } else { 0x10_0000 });
        Self { base, originals: ('\u{20}'..'\u{7f}').chain(['\u{2581}', '｜', '\u{feff}']).collect() }
    }

    /// The mark that stands for a character, where it may begin a control token.
    fn of(&self, original: char) -> Option<char> {
        let at = self.originals.iter().position(|c| *c == original)?;
        char::from_u32(self.base + 1 + u32::try_from(at).ok()?)
    }

    /// The mark of the place where a message ends that is continued.
    pub fn end(&self) -> char {
        char::from_u32(self.base).unwrap_or('\u{F0000}')
    }

    /// The text with a mark for the first character of every control token in it, and of what could become one with the text that
    /// a template puts behind it.
    pub fn escape(&self, text: &str, controls: &[String]) -> String {
        let begins = |at: usize| {
            let rest = &text[at..];
            controls
                .iter()
                .any(|control| !control.is_empty() && (rest.starts_with(control.as_str()) || control.starts_with(rest)))
        };
        let of = |(at, character): (usize, char)| if begins(at) { self.of(character).unwrap_or('\u{fffd}') } else { character };
        text.char_indices().map(of).collect()
    }

    fn original(&self, character: char) -> Option<char> {
        let at = u32::from(character).checked_sub(self.base + 1)?;
        self.originals.get(usize::try_from(at).ok()?).copied()
    }
}

/// A text for a model. Control tokens are found in it before the marks are undone, and plain text after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    marks: Marks,
}

impl Rendered {
    pub(super) fn new(text: String, marks: Marks) -> Self {
        Self { text, marks }
    }

    /// Texts one behind the other: where a flag is set, control tokens are found in the text; the others were written by somebody
    /// else, and hold none.
    pub fn joined(parts: &[(&str, bool)], controls: &[String]) -> Self {
        let marks = Marks::new(parts.iter().map(|(text, _)| *text));
        let of = |(text, trusted): &(&str, bool)| if *trusted { (*text).to_owned() } else { marks.escape(text, controls) };
        Self { text: parts.iter().map(of).collect(), marks }
    }

    /// With marks in it; for finding control tokens.
    pub fn marked(&self) -> &str {
        &self.text
    }

    /// A piece of it as it was written.
    pub fn undone(&self, piece: &str) -> String {
        piece.chars().map(|character| self.marks.original(character).unwrap_or(character)).collect()
    }

    /// All of it as it was written: what transformers renders.
    pub fn text(&self) -> String {
        self.undone(&self.text)
    }
}
