//! Labelled texts, or pairs of texts, from tsv, csv or jsonl files, plain or gzipped; columns by name or guessed.
//!
//! A label is a word, or several: `a|b` or a JSON list.

mod columns;

pub use columns::{Columns, Taken};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// As the file has it.
    pub label: String,
    /// Of the file, from 1.
    pub line: usize,
}

/// A place in a file, for messages.
pub fn line_of(path: &Path, line: usize) -> String {
    format!("{} line {line}", path.display())
}

impl Row {
    /// What tells a row's texts from those of others.
    pub fn key(&self) -> (&str, Option<&str>) {
        (&self.text, self.pair.as_deref())
    }
}

/// A file, unpacked where it is gzipped, and its name in lower case without `.gz`.
pub fn open(path: &Path) -> Result<(Box<dyn Read>, String)> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    Ok(match name.strip_suffix(".gz") {
        Some(inner) => (Box::new(flate2::read::MultiGzDecoder::new(file)), inner.to_string()),
        None => (Box::new(file), name),
    })
}

/// All rows of a tsv or csv file with a header line, or of a jsonl file: each with one text, or each with two.
pub fn rows(path: &Path, columns: &Columns) -> Result<Vec<Row>> {
    Ok(read(path, columns)?.0)
}

/// The same, with the columns that they are from. A second text that was found by its name, and that no row has, is none.
pub fn read(path: &Path, columns: &Columns) -> Result<(Vec<Row>, Taken)> {
    let (reader, name) = open(path)?;
    let (mut rows, mut taken) = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("tsv") => table(path, reader, columns, true, true)?,
        Some("csv") => table(path, reader, columns, false, true)?,
        Some("jsonl") => objects(path, reader, columns)?,
        _ => bail!("{}: a file of rows ends in .tsv, .csv or .jsonl, with or without .gz", path.display()),
    };
    if columns.text.is_none() && rows.iter().all(|row| row.pair.as_ref().is_none_or(String::is_empty)) {
        rows.iter_mut().for_each(|row| row.pair = None);
        taken.without_second();
    }
    let first = rows.first().with_context(|| format!("{} has no rows", path.display()))?;
    let texts = |row: &Row| if row.pair.is_some() { "two texts" } else { "one text" };
    if let Some(other) = rows.iter().find(|row| row.pair.is_some() != first.pair.is_some()) {
        let (place, line) = (line_of(path, other.line), first.line);
        bail!("{place}: the row has {}, that of line {line} has {}; all must have as many", texts(other), texts(first));
    }
    Ok((rows, taken))
}

/// Without `labelled` no column of labels is looked for.
fn table(path: &Path, reader: Box<dyn Read>, columns: &Columns, tabs: bool, labelled: bool) -> Result<(Vec<Row>, Taken)> {
    let mut reader = csv::ReaderBuilder::new().delimiter(if tabs { b'\t' } else { b',' }).quoting(!tabs).from_reader(reader);
    let header = reader.headers().with_context(|| format!("cannot read {}", path.display()))?.clone();
    let at = |name: &str| header.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
    let missing =
        |what: &str| format!("no {what} column in {:?}; name it with --{what}-column", header.iter().collect::<Vec<_>>());
    let (text, pair) = columns.texts(at).with_context(|| missing("text"))?;
    let label = labelled.then(|| columns.label(at).with_context(|| missing("label"))).transpose()?;
    let name = |i: usize| header.get(i).unwrap_or_default().trim();
    let taken = Taken::new((name(text), pair.map(name)), label.map(name), header.iter().map(str::trim)).guessed(columns);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        let field = |i: usize| record.get(i).unwrap_or_default().trim().to_string();
        let line = record.position().map_or(0, |position| position.line() as usize);
        rows.push(Row { text: field(text), pair: pair.map(field), label: label.map(field).unwrap_or_default(), line });
    }
    Ok((rows, taken))
}

/// What was taken is that of the first row.
fn objects(path: &Path, reader: Box<dyn Read>, columns: &Columns) -> Result<(Vec<Row>, Taken)> {
    let (mut rows, mut taken) = (Vec::new(), None);
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let place = || line_of(path, number + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let object: Map<String, Value> =
            serde_json::from_str(&line).with_context(|| format!("{}: not a JSON object", place()))?;
        let names = || object.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let missing = |what: &str| format!("{}: no field for the {what} in {}; name it with --{what}-column", place(), names());
        // A pair of which one is null is one text.
        let filled = |name: &str| object.get_key_value(name).filter(|(_, value)| !value.is_null());
        let (text, pair) = columns.texts(filled).with_context(|| missing("text"))?;
        let label = columns.label(|name| object.get_key_value(name)).with_context(|| missing("label"))?;
        let of_rows = || {
            let second = pair.map(|(name, _)| name.as_str());
            Taken::new((text.0, second), Some(label.0), object.keys().map(String::as_str)).guessed(columns)
        };
        taken.get_or_insert_with(of_rows);
        let words = |(_, value): (&String, &Value)| -> Result<String> {
            let words = value.as_str().with_context(|| format!("{}: the text is {value}, which is none", place()))?;
            Ok(words.trim().to_owned())
        };
        let (text, pair) = (words(text)?, pair.map(words).transpose()?);
        let label = match label.1 {
            Value::String(label) => label.trim().to_owned(),
            Value::Null => String::new(),
            // A number, true or false, or a list: as it is written.
            other => other.to_string(),
        };
        rows.push(Row { text, pair, label, line: number + 1 });
    }
    Ok((rows, taken.unwrap_or_default()))
}

/// Whether a label is a list of labels.
pub fn is_list(label: &str) -> bool {
    label.contains('|') || label.starts_with('[')
}

/// The labels of a row that may have several: `a|b`, or a JSON list. None in an empty one.
pub fn list(path: &Path, row: &Row) -> Result<Vec<String>> {
    let wrong = || format!("{}: the labels {:?} are no list of texts, [\"a\", \"b\"] or a|b", line_of(path, row.line), row.label);
    let mut labels: Vec<String> = match row.label.starts_with('[') {
        true => {
            let values: Vec<Value> = serde_json::from_str(&row.label).with_context(wrong)?;
            let text = |value: Value| match value {
                Value::String(text) => Some(text.trim().to_owned()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            values.into_iter().map(text).collect::<Option<_>>().with_context(wrong)?
        }
        false if row.label.is_empty() => Vec::new(),
        false => row.label.split('|').map(|label| label.trim().to_owned()).collect(),
    };
    ensure!(!labels.iter().any(String::is_empty), "{}", wrong());
    labels.sort();
    labels.dedup();
    Ok(labels)
}

/// The labels of rows, each once: by number where all are whole numbers, else by text.
pub fn labels(rows: &[Row]) -> Vec<String> {
    sorted(rows.iter().map(|row| row.label.clone()).collect())
}

/// Labels, each once, in the same order.
pub fn sorted(mut all: Vec<String>) -> Vec<String> {
    let number = |label: &String| label.parse::<i64>().ok();
    match all.iter().all(|label| number(label).is_some()) {
        true => all.sort_by_key(|label| (number(label), label.clone())),
        false => all.sort(),
    }
    all.dedup();
    all
}

/// The texts alone: of rows, of jsonl by the field of the text, or of plain lines. Of pairs both, one after the other.
pub fn texts(path: &Path, columns: &Columns) -> Result<Vec<String>> {
    let (reader, name) = open(path)?;
    if name.ends_with(".tsv") || name.ends_with(".csv") {
        let (rows, _) = table(path, reader, columns, name.ends_with(".tsv"), false)?;
        return Ok(rows.into_iter().flat_map(|row| std::iter::once(row.text).chain(row.pair)).collect());
    }
    let mut texts = Vec::new();
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let place = || line_of(path, number + 1);
        let line = line.with_context(place)?;
        if !name.ends_with(".jsonl") {
            texts.push(line);
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let object: Map<String, Value> = serde_json::from_str(&line).with_context(place)?;
        let found = columns.texts(|name| object.get(name).and_then(Value::as_str));
        let (text, pair) = found.with_context(|| format!("{}: no field for the text; name it with --text-column", place()))?;
        texts.extend([Some(text), pair].into_iter().flatten().map(str::to_owned));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests;
