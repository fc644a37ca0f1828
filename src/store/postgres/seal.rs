//! A chain over the rows of each partition, for auditors: whoever has kept a seal can tell later that no row below it was changed, added or
//! taken away. Of erased rows the digest of what was there stands in for the payload; rows that retention has removed cannot be checked any more,
//! and their number is.

use super::PostgresStore;
use super::errors::{Need, error_of};
use crate::event::TopicPartition;
use crate::store::StoreError;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};

/// One seal: all rows of a partition below `upto`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seal {
    pub run: i32,
    pub partition: TopicPartition,
    pub upto: i64,
    /// 64 hex digits.
    pub digest: String,
}

/// A partition of one run.
#[derive(Debug, Clone)]
pub struct Link {
    pub run: i32,
    pub partition: TopicPartition,
    stream: i32,
}

/// What a check found of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Seals whose rows were read again and fit: `upto` and digest.
    pub fit: Vec<(i64, String)>,
    /// Seals of which retention has removed rows: they are taken as they stand.
    pub retired: Vec<(i64, String)>,
    /// What does not fit, as sentences.
    pub wrong: Vec<String>,
}

/// A row of `seal`.
struct Stored {
    since: i64,
    upto: i64,
    rows: i64,
    digest: Vec<u8>,
}

/// What retention has removed of a partition, and what it left below.
struct Removed {
    below: i64,
    rows: i64,
    left: i64,
}

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Owner, &error)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl PostgresStore {
    /// The partitions of a pipeline, of all its runs.
    pub async fn links(&self, pipeline: &str) -> Result<Vec<Link>, StoreError> {
        let rows = sqlx::query(
            "SELECT run, topic, partition, stream FROM millrace.stream_partition WHERE pipeline = $1 ORDER BY run, topic, partition",
        )
        .bind(pipeline)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        let link = |row: &PgRow| {
            let partition = TopicPartition::new(row.try_get::<&str, _>(1)?, row.try_get(2)?);
            Ok(Link { run: row.try_get(0)?, partition, stream: row.try_get(3)? })
        };
        rows.iter().map(link).collect::<Result<_, sqlx::Error>>().map_err(map)
    }

    /// Seals what is published since the last seal; the newest seal of the partition, `None` where there is nothing to seal.
    pub async fn seal(&self, link: &Link) -> Result<Option<Seal>, StoreError> {
        let mut transaction = self.undisturbed(link).await?;
        let published: i64 = sqlx::query_scalar("SELECT published_offset FROM millrace.stream_partition WHERE stream = $1")
            .bind(link.stream)
            .fetch_one(&mut *transaction)
            .await
            .map_err(map)?;
        let last = stored(&mut transaction, link).await?.pop();
        if let Some(last) = &last
            && last.upto > published
        {
            let upto = last.upto;
            return Err(StoreError::Fatal(format!(
                "{} is sealed up to offset {upto}, and published up to {published} alone: that seal was not made by this command",
                link.partition
            )));
        }
        let since = match &last {
            Some(last) => last.upto,
            None => first(&mut transaction, link).await?.unwrap_or(published),
        };
        if since >= published {
            return Ok(last.map(|last| link.sealed(last.upto, &last.digest)));
        }
        let before = last.map_or_else(Vec::new, |last| last.digest);
        let (digest, rows) = chained(&mut transaction, link, before, since, published).await?;
        sqlx::query("INSERT INTO millrace.seal (stream, since, upto, rows, digest) VALUES ($1, $2, $3, $4, $5)")
            .bind(link.stream)
            .bind(since)
            .bind(published)
            .bind(rows)
            .bind(&digest)
            .execute(&mut *transaction)
            .await
            .map_err(map)?;
        transaction.commit().await.map_err(map)?;
        Ok(Some(link.sealed(published, &digest)))
    }

    /// Computes the chain anew, and compares it with each seal.
    pub async fn check_seals(&self, link: &Link) -> Result<Checked, StoreError> {
        let mut transaction = self.undisturbed(link).await?;
        let (seals, removed) = (stored(&mut transaction, link).await?, removed(&mut transaction, link).await?);
        let mut checked = Checked::default();
        let (mut before, mut upto, mut sealed_rows) = (Vec::new(), None, 0);
        for seal in seals {
            if upto.is_some_and(|upto| upto != seal.since) {
                checked.wrong.push(format!("the seal at offset {} does not begin where the one before it ends", seal.upto));
            }
            if removed.as_ref().is_some_and(|removed| seal.since < removed.below) {
                sealed_rows += seal.rows;
                checked.retired.push((seal.upto, hex(&seal.digest)));
            } else {
                let (found, _) = chained(&mut transaction, link, before, seal.since, seal.upto).await?;
                match found == seal.digest {
                    true => checked.fit.push((seal.upto, hex(&found))),
                    false => checked.wrong.push(format!("the rows below offset {} are not those that were sealed", seal.upto)),
                }
            }
            (before, upto) = (seal.digest, Some(seal.upto));
        }
        if let Some(removed) = removed.filter(|_| !checked.retired.is_empty()) {
            let last = checked.retired.last().map_or(0, |(upto, _)| *upto);
            if last < removed.below {
                checked.wrong.push(format!("rows up to offset {} are gone that were never sealed", removed.below));
            }
            // What went before the first seal is counted too, so that more may be gone than was sealed.
            if removed.rows + removed.left < sealed_rows {
                checked.wrong.push(format!(
                    "{sealed_rows} rows were sealed below offset {last}; retention has removed {}, and {} are left",
                    removed.rows, removed.left
                ));
            }
        }
        transaction.commit().await.map_err(map)?;
        Ok(checked)
    }

    /// How many rows of a pipeline were erased: what stood in them cannot be checked.
    pub async fn erased_rows(&self, pipeline: &str) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "SELECT count(*) FROM millrace.erased e JOIN millrace.stream_partition p USING (stream) WHERE p.pipeline = $1",
        )
        .bind(pipeline)
        .fetch_one(&self.pool)
        .await
        .map_err(map)
    }

    /// A transaction in which retention removes nothing of the partition, and nobody else seals it.
    async fn undisturbed(&self, link: &Link) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(map)?;
        let mine: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtext('millrace.retention'), $1)")
            .bind(link.stream)
            .fetch_one(&mut *transaction)
            .await
            .map_err(map)?;
        if mine {
            return Ok(transaction);
        }
        let at = &link.partition;
        Err(StoreError::Transient(format!("another command is at {at} (retention, or seal): run this one again")))
    }
}

async fn stored(transaction: &mut Transaction<'_, Postgres>, link: &Link) -> Result<Vec<Stored>, StoreError> {
    let rows = sqlx::query("SELECT since, upto, rows, digest FROM millrace.seal WHERE stream = $1 ORDER BY upto")
        .bind(link.stream)
        .fetch_all(&mut **transaction)
        .await
        .map_err(map)?;
    let stored = |row: &PgRow| {
        Ok(Stored { since: row.try_get(0)?, upto: row.try_get(1)?, rows: row.try_get(2)?, digest: row.try_get(3)? })
    };
    rows.iter().map(stored).collect::<Result<_, sqlx::Error>>().map_err(map)
}

/// Where the first seal begins: at the first row there is, above what retention has removed.
async fn first(transaction: &mut Transaction<'_, Postgres>, link: &Link) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(
        "SELECT coalesce((SELECT below FROM millrace.removed WHERE stream = $1), \
         (SELECT min(\"offset\") FROM millrace.record WHERE stream = $1))",
    )
    .bind(link.stream)
    .fetch_one(&mut **transaction)
    .await
    .map_err(map)
}

async fn removed(transaction: &mut Transaction<'_, Postgres>, link: &Link) -> Result<Option<Removed>, StoreError> {
    let found: Option<(i64, i64, i64)> = sqlx::query_as(
        "SELECT m.below, m.rows, (SELECT count(*) FROM millrace.record r WHERE r.stream = $1 AND r.\"offset\" < coalesce( \
             (SELECT min(s.upto) FROM millrace.seal s WHERE s.stream = $1 AND s.upto >= m.below), m.below)) \
         FROM millrace.removed m WHERE m.stream = $1",
    )
    .bind(link.stream)
    .fetch_optional(&mut **transaction)
    .await
    .map_err(map)?;
    Ok(found.map(|(below, rows, left)| Removed { below, rows, left }))
}

/// SHA-256 over the digest before and the leaves of [since, upto), in order. A row counts as erased only where its payload is really gone.
async fn chained(
    transaction: &mut Transaction<'_, Postgres>,
    link: &Link,
    before: Vec<u8>,
    since: i64,
    upto: i64,
) -> Result<(Vec<u8>, i64), StoreError> {
    let mut rows = sqlx::query_scalar::<_, Vec<u8>>(
        "SELECT millrace.leaf(r, CASE WHEN e.payload IS NOT NULL AND r.key IS NULL AND r.headers IS NULL AND r.value -> 'erased' IS NOT NULL \
             THEN e.payload ELSE millrace.payload_digest(r) END) \
         FROM millrace.record r LEFT JOIN millrace.erased e ON e.stream = r.stream AND e.\"offset\" = r.\"offset\" AND e.n = r.n \
         WHERE r.stream = $1 AND r.\"offset\" >= $2 AND r.\"offset\" < $3 ORDER BY r.\"offset\", r.n",
    )
    .bind(link.stream)
    .bind(since)
    .bind(upto)
    .fetch(&mut **transaction);
    let (mut hasher, mut count) = (Sha256::new_with_prefix(before), 0);
    while let Some(leaf) = rows.try_next().await.map_err(map)? {
        hasher.update(&leaf);
        count += 1;
    }
    Ok((hasher.finalize().to_vec(), count))
}

impl Link {
    fn sealed(&self, upto: i64, digest: &[u8]) -> Seal {
        Seal { run: self.run, partition: self.partition.clone(), upto, digest: hex(digest) }
    }
}
