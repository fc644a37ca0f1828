//! Labelled texts from tsv, csv or jsonl files, plain or gzipped; columns by name or guessed.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

const TEXT_NAMES: [&str; 5] = ["text", "sentence", "content", "utterance", "message"];
const LABEL_NAMES: [&str; 4] = ["label", "labels", "category", "intent"];

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub text: String,
    pub label: String,
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

/// All rows of a tsv or csv file with a header line.
pub fn rows(path: &Path, columns: &Columns) -> Result<Vec<Row>> {
    let (reader, name) = open(path)?;
    let tabs = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("tsv") => true,
        Some("csv") => false,
        _ => bail!("{}: a file of rows ends in .tsv or .csv, with or without .gz", path.display()),
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(if tabs { b'\t' } else { b',' }).quoting(!tabs).from_reader(reader);
    let header = reader.headers()?.clone();
    let text = find(&header, columns.text.as_deref(), &TEXT_NAMES, "text")?;
    let label = find(&header, columns.label.as_deref(), &LABEL_NAMES, "label")?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        let field = |i: usize| record.get(i).unwrap_or_default().trim().to_string();
        rows.push(Row { text: field(text), label: field(label) });
    }
    ensure!(!rows.is_empty(), "{} has no rows", path.display());
    Ok(rows)
}

/// The labels of rows, each once: by number where all are whole numbers, else by text.
pub fn labels(rows: &[Row]) -> Vec<String> {
    let mut all: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    let number = |label: &String| label.parse::<i64>().ok();
    match all.iter().all(|label| number(label).is_some()) {
        true => all.sort_by_key(|label| (number(label), label.clone())),
        false => all.sort(),
    }
    all.dedup();
    all
}

/// The texts alone: of rows, of the `text` field of jsonl, or of plain lines.
pub fn texts(path: &Path, columns: &Columns) -> Result<Vec<String>> {
    let (reader, name) = open(path)?;
    if name.ends_with(".tsv") || name.ends_with(".csv") {
        return Ok(rows(path, columns)?.into_iter().map(|row| row.text).collect());
    }
    let field = columns.text.as_deref().unwrap_or("text");
    let mut texts = Vec::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        if !name.ends_with(".jsonl") {
            texts.push(line);
            continue;
        }
        let value: serde_json::Value = serde_json::from_str(&line)?;
        texts.push(value.get(field).and_then(|v| v.as_str()).with_context(|| format!("no field {field}"))?.to_string());
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
            let rows: Vec<Row> = names.iter().map(|label| Row { text: String::new(), label: (*label).into() }).collect();
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
        let row = |text: &str, label: &str| Row { text: text.into(), label: label.into() };
        assert_eq!(rows(&plain, &Columns::default()).unwrap(), [row("says \"fine", "1")]);
        assert_eq!(rows(&packed, &Columns::default()).unwrap(), [row("a, b", "0")]);
        let wrong = Columns { text: Some("body".into()), label: None };
        assert!(rows(&plain, &wrong).unwrap_err().to_string().contains("--text-column"));
    }
}
