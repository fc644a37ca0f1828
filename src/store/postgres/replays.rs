//! Replays: what was asked for, their rows, who scored what, and their end. It takes a worker's rights; to remove one, the owner's.

use super::PostgresStore;
use super::begin::{self, Begin, IfThere};
use super::errors::{Need, error_of, store_error};
use super::keyed::{BindKey, stream};
use crate::record::Mode;
use crate::store::{PartitionKey, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{ConnectOptions, PgConnection, Row};

/// A row of `millrace.replay`.
#[derive(Debug, Clone)]
pub struct Replay {
    pub number: i32,
    /// The pipeline under which its rows stand.
    pub name: String,
    /// JSON.
    pub plan: String,
    pub made_at: String,
    pub made_by: String,
    pub done_at: Option<String>,
    pub removed_at: Option<String>,
}

/// What scored records, and how many.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScoredBy {
    pub function: String,
    pub model: String,
    pub config: String,
    pub records: i64,
}

/// Held while a process works on a replay; gone with the process.
pub struct ReplayLock {
    _connection: PgConnection,
}

/// Rows that are deleted in one statement.
const REMOVED_AT_ONCE: i64 = 20_000;

fn map(error: sqlx::Error) -> StoreError {
    store_error(&error)
}

fn owner(error: sqlx::Error) -> StoreError {
    error_of(Need::Owner, &error)
}

impl PostgresStore {
    /// The replays of a pipeline, in the order of their numbers; those that were removed among them.
    pub async fn replays(&self, pipeline: &str) -> Result<Vec<Replay>, StoreError> {
        const TIME: &str = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'";
        let text = format!(
            "SELECT number, name, plan::text AS plan, made_by, to_char(made_at AT TIME ZONE 'UTC', {TIME}) AS made_at, \
             to_char(done_at AT TIME ZONE 'UTC', {TIME}) AS done_at, to_char(removed_at AT TIME ZONE 'UTC', {TIME}) AS removed_at \
             FROM millrace.replay WHERE pipeline = $1 ORDER BY number"
        );
        let rows = sqlx::query(&text).bind(pipeline).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| error_of(Need::Reader, &error))?;
        rows.iter().map(replay).collect::<Result<_, _>>().map_err(map)
    }

    /// Writes a new replay and opens its partitions, all or nothing; returns its number. Without a `number` it gets the next one.
    pub async fn new_replay(
        &self,
        pipeline: &str,
        number: Option<i32>,
        name: impl Fn(i32) -> String,
        mode: Mode,
        plan: &str,
        begins: &[Begin],
    ) -> Result<i32, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(map)?;
        // Two that are made at the same time get two numbers.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('millrace.replay'))").execute(&mut *transaction).await.map_err(map)?;
        let mut next = match number {
            Some(number) => number,
            None => sqlx::query_scalar("SELECT coalesce(max(number), 0) + 1 FROM millrace.replay WHERE pipeline = $1")
                .bind(pipeline)
                .fetch_one(&mut *transaction)
                .await
                .map_err(map)?,
        };
        loop {
            let taken: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM millrace.stream_partition WHERE pipeline = $1)")
                .bind(name(next))
                .fetch_one(&mut *transaction)
                .await
                .map_err(map)?;
            match (taken, number) {
                (false, _) => break,
                (true, None) => next += 1,
                (true, Some(_)) => {
                    return Err(StoreError::Fatal(format!(
                        "there are rows of a pipeline `{}` already; take another --id",
                        name(next)
                    )));
                }
            }
        }
        let name = name(next);
        sqlx::query("INSERT INTO millrace.replay (pipeline, number, name, plan) VALUES ($1, $2, $3, $4::json)")
            .bind(pipeline)
            .bind(next)
            .bind(&name)
            .bind(plan)
            .execute(&mut *transaction)
            .await
            .map_err(map)?;
        begin::open(&mut *transaction, (&name, 1), mode, begins, IfThere::Fails).await.map_err(map)?;
        transaction.commit().await.map_err(map)?;
        Ok(next)
    }

    /// `None` while another process holds it.
    pub async fn lock_replay(&self, name: &str) -> Result<Option<ReplayLock>, StoreError> {
        let mut connection = self.pool.connect_options().connect().await.map_err(map)?;
        let free: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext('millrace.replay'), hashtext($1))")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(map)?;
        Ok(free.then_some(ReplayLock { _connection: connection }))
    }

    /// It has come to its end.
    pub async fn replay_done(&self, pipeline: &str, number: i32) -> Result<(), StoreError> {
        sqlx::query("UPDATE millrace.replay SET done_at = coalesce(done_at, now()) WHERE pipeline = $1 AND number = $2")
            .bind(pipeline)
            .bind(number)
            .execute(&self.pool)
            .await
            .map_err(map)?;
        Ok(())
    }

    /// What scored the records of [from, to) of one partition.
    pub async fn scored_by(&self, key: &PartitionKey, from: i64, to: i64) -> Result<Vec<ScoredBy>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT function, model, config, count(*) FROM millrace.record WHERE stream = ",
            stream!(),
            " AND \"offset\" >= $5 AND \"offset\" < $6 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3"
        ))
        .bind_key(key)
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| error_of(Need::Reader, &error))?;
        let by = |row: &PgRow| {
            let (function, model, config) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok(ScoredBy { function, model, config, records: row.try_get(3)? })
        };
        rows.iter().map(by).collect::<Result<_, _>>().map_err(map)
    }

    /// Offsets in [from, to) of one partition of which a record was erased.
    pub async fn erased_offsets(&self, key: &PartitionKey, from: i64, to: i64) -> Result<Vec<i64>, StoreError> {
        sqlx::query_scalar(concat!(
            "SELECT DISTINCT \"offset\" FROM millrace.erased WHERE stream = ",
            stream!(),
            " AND \"offset\" >= $5 AND \"offset\" < $6"
        ))
        .bind_key(key)
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| error_of(Need::Reader, &error))
    }

    /// Deletes the rows of a replay, a part at a time; its number stays taken. Returns how many records it had.
    pub async fn remove_replay(&self, pipeline: &str, replay: &Replay) -> Result<i64, StoreError> {
        let mut records = 0;
        for (table, counts) in [("record", true), ("state", false), ("head", false), ("erased", false)] {
            let text = format!(
                "DELETE FROM millrace.{table} WHERE ctid = ANY (ARRAY(SELECT r.ctid FROM millrace.{table} r \
                 JOIN millrace.stream_partition p USING (stream) WHERE p.pipeline = $1 LIMIT $2))"
            );
            loop {
                let gone =
                    sqlx::query(&text).bind(&replay.name).bind(REMOVED_AT_ONCE).execute(&self.pool).await.map_err(owner)?;
                records += if counts { gone.rows_affected() as i64 } else { 0 };
                if gone.rows_affected() == 0 {
                    break;
                }
            }
        }
        // The rows that were counted last go last: cut off, it is done again.
        sqlx::query(
            "WITH gone AS (DELETE FROM millrace.stream_partition WHERE pipeline = $1) \
             UPDATE millrace.replay SET removed_at = now() WHERE pipeline = $2 AND number = $3",
        )
        .bind(&replay.name)
        .bind(pipeline)
        .bind(replay.number)
        .execute(&self.pool)
        .await
        .map_err(owner)?;
        Ok(records)
    }
}

fn replay(row: &PgRow) -> Result<Replay, sqlx::Error> {
    Ok(Replay {
        number: row.try_get("number")?,
        name: row.try_get("name")?,
        plan: row.try_get("plan")?,
        made_at: row.try_get("made_at")?,
        made_by: row.try_get("made_by")?,
        done_at: row.try_get("done_at")?,
        removed_at: row.try_get("removed_at")?,
    })
}
