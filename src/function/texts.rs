//! What the text functions share: how long a text may be, numbers of an answer, errors.

use super::CallError;
use super::passed::Paths;
use crate::event::Rejection;
use crate::inference::InferenceError;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Options of the functions that score a text.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextOptions {
    /// A text that is longer than the model sees is cut, and its prediction says `truncated`; one of more tokens than this is
    /// rejected. Counted before anything is tokenised: words and marks, at least one token each, and bytes, of which an English
    /// token has about five. Default 20,000.
    pub max_text_tokens: usize,
    /// Also writes the whole event, as `event`, for the next pipeline of a chain. Default false.
    pub pass_event: bool,
    /// Dotted path of the text or whole number that becomes the record's key; of a list the first that the event has. Default: the
    /// event's own key.
    pub output_key: Paths,
}

/// Bytes that a token may have on average.
const BYTES_A_TOKEN: usize = 5;

impl Default for TextOptions {
    fn default() -> Self {
        Self { max_text_tokens: 20_000, pass_event: false, output_key: Paths::default() }
    }
}

impl TextOptions {
    /// Reads the options of a function; the error says what to change.
    pub fn of(function: &str, options: &Map<String, Value>) -> Result<Self, String> {
        let options: Self =
            serde_json::from_value(Value::Object(options.clone())).map_err(|cause| format!("{function}: options: {cause}"))?;
        options.output_key.check(function)?;
        match options.max_text_tokens {
            0 => Err(format!("{function}: options: `max_text_tokens` must be at least 1")),
            _ => Ok(options),
        }
    }

    /// Bytes of a text at most, whatever it is made of.
    pub fn most_bytes(&self) -> usize {
        self.max_text_tokens.saturating_mul(BYTES_A_TOKEN)
    }

    /// Why a text is refused, if it is.
    pub fn check(&self, text: &str) -> Option<Rejection> {
        let (max, bytes) = (self.max_text_tokens, self.most_bytes());
        let found = if text.len() > bytes {
            format!("{} bytes", text.len())
        } else if text.len() > max && more_pieces(text, max) {
            format!("more than {max} words and marks")
        } else {
            return None;
        };
        let detail = format!("{found}; the limit `max_text_tokens` is {max} tokens, {bytes} bytes at most");
        Some(Rejection::new("text_too_long", detail).at("text"))
    }
}

/// Whether a text has more than `max` words and marks. Every one costs a token or more; scripts that are written without blanks
/// cost one a character.
fn more_pieces(text: &str, max: usize) -> bool {
    let (mut pieces, mut in_word) = (0, false);
    for character in text.chars() {
        let of_word = character.is_alphanumeric() && character < '\u{2e80}';
        let begins = if of_word { !in_word } else { !character.is_whitespace() };
        in_word = of_word;
        pieces += usize::from(begins);
        if pieces > max {
            return true;
        }
    }
    false
}

/// Why there is no label: the model knows no token of the text.
pub const UNKNOWN_TEXT: &str = "unknown_text";

/// Why a text is refused of which the model would see unknown tokens alone.
pub fn unknown() -> Rejection {
    let detail = "the model knows none of its tokens; it is of a language or script that the model was not made for";
    Rejection::new(UNKNOWN_TEXT, detail).at("text")
}

/// A number of a model's answer, rounded to seven decimals: all that `f32` holds, and short when printed.
pub fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1e7).round() / 1e7
}

/// What the caller does after a failed call.
pub fn call_error(error: InferenceError) -> CallError {
    match error {
        InferenceError::Poison(cause) => CallError::Poison(cause),
        other => CallError::Fatal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a text of very many tokens that is let through because its words are short, long, marks, or not divided by
    /// blanks; one within the limit that is refused.
    #[test]
    fn a_text_beyond_the_limit_is_refused_however_it_is_written() {
        let refused = |options: &TextOptions, text: &str| options.check(text).map(|rejection| rejection.code);
        let default = TextOptions::default();
        for long in ["a ", "!", "word ", "中", "ab.", "Σίσυφος "] {
            assert_eq!(refused(&default, &long.repeat(100_000)), Some("text_too_long"), "{long:?}");
        }
        assert_eq!(refused(&default, &"zxq".repeat(34_000)), Some("text_too_long"), "one word of very many tokens");
        for short in ["word ".repeat(20_000), "中".repeat(20_000), "a.".repeat(10_000), " ".repeat(90_000) + "x"] {
            assert_eq!(refused(&default, &short), None, "{:.10}", short);
        }
        let two = TextOptions::of("f", serde_json::json!({ "max_text_tokens": 2 }).as_object().unwrap()).unwrap();
        assert_eq!((refused(&two, "a b"), refused(&two, "a b c"), refused(&two, "naïve x")), (None, Some("text_too_long"), None));
    }

    #[test]
    fn options_that_are_none_are_refused() {
        for (wrong, named) in [
            ("{\"max_tokens\": 2}", "max_tokens"),
            ("{\"max_text_tokens\": 0}", "max_text_tokens"),
            ("{\"output_key\": \"a..b\"}", "output_key"),
        ] {
            let error = TextOptions::of("embed", &serde_json::from_str(wrong).unwrap()).unwrap_err();
            assert!(error.starts_with("embed: ") && error.contains(named), "{error}");
        }
    }
}
