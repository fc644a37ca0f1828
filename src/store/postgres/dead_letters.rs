//! Dead letters for an operator: looked at, and marked.

use super::PostgresStore;
use super::errors::store_error;
use crate::record::RecordId;
use crate::store::StoreError;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// A dead letter and what was done about it.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: RecordId,
    pub reason: Option<String>,
    pub field: Option<String>,
    pub detail: Option<String>,
    pub function: String,
    pub model: String,
    /// As it was published; holds the event.
    pub value: String,
    pub decided_at: String,
    /// `open`, `redriving`, `redriven` or `discarded`; and when, by whom, and why.
    pub handling: String,
    pub handled_at: Option<String>,
    pub handled_by: Option<String>,
    pub note: Option<String>,
}

/// Which dead letters are meant; what is `None` does not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub reason: Option<String>,
    pub handling: Option<String>,
    /// RFC 3339, of the decision: at or after, and before.
    pub since: Option<String>,
    pub until: Option<String>,
    pub ids: Option<Vec<RecordId>>,
    pub limit: i64,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Redriving,
    Redriven,
    Discarded,
}

impl Mark {
    pub fn as_str(self) -> &'static str {
        match self {
            Mark::Redriving => "redriving",
            Mark::Redriven => "redriven",
            Mark::Discarded => "discarded",
        }
    }
}

fn map(error: sqlx::Error) -> StoreError {
    store_error(&error)
}

/// Ids as the parameters of an `unnest`.
type Columns<'a> = (Vec<i32>, Vec<&'a str>, Vec<i32>, Vec<i64>, Vec<i16>);

fn columns<'a>(ids: impl IntoIterator<Item = &'a RecordId>) -> Columns<'a> {
    let mut columns = Columns::default();
    for id in ids {
        columns.0.push(id.run);
        columns.1.push(&id.topic);
        columns.2.push(id.partition);
        columns.3.push(id.offset);
        columns.4.push(id.n);
    }
    columns
}

impl PostgresStore {
    /// The dead letters of a pipeline, the newest first.
    pub async fn dead_letters(&self, pipeline: &str, filter: &Filter) -> Result<Vec<DeadLetter>, StoreError> {
        let (runs, topics, partitions, offsets, ns) = columns(filter.ids.iter().flatten());
        let rows = sqlx::query(
            "SELECT d.run, d.topic, d.partition, d.\"offset\", d.n, d.reason, d.field, d.detail, d.value ->> 'function' AS function, \
             coalesce(d.value ->> 'model', '') AS model, d.value::text AS value, \
             to_char(d.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS decided_at, d.handling, \
             to_char(m.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS handled_at, m.by AS handled_by, m.note \
             FROM millrace.dead_letters d LEFT JOIN millrace.dead_letter_mark m USING (pipeline, run, topic, partition, \"offset\", n) \
             WHERE d.pipeline = $1 AND ($2::text IS NULL OR d.reason = $2) AND ($3::text IS NULL OR d.handling = $3) \
             AND ($4::timestamptz IS NULL OR d.decided_at >= $4::timestamptz) AND ($5::timestamptz IS NULL OR d.decided_at < $5::timestamptz) \
             AND ($6::bool IS NOT TRUE OR (d.run, d.topic, d.partition, d.\"offset\", d.n) IN \
                 (SELECT * FROM unnest($7::int[], $8::text[], $9::int[], $10::bigint[], $11::smallint[]))) \
             ORDER BY d.decided_at DESC, d.run DESC, d.topic, d.partition, d.\"offset\" DESC, d.n LIMIT $12",
        )
        .bind(pipeline)
        .bind(&filter.reason)
        .bind(&filter.handling)
        .bind(&filter.since)
        .bind(&filter.until)
        .bind(filter.ids.is_some())
        .bind(runs)
        .bind(topics)
        .bind(partitions)
        .bind(offsets)
        .bind(ns)
        .bind(filter.limit)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        rows.iter().map(|row| dead_letter(pipeline, row)).collect::<Result<_, _>>().map_err(map)
    }

    /// Marks dead letters that are open, or whose mark is one of `over`. Returns the ids that were marked: nobody else gets them.
    pub async fn mark(
        &self,
        pipeline: &str,
        ids: &[RecordId],
        mark: Mark,
        over: &[Mark],
        note: Option<&str>,
    ) -> Result<Vec<RecordId>, StoreError> {
        let (runs, topics, partitions, offsets, ns) = columns(ids);
        let rows = sqlx::query(
            "INSERT INTO millrace.dead_letter_mark AS m (pipeline, run, topic, partition, \"offset\", n, action, note) \
             SELECT $1, i.run, i.topic, i.partition, i.\"offset\", i.n, $2, $3 \
             FROM unnest($5::int[], $6::text[], $7::int[], $8::bigint[], $9::smallint[]) AS i (run, topic, partition, \"offset\", n) \
             ON CONFLICT (pipeline, run, topic, partition, \"offset\", n) DO UPDATE \
             SET action = excluded.action, at = now(), by = session_user, note = coalesce(excluded.note, m.note) \
             WHERE m.action = ANY($4::text[]) RETURNING run, topic, partition, \"offset\", n",
        )
        .bind(pipeline)
        .bind(mark.as_str())
        .bind(note)
        .bind(over.iter().map(|mark| mark.as_str()).collect::<Vec<_>>())
        .bind(runs)
        .bind(topics)
        .bind(partitions)
        .bind(offsets)
        .bind(ns)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        rows.iter().map(|row| id(pipeline, row)).collect::<Result<_, _>>().map_err(map)
    }
}

fn id(pipeline: &str, row: &PgRow) -> Result<RecordId, sqlx::Error> {
    Ok(RecordId {
        pipeline: pipeline.into(),
        run: row.try_get("run")?,
        topic: row.try_get::<&str, _>("topic")?.into(),
        partition: row.try_get("partition")?,
        offset: row.try_get("offset")?,
        n: row.try_get("n")?,
    })
}

fn dead_letter(pipeline: &str, row: &PgRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        id: id(pipeline, row)?,
        reason: row.try_get("reason")?,
        field: row.try_get("field")?,
        detail: row.try_get("detail")?,
        function: row.try_get::<Option<String>, _>("function")?.unwrap_or_default(),
        model: row.try_get("model")?,
        value: row.try_get("value")?,
        decided_at: row.try_get("decided_at")?,
        handling: row.try_get("handling")?,
        handled_at: row.try_get("handled_at")?,
        handled_by: row.try_get("handled_by")?,
        note: row.try_get("note")?,
    })
}
