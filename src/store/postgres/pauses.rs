//! Pauses: read by workers, set and lifted by operators. The two functions of the schema write the journal too.

use super::PostgresStore;
use super::errors::{Need, error_of, store_error};
use super::lease::lease;
use crate::store::{Pause, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

/// Longest reason and name, characters.
pub const REASON_CHARS: usize = 500;
pub const NAME_CHARS: usize = 100;

/// What is meant: a pipeline, one topic of it, or one partition.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub pipeline: &'a str,
    pub topic: Option<&'a str>,
    /// Goes with a topic.
    pub partition: Option<i32>,
}

/// Who says so, and why.
#[derive(Debug, Clone, Copy)]
pub struct Operator<'a> {
    /// Empty: the login of the session.
    pub by: &'a str,
    pub reason: Option<&'a str>,
    /// The door: `cli` or `http`.
    pub through: &'static str,
}

const COLUMNS: &str = "pipeline, nullif(topic, '') AS topic, nullif(partition, -1) AS partition, reason, by, \
                       to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since";

fn pause(row: &PgRow) -> Result<(String, Pause), sqlx::Error> {
    let pause = Pause {
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        reason: row.try_get("reason")?,
        by: row.try_get("by")?,
        since: row.try_get("since")?,
    };
    Ok((row.try_get("pipeline")?, pause))
}

/// The pauses of one pipeline, the widest first.
pub async fn of_pipeline(pool: &PgPool, pipeline: &str) -> Result<Vec<Pause>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM millrace.pause p WHERE pipeline = $1 ORDER BY p.topic, p.partition");
    let map = |error: sqlx::Error| store_error(&error);
    let mut connection = lease(pool).await.map_err(map)?;
    let rows = sqlx::query(&text).bind(pipeline).fetch_all(&mut *connection).await.map_err(map)?;
    rows.iter().map(|row| pause(row).map(|(_, pause)| pause)).collect::<Result<_, _>>().map_err(map)
}

impl PostgresStore {
    /// The pauses of all pipelines, or of one, each with its pipeline's name.
    pub async fn all_pauses(&self, pipeline: Option<&str>) -> Result<Vec<(String, Pause)>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM millrace.pause p WHERE $1::text IS NULL OR pipeline = $1 ORDER BY p.pipeline, p.topic, p.partition"
        );
        let map = |error: sqlx::Error| error_of(Need::Reader, &error);
        let rows = sqlx::query(&text).bind(pipeline).fetch_all(&self.pool).await.map_err(map)?;
        rows.iter().map(pause).collect::<Result<_, _>>().map_err(map)
    }

    /// Pauses, and says whether it was not paused before.
    pub async fn set_pause(&self, scope: Scope<'_>, operator: Operator<'_>) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT millrace.set_pause($1, $2, $3, $4, $5, $6)")
            .bind(scope.pipeline)
            .bind(scope.topic.unwrap_or_default())
            .bind(scope.partition.unwrap_or(-1))
            .bind(operator.reason)
            .bind(operator.by)
            .bind(operator.through)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| error_of(Need::Operator, &error))
    }

    /// Lifts the pause of exactly this, or with `everything` all of the pipeline; returns how many there were.
    pub async fn lift_pause(&self, scope: Scope<'_>, everything: bool, operator: Operator<'_>) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT millrace.lift_pause($1, $2, $3, $4, $5, $6, $7)")
            .bind(scope.pipeline)
            .bind(scope.topic.unwrap_or_default())
            .bind(scope.partition.unwrap_or(-1))
            .bind(everything)
            .bind(operator.reason)
            .bind(operator.by)
            .bind(operator.through)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| error_of(Need::Operator, &error))
    }
}
