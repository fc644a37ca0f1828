//! What people look up while workers run: on a few connections of its own, which only read, so that no look-up takes one from a pipeline.

mod index;
mod letters;
mod scan;

pub use letters::{Letter, LetterCount, LetterFilter};
pub use scan::{Found, Search, Wanted};

use super::errors::{Need, error_of};
use super::lease::{Leased, lease};
use super::{PostgresSettings, connect_options};
use crate::record::RecordId;
use crate::store::StoreError;
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use std::time::Duration;

/// Connections at most; while nobody looks there are none.
const CONNECTIONS: u32 = 3;
/// Longest statement, and longest wait for a connection. Whoever looks is waiting.
const STATEMENT_MS: u64 = 3_000;
const ACQUIRE_MS: u64 = 2_000;
const IDLE: Duration = Duration::from_secs(30);

/// Sessions that write nothing. All go along the keys, whatever the planner thinks: what it takes for a short way may read a partition whole.
const ALONG_THE_KEYS: [(&str, &str); 6] = [
    ("default_transaction_read_only", "on"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Reads what was decided.
#[derive(Clone)]
pub struct Look {
    pool: PgPool,
}

/// A row of `record`, whole.
#[derive(Debug, Clone)]
pub struct Looked {
    pub id: RecordId,
    /// `prediction` or `dead_letter`.
    pub kind: String,
    pub out_topic: String,
    pub key: Option<Vec<u8>>,
    /// JSON.
    pub headers: Option<String>,
    /// JSON; `None` where it is larger than was asked for.
    pub value: Option<String>,
    pub value_bytes: i64,
    pub function: String,
    pub model: String,
    pub config: String,
    pub label: Option<String>,
    pub score: Option<f64>,
    pub decided_at: String,
    /// What was done about it, if it is a dead letter.
    pub handling: String,
}

/// Where an event stands in a pipeline's input; `run` and `n` narrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub run: Option<i32>,
    pub topic: Box<str>,
    pub partition: i32,
    pub offset: i64,
    pub n: Option<i16>,
}

/// How far one run is with the partition of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub pipeline: String,
    pub run: i32,
    /// Where the run began; not known of partitions that an early version opened.
    pub start_offset: Option<i64>,
    /// P: all below is decided.
    pub next_offset: i64,
}

/// Columns of a [`Looked`] out of `r` and `m`. Values beyond the parameter `$1` are left out.
const COLUMNS: &str = "r.pipeline, r.run, r.topic, r.partition, r.\"offset\", r.n, r.kind, r.out_topic, r.key, r.headers::text AS headers, \
     CASE WHEN octet_length(r.value::text) <= $1 THEN r.value::text END AS value, octet_length(r.value::text)::bigint AS value_bytes, \
     r.function, r.model, r.config, r.label, r.score, \
     to_char(r.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS decided_at, coalesce(m.action, 'open') AS handling";

const WITH_MARKS: &str = "LEFT JOIN millrace.dead_letter_mark m ON m.pipeline = r.pipeline AND m.run = r.run AND m.topic = r.topic \
     AND m.partition = r.partition AND m.\"offset\" = r.\"offset\" AND m.n = r.n";

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Reader, &error)
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let settings =
        PostgresSettings { max_connections: CONNECTIONS, statement_timeout_ms: STATEMENT_MS, acquire_timeout_ms: ACQUIRE_MS };
    Ok(connect_options(url, &settings)?.application_name("millrace look-up").options(ALONG_THE_KEYS))
}

impl Look {
    /// Connects to nothing before it is asked. Needs a runtime.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_millis(ACQUIRE_MS))
            .idle_timeout(IDLE)
            .connect_lazy_with(options(url)?);
        Ok(Self { pool })
    }

    /// From now on connections are made with this URL, whose user and password may be new.
    pub fn renew(&self, url: &str) -> Result<(), StoreError> {
        self.pool.set_connect_options(options(url)?);
        Ok(())
    }

    async fn connection(&self) -> Result<Leased, StoreError> {
        lease(&self.pool).await.map_err(map)
    }

    /// The records of a place, newest run first, and how far each run of these pipelines is there. Values of more than `value_bytes` are
    /// left out.
    pub async fn at(
        &self,
        pipelines: &[&str],
        place: &Place,
        limit: i64,
        value_bytes: i64,
    ) -> Result<(Vec<Reached>, Vec<Looked>), StoreError> {
        const RUNS: &str = "FROM millrace.stream_partition p WHERE p.pipeline = ANY($2) AND p.topic = $3 AND p.partition = $4 \
                            AND ($5::int IS NULL OR p.run = $5)";
        let mut connection = self.connection().await?;
        // One text for both, so that their parameters are the same.
        let reached = format!(
            "SELECT p.pipeline, p.run, p.start_offset, p.next_offset {RUNS} AND $1::bigint IS NOT NULL ORDER BY 1, 2 DESC"
        );
        let records = format!(
            "SELECT {COLUMNS} FROM (SELECT p.stream {RUNS}) s JOIN millrace.record r ON r.stream = s.stream AND r.\"offset\" = $6 \
             AND ($7::smallint IS NULL OR r.n = $7) {WITH_MARKS} ORDER BY r.pipeline, r.run DESC, r.n LIMIT $8"
        );
        let reached = sqlx::query(&reached)
            .bind(value_bytes)
            .bind(pipelines)
            .bind(&*place.topic)
            .bind(place.partition)
            .bind(place.run)
            .fetch_all(&mut *connection)
            .await
            .map_err(map)?;
        let rows = sqlx::query(&records)
            .bind(value_bytes)
            .bind(pipelines)
            .bind(&*place.topic)
            .bind(place.partition)
            .bind(place.run)
            .bind(place.offset)
            .bind(place.n)
            .bind(limit)
            .fetch_all(&mut *connection)
            .await
            .map_err(map)?;
        let of = |row: &PgRow| {
            Ok(Reached {
                pipeline: row.try_get(0)?,
                run: row.try_get(1)?,
                start_offset: row.try_get(2)?,
                next_offset: row.try_get(3)?,
            })
        };
        let reached = reached.iter().map(of).collect::<Result<_, _>>().map_err(map)?;
        Ok((reached, looked(&rows)?))
    }

    /// The newest record of a key, where the output keeps it: by the key of the table `latest`. Outputs are pipelines with their topic.
    pub async fn latest(&self, outputs: &[(&str, &str)], key: &[u8], value_bytes: i64) -> Result<Vec<Looked>, StoreError> {
        // The history may be gone; what `latest` has not, the headers, is looked for there.
        let columns = COLUMNS.replace("r.kind", "'prediction' AS kind").replace("r.headers::text", "h.headers::text");
        let text = format!(
            "SELECT {columns} FROM unnest($2::text[], $3::text[]) AS o (pipeline, out_topic) \
             JOIN millrace.latest r ON r.pipeline = o.pipeline AND r.out_topic = o.out_topic AND r.key = $4 \
             LEFT JOIN millrace.stream_partition p ON p.pipeline = r.pipeline AND p.run = r.run AND p.topic = r.topic AND p.partition = r.partition \
             LEFT JOIN millrace.record h ON h.stream = p.stream AND h.\"offset\" = r.\"offset\" AND h.n = r.n {WITH_MARKS} \
             ORDER BY r.decided_at DESC, r.pipeline"
        );
        let mut connection = self.connection().await?;
        let rows = sqlx::query(&text)
            .bind(value_bytes)
            .bind(outputs.iter().map(|(pipeline, _)| *pipeline).collect::<Vec<_>>())
            .bind(outputs.iter().map(|(_, topic)| *topic).collect::<Vec<_>>())
            .bind(key)
            .fetch_all(&mut *connection)
            .await
            .map_err(map)?;
        looked(&rows)
    }
}

fn looked(rows: &[PgRow]) -> Result<Vec<Looked>, StoreError> {
    rows.iter().map(of_row).collect::<Result<_, _>>().map_err(map)
}

fn id_of(row: &PgRow) -> Result<RecordId, sqlx::Error> {
    Ok(RecordId {
        pipeline: row.try_get::<&str, _>("pipeline")?.into(),
        run: row.try_get("run")?,
        topic: row.try_get::<&str, _>("topic")?.into(),
        partition: row.try_get("partition")?,
        offset: row.try_get("offset")?,
        n: row.try_get("n")?,
    })
}

fn of_row(row: &PgRow) -> Result<Looked, sqlx::Error> {
    Ok(Looked {
        id: id_of(row)?,
        kind: row.try_get("kind")?,
        out_topic: row.try_get("out_topic")?,
        key: row.try_get("key")?,
        headers: row.try_get("headers")?,
        value: row.try_get("value")?,
        value_bytes: row.try_get("value_bytes")?,
        function: row.try_get("function")?,
        model: row.try_get("model")?,
        config: row.try_get("config")?,
        label: row.try_get("label")?,
        score: row.try_get("score")?,
        decided_at: row.try_get("decided_at")?,
        handling: row.try_get("handling")?,
    })
}
