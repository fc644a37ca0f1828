//! Dead letters for an operator: looked at, and marked.

use super::PostgresStore;
use super::errors::{Need, error_of};
use super::keyed::id_columns;
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
    /// Its mark; `None` while it is open.
    pub mark: Option<Marked>,
    /// How old the mark is, in seconds of the database's clock.
    pub mark_age_s: Option<f64>,
}

/// One mark among those that a dead letter had: the time at which it was set, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked(i64);

/// Which dead letters are meant; what is `None` does not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub reason: Option<String>,
    pub handling: Option<String>,
    /// RFC 3339, of the decision: at or after, and before.
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit: Option<i64>,
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

const COLUMNS: &str = "r.run, r.topic, r.partition, r.\"offset\", r.n, r.value #>> '{reason,code}' AS reason, \
     r.value #>> '{reason,field}' AS field, r.value #>> '{reason,detail}' AS detail, r.value ->> 'function' AS function, \
     coalesce(r.value ->> 'model', '') AS model, r.value::text AS value, \
     to_char(r.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS decided_at, coalesce(m.action, 'open') AS handling, \
     to_char(m.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS handled_at, m.by AS handled_by, m.note, \
     (extract(epoch FROM m.at) * 1000000)::bigint AS mark, extract(epoch FROM clock_timestamp() - m.at)::float8 AS mark_age_s";

const WITH_MARKS: &str = "LEFT JOIN millrace.dead_letter_mark m ON m.pipeline = r.pipeline AND m.run = r.run AND m.topic = r.topic \
     AND m.partition = r.partition AND m.\"offset\" = r.\"offset\" AND m.n = r.n";

/// The condition of a [`Filter`]; an index of the dead letters alone serves it. The newest first.
const FILTERED: &str = "WHERE r.kind = 'dead_letter' AND r.pipeline = $1 AND ($2::text IS NULL OR r.value #>> '{reason,code}' = $2) \
     AND ($3::text IS NULL OR coalesce(m.action, 'open') = $3) \
     AND ($4::timestamptz IS NULL OR r.decided_at >= $4::timestamptz) AND ($5::timestamptz IS NULL OR r.decided_at < $5::timestamptz) \
     ORDER BY r.decided_at DESC, r.run DESC, r.topic, r.partition, r.\"offset\" DESC, r.n LIMIT $6";

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Reader, &error)
}

impl PostgresStore {
    /// The dead letters of a pipeline, the newest first.
    pub async fn dead_letters(&self, pipeline: &str, filter: &Filter) -> Result<Vec<DeadLetter>, StoreError> {
        let rows = self.filtered(COLUMNS, pipeline, filter).await.map_err(map)?;
        rows.iter().map(|row| dead_letter(pipeline, row)).collect::<Result<_, _>>().map_err(map)
    }

    /// Their ids alone.
    pub async fn dead_letter_ids(&self, pipeline: &str, filter: &Filter) -> Result<Vec<RecordId>, StoreError> {
        let rows = self.filtered("r.run, r.topic, r.partition, r.\"offset\", r.n", pipeline, filter).await.map_err(map)?;
        rows.iter().map(|row| id(pipeline, row)).collect::<Result<_, _>>().map_err(map)
    }

    async fn filtered(&self, columns: &str, pipeline: &str, filter: &Filter) -> Result<Vec<PgRow>, sqlx::Error> {
        let text = format!("SELECT {columns} FROM millrace.record r {WITH_MARKS} {FILTERED}");
        sqlx::query(&text)
            .bind(pipeline)
            .bind(&filter.reason)
            .bind(&filter.handling)
            .bind(&filter.since)
            .bind(&filter.until)
            .bind(filter.limit)
            .fetch_all(&self.pool)
            .await
    }

    /// The dead letters with these ids, all of one pipeline, in no order; ids without one are left out.
    pub async fn dead_letters_by_id(&self, pipeline: &str, ids: &[RecordId]) -> Result<Vec<DeadLetter>, StoreError> {
        let (runs, topics, partitions, offsets, ns) = id_columns(ids);
        // The limit keeps it at one look into the key's index an id, whatever the planner knows about the table.
        let text = format!(
            "SELECT {COLUMNS} \
             FROM unnest($2::int[], $3::text[], $4::int[], $5::bigint[], $6::smallint[]) AS i (run, topic, partition, \"offset\", n) \
             JOIN millrace.stream_partition p ON p.pipeline = $1 AND p.run = i.run AND p.topic = i.topic AND p.partition = i.partition \
             CROSS JOIN LATERAL (SELECT * FROM millrace.record r WHERE r.stream = p.stream AND r.\"offset\" = i.\"offset\" \
             AND r.n = i.n AND r.kind = 'dead_letter' LIMIT 1) r {WITH_MARKS}"
        );
        let rows = sqlx::query(&text)
            .bind(pipeline)
            .bind(runs)
            .bind(topics)
            .bind(partitions)
            .bind(offsets)
            .bind(ns)
            .fetch_all(&self.pool)
            .await
            .map_err(map)?;
        rows.iter().map(|row| dead_letter(pipeline, row)).collect::<Result<_, _>>().map_err(map)
    }

    /// Marks dead letters whose mark is still the one that was read; `None`: that have none. Returns those that were marked, with
    /// their new mark: nobody else gets them.
    pub async fn mark(
        &self,
        pipeline: &str,
        letters: &[(RecordId, Option<Marked>)],
        mark: Mark,
        note: Option<&str>,
    ) -> Result<Vec<(RecordId, Marked)>, StoreError> {
        let (runs, topics, partitions, offsets, ns) = id_columns(letters.iter().map(|(id, _)| id));
        let rows = sqlx::query(
            "WITH i AS (SELECT * FROM unnest($4::int[], $5::text[], $6::int[], $7::bigint[], $8::smallint[], $9::bigint[]) \
                 AS i (run, topic, partition, \"offset\", n, mark)), \
             updated AS (UPDATE millrace.dead_letter_mark m \
                 SET action = $2, at = clock_timestamp(), by = session_user, note = coalesce($3, m.note) FROM i \
                 WHERE m.pipeline = $1 AND m.run = i.run AND m.topic = i.topic AND m.partition = i.partition \
                 AND m.\"offset\" = i.\"offset\" AND m.n = i.n AND (extract(epoch FROM m.at) * 1000000)::bigint = i.mark \
                 RETURNING m.run, m.topic, m.partition, m.\"offset\", m.n, m.at), \
             inserted AS (INSERT INTO millrace.dead_letter_mark (pipeline, run, topic, partition, \"offset\", n, action, note) \
                 SELECT $1, i.run, i.topic, i.partition, i.\"offset\", i.n, $2, $3 FROM i WHERE i.mark IS NULL \
                 ON CONFLICT DO NOTHING RETURNING run, topic, partition, \"offset\", n, at) \
             SELECT run, topic, partition, \"offset\", n, (extract(epoch FROM at) * 1000000)::bigint AS mark \
             FROM (SELECT * FROM updated UNION ALL SELECT * FROM inserted) done",
        )
        .bind(pipeline)
        .bind(mark.as_str())
        .bind(note)
        .bind(runs)
        .bind(topics)
        .bind(partitions)
        .bind(offsets)
        .bind(ns)
        .bind(letters.iter().map(|(_, mark)| mark.map(|mark| mark.0)).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(|error| error_of(Need::Owner, &error))?;
        rows.iter().map(|row| Ok((id(pipeline, row)?, Marked(row.try_get("mark")?)))).collect::<Result<_, _>>().map_err(map)
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
        mark: row.try_get::<Option<i64>, _>("mark")?.map(Marked),
        mark_age_s: row.try_get("mark_age_s")?,
    })
}
