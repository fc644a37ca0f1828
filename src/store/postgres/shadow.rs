//! What shadows have counted. Workers write it over a connection of its own, so that no pipeline waits for it.

use super::errors::{Need, error_of, store_error};
use super::{PostgresSettings, PostgresStore, connect_options};
use crate::store::StoreError;
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use std::time::Duration;

const STATEMENT_MS: u64 = 3_000;
const ACQUIRE_MS: u64 = 2_000;
const IDLE: Duration = Duration::from_secs(30);
/// Longest label that is kept, in characters; what is longer is a text.
const LONGEST: usize = 200;

/// Who was compared with whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Versus {
    pub pipeline: String,
    /// `name@digest` of the model, or empty.
    pub champion: String,
    /// Digest of the pipeline's configuration, as in its records.
    pub champion_config: String,
    pub challenger: String,
    /// Digest of what the challenger was told.
    pub challenger_config: String,
}

/// A count of one hour.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowCount {
    pub what: String,
    pub one: String,
    pub other: String,
    pub count: i64,
    pub total: f64,
}

/// An event on which the two differed.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowFlip {
    pub run: i32,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub champion_label: String,
    pub champion_score: Option<f64>,
    pub challenger_label: String,
    pub challenger_score: Option<f64>,
}

/// Why counts were not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Nothing was added.
    #[error(transparent)]
    NotAdded(#[from] StoreError),
    /// The commit has no answer: it may have been carried out, and adding the same again may count it twice.
    #[error("whether they were added is not known: {0}")]
    Unknown(String),
}

/// Writes counts and flips.
pub struct ShadowStore {
    pool: PgPool,
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let settings = PostgresSettings { max_connections: 1, statement_timeout_ms: STATEMENT_MS, acquire_timeout_ms: ACQUIRE_MS };
    Ok(connect_options(url, &settings)?.application_name("millrace shadow"))
}

impl ShadowStore {
    /// Connects to nothing before it has something to write. Needs a runtime.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
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

    /// Adds counts to those of this hour, and flips; both or neither.
    pub async fn add(&self, versus: &Versus, counts: &[ShadowCount], flips: &[ShadowFlip]) -> Result<(), AddError> {
        let mut transaction = self.pool.begin().await.map_err(|error| store_error(&error))?;
        let added = "INSERT INTO millrace.shadow AS s (pipeline, hour, champion, champion_config, challenger, challenger_config, what, one, \
                     other, count, total) SELECT $1, date_trunc('hour', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', $2, $3, $4, $5, c.* \
                     FROM unnest($6::text[], $7::text[], $8::text[], $9::bigint[], $10::float8[]) AS c ORDER BY 7, 8, 9 \
                     ON CONFLICT (pipeline, hour, champion, champion_config, challenger, challenger_config, what, one, other) \
                     DO UPDATE SET count = s.count + excluded.count, total = s.total + excluded.total";
        let of = |text: fn(&ShadowCount) -> &String| counts.iter().map(|count| cut(text(count))).collect::<Vec<_>>();
        sqlx::query(added)
            .bind(&versus.pipeline)
            .bind(&versus.champion)
            .bind(&versus.champion_config)
            .bind(&versus.challenger)
            .bind(&versus.challenger_config)
            .bind(of(|count| &count.what))
            .bind(of(|count| &count.one))
            .bind(of(|count| &count.other))
            .bind(counts.iter().map(|count| count.count).collect::<Vec<_>>())
            .bind(counts.iter().map(|count| count.total).collect::<Vec<_>>())
            .execute(&mut *transaction)
            .await
            .map_err(|error| store_error(&error))?;
        if !flips.is_empty() {
            let kept = "INSERT INTO millrace.shadow_flip (pipeline, champion, champion_config, challenger, challenger_config, run, topic, \
                        partition, \"offset\", champion_label, champion_score, challenger_label, challenger_score) \
                        SELECT $1, $2, $3, $4, $5, f.* FROM unnest($6::int[], $7::text[], $8::int[], $9::bigint[], $10::text[], \
                        $11::float8[], $12::text[], $13::float8[]) AS f ON CONFLICT DO NOTHING";
            sqlx::query(kept)
                .bind(&versus.pipeline)
                .bind(&versus.champion)
                .bind(&versus.champion_config)
                .bind(&versus.challenger)
                .bind(&versus.challenger_config)
                .bind(flips.iter().map(|flip| flip.run).collect::<Vec<_>>())
                .bind(flips.iter().map(|flip| flip.topic.as_str()).collect::<Vec<_>>())
                .bind(flips.iter().map(|flip| flip.partition).collect::<Vec<_>>())
                .bind(flips.iter().map(|flip| flip.offset).collect::<Vec<_>>())
                .bind(flips.iter().map(|flip| cut(&flip.champion_label)).collect::<Vec<_>>())
                .bind(flips.iter().map(|flip| flip.champion_score).collect::<Vec<_>>())
                .bind(flips.iter().map(|flip| cut(&flip.challenger_label)).collect::<Vec<_>>())
                .bind(flips.iter().map(|flip| flip.challenger_score).collect::<Vec<_>>())
                .execute(&mut *transaction)
                .await
                .map_err(|error| store_error(&error))?;
        }
        match transaction.commit().await {
            Ok(()) => Ok(()),
            // Postgres says itself that it did not commit.
            Err(error) if error.as_database_error().is_some() => Err(store_error(&error).into()),
            Err(error) => Err(AddError::Unknown(error.to_string())),
        }
    }

    /// Removes what is older than `keep_ms`; at least a day stays.
    pub async fn forget(&self, pipeline: &str, keep_ms: i64) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT millrace.forget_shadow($1, now() - $2 * interval '1 millisecond')")
            .bind(pipeline)
            .bind(keep_ms as f64)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| store_error(&error))
    }
}

/// As Postgres can hold it.
fn cut(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(LONGEST).collect()
}

fn versus(row: &PgRow) -> Result<Versus, sqlx::Error> {
    Ok(Versus {
        pipeline: row.try_get("pipeline")?,
        champion: row.try_get("champion")?,
        champion_config: row.try_get("champion_config")?,
        challenger: row.try_get("challenger")?,
        challenger_config: row.try_get("challenger_config")?,
    })
}

impl PostgresStore {
    /// What the shadows of a pipeline have counted in the hours of the last `since_ms`, summed up.
    pub async fn shadow_counts(&self, pipeline: &str, since_ms: i64) -> Result<Vec<(Versus, ShadowCount)>, StoreError> {
        let map = |error: sqlx::Error| error_of(Need::Reader, &error);
        let rows = sqlx::query(
            "SELECT pipeline, champion, champion_config, challenger, challenger_config, what, one, other, sum(count)::bigint AS count, \
             sum(total) AS total FROM millrace.shadow WHERE pipeline = $1 AND hour > now() - ($2 + 3600000) * interval '1 millisecond' \
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY max(hour) DESC, 1, 2, 3, 4, 5, 6, 7, 8",
        )
        .bind(pipeline)
        .bind(since_ms as f64)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        let one = |row: &PgRow| {
            let (what, one, other) = (row.try_get("what")?, row.try_get("one")?, row.try_get("other")?);
            let count = ShadowCount { what, one, other, count: row.try_get("count")?, total: row.try_get("total")? };
            Ok((versus(row)?, count))
        };
        rows.iter().map(one).collect::<Result<_, sqlx::Error>>().map_err(map)
    }

    /// The newest flips of a pipeline.
    pub async fn shadow_flips(&self, pipeline: &str, since_ms: i64, most: i64) -> Result<Vec<(Versus, ShadowFlip)>, StoreError> {
        let map = |error: sqlx::Error| error_of(Need::Reader, &error);
        let rows = sqlx::query(
            "SELECT * FROM millrace.shadow_flip WHERE pipeline = $1 AND at > now() - $2 * interval '1 millisecond' \
             ORDER BY at DESC, topic, partition, \"offset\" DESC LIMIT $3",
        )
        .bind(pipeline)
        .bind(since_ms as f64)
        .bind(most)
        .fetch_all(&self.pool)
        .await
        .map_err(map)?;
        let one = |row: &PgRow| {
            let flip = ShadowFlip {
                run: row.try_get("run")?,
                topic: row.try_get("topic")?,
                partition: row.try_get("partition")?,
                offset: row.try_get("offset")?,
                champion_label: row.try_get("champion_label")?,
                champion_score: row.try_get("champion_score")?,
                challenger_label: row.try_get("challenger_label")?,
                challenger_score: row.try_get("challenger_score")?,
            };
            Ok((versus(row)?, flip))
        };
        rows.iter().map(one).collect::<Result<_, sqlx::Error>>().map_err(map)
    }
}
