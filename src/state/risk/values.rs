//! A value as it is written in JSON, read as what a feature needs.

use crate::config::risk::{Comparison, Filter, Operand};
use crate::event::{Rejection, wrong};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Longest name of an entity or an event, bytes.
const NAME_BYTES: usize = 512;

pub fn number(path: &str, text: &str) -> Result<f64, Rejection> {
    if let Some(number) = as_number(text) {
        return if number.is_finite() { Ok(number) } else { Err(not_finite(path)) };
    }
    match serde_json::from_str::<String>(text).ok().and_then(|text| text.parse::<f64>().ok()) {
        Some(number) if !number.is_finite() => Err(not_finite(path)),
        _ => Err(ill_typed(path, text, "a finite number")),
    }
}

/// A text, or an integer as text.
pub fn name<'t>(path: &str, text: &'t str) -> Result<Cow<'t, str>, Rejection> {
    let name: Cow<'t, str> = if text.starts_with('"') {
        serde_json::from_str(text).map(|Borrowed(name)| name).map_err(|_| ill_typed(path, text, "a string or an integer"))?
    } else if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        text.into()
    } else {
        return Err(ill_typed(path, text, "a string or an integer"));
    };
    match &*name {
        "" => Err(Rejection::new("empty_name", format!("field `{path}` is empty")).at(path)),
        long if long.len() > NAME_BYTES => {
            Err(Rejection::new("string_too_long", format!("{} bytes, the limit is {NAME_BYTES}", long.len())).at(path))
        }
        nul if nul.contains('\0') => Err(Rejection::new("nul_character", "a string holds U+0000").at(path)),
        _ => Ok(name),
    }
}

/// 1.0 or 0.0.
pub fn label(path: &str, text: &str) -> Result<f64, Rejection> {
    match (text, as_number(text)) {
        ("true", _) => Ok(1.0),
        ("false", _) => Ok(0.0),
        (_, Some(number)) if number == 1.0 || number == 0.0 => Ok(number.abs()),
        _ => Err(ill_typed(path, text, "true or false, 1 or 0")),
    }
}

/// Whether a filter holds of a value.
pub fn holds(filter: &Filter, text: &str) -> bool {
    let equals = |equal: bool| equal == (filter.comparison == Comparison::Equal);
    match &filter.operand {
        Operand::Number(operand) => as_number(text).is_some_and(|number| match filter.comparison {
            Comparison::Equal => number == *operand,
            Comparison::NotEqual => number != *operand,
            Comparison::Less => number < *operand,
            Comparison::LessOrEqual => number <= *operand,
            Comparison::Greater => number > *operand,
            Comparison::GreaterOrEqual => number >= *operand,
        }),
        Operand::Text(operand) => serde_json::from_str::<Borrowed<'_>>(text).is_ok_and(|Borrowed(text)| equals(text == *operand)),
        Operand::Flag(operand) => text.parse::<bool>().is_ok_and(|flag| equals(flag == *operand)),
    }
}

/// 64 bits of the SHA-256 of a text: nobody can choose two ids that are taken for one another by trying a few.
pub fn fingerprint(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A text that is copied only where it holds escapes.
#[derive(serde::Deserialize)]
struct Borrowed<'t>(#[serde(borrow)] Cow<'t, str>);

/// The grammar of JSON was checked; beyond the range of f64 it is infinite.
fn as_number(text: &str) -> Option<f64> {
    text.starts_with(|sign: char| sign == '-' || sign.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn not_finite(path: &str) -> Rejection {
    Rejection::new("not_finite", format!("field `{path}` is not a finite number")).at(path)
}

fn ill_typed(path: &str, text: &str, expected: &str) -> Rejection {
    wrong(path, &serde_json::from_str(text).unwrap_or(Value::Null), expected)
}
