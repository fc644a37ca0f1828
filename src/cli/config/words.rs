//! What a schema says, in words.

use serde_json::Value;

/// The description in one line, without the brackets of links into the source.
pub fn of(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

/// Without the sentence that tells the default, and what that says.
pub fn parted(text: &str) -> (String, Option<String>) {
    let begins = |at: usize| text[..at].is_empty() || text[..at].ends_with(". ") || text[..at].ends_with("; ");
    let Some(at) = text.match_indices("Default").map(|(at, _)| at).find(|at| begins(*at)) else {
        return (text.to_owned(), None);
    };
    let rest = &text[at..];
    let ends = |(end, _): &(usize, &str)| rest[end + 2..].starts_with(|next: char| next.is_uppercase() || next == '`');
    let end = rest.match_indices(". ").find(ends).map_or(rest.len(), |(end, _)| end + 1);
    let told = rest[..end].trim_start_matches("Default").trim_start_matches(':').trim().trim_end_matches('.');
    let meaning = format!("{}{}", &text[..at], rest[end..].trim_start());
    (meaning.trim().to_owned(), Some(told.to_owned()))
}

/// A value as TOML has it.
pub fn value(value: &Value) -> String {
    match value {
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Object(table) if table.is_empty() => "none".to_owned(),
        Value::String(text) if text.is_empty() => "none".to_owned(),
        other => format!("`{other}`"),
    }
}

/// The type, with the unit that the end of the name tells.
pub fn kind(name: &str, schema: &Value) -> String {
    let unit = [("_ms", "milliseconds"), ("_bytes", "bytes"), ("_mb", "MiB"), ("_minutes", "minutes")];
    let unit = unit.into_iter().find(|(end, _)| name.ends_with(end));
    let mut kinds = kinds(schema);
    kinds.dedup();
    match (kinds.join(" or "), unit) {
        (kind, Some((_, unit))) => format!("{kind}, {unit}"),
        (kind, None) => kind,
    }
}

fn kinds(schema: &Value) -> Vec<String> {
    let choices = choices(schema);
    if !choices.is_empty() {
        return vec![choices.join(" · ")];
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().flat_map(kinds).collect();
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return vec!["any value".to_owned()],
    };
    kinds.into_iter().filter(|kind| *kind != "null").map(|kind| one(kind, schema)).collect()
}

fn one(kind: &str, schema: &Value) -> String {
    match (kind, schema["format"].as_str()) {
        ("string", Some("span")) => "time, such as `30m`".to_owned(),
        ("string", Some("comparison")) => "comparison".to_owned(),
        ("string", _) => "text".to_owned(),
        ("integer", _) => "whole number".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        ("array", _) => format!("list of {}", many(&kinds(&schema["items"]).join(" or "))),
        ("object", _) if schema["additionalProperties"].is_object() => {
            format!("table of {}", many(&kinds(&schema["additionalProperties"]).join(" or ")))
        }
        ("object", _) => "table".to_owned(),
        (other, _) => other.to_owned(),
    }
}

fn many(kind: &str) -> String {
    match kind {
        "text" | "number" | "whole number" | "table" => format!("{kind}s"),
        other => other.to_owned(),
    }
}

/// The words of a choice.
fn choices(schema: &Value) -> Vec<String> {
    let of = |one: &Value| -> Vec<Value> {
        let listed = one["enum"].as_array().cloned().unwrap_or_default();
        listed.into_iter().chain(one.get("const").cloned()).filter(|word| !word.is_null()).collect()
    };
    let words = schema["oneOf"].as_array().map_or_else(|| of(schema), |all| all.iter().flat_map(of).collect());
    words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::parted;

    /// Would catch: half a sentence in a table, a default that is lost.
    #[test]
    fn the_default_is_taken_out_of_the_words() {
        for (text, meaning, told) in [
            ("Bytes at most. Default 64 MiB. At full it waits.", "Bytes at most. At full it waits.", Some("64 MiB")),
            ("Default: what `x` says.", "", Some("what `x` says")),
            ("`a` (default) or `b`.", "`a` (default) or `b`.", None),
            ("Least cosine. Default 0.35: between 0.5 and 0.25.", "Least cosine.", Some("0.35: between 0.5 and 0.25")),
        ] {
            assert_eq!(parted(text), (meaning.to_owned(), told.map(str::to_owned)), "{text}");
        }
    }
}
