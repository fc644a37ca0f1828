//! Versions: what operators want, what partitions have taken over. The two functions of the schema write the journal too.

use super::PostgresStore;
use super::errors::{Need, error_of, store_error};
use super::keyed::{BindKey, stream};
use super::lease::lease;
use super::pauses::Operator;
use crate::store::{Canary, PartitionKey, StoreError, Swap, Taken};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, PgPool, Row};
use std::sync::Arc;
use uuid::Uuid;

fn map(error: sqlx::Error) -> StoreError {
    store_error(&error)
}

fn canary(row: &PgRow) -> Result<Option<Canary>, sqlx::Error> {
    let (version, share): (Option<&str>, Option<f64>) = (row.try_get("canary")?, row.try_get("share")?);
    Ok(version.zip(share).map(|(version, share)| Canary { version: version.into(), share }))
}

fn swap(row: &PgRow) -> Result<Swap, sqlx::Error> {
    Ok(Swap {
        number: row.try_get("number")?,
        version: row.try_get::<&str, _>("version")?.into(),
        canary: canary(row)?,
        reason: row.try_get("reason")?,
        by: row.try_get("by")?,
        since: row.try_get("since")?,
    })
}

fn taken(row: &PgRow) -> Result<Taken, sqlx::Error> {
    Ok(Taken {
        number: row.try_get("number")?,
        from_offset: row.try_get("from_offset")?,
        version: Arc::from(row.try_get::<&str, _>("version")?),
        canary: canary(row)?,
    })
}

/// A row of number 0 is no wish: somebody wanted what was there.
const SWAPS: &str = "SELECT pipeline, number, version, canary, share, reason, by, \
                     to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since FROM millrace.swap \
                     WHERE number > 0 AND ($1::text IS NULL OR pipeline = $1) ORDER BY pipeline";

pub async fn wish(pool: &PgPool, pipeline: &str) -> Result<Option<Swap>, StoreError> {
    let mut connection = lease(pool).await.map_err(map)?;
    let row = sqlx::query(SWAPS).bind(pipeline).fetch_optional(&mut *connection).await.map_err(map)?;
    row.as_ref().map(swap).transpose().map_err(map)
}

/// In the order of their numbers.
pub async fn all_taken(executor: impl PgExecutor<'_>, key: &PartitionKey) -> Result<Vec<Taken>, StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT number, from_offset, version, canary, share FROM millrace.version_from WHERE stream = ",
        stream!(),
        " ORDER BY number"
    ))
    .bind_key(key)
    .fetch_all(executor)
    .await
    .map_err(map)?;
    rows.iter().map(taken).collect::<Result<_, _>>().map_err(map)
}

/// The row of the partition is locked until the insert stands: a claim comes before it, and it is refused, or after it, and reads it.
pub async fn take(pool: &PgPool, key: &PartitionKey, claim: Uuid, new: &Taken) -> Result<Option<Vec<Taken>>, StoreError> {
    let mut connection = lease(pool).await.map_err(map)?;
    let held = sqlx::query(
        "WITH mine AS (SELECT stream FROM millrace.stream_partition WHERE pipeline = $1 AND run = $2 AND topic = $3 AND partition = $4 \
         AND claim = $5 FOR NO KEY UPDATE), \
         written AS (INSERT INTO millrace.version_from (stream, number, from_offset, version, canary, share) \
         SELECT stream, $6, $7, $8, $9, $10 FROM mine ON CONFLICT (stream, number) DO NOTHING) SELECT stream FROM mine",
    )
    .bind_key(key)
    .bind(claim)
    .bind(new.number)
    .bind(new.from_offset)
    .bind(&*new.version)
    .bind(new.canary.as_ref().map(|canary| &*canary.version))
    .bind(new.canary.as_ref().map(|canary| canary.share))
    .fetch_optional(&mut *connection)
    .await
    .map_err(map)?;
    match held {
        Some(_) => all_taken(&mut *connection, key).await.map(Some),
        None => Ok(None),
    }
}

/// Which way a wish goes.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// To a version, for all keys or for a share.
    To(&'a str, Option<f64>),
    /// Back from the last one; with a number only from that.
    Back(Option<i64>),
}

/// One partition of a pipeline, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    /// What it has taken over, in the order of the numbers.
    pub taken: Vec<Taken>,
}

impl PostgresStore {
    /// The wishes in force of all pipelines, or of one, each with its pipeline's name.
    pub async fn all_swaps(&self, pipeline: Option<&str>) -> Result<Vec<(String, Swap)>, StoreError> {
        let map = |error: sqlx::Error| error_of(Need::Reader, &error);
        let rows = sqlx::query(SWAPS).bind(pipeline).fetch_all(&self.pool).await.map_err(map)?;
        rows.iter().map(|row| Ok((row.try_get("pipeline")?, swap(row)?))).collect::<Result<_, sqlx::Error>>().map_err(map)
    }

    /// Makes a wish; returns its number, or `None` when nothing changes by it.
    pub async fn wish_for(&self, pipeline: &str, step: Step<'_>, operator: Operator<'_>) -> Result<Option<i64>, StoreError> {
        let asked = match step {
            Step::To(version, share) => {
                sqlx::query_scalar("SELECT millrace.set_swap($1, $2, $3, $4, $5, $6)").bind(pipeline).bind(version).bind(share)
            }
            Step::Back(number) => sqlx::query_scalar("SELECT millrace.swap_back($1, $2, $3, $4, $5)").bind(pipeline).bind(number),
        };
        let asked = asked.bind(operator.reason).bind(operator.by).bind(operator.through);
        asked.fetch_one(&self.pool).await.map_err(|error| error_of(Need::Operator, &error))
    }

    /// The partitions of the newest run of a pipeline, with what each has taken over.
    pub async fn standing(&self, pipeline: &str) -> Result<Vec<Standing>, StoreError> {
        let map = |error: sqlx::Error| error_of(Need::Reader, &error);
        let rows = sqlx::query(
            "SELECT p.topic, p.partition, p.next_offset, v.number, v.from_offset, v.version, v.canary, v.share \
             FROM millrace.stream_partition p LEFT JOIN millrace.version_from v USING (stream) \
             WHERE p.pipeline = $1 AND p.run = (SELECT max(run) FROM millrace.stream_partition WHERE pipeline = $1) \
             ORDER BY p.topic, p.partition, v.number",
        )
        .bind(pipeline)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        let mut found: Vec<Standing> = Vec::new();
        for row in &rows {
            let (topic, partition) = (row.try_get::<&str, _>("topic").map_err(map)?, row.try_get("partition").map_err(map)?);
            if found.last().is_none_or(|last| (last.topic.as_str(), last.partition) != (topic, partition)) {
                let next_offset = row.try_get("next_offset").map_err(map)?;
                found.push(Standing { topic: topic.to_owned(), partition, next_offset, taken: Vec::new() });
            }
            let number: Option<i64> = row.try_get("number").map_err(map)?;
            if let (Some(last), Some(_)) = (found.last_mut(), number) {
                last.taken.push(taken(row).map_err(map)?);
            }
        }
        Ok(found)
    }
}
