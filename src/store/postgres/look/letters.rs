//! Dead letters, counted and listed over several pipelines, without the events that they hold.

use super::{Look, map};
use crate::record::RecordId;
use crate::store::StoreError;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// Which dead letters are meant; what is `None` does not narrow.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter<'a> {
    pub pipelines: &'a [&'a str],
    pub reason: Option<&'a str>,
    pub handling: Option<&'a str>,
    /// Microseconds since 1970 of the decision: at or after, and before.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub limit: i64,
    /// Bytes of each event's payload that come along; `None` for nothing of the event.
    pub payload_bytes: Option<i32>,
}

/// How many dead letters of a pipeline have a reason and a handling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterCount {
    pub pipeline: String,
    pub reason: String,
    pub handling: String,
    pub count: i64,
}

/// A dead letter without its event, or with the beginning of it.
#[derive(Debug, Clone)]
pub struct Letter {
    pub id: RecordId,
    pub reason: String,
    pub field: Option<String>,
    pub detail: Option<String>,
    pub function: String,
    pub model: String,
    pub decided_at: String,
    pub handling: String,
    pub handled_at: Option<String>,
    pub handled_by: Option<String>,
    pub note: Option<String>,
    /// Base64, as the letter has them; the payload to the bytes that were asked for.
    pub key: Option<String>,
    pub payload: Option<String>,
    pub payload_is_cut: bool,
}

/// Dead letters of a pipeline that are counted at most.
const COUNTED: i64 = 100_000;

/// The newest dead letters of each of the pipelines `$1`, by the index of dead letters alone. The label is the reason's code but for letters
/// that Postgres nearly refused: their reason is read out of the value, and of no others.
const NEWEST: &str = "FROM unnest($1::text[]) AS p (name) CROSS JOIN LATERAL (SELECT r.*, coalesce(r.label, r.value #>> '{reason,code}', '') AS reason, \
     coalesce(m.action, 'open') AS handling, m.at AS handled_at, m.by AS handled_by, m.note \
     FROM millrace.record r LEFT JOIN millrace.dead_letter_mark m ON m.pipeline = r.pipeline AND m.run = r.run AND m.topic = r.topic \
     AND m.partition = r.partition AND m.\"offset\" = r.\"offset\" AND m.n = r.n \
     WHERE r.kind = 'dead_letter' AND r.pipeline = p.name \
     AND ($2::bigint IS NULL OR r.decided_at >= to_timestamp($2 / 1000000.0)) AND ($3::bigint IS NULL OR r.decided_at < to_timestamp($3 / 1000000.0)) \
     AND ($4::text IS NULL OR coalesce(r.label, r.value #>> '{reason,code}', '') = $4) \
     AND ($5::text IS NULL OR coalesce(m.action, 'open') = $5) \
     ORDER BY r.decided_at DESC LIMIT $6) r";

impl Look {
    /// Counts by pipeline, reason and handling, whatever the filter says of the last two; and whether all were counted.
    pub async fn count_letters(&self, filter: &LetterFilter<'_>) -> Result<(Vec<LetterCount>, bool), StoreError> {
        let text = format!("SELECT p.name, r.reason, r.handling, count(*) {NEWEST} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3");
        let mut connection = self.connection().await?;
        let rows = sqlx::query(&text)
            .bind(filter.pipelines)
            .bind(filter.since)
            .bind(filter.until)
            .bind(None::<&str>)
            .bind(None::<&str>)
            .bind(COUNTED)
            .fetch_all(&mut *connection)
            .await
            .map_err(map)?;
        let count = |row: &PgRow| {
            Ok(LetterCount {
                pipeline: row.try_get(0)?,
                reason: row.try_get(1)?,
                handling: row.try_get(2)?,
                count: row.try_get(3)?,
            })
        };
        let counts: Vec<LetterCount> = rows.iter().map(count).collect::<Result<_, _>>().map_err(map)?;
        let of = |name: &str| counts.iter().filter(|count| count.pipeline == name).map(|count| count.count).sum::<i64>();
        let whole = filter.pipelines.iter().all(|name| of(name) < COUNTED);
        Ok((counts, whole))
    }

    /// The newest of them.
    pub async fn letters(&self, filter: &LetterFilter<'_>) -> Result<Vec<Letter>, StoreError> {
        let time = |column: &str| format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')");
        let text = format!(
            "SELECT r.pipeline, r.run, r.topic, r.partition, r.\"offset\", r.n, r.reason, r.value #>> '{{reason,field}}' AS field, \
             r.value #>> '{{reason,detail}}' AS detail, r.function, r.model, {} AS decided_at, r.handling, {} AS handled_at, r.handled_by, \
             r.note, CASE WHEN $7::int IS NOT NULL THEN r.value ->> 'key_base64' END AS key, \
             left(r.value ->> 'payload_base64', $7) AS payload, \
             ($7 IS NOT NULL AND octet_length(r.value ->> 'payload_base64') > $7) IS TRUE AS payload_is_cut \
             {NEWEST} ORDER BY r.decided_at DESC, r.pipeline, r.run DESC, r.topic, r.partition, r.\"offset\" DESC, r.n LIMIT $6",
            time("r.decided_at"),
            time("r.handled_at")
        );
        let mut connection = self.connection().await?;
        let rows = sqlx::query(&text)
            .bind(filter.pipelines)
            .bind(filter.since)
            .bind(filter.until)
            .bind(filter.reason)
            .bind(filter.handling)
            .bind(filter.limit)
            // Four signs of base64 are three bytes.
            .bind(filter.payload_bytes.map(|bytes| bytes / 3 * 4))
            .fetch_all(&mut *connection)
            .await
            .map_err(map)?;
        rows.iter().map(letter).collect::<Result<_, _>>().map_err(map)
    }
}

fn letter(row: &PgRow) -> Result<Letter, sqlx::Error> {
    Ok(Letter {
        id: super::id_of(row)?,
        reason: row.try_get("reason")?,
        field: row.try_get("field")?,
        detail: row.try_get("detail")?,
        function: row.try_get("function")?,
        model: row.try_get("model")?,
        decided_at: row.try_get("decided_at")?,
        handling: row.try_get("handling")?,
        handled_at: row.try_get("handled_at")?,
        handled_by: row.try_get("handled_by")?,
        note: row.try_get("note")?,
        key: row.try_get("key")?,
        payload: row.try_get("payload")?,
        payload_is_cut: row.try_get("payload_is_cut")?,
    })
}
