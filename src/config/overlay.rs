//! `MILLRACE_SECTION__FIELD` over the file's tables.

use std::collections::BTreeMap;
use toml::{Table, Value};

const PREFIX: &str = "MILLRACE_";
/// Fields that hold text whatever it looks like.
const TEXT: &[&str] = &[
    "brokers",
    "username",
    "password",
    "password_file",
    "url",
    "url_file",
    "listen",
    "level",
    "otlp_endpoint",
    "digest",
    "path",
    "topic",
];

/// Lays every `MILLRACE_A__B` over the table; returns the names that were used. A variable without `__` is not ours.
pub fn apply(table: &mut Table, env: &BTreeMap<String, String>) -> Vec<String> {
    let mut used = Vec::new();
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if path.len() >= 2 && path.iter().all(|part| !part.is_empty()) && set(table, &path, text) {
            used.push(name.clone());
        }
    }
    used
}

fn set(table: &mut Table, path: &[String], text: &str) -> bool {
    let (Some(first), Some(rest)) = (path.first(), path.get(1..)) else { return false };
    if rest.is_empty() {
        table.insert(first.clone(), value(first, text));
        return true;
    }
    // A name written with `-` or `.` in the file is reached with `_`.
    let known = table.keys().find(|key| plain(key) == plain(first)).cloned();
    match table.entry(known.unwrap_or_else(|| first.clone())).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, text),
        Value::Array(items) => element(items, &rest[0]).is_some_and(|inner| set(inner, &rest[1..], text)),
        _ => false,
    }
}

/// A pipeline by its name or its index.
fn element<'a>(items: &'a mut [Value], which: &str) -> Option<&'a mut Table> {
    let named = |item: &Value| item.get("name").and_then(Value::as_str).is_some_and(|name| plain(name) == plain(which));
    let index = items.iter().position(named).or_else(|| which.parse().ok())?;
    items.get_mut(index)?.as_table_mut()
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}

fn value(field: &str, text: &str) -> Value {
    let as_text = || Value::String(text.to_string());
    if TEXT.contains(&field) && !text.starts_with('[') {
        return as_text();
    }
    let parsed = toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"));
    parsed.unwrap_or_else(as_text)
}
