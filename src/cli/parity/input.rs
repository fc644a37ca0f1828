//! Rows of a file as events of a stream, in the order of the file.

use crate::config::risk::{FileRows, Unit};
use crate::event::{Event, Position, RawEvent, at};
use anyhow::{Context, Result, anyhow};
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// A file, unpacked when its name ends in `.gz`; the bar follows its bytes.
pub fn open(path: &Path, bar: &ProgressBar) -> Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = bar.wrap_read(file);
    Ok(if has_ending(path, "gz") { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Events of a CSV file with a header, or of JSON lines (`.jsonl`, `.ndjson`, `.json`). `is_number` says of a column whether its
/// values are numbers; the others are texts.
pub fn events<'a>(
    path: &'a Path,
    bar: &ProgressBar,
    rows: &'a FileRows,
    is_number: impl Fn(&str) -> bool + 'a,
) -> Result<Box<dyn Iterator<Item = Result<Event>> + 'a>> {
    let input = open(path, bar)?;
    let name = if has_ending(path, "gz") { Path::new(path.file_stem().unwrap_or_default()) } else { path };
    let topic: Arc<str> = "file".into();
    let event = move |(number, payload): (usize, Result<Value>)| {
        payload
            .and_then(|payload| event(rows, &topic, number, &payload))
            .with_context(|| format!("{} row {}", path.display(), number + 1))
    };
    if ["jsonl", "ndjson", "json"].iter().any(|ending| has_ending(name, ending)) {
        let lines = BufReader::new(input).lines().filter(|line| line.as_ref().map_or(true, |line| !line.trim().is_empty()));
        let payload = |line: std::io::Result<String>| Ok(serde_json::from_str(&line?)?);
        return Ok(Box::new(lines.map(payload).enumerate().map(event)));
    }
    let reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let mut records = reader.into_records();
    let header = records.reader_mut().headers().with_context(|| format!("{} has no header", path.display()))?;
    let columns: Vec<(String, bool)> = header.iter().map(|name| (name.to_owned(), is_number(name))).collect();
    Ok(Box::new(records.map(move |record| Ok(payload(&columns, &record?))).enumerate().map(event)))
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension == ending)
}

/// The fields of a row; an empty one is not there. A dotted column stands in an object.
fn payload(columns: &[(String, bool)], record: &csv::StringRecord) -> Value {
    let mut payload = Map::new();
    for ((path, is_number), text) in columns.iter().zip(record).filter(|(_, text)| !text.is_empty()) {
        let number = || serde_json::from_str(text).ok().filter(|value: &Value| value.is_number() || value.is_boolean());
        let value = is_number.then(number).flatten().unwrap_or_else(|| Value::String(text.into()));
        put(&mut payload, path, value);
    }
    Value::Object(payload)
}

fn put(into: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(into.insert(path.into(), value)),
        Some((first, rest)) => {
            if let Value::Object(inner) = into.entry(first).or_insert_with(|| Value::Object(Map::new())) {
                put(inner, rest, value);
            }
        }
    }
}

fn event(rows: &FileRows, topic: &Arc<str>, number: usize, payload: &Value) -> Result<Event> {
    let id: Box<str> = match at(payload, &rows.id) {
        Some(Value::String(text)) => text.as_str().into(),
        Some(Value::Number(number)) => number.to_string().into(),
        _ => return Err(anyhow!("no id in `{}`; name it with [risk] file.id", rows.id)),
    };
    let time_ms = at(payload, &rows.time).and_then(|time| time_ms(rows, time));
    let time_ms = time_ms.with_context(|| format!("no time in `{}`; say with [risk] file how it is written", rows.time))?;
    let position = Position { topic: topic.clone(), partition: 0, offset: number as i64 };
    let payload = Some(serde_json::to_vec(payload)?.into());
    let raw = RawEvent { position, timestamp_ms: time_ms, key: None, payload, headers: Vec::new() };
    Ok(Event { body: None, raw, id, key: None, event_time_ms: time_ms, text: None })
}

fn time_ms(rows: &FileRows, time: &Value) -> Option<i64> {
    let number = match time {
        Value::String(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => return Some(time.as_millisecond()),
            Err(_) => text.parse().ok()?,
        },
        other => other.as_f64()?,
    };
    let ms = (number * if rows.unit == Unit::S { 1e3 } else { 1.0 }).round();
    // Whole milliseconds that f64 holds.
    (ms.abs() < 9e15).then(|| rows.since.as_millisecond() + ms as i64)
}
