//! A bank of replies from a file, and what is wrong with one.

use super::options::{Entry, Table};
use super::slots::pieces;
use std::collections::HashMap;
use std::path::Path;

/// Replies of a bank at most.
const MOST_REPLIES: usize = 10_000;
/// Replies and examples together at most: each is a vector that every message is compared with.
const MOST_TEXTS: usize = 20_000;
/// Characters of a reply or an example at most.
const MOST_CHARACTERS: usize = 5_000;
/// Bytes of a file at most.
const MOST_BYTES: u64 = 32 << 20;
/// What a table may have.
const COLUMNS: [&str; 5] = ["text", "id", "intent", "tags", "when"];

/// The replies of a .jsonl, .csv or .tsv file, checked. A table has a line of column names; its `tags` and `when` are lists with `|`
/// between. The error names the file, the line or the reply, and what to change.
pub fn entries(path: &Path) -> Result<Vec<Entry>, String> {
    let at = |cause: String| format!("{}: {cause}", path.display());
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let text = file(path).map_err(at)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let entries = match ending.as_str() {
        "jsonl" => lines(text),
        "csv" => table(text, b','),
        "tsv" => table(text, b'\t'),
        _ => Err("a bank of replies ends in .jsonl, .csv or .tsv".to_owned()),
    };
    entries.and_then(checked).map_err(at)
}

fn file(path: &Path) -> Result<String, String> {
    let cannot = |cause: std::io::Error| format!("cannot be read: {cause}");
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    if bytes > MOST_BYTES {
        return Err(format!("{bytes} bytes; a bank has {MOST_BYTES} at most"));
    }
    String::from_utf8(std::fs::read(path).map_err(cannot)?).map_err(|_| "it is not UTF-8".to_owned())
}

fn lines(text: &str) -> Result<Vec<Entry>, String> {
    let one = |(number, line): (usize, &str)| {
        let read: Result<Table, _> = serde_json::from_str(line);
        read.map(Entry::from).map_err(|cause| format!("line {}: {cause}", number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(one).collect()
}

fn table(text: &str, delimiter: u8) -> Result<Vec<Entry>, String> {
    // In a file with tabs a quote is a letter as any other.
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).quoting(delimiter == b',').from_reader(text.as_bytes());
    let header = reader.headers().map_err(|cause| cause.to_string())?.clone();
    let columns: Vec<&str> = header.iter().map(str::trim).collect();
    for (place, column) in columns.iter().enumerate() {
        if !COLUMNS.contains(column) {
            return Err(format!("there is no column {column:?}; known: {}", COLUMNS.join(", ")));
        }
        if columns[..place].contains(column) {
            return Err(format!("the column {column:?} stands there twice"));
        }
    }
    if !columns.contains(&"text") {
        return Err("it has no column \"text\"; the first line must name the columns".to_owned());
    }
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|cause| cause.to_string())?;
        let mut entry = Entry::default();
        for (column, value) in columns.iter().zip(&record) {
            let some = || Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned);
            let list = || value.split('|').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
            match *column {
                "text" => entry.text = value.to_owned(),
                "id" => entry.id = some(),
                "intent" => entry.intent = some(),
                "tags" => entry.tags = list(),
                _ => entry.when = list(),
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Replies whose ids are there and differ, without white space at the ends of their parts; refused when one is not fit to be sent.
pub fn checked(entries: Vec<Entry>) -> Result<Vec<Entry>, String> {
    let texts: usize = entries.iter().map(|entry| 1 + entry.when.len()).sum();
    match entries.len() {
        0 => return Err("there is no reply; a bank must have one or more".to_owned()),
        count if count > MOST_REPLIES => return Err(format!("{count} replies; a bank has {MOST_REPLIES} at most")),
        _ if texts > MOST_TEXTS => return Err(format!("{texts} replies and examples; a bank has {MOST_TEXTS} at most")),
        _ => {}
    }
    let (mut known, mut said) = (HashMap::new(), HashMap::new());
    let mut done = Vec::with_capacity(entries.len());
    for (place, entry) in entries.into_iter().enumerate() {
        let number = place + 1;
        let trimmed = |text: String| text.trim().to_owned();
        let entry = Entry {
            text: trimmed(entry.text),
            id: Some(entry.id.map_or_else(|| number.to_string(), trimmed)),
            intent: entry.intent.map(trimmed),
            tags: entry.tags.into_iter().map(trimmed).collect(),
            when: entry.when.into_iter().map(trimmed).collect(),
        };
        let named = [("text", &entry.text)].into_iter();
        let named = named.chain(entry.id.iter().map(|id| ("id", id))).chain(entry.intent.iter().map(|one| ("intent", one)));
        let named = named.chain(entry.tags.iter().map(|tag| ("tags", tag))).chain(entry.when.iter().map(|one| ("when", one)));
        for (name, text) in named {
            let characters = text.chars().count();
            let wrong = match characters {
                0 => "is empty".to_owned(),
                _ if text.contains('\0') => "holds U+0000, which Postgres cannot store".to_owned(),
                _ if characters > MOST_CHARACTERS => format!("has {characters} characters; the limit is {MOST_CHARACTERS}"),
                _ => continue,
            };
            return Err(format!("reply {number}: `{name}` {wrong}"));
        }
        pieces(&entry.text).map_err(|cause| format!("reply {number}: `text`: {cause}"))?;
        if let Some(first) = entry.id.clone().and_then(|id| known.insert(id, number)) {
            let id = entry.id.unwrap_or_default();
            return Err(format!("replies {first} and {number} have the same id {id:?}; give one another"));
        }
        // Both would be suggested for one message.
        if let Some(first) = said.insert((entry.text.clone(), entry.intent.clone()), number) {
            return Err(format!(
                "replies {first} and {number} have the same text; leave one out, or give them intents that differ"
            ));
        }
        done.push(entry);
    }
    Ok(done)
}
