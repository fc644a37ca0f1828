//! Records by what has no index: read backwards, the newest first, for as long as there is time.
//!
//! An index on keys would cost every record that is written. Within a partition records stand in the order of their decisions, and the
//! primary key finds them there. So the partitions are read backwards together, always those whose next record is the newest, and when
//! the time is over it is known how far back all of them were read.

use super::index::{by_index, condition, indexed};
use super::{COLUMNS, Look, Looked, WITH_MARKS, looked, map};
use crate::store::StoreError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use std::time::{Duration, Instant};

/// What a record must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Key(Vec<u8>),
    /// A field of the value: its path for each pipeline, in the order of [`Search::pipelines`].
    Field {
        paths: Vec<Vec<String>>,
        value: String,
    },
}

/// Which records are looked for, and for how long.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    pub pipelines: &'a [&'a str],
    pub wanted: Wanted,
    /// Microseconds since 1970 of the decision: at or after, and before.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub limit: usize,
    pub time: Duration,
    /// Larger values are left out.
    pub value_bytes: i64,
}

/// The newest that were found, and how far was looked.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub records: Vec<Looked>,
    /// Records that were looked at; unknown where an index answered.
    pub looked_at: Option<i64>,
    /// Everything decided from here on was looked at, microseconds since 1970; `None` when all of it was, back to `since`.
    pub reached: Option<i64>,
    /// Whether more were found than `limit`, or may stand further back.
    pub more: bool,
}

/// A partition on its way back.
struct Stream {
    number: i32,
    path: Vec<String>,
    /// Offset and n of the record that was read last; the next stands before it.
    before: (i64, i64),
    /// When that was decided.
    at: i64,
}

/// Partitions read in one statement.
const STREAMS: usize = 64;
/// Records of a partition in one statement: the first time, and at least and at most.
const CHUNK: (i64, i64, i64) = (1_000, 64, 65_536);
/// A statement takes about so long: a look-up then ends in time.
const STEP: Duration = Duration::from_millis(200);

/// When a record was decided, as a number.
pub(super) const AT: &str = "(extract(epoch FROM r.decided_at) * 1000000)::bigint";

impl Look {
    /// Looks for records of these pipelines, all runs, from the newest on.
    pub async fn search(&self, search: &Search<'_>) -> Result<Found, StoreError> {
        let mut connection = self.connection().await?;
        if indexed(&mut connection, &search.wanted).await? {
            return by_index(&mut connection, search).await;
        }
        let started = Instant::now();
        let mut streams = newest(&mut connection, search).await?;
        if let Some(until) = search.until {
            go_back(&mut connection, &mut streams, until).await?;
        }
        let (mut hits, mut looked_at, mut chunk) = (Vec::new(), 0, CHUNK.0);
        while !streams.is_empty() && hits.len() <= search.limit && started.elapsed() < search.time {
            streams.sort_unstable_by_key(|stream| stream.at);
            let step = Instant::now();
            let now = streams.split_off(streams.len().saturating_sub(STREAMS));
            let read = match step_back(&mut connection, search, &now, chunk).await {
                Ok(read) => read,
                // Too much for one statement: less, or what is known by now.
                Err(error) if is_late(&error) => {
                    streams.extend(now);
                    if chunk == CHUNK.1 {
                        break;
                    }
                    chunk = (chunk / 16).max(CHUNK.1);
                    continue;
                }
                Err(error) => return Err(map(error)),
            };
            for (mut stream, read) in now.into_iter().zip(read) {
                looked_at += read.rows;
                hits.extend(read.hits.into_iter().map(|(offset, n)| (stream.number, offset, n)));
                if let Some((before, at)) = read.last
                    && read.rows == chunk
                    && search.since.is_none_or(|since| at >= since)
                {
                    (stream.before, stream.at) = (before, at);
                    streams.push(stream);
                }
            }
            chunk = match step.elapsed() {
                fast if fast < STEP / 2 => (chunk * 2).min(CHUNK.2),
                slow if slow > STEP * 2 => (chunk / 2).max(CHUNK.1),
                _ => chunk,
            };
        }
        let reached = streams.iter().map(|stream| stream.at).max();
        let records = fetch(&mut connection, &hits, search).await?;
        Ok(Found { more: hits.len() > records.len() || reached.is_some(), records, looked_at: Some(looked_at), reached })
    }
}

/// Whether a statement took longer than it may.
fn is_late(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|database| database.code()).is_some_and(|code| code == "57014")
}

/// Each partition of these pipelines behind its newest record.
async fn newest(connection: &mut PgConnection, search: &Search<'_>) -> Result<Vec<Stream>, StoreError> {
    let text = format!(
        "SELECT p.stream, p.pipeline, t.at FROM millrace.stream_partition p CROSS JOIN LATERAL \
         (SELECT {AT} AS at FROM millrace.record r WHERE r.stream = p.stream ORDER BY r.\"offset\" DESC, r.n DESC LIMIT 1) t \
         WHERE p.pipeline = ANY($1)"
    );
    let rows = sqlx::query(&text).bind(search.pipelines).fetch_all(connection).await.map_err(map)?;
    let stream = |row: &PgRow| {
        let pipeline: &str = row.try_get(1)?;
        let path = match &search.wanted {
            Wanted::Field { paths, .. } => {
                let place = search.pipelines.iter().position(|known| *known == pipeline);
                place.and_then(|place| paths.get(place)).cloned().unwrap_or_default()
            }
            Wanted::Key(_) => Vec::new(),
        };
        Ok(Stream { number: row.try_get(0)?, path, before: (i64::MAX, 0), at: row.try_get(2)? })
    };
    rows.iter().map(stream).collect::<Result<_, _>>().map_err(map)
}

/// Brings streams to their last record before a time: halves what is between their first record and their last.
async fn go_back(connection: &mut PgConnection, streams: &mut [Stream], until: i64) -> Result<(), StoreError> {
    let text = format!(
        "SELECT w.stream, t.\"offset\", t.at FROM unnest($1::int[], $2::bigint[]) AS w (stream, low) CROSS JOIN LATERAL \
         (SELECT r.\"offset\", {AT} AS at FROM millrace.record r WHERE r.stream = w.stream AND r.\"offset\" >= w.low \
         ORDER BY r.\"offset\", r.n LIMIT 1) t"
    );
    let top = "SELECT w.stream, t.\"offset\" FROM unnest($1::int[]) AS w (stream) CROSS JOIN LATERAL (SELECT r.\"offset\" FROM \
               millrace.record r WHERE r.stream = w.stream ORDER BY r.\"offset\" DESC LIMIT 1) t";
    // Stream, an offset whose record is older, and one from which on all are not.
    let mut open: Vec<(i32, i64, i64)> = Vec::new();
    let late: Vec<i32> = streams.iter().filter(|stream| stream.at >= until).map(|stream| stream.number).collect();
    for row in sqlx::query(top).bind(&late).fetch_all(&mut *connection).await.map_err(map)? {
        open.push((row.try_get(0).map_err(map)?, -1, row.try_get(1).map_err(map)?));
    }
    let mut ends = Vec::new();
    while !open.is_empty() {
        let (numbers, middles): (Vec<i32>, Vec<i64>) =
            open.iter().map(|(number, low, high)| (*number, low.midpoint(*high).max(low + 1).min(*high))).unzip();
        let rows = sqlx::query(&text).bind(&numbers).bind(&middles).fetch_all(&mut *connection).await.map_err(map)?;
        let mut found = std::collections::BTreeMap::new();
        for row in &rows {
            let seen: (i64, i64) = (row.try_get(1).map_err(map)?, row.try_get(2).map_err(map)?);
            found.insert(row.try_get::<i32, _>(0).map_err(map)?, seen);
        }
        let mut rest = Vec::new();
        for ((number, low, high), middle) in open.into_iter().zip(middles) {
            let (low, high) = match found.get(&number) {
                Some((offset, at)) if *at < until => (*offset, high),
                _ => (low, middle),
            };
            match high - low <= 1 {
                true => ends.push((number, high)),
                false => rest.push((number, low, high)),
            }
        }
        open = rest;
    }
    for stream in streams {
        if let Some((_, end)) = ends.iter().find(|(number, _)| *number == stream.number) {
            // What is read next is older than `until`, and decides when that was.
            (stream.before, stream.at) = ((*end, 0), until);
        }
    }
    Ok(())
}

/// What one step read of a partition.
struct Read {
    rows: i64,
    /// Offset and n of the oldest, and when it was decided.
    last: Option<((i64, i64), i64)>,
    hits: Vec<(i64, i64)>,
}

/// Reads the next `chunk` records of each, one answer a stream in their order.
async fn step_back(
    connection: &mut PgConnection,
    search: &Search<'_>,
    streams: &[Stream],
    chunk: i64,
) -> Result<Vec<Read>, sqlx::Error> {
    // Only what is compared leaves the table.
    let (column, hit) = match &search.wanted {
        Wanted::Key(_) => ("r.key", condition(&search.wanted, "")),
        Wanted::Field { .. } => ("r.value", condition(&search.wanted, "w.path")),
    };
    let text = format!(
        "SELECT w.place, count(*) AS rows, min(ARRAY[r.\"offset\", r.n]) AS last, min({AT}) AS at, \
         coalesce(array_agg(r.\"offset\") FILTER (WHERE {hit} AND ($6::bigint IS NULL OR {AT} >= $6)), '{{}}') AS offsets, \
         coalesce(array_agg(r.n::bigint) FILTER (WHERE {hit} AND ($6::bigint IS NULL OR {AT} >= $6)), '{{}}') AS ns \
         FROM unnest($1::int[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY AS w (stream, path, before, before_n, place) \
         CROSS JOIN LATERAL (SELECT r.\"offset\", r.n::bigint AS n, r.decided_at, {column} FROM millrace.record r \
         WHERE r.stream = w.stream AND (r.\"offset\", r.n) < (w.before, w.before_n) ORDER BY r.\"offset\" DESC, r.n DESC LIMIT $7) r \
         GROUP BY w.place"
    );
    let query = sqlx::query(&text).bind(streams.iter().map(|stream| stream.number).collect::<Vec<_>>());
    let query = match &search.wanted {
        Wanted::Key(key) => query.bind(key.as_slice()),
        Wanted::Field { value, .. } => query.bind(value.as_str()),
    };
    let rows = query
        .bind(streams.iter().map(|stream| array(&stream.path)).collect::<Vec<_>>())
        .bind(streams.iter().map(|stream| stream.before.0).collect::<Vec<_>>())
        .bind(streams.iter().map(|stream| stream.before.1).collect::<Vec<_>>())
        .bind(search.since)
        .bind(chunk)
        .fetch_all(connection)
        .await?;
    let mut read: Vec<Read> = streams.iter().map(|_| Read { rows: 0, last: None, hits: Vec::new() }).collect();
    for row in rows {
        let place = usize::try_from(row.try_get::<i64, _>("place")? - 1).unwrap_or(usize::MAX);
        let Some(of) = read.get_mut(place) else { continue };
        let last: Vec<i64> = row.try_get("last")?;
        of.rows = row.try_get("rows")?;
        of.last = match last[..] {
            [offset, n] => Some(((offset, n), row.try_get("at")?)),
            _ => None,
        };
        let (offsets, ns): (Vec<i64>, Vec<i64>) = (row.try_get("offsets")?, row.try_get("ns")?);
        of.hits = offsets.into_iter().zip(ns).collect();
    }
    Ok(read)
}

/// A path as Postgres writes an array of texts.
fn array(path: &[String]) -> String {
    let quoted: Vec<String> =
        path.iter().map(|name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}

/// The rows of hits (stream, offset, n), the newest first.
pub(super) async fn fetch(
    connection: &mut PgConnection,
    hits: &[(i32, i64, i64)],
    search: &Search<'_>,
) -> Result<Vec<Looked>, StoreError> {
    if hits.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT {COLUMNS} FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS w (stream, \"offset\", n) \
         JOIN millrace.record r ON r.stream = w.stream AND r.\"offset\" = w.\"offset\" AND r.n = w.n {WITH_MARKS} \
         ORDER BY r.decided_at DESC, r.pipeline, r.run DESC, r.topic, r.partition, r.\"offset\" DESC, r.n LIMIT $5"
    );
    let rows = sqlx::query(&text)
        .bind(search.value_bytes)
        .bind(hits.iter().map(|(stream, ..)| *stream).collect::<Vec<_>>())
        .bind(hits.iter().map(|(_, offset, _)| *offset).collect::<Vec<_>>())
        .bind(hits.iter().map(|(.., n)| *n).collect::<Vec<_>>())
        .bind(i64::try_from(search.limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await
        .map_err(map)?;
    looked(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a name in a config that ends the array it stands in.
    #[test]
    fn a_path_is_one_array() {
        assert_eq!(array(&["event".into(), "a\"},{\\".into()]), r#"{"event","a\"},{\\"}"#);
    }
}
