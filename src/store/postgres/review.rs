//! What `millrace verify` and `millrace demo` read to compare. Nothing here writes.

use super::PostgresStore;
use super::errors::{Need, error_of};
use super::keyed::{BindKey, id_columns, stream};
use crate::event::TopicPartition;
use crate::record::{Mode, RecordId};
use crate::store::{PartitionKey, StoreError};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// One row of `stream_partition`, and what the rows of `record` say about the same partition, of one moment.
#[derive(Debug, Clone)]
pub struct Counted {
    pub run: i32,
    pub partition: TopicPartition,
    pub mode: Mode,
    /// Where the run began; not known of partitions that an early version opened.
    pub start_offset: Option<i64>,
    /// P and Q.
    pub next_offset: i64,
    pub published_offset: i64,
    /// As the partition's row tells.
    pub events: i64,
    pub records: i64,
    pub skipped: i64,
    pub dead: i64,
    /// As counted: rows, dead letters among them, events that have a row, rows at or above P.
    pub rows: i64,
    pub dead_rows: i64,
    pub events_with_rows: i64,
    pub beyond: i64,
    /// Lowest offset that has a row.
    pub lowest: Option<i64>,
    /// What `millrace retention` has removed of it.
    pub removed: Removed,
}

/// What retention has removed of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// All that is removed stood below this; `None`: nothing is.
    pub below: Option<i64>,
    /// Rows, dead letters among them, and events that have no row left.
    pub rows: i64,
    pub dead: i64,
    pub events: i64,
}

/// One run of a pipeline on one partition.
#[derive(Debug, Clone)]
pub struct Run {
    pub run: i32,
    /// Where it began; not known of partitions that an early version opened.
    pub start_offset: Option<i64>,
    /// Where it began to fold; not known likewise.
    pub fold_start: Option<i64>,
    /// P.
    pub next_offset: i64,
    /// Digest of the fold that decided last; `None` without one.
    pub fold: Option<String>,
}

/// How the events of a pipeline ended, counted from the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Endings {
    /// Sum of `stream_partition.events`.
    pub events: i64,
    pub predictions: i64,
    pub dead_letters: i64,
    /// Events that have a row.
    pub distinct_events: i64,
}

/// A row of `record` as a reader of the output topic would have to see it.
#[derive(Debug, Clone)]
pub struct Row {
    pub id: RecordId,
    pub out_topic: String,
    pub key: Option<Vec<u8>>,
    pub traceparent: Option<String>,
    /// SHA-256 of the value's bytes.
    pub digest: Vec<u8>,
    /// Its payload was erased on demand.
    pub erased: bool,
}

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Reader, &error)
}

impl PostgresStore {
    /// Every partition of a pipeline, of all its runs, with its rows counted in the same statement.
    pub async fn counted(&self, pipeline: &str) -> Result<Vec<Counted>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.run, p.topic, p.partition, p.mode, p.start_offset, p.next_offset, p.published_offset, p.events, p.records, p.skipped, p.dead, \
             count(r.n) AS rows, count(*) FILTER (WHERE r.kind = 'dead_letter') AS dead_rows, \
             count(DISTINCT r.\"offset\") AS events_with_rows, count(*) FILTER (WHERE r.\"offset\" >= p.next_offset) AS beyond, \
             min(r.\"offset\") AS lowest, min(m.below) AS removed_below, coalesce(min(m.rows), 0) AS removed_rows, \
             coalesce(min(m.dead), 0) AS removed_dead, coalesce(min(m.events), 0) AS removed_events \
             FROM millrace.stream_partition p LEFT JOIN millrace.removed m USING (stream) LEFT JOIN millrace.record r USING (stream) \
             WHERE p.pipeline = $1 GROUP BY p.pipeline, p.run, p.topic, p.partition ORDER BY p.run, p.topic, p.partition",
        )
        .bind(pipeline)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        rows.iter().map(counted).collect::<Result<_, _>>().map_err(map)
    }

    /// The runs of a pipeline on a partition, the newest first.
    pub async fn runs(&self, pipeline: &str, partition: &TopicPartition) -> Result<Vec<Run>, StoreError> {
        let rows = sqlx::query(
            "SELECT run, start_offset, coalesce(fold_start, start_offset), next_offset, fold FROM millrace.stream_partition \
             WHERE pipeline = $1 AND topic = $2 AND partition = $3 ORDER BY run DESC",
        )
        .bind(pipeline)
        .bind(&*partition.topic)
        .bind(partition.partition)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        let run = |row: &PgRow| {
            Ok(Run {
                run: row.try_get(0)?,
                start_offset: row.try_get(1)?,
                fold_start: row.try_get(2)?,
                next_offset: row.try_get(3)?,
                fold: row.try_get(4)?,
            })
        };
        rows.iter().map(run).collect::<Result<_, _>>().map_err(map)
    }

    /// Rows of a pipeline whose partition has no row.
    pub async fn orphans(&self, pipeline: &str) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "SELECT count(*) FROM millrace.record r WHERE pipeline = $1 AND NOT EXISTS (SELECT 1 FROM millrace.stream_partition p \
             WHERE p.stream = r.stream AND p.pipeline = r.pipeline AND p.run = r.run AND p.topic = r.topic AND p.partition = r.partition)",
        )
        .bind(pipeline)
        .fetch_one(&self.pool)
        .await
        .map_err(map)
    }

    /// Number of records of one partition below an offset that is not below Q: those that retention has removed among them, since it removes
    /// nothing above Q.
    pub async fn records_below(&self, key: &PartitionKey, offset: i64) -> Result<i64, StoreError> {
        sqlx::query_scalar(concat!(
            "SELECT (SELECT count(*) FROM millrace.record WHERE stream = ",
            stream!(),
            " AND \"offset\" < $5) + coalesce((SELECT rows FROM millrace.removed WHERE stream = ",
            stream!(),
            "), 0)"
        ))
        .bind_key(key)
        .bind(offset)
        .fetch_one(&self.pool)
        .await
        .map_err(map)
    }

    /// Below which offset retention has removed rows of this partition, as it is now.
    pub async fn removed_below(&self, key: &PartitionKey) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar(concat!("SELECT below FROM millrace.removed WHERE stream = ", stream!()))
            .bind_key(key)
            .fetch_optional(&self.pool)
            .await
            .map_err(map)
    }

    /// The topics that a pipeline's rows are meant for.
    pub async fn out_topics(&self, pipeline: &str) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar("SELECT DISTINCT out_topic FROM millrace.record WHERE pipeline = $1 ORDER BY 1")
            .bind(pipeline)
            .fetch_all(&self.pool)
            .await
            .map_err(map)
    }

    /// The rows with these ids, all of one pipeline, in no order; ids without a row are left out.
    pub async fn rows_by_id(&self, pipeline: &str, ids: &[&RecordId]) -> Result<Vec<Row>, StoreError> {
        let (runs, topics, partitions, offsets, ns) = id_columns(ids.iter().copied());
        let rows = sqlx::query(
            // The limit keeps it at one look into the key's index an id, whatever the planner knows about the table.
            "SELECT i.run, i.topic, i.partition, i.\"offset\", i.n, r.out_topic, r.key, r.headers ->> 'traceparent' AS traceparent, \
             sha256(convert_to(r.value::text, 'UTF8')) AS digest, \
             EXISTS (SELECT FROM millrace.erased e WHERE e.stream = p.stream AND e.\"offset\" = i.\"offset\" AND e.n = i.n) AS erased \
             FROM unnest($2::int[], $3::text[], $4::int[], $5::bigint[], $6::smallint[]) AS i (run, topic, partition, \"offset\", n) \
             JOIN millrace.stream_partition p ON p.pipeline = $1 AND p.run = i.run AND p.topic = i.topic AND p.partition = i.partition \
             CROSS JOIN LATERAL (SELECT * FROM millrace.record r WHERE r.stream = p.stream AND r.\"offset\" = i.\"offset\" \
             AND r.n = i.n LIMIT 1) r",
        )
        .bind(pipeline)
        .bind(runs)
        .bind(topics)
        .bind(partitions)
        .bind(offsets)
        .bind(ns)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        rows.iter().map(|row| whole(pipeline, row)).collect::<Result<_, _>>().map_err(map)
    }

    /// Rows of one partition below `below` that are meant for one topic, in buckets of `width` offsets from `low` on:
    /// bucket, number of rows, and the sum of their hashes, which tells which ones they were.
    pub async fn buckets(
        &self,
        key: &PartitionKey,
        out_topic: &str,
        low: i64,
        width: i64,
        below: i64,
    ) -> Result<Vec<(i64, i64, i64)>, StoreError> {
        let rows = sqlx::query(
            // The mixing is that of the tallies in `verify`, 32 bits in a bigint.
            concat!(
                "SELECT (\"offset\" - $6) / $7 AS bucket, count(*), sum((c.x >> 16) # c.x)::bigint FROM millrace.record r, \
             LATERAL (SELECT ((\"offset\" & 4294967295) + n::bigint * 2654435761) & 4294967295 AS x) a, \
             LATERAL (SELECT (((a.x >> 16) # a.x) * 73244475) & 4294967295 AS x) b, \
             LATERAL (SELECT (((b.x >> 16) # b.x) * 73244475) & 4294967295 AS x) c \
             WHERE stream = ",
                stream!(),
                " AND out_topic = $5 AND \"offset\" < $8 GROUP BY 1"
            ),
        )
        .bind_key(key)
        .bind(out_topic)
        .bind(low)
        .bind(width)
        .bind(below)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect::<Result<_, _>>().map_err(map)
    }

    /// The ids (offset, n) of one partition's rows in [from, to), in order: those that are meant for one topic, or all.
    pub async fn ids(
        &self,
        key: &PartitionKey,
        out_topic: Option<&str>,
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, i16)>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT \"offset\", n FROM millrace.record WHERE stream = ",
            stream!(),
            " \
             AND ($5::text IS NULL OR out_topic = $5) AND \"offset\" >= $6 AND \"offset\" < $7 ORDER BY 1, 2"
        ))
        .bind_key(key)
        .bind(out_topic)
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(map)
    }
}

fn counted(row: &PgRow) -> Result<Counted, sqlx::Error> {
    Ok(Counted {
        run: row.try_get("run")?,
        partition: TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?),
        mode: if row.try_get::<&str, _>("mode")? == "postgres" { Mode::Postgres } else { Mode::Both },
        start_offset: row.try_get("start_offset")?,
        next_offset: row.try_get("next_offset")?,
        published_offset: row.try_get("published_offset")?,
        events: row.try_get("events")?,
        records: row.try_get("records")?,
        skipped: row.try_get("skipped")?,
        dead: row.try_get("dead")?,
        rows: row.try_get("rows")?,
        dead_rows: row.try_get("dead_rows")?,
        events_with_rows: row.try_get("events_with_rows")?,
        beyond: row.try_get("beyond")?,
        lowest: row.try_get("lowest")?,
        removed: Removed {
            below: row.try_get("removed_below")?,
            rows: row.try_get("removed_rows")?,
            dead: row.try_get("removed_dead")?,
            events: row.try_get("removed_events")?,
        },
    })
}

fn whole(pipeline: &str, row: &PgRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        id: RecordId {
            pipeline: pipeline.into(),
            run: row.try_get("run")?,
            topic: row.try_get::<&str, _>("topic")?.into(),
            partition: row.try_get("partition")?,
            offset: row.try_get("offset")?,
            n: row.try_get("n")?,
        },
        out_topic: row.try_get("out_topic")?,
        key: row.try_get("key")?,
        traceparent: row.try_get("traceparent")?,
        digest: row.try_get("digest")?,
        erased: row.try_get("erased")?,
    })
}

/// Counts the endings of a pipeline over all its runs.
pub async fn endings(url: &str, pipeline: &str) -> Result<Endings, StoreError> {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(url).await.map_err(map)?;
    let row = sqlx::query(
        "SELECT (SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition WHERE pipeline = $1), \
         count(*) FILTER (WHERE kind = 'prediction'), count(*) FILTER (WHERE kind = 'dead_letter'), \
         count(DISTINCT (run, topic, partition, \"offset\")) FROM millrace.record WHERE pipeline = $1",
    )
    .bind(pipeline)
    .fetch_one(&mut connection)
    .await
    .map_err(map)?;
    let read = || -> Result<Endings, sqlx::Error> {
        Ok(Endings {
            events: row.try_get(0)?,
            predictions: row.try_get(1)?,
            dead_letters: row.try_get(2)?,
            distinct_events: row.try_get(3)?,
        })
    };
    let endings = read().map_err(map);
    connection.close().await.map_err(map)?;
    endings
}
