//! Labelled texts from tsv, csv or jsonl files, plain or gzipped; columns by name or guessed.
//!
//! A label is a word, or several: `a|b` or a JSON list.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

const TEXT_NAMES: [&str; 6] = ["text", "sentence", "content", "utterance", "message", "text_a"];
const LABEL_NAMES: [&str; 4] = ["label", "labels", "category", "intent"];

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub text: String,
    /// As the file has it.
    pub label: String,
    /// Of the file, from 1.
    pub line: usize,
}

/// A place in a file, for messages.
pub fn line_of(path: &Path, line: usize) -> String {
    format!("{} line {line}", path.display())
}

/// Columns named by the user; `None` is guessed from the header.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    pub text: Option<String>,
    pub label: Option<String>,
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

fn find(header: &csv::StringRecord, asked: Option<&str>, known: &[&str], what: &str) -> Result<usize> {
    let at = |name: &str| header.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
    let found = match asked {
        Some(name) => at(name),
        None => known.iter().find_map(|name| at(name)),
    };
    found.with_context(|| format!("no {what} column in {:?}; name it with --{what}-column", header.iter().collect::<Vec<_>>()))
}

/// All rows of a tsv or csv file with a header line, or of a jsonl file.
pub fn rows(path: &Path, columns: &Columns) -> Result<Vec<Row>> {
    let (reader, name) = open(path)?;
    let rows = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("tsv") => table(path, reader, columns, true, true)?,
        Some("csv") => table(path, reader, columns, false, true)?,
        Some("jsonl") => objects(path, reader, columns)?,
        _ => bail!("{}: a file of rows ends in .tsv, .csv or .jsonl, with or without .gz", path.display()),
    };
    ensure!(!rows.is_empty(), "{} has no rows", path.display());
    Ok(rows)
}

/// Without `labelled` no column of labels is looked for.
fn table(path: &Path, reader: Box<dyn Read>, columns: &Columns, tabs: bool, labelled: bool) -> Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(if tabs { b'\t' } else { b',' }).quoting(!tabs).from_reader(reader);
    let header = reader.headers().with_context(|| format!("cannot read {}", path.display()))?.clone();
    let text = find(&header, columns.text.as_deref(), &TEXT_NAMES, "text")?;
    let label = labelled.then(|| find(&header, columns.label.as_deref(), &LABEL_NAMES, "label")).transpose()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        let field = |i: usize| record.get(i).unwrap_or_default().trim().to_string();
        let line = record.position().map_or(0, |position| position.line() as usize);
        rows.push(Row { text: field(text), label: label.map(field).unwrap_or_default(), line });
    }
    Ok(rows)
}

fn objects(path: &Path, reader: Box<dyn Read>, columns: &Columns) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let place = || line_of(path, number + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let object: Map<String, Value> =
            serde_json::from_str(&line).with_context(|| format!("{}: not a JSON object", place()))?;
        let field = |asked: &Option<String>, known: &[&str], what: &str| {
            let found = match asked {
                Some(name) => object.get(name),
                None => known.iter().find_map(|name| object.get(*name)),
            };
            let names = || object.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            found.with_context(|| format!("{}: no field for the {what} in {}; name it with --{what}-column", place(), names()))
        };
        let text = field(&columns.text, &TEXT_NAMES, "text")?;
        let text = text.as_str().with_context(|| format!("{}: the text is {text}, which is none", place()))?;
        let label = match field(&columns.label, &LABEL_NAMES, "label")? {
            Value::String(label) => label.trim().to_owned(),
            Value::Null => String::new(),
            // A number, true or false, or a list: as it is written.
            other => other.to_string(),
        };
        rows.push(Row { text: text.trim().to_owned(), label, line: number + 1 });
    }
    Ok(rows)
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

/// The texts alone: of rows, of jsonl by the field of the text, or of plain lines.
pub fn texts(path: &Path, columns: &Columns) -> Result<Vec<String>> {
    let (reader, name) = open(path)?;
    if name.ends_with(".tsv") || name.ends_with(".csv") {
        let rows = table(path, reader, columns, name.ends_with(".tsv"), false)?;
        return Ok(rows.into_iter().map(|row| row.text).collect());
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
        let value: Value = serde_json::from_str(&line).with_context(place)?;
        let text = match &columns.text {
            Some(field) => value.get(field),
            None => TEXT_NAMES.iter().find_map(|field| value.get(*field)),
        };
        let text = text.and_then(Value::as_str);
        texts.push(text.with_context(|| format!("{}: no field for the text; name it with --text-column", place()))?.to_owned());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn numbers_are_sorted_as_such() {
        let of = |names: &[&str]| {
            let rows: Vec<Row> = names.iter().map(|label| Row { text: String::new(), label: (*label).into(), line: 1 }).collect();
            labels(&rows)
        };
        assert_eq!(of(&["10", "2", "-1", "2"]), ["-1", "2", "10"]);
        assert_eq!(of(&["10", "2", "x"]), ["10", "2", "x"]);
    }

    #[test]
    fn columns_are_guessed_in_any_order_and_gz_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("a.tsv");
        std::fs::write(&plain, "label\tcontent\n1\tsays \"fine\n").unwrap();
        let packed = folder.path().join("b.csv.gz");
        let mut out = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
        out.write_all(b"Sentence,Label\n\"a, b\",0\n").unwrap();
        out.finish().unwrap();
        let row = |text: &str, label: &str| Row { text: text.into(), label: label.into(), line: 2 };
        assert_eq!(rows(&plain, &Columns::default()).unwrap(), [row("says \"fine", "1")]);
        assert_eq!(rows(&packed, &Columns::default()).unwrap(), [row("a, b", "0")]);
        // Texts alone need no labels.
        let bare = folder.path().join("c.csv");
        std::fs::write(&bare, "text\n\"a, b\"\n").unwrap();
        assert_eq!(texts(&bare, &Columns::default()).unwrap(), ["a, b"]);
        assert!(rows(&bare, &Columns::default()).unwrap_err().to_string().contains("--label-column"));
        let wrong = Columns { text: Some("body".into()), label: None };
        assert!(rows(&plain, &wrong).unwrap_err().to_string().contains("--text-column"));
    }

    #[test]
    fn objects_give_rows_and_their_lists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let write = |content: &str| std::fs::write(&path, content).unwrap();
        write("{\"text\": \"a\", \"label\": 3}\n\n{\"content\": \"b\", \"labels\": [\"y\", \"x\", \"y\"]}\n");
        let found = rows(&path, &Columns::default()).unwrap();
        assert_eq!(found[0], Row { text: "a".into(), label: "3".into(), line: 1 });
        assert_eq!((found[1].line, list(&path, &found[1]).unwrap()), (3, vec!["x".to_owned(), "y".to_owned()]));
        let plain = || texts(&path, &Columns::default());
        assert_eq!(plain().unwrap(), ["a", "b"]);
        let of = |label: &str| list(&path, &Row { text: "t".into(), label: label.into(), line: 7 });
        assert_eq!(of("b | a").unwrap(), ["a", "b"]);
        assert_eq!(of("").unwrap(), Vec::<String>::new());
        for label in ["a||b", "[1, {}]", "[\"a\"", "[\"\"]"] {
            assert!(format!("{:#}", of(label).unwrap_err()).contains("a.jsonl line 7"), "{label}");
        }
        let refused = |content: &str| {
            write(content);
            format!("{:#}", rows(&path, &Columns::default()).unwrap_err())
        };
        assert!(refused("{\"text\": \"a\", \"label\": 1}\n[1]\n").contains("line 2"));
        assert!(refused("{\"text\": 1, \"label\": 1}\n").contains("line 1"));
        assert!(refused("{\"body\": \"a\", \"label\": 1}\n").contains("--text-column"));
    }
}
