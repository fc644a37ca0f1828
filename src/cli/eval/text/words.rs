//! Words, and what two lists of them have in common.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;
use std::hash::Hash;

/// How often each run of `n` stands in a list.
pub fn grams<T: Eq + Hash>(list: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    list.windows(n).for_each(|gram| *counts.entry(gram).or_default() += 1);
    counts
}

/// How many of the one are in the other, each at most as often as there.
pub fn common<T: Eq + Hash>(of: &HashMap<&[T], usize>, within: &HashMap<&[T], usize>) -> usize {
    of.iter().map(|(gram, count)| within.get(gram).map_or(0, |other| *other.min(count))).sum()
}

/// The texts that people gave for one row: one, or a list.
pub fn references(wanted: &Value) -> Result<Vec<&str>> {
    let wrong = "it must be a text, or a list of texts";
    let texts: Vec<&str> = match wanted {
        Value::String(text) => vec![text],
        other => other.as_array().context(wrong)?.iter().map(|text| text.as_str().context(wrong)).collect::<Result<_>>()?,
    };
    ensure!(!texts.is_empty(), "the list is empty");
    Ok(texts)
}
