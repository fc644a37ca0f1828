//! A chain over the rows of each partition, for auditors: whoever has kept a seal can tell later that no row below it was changed, added or
//! taken away. Erased rows keep the leaf of what they were; rows that retention has removed end what can be checked.

use super::PostgresStore;
use super::errors::{Need, error_of, store_error};
use crate::event::TopicPartition;
use crate::store::StoreError;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::postgres::PgRow;

/// One seal: all rows of a partition below `upto`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seal {
    pub run: i32,
    pub partition: TopicPartition,
    pub upto: i64,
    /// 64 hex digits.
    pub digest: String,
}

/// What is known of a partition.
#[derive(Debug, Clone)]
pub struct Link {
    pub run: i32,
    pub partition: TopicPartition,
    stream: i32,
    /// Q: rows below it do not change any more.
    published: i64,
    /// Rows below it were removed by retention.
    removed_below: Option<i64>,
}

/// Before the first row.
const BEGINNING: &[u8] = &[];

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Reader, &error)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl PostgresStore {
    /// The partitions of a pipeline, of all its runs.
    pub async fn links(&self, pipeline: &str) -> Result<Vec<Link>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.run, p.topic, p.partition, p.stream, p.published_offset, m.below FROM millrace.stream_partition p \
             LEFT JOIN millrace.removed m USING (stream) WHERE p.pipeline = $1 ORDER BY p.run, p.topic, p.partition",
        )
        .bind(pipeline)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        let link = |row: &PgRow| {
            Ok(Link {
                run: row.try_get(0)?,
                partition: TopicPartition::new(row.try_get::<&str, _>(1)?, row.try_get(2)?),
                stream: row.try_get(3)?,
                published: row.try_get(4)?,
                removed_below: row.try_get(5)?,
            })
        };
        rows.iter().map(link).collect::<Result<_, sqlx::Error>>().map_err(map)
    }

    /// Seals what is published since the last seal; the newest seal of the partition, `None` where nothing was ever published. Somebody else who
    /// seals at the same time is no harm: both find the same digest.
    pub async fn seal(&self, link: &Link) -> Result<Option<Seal>, StoreError> {
        let last = self.seals(link).await?.pop();
        let (from, before) = last.clone().map_or((i64::MIN, BEGINNING.to_vec()), |(upto, digest)| (upto, digest));
        if link.removed_below.is_some_and(|below| from < below) {
            return Err(StoreError::Fatal(format!(
                "rows of {} below offset {} were removed by retention before they were sealed: nothing of it can be sealed any more. Seal before \
                 retention, every time.",
                link.partition,
                link.removed_below.unwrap_or_default()
            )));
        }
        if from >= link.published {
            return Ok(last.map(|(upto, digest)| link.sealed(upto, &digest)));
        }
        let (digest, rows) = self.chained(link, before, from, link.published).await?;
        sqlx::query("INSERT INTO millrace.seal (stream, upto, rows, digest) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(link.stream)
            .bind(link.published)
            .bind(rows)
            .bind(&digest)
            .execute(&self.pool)
            .await
            .map_err(|error| store_error(&error))?;
        Ok(Some(link.sealed(link.published, &digest)))
    }

    /// Computes the chain anew and compares it with each seal; the first that does not fit, and how many were compared. What retention has
    /// removed is passed over: the first seal above it is believed.
    pub async fn check_seals(&self, link: &Link) -> Result<(usize, Option<i64>), StoreError> {
        let seals = self.seals(link).await?;
        let (mut from, mut digest, mut compared) = (i64::MIN, BEGINNING.to_vec(), 0);
        for (upto, sealed) in seals {
            if link.removed_below.is_some_and(|below| from < below) {
                (from, digest) = (upto, sealed);
                continue;
            }
            let (found, _) = self.chained(link, digest, from, upto).await?;
            if found != sealed {
                return Ok((compared, Some(upto)));
            }
            compared += 1;
            (from, digest) = (upto, sealed);
        }
        Ok((compared, None))
    }

    /// How many rows of a pipeline were erased: of them the leaf alone is left, and what it says cannot be checked.
    pub async fn erased_rows(&self, pipeline: &str) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "SELECT count(*) FROM millrace.erased e JOIN millrace.stream_partition p USING (stream) WHERE p.pipeline = $1",
        )
        .bind(pipeline)
        .fetch_one(&self.pool)
        .await
        .map_err(map)
    }

    /// The digest that the database has for a partition up to an offset.
    pub async fn sealed_at(&self, link: &Link, upto: i64) -> Result<Option<String>, StoreError> {
        let digest: Option<Vec<u8>> = sqlx::query_scalar("SELECT digest FROM millrace.seal WHERE stream = $1 AND upto = $2")
            .bind(link.stream)
            .bind(upto)
            .fetch_optional(&self.pool)
            .await
            .map_err(map)?;
        Ok(digest.map(|digest| hex(&digest)))
    }

    async fn seals(&self, link: &Link) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        sqlx::query_as("SELECT upto, digest FROM millrace.seal WHERE stream = $1 ORDER BY upto")
            .bind(link.stream)
            .fetch_all(&self.pool)
            .await
            .map_err(map)
    }

    /// SHA-256 over the digest before and the leaves of [from, to), in order.
    async fn chained(&self, link: &Link, before: Vec<u8>, from: i64, to: i64) -> Result<(Vec<u8>, i64), StoreError> {
        let mut rows = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT coalesce(e.leaf, millrace.leaf(r)) FROM millrace.record r LEFT JOIN millrace.erased e USING (stream, \"offset\", n) \
             WHERE r.stream = $1 AND r.\"offset\" >= $2 AND r.\"offset\" < $3 ORDER BY r.\"offset\", r.n",
        )
        .bind(link.stream)
        .bind(from)
        .bind(to)
        .fetch(&self.pool);
        let (mut hasher, mut count) = (Sha256::new_with_prefix(before), 0);
        while let Some(leaf) = rows.try_next().await.map_err(map)? {
            hasher.update(&leaf);
            count += 1;
        }
        Ok((hasher.finalize().to_vec(), count))
    }
}

impl Link {
    fn sealed(&self, upto: i64, digest: &[u8]) -> Seal {
        Seal { run: self.run, partition: self.partition.clone(), upto, digest: hex(digest) }
    }
}
