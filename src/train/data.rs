//! Labelled texts, or pairs of texts, from tsv, csv or jsonl files, plain or gzipped; columns by name or guessed.
//!
//! A label is a word, or several: `a|b` or a JSON list.

mod columns;

pub use columns::Columns;

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
    let (reader, name) = open(path)?;
    let rows = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("tsv") => table(path, reader, columns, true, true)?,
        Some("csv") => table(path, reader, columns, false, true)?,
        Some("jsonl") => objects(path, reader, columns)?,
        _ => bail!("{}: a file of rows ends in .tsv, .csv or .jsonl, with or without .gz", path.display()),
    };
    let first = rows.first().with_context(|| format!("{} has no rows", path.display()))?;
    let texts = |row: &Row| if row.pair.is_some() { "two texts" } else { "one text" };
    if let Some(other) = rows.iter().find(|row| row.pair.is_some() != first.pair.is_some()) {
        let (place, line) = (line_of(path, other.line), first.line);
        bail!("{place}: the row has {}, that of line {line} has {}; all must have as many", texts(other), texts(first));
    }
    Ok(rows)
}

/// Without `labelled` no column of labels is looked for.
fn table(path: &Path, reader: Box<dyn Read>, columns: &Columns, tabs: bool, labelled: bool) -> Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(if tabs { b'\t' } else { b',' }).quoting(!tabs).from_reader(reader);
    let header = reader.headers().with_context(|| format!("cannot read {}", path.display()))?.clone();
    let at = |name: &str| header.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
    let missing =
        |what: &str| format!("no {what} column in {:?}; name it with --{what}-column", header.iter().collect::<Vec<_>>());
    let (text, pair) = columns.texts(at).with_context(|| missing("text"))?;
    let label = labelled.then(|| columns.label(at).with_context(|| missing("label"))).transpose()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        let field = |i: usize| record.get(i).unwrap_or_default().trim().to_string();
        let line = record.position().map_or(0, |position| position.line() as usize);
        rows.push(Row { text: field(text), pair: pair.map(field), label: label.map(field).unwrap_or_default(), line });
    }
    Ok(rows)
}

/// A field that is there and holds something: a pair of which one is null is one text.
fn filled<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
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
        let names = || object.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let missing = |what: &str| format!("{}: no field for the {what} in {}; name it with --{what}-column", place(), names());
        let (text, pair) = columns.texts(|name| filled(&object, name)).with_context(|| missing("text"))?;
        let words = |value: &Value| -> Result<String> {
            let words = value.as_str().with_context(|| format!("{}: the text is {value}, which is none", place()))?;
            Ok(words.trim().to_owned())
        };
        let (text, pair) = (words(text)?, pair.map(words).transpose()?);
        let label = match columns.label(|name| object.get(name)).with_context(|| missing("label"))? {
            Value::String(label) => label.trim().to_owned(),
            Value::Null => String::new(),
            // A number, true or false, or a list: as it is written.
            other => other.to_string(),
        };
        rows.push(Row { text, pair, label, line: number + 1 });
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

/// The texts alone: of rows, of jsonl by the field of the text, or of plain lines. Of pairs both, one after the other.
pub fn texts(path: &Path, columns: &Columns) -> Result<Vec<String>> {
    let (reader, name) = open(path)?;
    if name.ends_with(".tsv") || name.ends_with(".csv") {
        let rows = table(path, reader, columns, name.ends_with(".tsv"), false)?;
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
        let found = columns.texts(|name| filled(&object, name).and_then(Value::as_str));
        let (text, pair) = found.with_context(|| format!("{}: no field for the text; name it with --text-column", place()))?;
        texts.extend([Some(text), pair].into_iter().flatten().map(str::to_owned));
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
            let rows: Vec<Row> =
                names.iter().map(|label| Row { text: String::new(), pair: None, label: (*label).into(), line: 1 }).collect();
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
        let row = |text: &str, label: &str| Row { text: text.into(), pair: None, label: label.into(), line: 2 };
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
        assert_eq!(found[0], Row { text: "a".into(), pair: None, label: "3".into(), line: 1 });
        assert_eq!((found[1].line, list(&path, &found[1]).unwrap()), (3, vec!["x".to_owned(), "y".to_owned()]));
        let plain = || texts(&path, &Columns::default());
        assert_eq!(plain().unwrap(), ["a", "b"]);
        let of = |label: &str| list(&path, &Row { text: "t".into(), pair: None, label: label.into(), line: 7 });
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

    /// Would catch: a second text that is passed over in silence, a row without one that is read as a pair.
    #[test]
    fn two_texts_are_found_by_the_names_that_public_data_has() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, content: &str, text: Option<&str>| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let columns = Columns { text: text.map(str::to_owned), label: None };
            let all = texts(&path, &columns).map_err(|error| format!("{error:#}"));
            (rows(&path, &columns).map_err(|error| format!("{error:#}")), all)
        };
        for names in ["premise,hypothesis", "Sentence1,sentence2", "question,sentence", "question1,question2", "text_a,text_b"] {
            let (rows, texts) = read("a.csv", &format!("id,{names},label\n7,a,b,x\n"), None);
            assert_eq!(rows.unwrap()[0].key(), ("a", Some("b")), "{names}");
            assert_eq!(texts.unwrap(), ["a", "b"]);
        }
        let pair = "{\"text\": \"a\", \"text_pair\": \" b \", \"label\": 1}\n";
        assert_eq!(read("a.jsonl", pair, None).0.unwrap()[0].key(), ("a", Some("b")));
        // One of two, or others than the usual ones, where somebody says so.
        assert_eq!(read("a.jsonl", pair, Some("text")).0.unwrap()[0].key(), ("a", None));
        let (rows, texts) = read("a.tsv", "title\tbody\tlabel\na\tb\tx\n", Some("body, title"));
        assert_eq!((rows.unwrap()[0].key(), texts.unwrap()), (("b", Some("a")), vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(read("b.csv", "\"a,b\",label\nc,x\n", Some("a,b")).0.unwrap()[0].key(), ("c", None));
        for single in ["null", "3"] {
            let lines = format!("{pair}\n{{\"text\": \"c\", \"text_pair\": {single}, \"label\": 1}}\n");
            let refused = read("a.jsonl", &lines, None).0.unwrap_err();
            assert!(refused.contains("line 3"), "{refused}");
        }
        assert!(read("a.tsv", "title\tbody\tlabel\na\tb\tx\n", Some("body,head")).0.unwrap_err().contains("--text-column"));
    }
}
