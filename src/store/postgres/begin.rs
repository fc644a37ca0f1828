//! The first rows of a run: where a worker begins, or where somebody has chosen, a new run or a replay.

use crate::event::TopicPartition;
use crate::record::Mode;
use sqlx::{PgExecutor, Postgres, Transaction};

/// Where a partition begins: it is folded from `fold_from` on, and scored from `from` on. Both are the same where nothing is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub partition: TopicPartition,
    pub fold_from: i64,
    pub from: i64,
    /// The earlier run whose states it goes on with; S is that run's then.
    pub keeps: Option<i32>,
}

/// What becomes of a partition that has a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfThere {
    Stays,
    Fails,
}

/// P = Q = `from`, and S below it: what lies between is folded after the claim, and not scored.
pub(super) async fn open(
    executor: impl PgExecutor<'_>,
    (pipeline, run): (&str, i32),
    mode: Mode,
    begins: &[Begin],
    if_there: IfThere,
) -> Result<(), sqlx::Error> {
    let stays = match if_there {
        IfThere::Stays => "ON CONFLICT (pipeline, run, topic, partition) DO NOTHING",
        IfThere::Fails => "",
    };
    let text = format!(
        "INSERT INTO millrace.stream_partition \
         (pipeline, run, topic, partition, next_offset, published_offset, fold_from, fold_start, start_offset, mode, fold) \
         SELECT $1, $2, s.topic, s.partition, s.start, s.start, coalesce(old.fold_from, s.fold_from), \
         coalesce(old.fold_start, old.start_offset, s.fold_from), s.start, $3, old.fold \
         FROM unnest($4::text[], $5::int[], $6::bigint[], $7::bigint[], $8::int[]) AS s (topic, partition, start, fold_from, keeps) \
         LEFT JOIN millrace.stream_partition old \
         ON old.pipeline = $1 AND old.run = s.keeps AND old.topic = s.topic AND old.partition = s.partition {stays}"
    );
    sqlx::query(&text)
        .bind(pipeline)
        .bind(run)
        .bind(mode.as_str())
        .bind(begins.iter().map(|begin| &*begin.partition.topic).collect::<Vec<_>>())
        .bind(begins.iter().map(|begin| begin.partition.partition).collect::<Vec<_>>())
        .bind(begins.iter().map(|begin| begin.from).collect::<Vec<_>>())
        .bind(begins.iter().map(|begin| begin.fold_from).collect::<Vec<_>>())
        .bind(begins.iter().map(|begin| begin.keeps).collect::<Vec<_>>())
        .execute(executor)
        .await
        .map(drop)
}

/// Holds the rows of which the states are kept until the transaction ends: nobody decides there any more. Returns whether all stand where they begin.
pub(super) async fn hold(
    transaction: &mut Transaction<'_, Postgres>,
    pipeline: &str,
    begins: &[Begin],
) -> Result<bool, sqlx::Error> {
    let kept: Vec<&Begin> = begins.iter().filter(|begin| begin.keeps.is_some()).collect();
    let held = sqlx::query(
        "SELECT FROM millrace.stream_partition AS p \
         JOIN unnest($2::text[], $3::int[], $4::int[], $5::bigint[], $6::bigint[]) AS k (of_topic, number, of_run, start, from_s) \
         ON p.topic = k.of_topic AND p.partition = k.number AND p.run = k.of_run AND p.next_offset = k.start AND p.fold_from >= k.from_s \
         WHERE p.pipeline = $1 AND p.fold IS NOT NULL ORDER BY p.topic, p.partition FOR UPDATE OF p",
    )
    .bind(pipeline)
    .bind(kept.iter().map(|begin| &*begin.partition.topic).collect::<Vec<_>>())
    .bind(kept.iter().map(|begin| begin.partition.partition).collect::<Vec<_>>())
    .bind(kept.iter().map(|begin| begin.keeps).collect::<Vec<_>>())
    .bind(kept.iter().map(|begin| begin.from).collect::<Vec<_>>())
    .bind(kept.iter().map(|begin| begin.fold_from).collect::<Vec<_>>())
    .fetch_all(&mut **transaction)
    .await?;
    Ok(held.len() == kept.len())
}

/// Copies the states that are kept. Those of the earlier run stay: one may go back to it.
pub(super) async fn keep_states(
    transaction: &mut Transaction<'_, Postgres>,
    (pipeline, run): (&str, i32),
    begins: &[Begin],
) -> Result<(), sqlx::Error> {
    let kept: Vec<&Begin> = begins.iter().filter(|begin| begin.keeps.is_some()).collect();
    if kept.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO millrace.state (stream, key, as_of, newest, bytes) SELECT n.stream, s.key, s.as_of, s.newest, s.bytes \
         FROM unnest($3::text[], $4::int[], $5::int[]) AS k (of_topic, number, of_run) \
         JOIN millrace.stream_partition o ON o.pipeline = $1 AND o.run = k.of_run AND o.topic = k.of_topic AND o.partition = k.number \
         JOIN millrace.stream_partition n ON n.pipeline = $1 AND n.run = $2 AND n.topic = k.of_topic AND n.partition = k.number \
         JOIN millrace.state s ON s.stream = o.stream",
    )
    .bind(pipeline)
    .bind(run)
    .bind(kept.iter().map(|begin| &*begin.partition.topic).collect::<Vec<_>>())
    .bind(kept.iter().map(|begin| begin.partition.partition).collect::<Vec<_>>())
    .bind(kept.iter().map(|begin| begin.keeps).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await
    .map(drop)
}
