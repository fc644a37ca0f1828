//! Rows of a file: an event of a function, and what is wanted of it.

use crate::train::data::{line_of, open};
use crate::train::tagged;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What the function reads.
    pub event: Value,
    pub wanted: Value,
    /// File and line, for messages.
    pub place: String,
}

#[cfg(test)]
impl Example {
    /// Without an event.
    pub fn wanting(wanted: Value) -> Self {
        Self { event: Value::Null, wanted, place: String::new() }
    }
}

/// The first `most` rows of a file. `wanted` is the field that holds what is wanted; it is no part of the event.
pub fn read(path: &Path, wanted: &str, most: usize) -> Result<Vec<Example>> {
    let rows = all(path, wanted, most)?;
    let row = |(line, mut row): (usize, Map<String, Value>)| {
        let place = line_of(path, line);
        let wanted = row.remove(wanted).with_context(|| format!("{place}: no field `{wanted}`, which holds what is wanted"))?;
        Ok(Example { event: Value::Object(row), wanted, place })
    };
    rows.into_iter().take(most).map(row).collect()
}

/// The first `most` rows with all their fields, and nothing wanted.
pub fn fields(path: &Path, most: usize) -> Result<Vec<Example>> {
    let row = |(line, row)| Example { event: Value::Object(row), wanted: Value::Null, place: line_of(path, line) };
    Ok(all(path, "", most)?.into_iter().take(most).map(row).collect())
}

fn all(path: &Path, wanted: &str, most: usize) -> Result<Rows> {
    let (reader, name) = open(path)?;
    Ok(match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("tsv") => table(path, reader, b'\t', most)?,
        Some("csv") => table(path, reader, b',', most)?,
        Some("jsonl") => objects(path, reader, most)?,
        _ if wanted == "spans" => words(path)?,
        _ => bail!("{}: the file must be .jsonl, .tsv or .csv, or one of these with .gz", path.display()),
    })
}

type Rows = Vec<(usize, Map<String, Value>)>;

fn objects(path: &Path, reader: impl Read, most: usize) -> Result<Rows> {
    let mut rows = Vec::new();
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        if rows.len() == most {
            break;
        }
        let place = || line_of(path, number + 1);
        let line = line.with_context(place)?;
        if !line.trim().is_empty() {
            rows.push((number + 1, serde_json::from_str(&line).with_context(|| format!("{}: not a JSON object", place()))?));
        }
    }
    Ok(rows)
}

/// Every row has as many cells as the header.
fn table(path: &Path, reader: impl Read, delimiter: u8, most: usize) -> Result<Rows> {
    let tabs = delimiter == b'\t';
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).quoting(!tabs).from_reader(reader);
    let header = reader.headers().with_context(|| format!("cannot read {}", path.display()))?.clone();
    let mut rows = Vec::new();
    for record in reader.records().take(most) {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        let cell = |(name, cell): (&str, &str)| (name.trim().to_owned(), value(name.trim(), cell));
        rows.push((line, header.iter().zip(&record).map(cell).collect()));
    }
    Ok(rows)
}

/// A cell is a text; a list of texts is one, and so is what stands in a column that never holds a text.
fn value(column: &str, cell: &str) -> Value {
    let nested: Option<Value> = cell.starts_with(['[', '{']).then(|| serde_json::from_str(cell).ok()).flatten();
    let texts = |of: &Value| of.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_string));
    nested.filter(|of| ["relevant", "spans", "messages"].contains(&column) || texts(of)).unwrap_or_else(|| cell.into())
}

/// A word and its label a line, as the function reads words: the tokens of one stay together. Spans count characters of the words with a blank
/// between.
fn words(path: &Path) -> Result<Rows> {
    let sentences = tagged::columns_of(path)?;
    let row = |sentence: tagged::Sentence| {
        let spans: Vec<Value> = sentence.pieces().into_iter().map(|(start, end, label)| json!([start, end, label])).collect();
        let words: Vec<Value> = sentence.words.iter().map(|word| sentence.text[word.clone()].into()).collect();
        (sentence.line, Map::from_iter([("words".to_owned(), words.into()), ("spans".to_owned(), spans.into())]))
    };
    Ok(sentences.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, content: &str, wanted: &str) -> Result<Vec<Example>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read(&path, wanted, 9)
    }

    /// Would catch: an answer that is shown to the function, spans in bytes, a cell that is a text and becomes a number.
    #[test]
    fn a_row_is_an_event_and_what_is_wanted() {
        let of = |rows: Vec<Example>| rows.into_iter().map(|row| (row.event, row.wanted)).collect::<Vec<_>>();
        let rows = read_as("a.jsonl", "\n{\"text\": \"a\", \"summary\": [\"b\", \"c\"]}\n", "summary").unwrap();
        assert!(rows[0].place.ends_with("a.jsonl line 2"));
        assert_eq!(of(rows), [(json!({ "text": "a" }), json!(["b", "c"]))]);
        let rows = read_as("a.tsv", "query\ttexts\trelevant\n1\t[\"x\", \"y\"]\t[0]\n", "relevant").unwrap();
        assert_eq!(of(rows), [(json!({ "query": "1", "texts": ["x", "y"] }), json!([0]))]);
        let rows = read_as("a.conll", "é B-x\nfilm I-x\nO O\n\nno O\n", "spans").unwrap();
        let first = (json!({ "words": ["é", "film", "O"] }), json!([[0, 6, "x"]]));
        assert_eq!(of(rows), [first, (json!({ "words": ["no"] }), json!([]))]);
        let rows = read_as("a.csv", "text,translation\n[2020],\"[\"\"a\"\", \"\"b\"\"]\"\n", "translation").unwrap();
        assert_eq!(of(rows), [(json!({ "text": "[2020]" }), json!(["a", "b"]))]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |name: &str, content: &str| format!("{:#}", read_as(name, content, "summary").unwrap_err());
        assert!(refused("a.jsonl", "{\"text\": \"a\"}\n").contains("line 1: no field `summary`"));
        assert!(refused("a.jsonl", "[1]\n").contains("line 1: not a JSON object"));
        assert!(refused("a.csv", "text,summary\na, b,c\n").contains("line: 2"));
        assert!(refused("a.txt", "a\n").contains(".jsonl, .tsv or .csv"));
    }
}
