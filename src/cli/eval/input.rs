//! Files of who took what, in the spellings that public data sets use, as events of a stream.

use crate::event::{Event, Position, RawEvent};
use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// Who took what, when.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub user: Box<str>,
    pub item: Box<str>,
    pub time_ms: i64,
    pub kind: Box<str>,
}

/// What a column is called in the files that are known.
const USERS: &[&str] = &["user", "userid", "user_id", "sessionid", "session_id", "session", "sas_user_id", "personid"];
const ITEMS: &[&str] = &["item", "itemid", "item_id", "movieid", "movie_id", "sas_item_id", "contentid"];
const TIMES: &[&str] = &["time", "ts", "timestamp", "unix_ts", "unix_timestamp"];
const KINDS: &[&str] = &["kind", "event", "eventtype", "event_type"];
const TITLES: &[&str] = &["title"];
const GENRES: &[&str] = &["genres", "categories", "category"];

/// A file of lines with fields; the first line may name them.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn read(path: &Path, unnamed: fn(usize) -> &'static [&'static str]) -> Result<Self> {
        let text = text(path)?;
        let first = text.lines().next().with_context(|| format!("{} is empty", path.display()))?;
        let separator = ["::", "\t", ","].into_iter().find(|separator| first.contains(separator)).unwrap_or(" ");
        let split = |line: &str| -> Vec<String> { line.split(separator).map(|field| field.trim().to_owned()).collect() };
        let lower: Vec<String> = split(first).iter().map(|name| name.to_lowercase()).collect();
        let named = lower.iter().any(|name| ITEMS.contains(&name.as_str()));
        let fields = lower.len();
        let names = match named {
            true => lower,
            false => unnamed(fields).iter().map(|name| (*name).to_owned()).collect(),
        };
        ensure!(
            named || names.len() == fields,
            "{}: {fields} fields and no header; write one that names user, item and time",
            path.display()
        );
        let rows = text.lines().skip(usize::from(named)).filter(|line| !line.trim().is_empty()).map(split).collect();
        Ok(Self { names, rows })
    }

    fn column(&self, known: &[&str]) -> Option<usize> {
        self.names.iter().position(|name| known.contains(&name.as_str()))
    }

    fn needed(&self, known: &[&str], path: &Path) -> Result<usize> {
        self.column(known).with_context(|| format!("{} has no column {:?}; name it in the header", path.display(), known[0]))
    }
}

/// The takings of a file in stream order: by time, then as the file has them. Without times the file's order is the time, a second
/// a line.
pub fn takings(path: &Path) -> Result<Vec<Taken>> {
    let table = Table::read(path, |count| match count {
        2 => &["user", "item"],
        3 => &["user", "item", "time"],
        4 => &["user", "item", "rating", "time"],
        _ => &[],
    })?;
    let (user, item) = (table.needed(USERS, path)?, table.needed(ITEMS, path)?);
    let (time, kind) = (table.column(TIMES), table.column(KINDS));
    let mut taken = Vec::with_capacity(table.rows.len());
    for (number, row) in table.rows.iter().enumerate() {
        let place = || format!("{} line {}", path.display(), number + 1);
        let field =
            |column: usize| row.get(column).map(String::as_str).with_context(|| format!("{}: a field is missing", place()));
        let time_ms = match time {
            Some(time) => time_ms(field(time)?).with_context(place)?,
            None => number as i64 * 1_000,
        };
        let kind = kind.map(field).transpose()?.unwrap_or("click").to_lowercase();
        taken.push(Taken { user: field(user)?.into(), item: field(item)?.into(), time_ms, kind: kind.into() });
    }
    taken.sort_by_key(|taken| taken.time_ms);
    Ok(taken)
}

/// Item events of a file with item, title and genres; the genres stand between bars.
pub fn items(path: &Path, time_ms: i64) -> Result<Vec<Event>> {
    let table = Table::read(path, |count| if count == 3 { &["item", "title", "genres"] } else { &[] })?;
    let (item, title, genres) = (table.needed(ITEMS, path)?, table.column(TITLES), table.column(GENRES));
    let field = |row: &[String], column: Option<usize>| column.and_then(|column| row.get(column).cloned()).unwrap_or_default();
    let event = |(number, row): (usize, &Vec<String>)| {
        let genres = field(row, genres);
        let genres: Vec<&str> = genres.split('|').map(str::trim).filter(|genre| !genre.is_empty()).collect();
        let payload = json!({ "kind": "item", "item": field(row, Some(item)), "title": field(row, title), "categories": genres });
        event(&payload, number as i64 - table.rows.len() as i64, time_ms)
    };
    Ok(table.rows.iter().enumerate().map(event).collect())
}

impl Taken {
    pub fn event(&self, offset: i64) -> Event {
        event(&json!({ "kind": self.kind, "user": self.user, "item": self.item }), offset, self.time_ms)
    }

    /// The question what the user takes next, asked when it is taken: it names no item.
    pub fn request(&self, offset: i64) -> Event {
        event(&json!({ "kind": "request", "user": self.user }), offset, self.time_ms)
    }
}

fn event(payload: &serde_json::Value, offset: i64, event_time_ms: i64) -> Event {
    let payload = Some(payload.to_string().into_bytes().into());
    let position = Position { topic: "file".into(), partition: 0, offset };
    let raw = RawEvent { position, timestamp_ms: event_time_ms, key: None, payload, headers: Vec::new() };
    Event { body: None, raw, id: offset.to_string().into(), key: None, event_time_ms, text: None }
}

/// Seconds, milliseconds or RFC 3339.
fn time_ms(text: &str) -> Result<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let number: f64 = text.parse().context("the time is neither a number nor RFC 3339")?;
    match number {
        0.0..1e11 => Ok((number * 1e3).round() as i64),
        1e11..1e14 => Ok(number as i64),
        _ => bail!("the time is out of range"),
    }
}

fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => {
            GzDecoder::new(&bytes[..]).read_to_string(&mut text).with_context(|| format!("cannot unpack {}", path.display()))?
        }
        false => (&bytes[..]).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?,
    };
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a column that is taken for another, and takings out of stream order.
    #[test]
    fn the_spellings_of_public_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("x");
            std::fs::write(&path, text).unwrap();
            takings(&path).map(|all| all.iter().map(|t| (t.user.to_string(), t.item.to_string(), t.time_ms)).collect::<Vec<_>>())
        };
        let one = |user: &str, item: &str, time_ms: i64| (user.to_owned(), item.to_owned(), time_ms);
        assert_eq!(read("1 5\n1 6\n").unwrap(), [one("1", "5", 0), one("1", "6", 1_000)]);
        assert_eq!(
            read("SessionId\tItemId\tTime\n7\t8\t12.5\n7\t9\t2.0\n").unwrap(),
            [one("7", "9", 2_000), one("7", "8", 12_500)]
        );
        assert_eq!(read("196\t242\t3\t881250949\n").unwrap(), [one("196", "242", 881_250_949_000)]);
        assert_eq!(read("1::2::9::1362062307\n").unwrap(), [one("1", "2", 1_362_062_307_000)]);
        assert!(read("1,2,3,4,5\n").unwrap_err().to_string().contains("header"));
    }
}
