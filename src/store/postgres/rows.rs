//! The small statements: claim, read, open, note, bring back.

use super::begin::{self, Begin, IfThere};
use super::errors::store_error;
use super::frozen;
use super::keyed::{BindKey, stream};
use super::lease::lease;
use crate::event::TopicPartition;
use crate::record::{Mode, Record};
use crate::store::{PartitionKey, PartitionRow, Rows, StoreError, kind_from_str};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, PgPool, Row};
use std::sync::Arc;
use uuid::Uuid;

const COLUMNS: &str = "partition, claim, epoch, owner, next_offset, published_offset, fold_from, events, records, skipped, dead, \
                       idle_claims, suspect_offset, mode, fold";

fn map(error: sqlx::Error) -> StoreError {
    store_error(&error)
}

fn partition_row(row: &PgRow) -> Result<PartitionRow, sqlx::Error> {
    Ok(PartitionRow {
        claim: row.try_get::<Option<Uuid>, _>("claim")?.unwrap_or_default(),
        epoch: row.try_get("epoch")?,
        owner: row.try_get::<Option<String>, _>("owner")?.unwrap_or_default(),
        next_offset: row.try_get("next_offset")?,
        published_offset: row.try_get("published_offset")?,
        fold_from: row.try_get("fold_from")?,
        events: row.try_get("events")?,
        records: row.try_get("records")?,
        skipped: row.try_get("skipped")?,
        dead: row.try_get("dead")?,
        idle_claims: row.try_get("idle_claims")?,
        suspect_offset: row.try_get("suspect_offset")?,
        mode: if row.try_get::<&str, _>("mode")? == "postgres" { Mode::Postgres } else { Mode::Both },
        fold: row.try_get("fold")?,
    })
}

pub async fn current_run(pool: &PgPool, pipeline: &str) -> Result<Option<i32>, StoreError> {
    let mut connection = lease(pool).await.map_err(map)?;
    sqlx::query_scalar("SELECT max(run) FROM millrace.stream_partition WHERE pipeline = $1")
        .bind(pipeline)
        .fetch_one(&mut *connection)
        .await
        .map_err(map)
}

pub async fn open(
    pool: &PgPool,
    pipeline: &str,
    run: i32,
    mode: Mode,
    starts: &[(TopicPartition, i64)],
) -> Result<(), StoreError> {
    let mut connection = lease(pool).await.map_err(map)?;
    let begin = |(partition, start): &(TopicPartition, i64)| Begin {
        partition: partition.clone(),
        fold_from: *start,
        from: *start,
        keeps: None,
    };
    let begins: Vec<Begin> = starts.iter().map(begin).collect();
    begin::open(&mut *connection, (pipeline, run), mode, &begins, IfThere::Stays).await.map_err(|error| {
        match error.as_database_error() {
            Some(database) if database.is_unique_violation() => StoreError::Fatal(format!(
                "a partition's number is taken ({}): the database was loaded without its sequences. As its owner run SELECT \
             setval(pg_get_serial_sequence('millrace.stream_partition', 'stream'), greatest((SELECT max(stream) FROM \
             millrace.stream_partition), (SELECT max(stream) FROM millrace.record))), then start again.",
                database.message()
            )),
            _ => map(error),
        }
    })
}

pub async fn partitions(pool: &PgPool, pipeline: &str, run: i32, topic: &str) -> Result<Vec<(i32, PartitionRow)>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM millrace.stream_partition WHERE pipeline = $1 AND run = $2 AND topic = $3 ORDER BY partition"
    );
    let mut connection = lease(pool).await.map_err(map)?;
    let rows = sqlx::query(&text).bind(pipeline).bind(run).bind(topic).fetch_all(&mut *connection).await.map_err(map)?;
    rows.iter().map(|row| Ok((row.try_get("partition")?, partition_row(row)?))).collect::<Result<_, sqlx::Error>>().map_err(map)
}

pub async fn claim(pool: &PgPool, key: &PartitionKey, claim: Uuid, owner: &str) -> Result<Option<PartitionRow>, StoreError> {
    // That the predecessor had caught up says nothing of where this claim finds the partition.
    let text = format!(
        "WITH claimed AS (UPDATE millrace.stream_partition SET claim = $5, epoch = epoch + 1, owner = $6, claimed_at = now(), \
         idle_claims = idle_claims + (suspect_offset IS NULL AND owner IS DISTINCT FROM $6)::int \
         WHERE pipeline = $1 AND run = $2 AND topic = $3 AND partition = $4 RETURNING stream, {COLUMNS}), \
         forgotten AS (UPDATE millrace.head h SET event_time = -9223372036854775808 FROM claimed c \
         WHERE h.stream = c.stream AND h.event_time = 9223372036854775807) \
         SELECT {COLUMNS} FROM claimed"
    );
    let attempt = async || {
        let mut connection = lease(pool).await?;
        sqlx::query(&text).bind_key(key).bind(claim).bind(owner).fetch_optional(&mut *connection).await
    };
    let partition = (vec![&*key.partition.topic], vec![key.partition.partition]);
    let row = match attempt().await {
        Err(error) if frozen::ended(pool, &error, (&key.pipeline, key.run), partition).await => attempt().await,
        row => row,
    };
    let row = row.map_err(map)?;
    row.as_ref().map(partition_row).transpose().map_err(map)
}

/// What the run will have folded is what `explain` and the next run compare with.
pub async fn folds_from(pool: &PgPool, key: &PartitionKey, claim: Uuid, from: i64) -> Result<(), StoreError> {
    let mut connection = lease(pool).await.map_err(map)?;
    sqlx::query(
        "UPDATE millrace.stream_partition SET fold_from = least($6, next_offset), fold_start = least($6, next_offset) \
         WHERE pipeline = $1 AND run = $2 AND topic = $3 AND partition = $4 AND claim = $5 AND events = 0 AND fold IS NULL AND fold_from < $6",
    )
    .bind_key(key)
    .bind(claim)
    .bind(from)
    .execute(&mut *connection)
    .await
    .map(drop)
    .map_err(map)
}

pub async fn read(
    executor: impl PgExecutor<'_>,
    (pipeline, run): (&str, i32),
    partitions: &[TopicPartition],
) -> Result<Rows, StoreError> {
    // The locks wait for a decide that is under way; and a standby, which may show a past, refuses them. In one order for all who read.
    let text = format!(
        "SELECT topic, {COLUMNS} FROM millrace.stream_partition AS p \
         JOIN unnest($3::text[], $4::int[]) AS wanted (of_topic, number) ON p.topic = wanted.of_topic AND p.partition = wanted.number \
         WHERE p.pipeline = $1 AND p.run = $2 ORDER BY p.topic, p.partition FOR SHARE OF p"
    );
    let query = sqlx::query(&text)
        .bind(pipeline)
        .bind(run)
        .bind(partitions.iter().map(|partition| &*partition.topic).collect::<Vec<_>>())
        .bind(partitions.iter().map(|partition| partition.partition).collect::<Vec<_>>());
    let rows = query.fetch_all(executor).await.map_err(map)?;
    let row = |row: &PgRow| {
        let partition = TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?);
        Ok((partition, partition_row(row)?))
    };
    rows.iter().map(row).collect::<Result<_, sqlx::Error>>().map_err(map)
}

/// From here on the count tells how often this event was put in work alone: claims in between do not count against it.
pub async fn suspect(pool: &PgPool, key: &PartitionKey, claim: Uuid, offset: i64, times: i32) -> Result<bool, StoreError> {
    let mut connection = lease(pool).await.map_err(map)?;
    let done = sqlx::query(
        "UPDATE millrace.stream_partition \
         SET idle_claims = $7, suspect_offset = $6 \
         WHERE pipeline = $1 AND run = $2 AND topic = $3 AND partition = $4 AND claim = $5",
    )
    .bind_key(key)
    .bind(claim)
    .bind(offset)
    .bind(times)
    .execute(&mut *connection)
    .await
    .map_err(map)?;
    Ok(done.rows_affected() == 1)
}

/// Whoever hands over in good order, or has published beyond the suspect, was not killed by it.
pub async fn published(pool: &PgPool, key: &PartitionKey, claim: Uuid, offset: i64, handover: bool) -> Result<(), StoreError> {
    let mut connection = lease(pool).await.map_err(map)?;
    sqlx::query(
        "UPDATE millrace.stream_partition SET published_offset = greatest(published_offset, least($6, next_offset)), \
         idle_claims = CASE WHEN $7 OR suspect_offset IS NULL OR suspect_offset < $6 THEN 0 ELSE idle_claims END, \
         suspect_offset = CASE WHEN $7 OR suspect_offset < $6 THEN NULL ELSE suspect_offset END \
         WHERE pipeline = $1 AND run = $2 AND topic = $3 AND partition = $4 AND claim = $5",
    )
    .bind_key(key)
    .bind(claim)
    .bind(offset)
    .bind(handover)
    .execute(&mut *connection)
    .await
    .map_err(map)?;
    Ok(())
}

pub async fn records(
    pool: &PgPool,
    key: &PartitionKey,
    from: i64,
    to: i64,
    after: Option<(i64, i16)>,
    limit: i64,
) -> Result<Vec<Record>, StoreError> {
    let (after_offset, after_n) = after.unwrap_or((i64::MIN, 0));
    let mut connection = lease(pool).await.map_err(map)?;
    let rows = sqlx::query(
        concat!(
            "SELECT partition, \"offset\", n, kind, out_topic, key, headers ->> 'traceparent' AS traceparent, value::text AS value, label, \
             score, model, config FROM millrace.record WHERE stream = ",
            stream!(),
            " AND \"offset\" >= $5 AND \"offset\" < $6 AND (\"offset\", n) > ($7, $8) ORDER BY \"offset\", n LIMIT $9"
        ),
    )
    .bind_key(key)
    .bind(from)
    .bind(to)
    .bind(after_offset)
    .bind(after_n)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await
    .map_err(map)?;
    let mut by = By { model: "".into(), config: "".into() };
    rows.iter().map(|row| record(row, &mut by)).collect()
}

/// Who made a record. Neighbouring rows are mostly of one maker, whose names are kept once for them.
struct By {
    model: Arc<str>,
    config: Arc<str>,
}

fn record(row: &PgRow, by: &mut By) -> Result<Record, StoreError> {
    let kind: &str = row.try_get("kind").map_err(map)?;
    let kind = kind_from_str(kind)
        .ok_or_else(|| StoreError::Fatal(format!("a row of millrace.record has the unknown kind `{kind}`")))?;
    let mut read = || -> Result<Record, sqlx::Error> {
        for (kept, column) in [(&mut by.model, "model"), (&mut by.config, "config")] {
            let named: &str = row.try_get(column)?;
            if **kept != *named {
                *kept = named.into();
            }
        }
        Ok(Record {
            partition: row.try_get("partition")?,
            offset: row.try_get("offset")?,
            n: row.try_get("n")?,
            kind,
            out_topic: row.try_get::<&str, _>("out_topic")?.into(),
            key: row.try_get::<Option<Vec<u8>>, _>("key")?.map(Into::into),
            traceparent: row.try_get::<Option<String>, _>("traceparent")?.map(Into::into),
            value: row.try_get::<String, _>("value")?.into(),
            label: row.try_get::<Option<String>, _>("label")?.map(Into::into),
            score: row.try_get("score")?,
            model: Some(by.model.clone()),
            config: Some(by.config.clone()),
        })
    };
    read().map_err(map)
}
