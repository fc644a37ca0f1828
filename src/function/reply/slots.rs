//! Placeholders of a reply, such as `{name}`, and what fills them.

use serde_json::Value;
use std::collections::BTreeMap;

/// Characters of a value at most: more is no name or number, and has no place in an approved reply.
pub const MOST_CHARACTERS: usize = 200;

/// A part of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// By its name.
    Slot(String),
}

/// Cuts a reply at its placeholders. `{{` and `}}` are braces; the error says which brace is neither.
pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            plain.push_str(&rest[..1]);
            rest = &rest[2..];
            continue;
        }
        let name = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')).filter(|(name, _)| is_name(name));
        let Some((name, after)) = name else {
            let shown: String = rest.chars().take(20).collect();
            return Err(format!("{shown:?} begins no placeholder such as {{name}}; write {{{{ and }}}} for braces"));
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Slot(name.to_owned()));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// Letters, digits, `_` and `-`, in parts with dots between.
fn is_name(name: &str) -> bool {
    name.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-'))
}

/// The reply with its values in place; `None` when one is not there, is not fit for a reply, or is empty. A value's own braces are text.
pub fn filled(pieces: &[Piece], values: &BTreeMap<String, String>) -> Option<String> {
    let one = |piece: &Piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        Piece::Slot(name) => values.get(name).map(|value| value.trim().to_owned()).filter(|value| is_fit(value)),
    };
    pieces.iter().map(one).collect()
}

fn is_fit(value: &str) -> bool {
    (1..=MOST_CHARACTERS).contains(&value.chars().count()) && !value.chars().any(char::is_control)
}

/// A text or a number of an event as a value.
pub fn value(found: &Value) -> Option<String> {
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a brace that is sent by mistake, a value that is taken for a placeholder, one that breaks a reply apart.
    #[test]
    fn placeholders_are_filled_or_the_reply_is_not_made() {
        let made = |text: &str, value: &str| filled(&pieces(text).unwrap(), &[("a.b".to_owned(), value.to_owned())].into());
        assert_eq!(made("Hi {a.b}, {{x}} é!", " {c} ").as_deref(), Some("Hi {c}, {x} é!"));
        assert_eq!(made("no slot", "").as_deref(), Some("no slot"));
        for unfit in ["", " ", "a\nb", "\u{0}", &"x".repeat(201)] {
            assert_eq!(made("Hi {a.b}", unfit), None, "{unfit:?}");
        }
        assert_eq!(made("Hi {a}", "x"), None);
        for wrong in ["{", "}", "a {b", "{}", "{a b}", "{a..b}", "é } {x}"] {
            assert!(pieces(wrong).unwrap_err().contains("no placeholder"), "{wrong}");
        }
    }
}
