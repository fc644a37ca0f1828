//! Removes old rows of `record`, from the lowest offset of each partition on: never one at or above Q, so that nothing goes that may still
//! have to be published, and where the partition is sealed whole seals alone. What was removed is counted, so that the partition's own counts still add up.

use super::PostgresStore;
use super::errors::{Need, error_of};
use crate::event::TopicPartition;
use crate::store::StoreError;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};
use std::time::Duration;

/// Rows that one transaction removes.
const AT_A_TIME: i64 = 5_000;
/// Between two transactions, so that decides come to their turn.
const PAUSE: Duration = Duration::from_millis(20);

/// Which rows go.
#[derive(Debug, Clone)]
pub struct Retain {
    pub pipeline: String,
    /// RFC 3339: what was decided before goes.
    pub before: String,
    /// Dead letters that nobody has dealt with go too.
    pub open_dead_letters: bool,
}

/// One partition of one run, and what goes or went of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    pub run: i32,
    pub partition: TopicPartition,
    /// Predictions below this are gone.
    pub below: Option<i64>,
    /// Rows, dead letters among them.
    pub rows: i64,
    pub dead: i64,
    /// Dead letters that are old enough, and stay since nobody has dealt with them.
    pub kept: i64,
    /// Another command is at this partition; it was left alone.
    pub busy: bool,
}

/// Dead letters of one partition below an offset, with what was done about them. $1 stream, $2 before, $3 open ones too.
const OLD_DEAD: &str = "FROM millrace.record r LEFT JOIN millrace.dead_letter_mark m ON m.pipeline = r.pipeline AND m.run = r.run \
     AND m.topic = r.topic AND m.partition = r.partition AND m.\"offset\" = r.\"offset\" AND m.n = r.n \
     WHERE r.kind = 'dead_letter' AND r.pipeline = $4 AND r.stream = $1 AND r.decided_at < $2::timestamptz";
const DEALT_WITH: &str = "($3 OR coalesce(m.action IN ('redriven', 'discarded'), false))";

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Owner, &error)
}

/// A partition of the pipeline: its number, and Q.
struct Stream {
    number: i32,
    published: i64,
    /// Rows of [from, edge) may go.
    from: i64,
    edge: i64,
    of: Retained,
}

impl PostgresStore {
    /// What [`retain`](Self::retain) would remove. Counts, so it reads what is old.
    pub async fn would_retain(&self, retain: &Retain) -> Result<Vec<Retained>, StoreError> {
        let mut all = Vec::new();
        for mut stream in self.streams(retain).await? {
            stream.edge = self.edge(retain, &stream).await?;
            let (rows, last): (i64, Option<i64>) = sqlx::query_as(
                "SELECT count(*), max(\"offset\") FROM millrace.record WHERE stream = $1 AND \"offset\" < $2 AND kind = 'prediction'",
            )
            .bind(stream.number)
            .bind(stream.edge)
            .fetch_one(&self.pool)
            .await
            .map_err(map)?;
            let text = format!(
                "SELECT count(*) FILTER (WHERE {DEALT_WITH}), count(*) FILTER (WHERE NOT {DEALT_WITH}) {OLD_DEAD} AND r.\"offset\" < $5"
            );
            let (dead, kept): (i64, i64) = sqlx::query_as(&text)
                .bind(stream.number)
                .bind(&retain.before)
                .bind(retain.open_dead_letters)
                .bind(&retain.pipeline)
                .bind(stream.edge)
                .fetch_one(&self.pool)
                .await
                .map_err(map)?;
            stream.of = Retained { below: last.map(|last| last + 1), rows: rows + dead, dead, kept, ..stream.of };
            all.push(stream.of);
        }
        Ok(all)
    }

    /// Removes them, a few thousand rows a transaction. What is cut off half way is taken up by the next call; beside workers it may run at
    /// any time.
    pub async fn retain(&self, retain: &Retain) -> Result<Vec<Retained>, StoreError> {
        let mut all = Vec::new();
        for mut stream in self.streams(retain).await? {
            stream.edge = self.edge(retain, &stream).await?;
            while self.predictions(&mut stream).await? {
                tokio::time::sleep(PAUSE).await;
            }
            if stream.of.rows > 0 {
                self.reached(&mut stream).await?;
            }
            while !stream.of.busy && self.dead(retain, &mut stream).await? {
                tokio::time::sleep(PAUSE).await;
            }
            all.push(stream.of);
        }
        Ok(all)
    }

    async fn streams(&self, retain: &Retain) -> Result<Vec<Stream>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.run, p.topic, p.partition, p.stream, p.published_offset, m.below FROM millrace.stream_partition p \
             LEFT JOIN millrace.removed m USING (stream) WHERE p.pipeline = $1 ORDER BY p.run, p.topic, p.partition",
        )
        .bind(&retain.pipeline)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        let stream = |row: &PgRow| {
            let partition = TopicPartition::new(row.try_get::<&str, _>(1)?, row.try_get(2)?);
            let of = Retained { run: row.try_get(0)?, partition, below: None, rows: 0, dead: 0, kept: 0, busy: false };
            let published = row.try_get(4)?;
            Ok(Stream {
                number: row.try_get(3)?,
                published,
                from: row.try_get::<Option<i64>, _>(5)?.unwrap_or(i64::MIN),
                edge: published,
                of,
            })
        };
        rows.iter().map(stream).collect::<Result<_, sqlx::Error>>().map_err(map)
    }

    /// A transaction that has this partition for itself; `None` where another has it.
    async fn alone(&self, stream: &mut Stream) -> Result<Option<Transaction<'static, Postgres>>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(map)?;
        let mine: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtext('millrace.retention'), $1)")
            .bind(stream.number)
            .fetch_one(&mut *transaction)
            .await
            .map_err(map)?;
        stream.of.busy = !mine;
        Ok(mine.then_some(transaction))
    }

    /// Up to where rows may go: the first that is young, or Q. Where the partition is sealed a cut lies at a seal, so that the seals above it can still
    /// be checked.
    async fn edge(&self, retain: &Retain, stream: &Stream) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "WITH young AS (SELECT coalesce((SELECT r.\"offset\" FROM millrace.record r WHERE r.stream = $1 AND r.\"offset\" < $2 \
                 AND r.\"offset\" >= coalesce((SELECT below FROM millrace.removed WHERE stream = $1), -9223372036854775808) \
                 AND r.decided_at >= $3::timestamptz AND r.kind = 'prediction' ORDER BY r.\"offset\" LIMIT 1), $2) AS edge) \
             SELECT CASE WHEN EXISTS (SELECT FROM millrace.seal WHERE stream = $1) \
                 THEN coalesce((SELECT max(upto) FROM millrace.seal WHERE stream = $1 AND upto <= young.edge), -9223372036854775808) \
                 ELSE young.edge END FROM young",
        )
        .bind(stream.number)
        .bind(stream.published)
        .bind(&retain.before)
        .fetch_one(&self.pool)
        .await
        .map_err(map)
    }

    /// The next predictions along the key; whether there may be more. A chunk ends between two events.
    async fn predictions(&self, stream: &mut Stream) -> Result<bool, StoreError> {
        let Some(mut transaction) = self.alone(stream).await? else { return Ok(false) };
        let (behind, rows): (Option<i64>, i64) = sqlx::query_as(
            "WITH chunk AS MATERIALIZED (SELECT r.\"offset\" FROM millrace.record r WHERE r.stream = $1 AND r.\"offset\" >= $2 \
                 AND r.\"offset\" < $3 ORDER BY r.\"offset\" FETCH FIRST ($4::bigint) ROWS WITH TIES), \
             behind AS MATERIALIZED (SELECT max(\"offset\") + 1 AS behind FROM chunk), \
             gone AS (DELETE FROM millrace.record r USING behind WHERE r.stream = $1 AND r.\"offset\" >= $2 \
                 AND r.\"offset\" < behind.behind AND r.kind = 'prediction' RETURNING r.\"offset\"), \
             bare AS (SELECT DISTINCT g.\"offset\" FROM gone g WHERE NOT EXISTS (SELECT FROM millrace.record k \
                 WHERE k.stream = $1 AND k.\"offset\" = g.\"offset\" AND k.kind <> 'prediction')), \
             noted AS (INSERT INTO millrace.removed AS m (stream, below, rows, dead, events) \
                 SELECT $1, behind.behind, (SELECT count(*) FROM gone), 0, (SELECT count(*) FROM bare) FROM behind \
                 WHERE EXISTS (SELECT FROM gone) \
                 ON CONFLICT (stream) DO UPDATE SET below = greatest(m.below, excluded.below), rows = m.rows + excluded.rows, \
                 events = m.events + excluded.events, at = now(), by = session_user) \
             SELECT behind.behind, (SELECT count(*) FROM gone) FROM behind",
        )
        .bind(stream.number)
        .bind(stream.from)
        .bind(stream.edge)
        .bind(AT_A_TIME)
        .fetch_one(&mut *transaction)
        .await
        .map_err(map)?;
        transaction.commit().await.map_err(map)?;
        let Some(behind) = behind else { return Ok(false) };
        stream.from = behind;
        if rows > 0 {
            stream.of.below = Some(behind);
        }
        stream.of.rows += rows;
        Ok(true)
    }

    /// No prediction below the edge is left, though the last of them may have stood well below it.
    async fn reached(&self, stream: &mut Stream) -> Result<(), StoreError> {
        if stream.of.busy {
            return Ok(());
        }
        sqlx::query("UPDATE millrace.removed SET below = greatest(below, $2) WHERE stream = $1")
            .bind(stream.number)
            .bind(stream.edge)
            .execute(&self.pool)
            .await
            .map_err(map)?;
        stream.of.below = stream.of.below.max(Some(stream.edge));
        Ok(())
    }

    /// The next dead letters below what is gone; whether there may be more.
    async fn dead(&self, retain: &Retain, stream: &mut Stream) -> Result<bool, StoreError> {
        let Some(mut transaction) = self.alone(stream).await? else { return Ok(false) };
        let text = format!(
            "WITH old AS MATERIALIZED (SELECT r.\"offset\", r.n, r.run, r.topic, r.partition {OLD_DEAD} AND {DEALT_WITH} \
                 AND r.\"offset\" < $6 LIMIT $5), \
             gone AS (DELETE FROM millrace.record r USING old WHERE r.stream = $1 AND r.\"offset\" = old.\"offset\" AND r.n = old.n \
                 RETURNING r.\"offset\", r.n), \
             marks AS (DELETE FROM millrace.dead_letter_mark m USING old WHERE m.pipeline = $4 AND m.run = old.run AND m.topic = old.topic \
                 AND m.partition = old.partition AND m.\"offset\" = old.\"offset\" AND m.n = old.n), \
             bare AS (SELECT DISTINCT g.\"offset\" FROM gone g WHERE NOT EXISTS (SELECT FROM millrace.record k WHERE k.stream = $1 \
                 AND k.\"offset\" = g.\"offset\" AND NOT EXISTS (SELECT FROM gone o WHERE o.\"offset\" = k.\"offset\" AND o.n = k.n))), \
             noted AS (INSERT INTO millrace.removed AS m (stream, below, rows, dead, events) SELECT $1, (SELECT max(\"offset\") + 1 FROM gone), \
                 (SELECT count(*) FROM gone), (SELECT count(*) FROM gone), (SELECT count(*) FROM bare) WHERE EXISTS (SELECT FROM gone) \
                 ON CONFLICT (stream) DO UPDATE SET below = greatest(m.below, excluded.below), rows = m.rows + excluded.rows, \
                 dead = m.dead + excluded.dead, events = m.events + excluded.events, at = now(), by = session_user) \
             SELECT count(*) FROM gone"
        );
        let gone: i64 = sqlx::query_scalar(&text)
            .bind(stream.number)
            .bind(&retain.before)
            .bind(retain.open_dead_letters)
            .bind(&retain.pipeline)
            .bind(AT_A_TIME)
            .bind(stream.edge)
            .fetch_one(&mut *transaction)
            .await
            .map_err(map)?;
        if gone == 0 {
            let text = format!("SELECT count(*) {OLD_DEAD} AND NOT {DEALT_WITH} AND r.\"offset\" < $5");
            stream.of.kept = sqlx::query_scalar(&text)
                .bind(stream.number)
                .bind(&retain.before)
                .bind(retain.open_dead_letters)
                .bind(&retain.pipeline)
                .bind(stream.published)
                .fetch_one(&mut *transaction)
                .await
                .map_err(map)?;
        }
        transaction.commit().await.map_err(map)?;
        stream.of.rows += gone;
        stream.of.dead += gone;
        Ok(gone > 0)
    }
}
