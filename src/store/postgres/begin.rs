//! The rows of a run that begins where somebody has chosen: a new run, or a replay.

use crate::event::TopicPartition;
use crate::record::Mode;
use sqlx::{Postgres, Transaction};

/// Where a partition begins: it is folded from `fold_from` on, and scored from `from` on. Both are the same where nothing is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub partition: TopicPartition,
    pub fold_from: i64,
    pub from: i64,
}

/// P = Q = `from`, and S below it: what lies between is folded after the claim, and not scored.
pub(super) async fn open(
    transaction: &mut Transaction<'_, Postgres>,
    pipeline: &str,
    run: i32,
    mode: Mode,
    begins: &[Begin],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO millrace.stream_partition \
         (pipeline, run, topic, partition, next_offset, published_offset, fold_from, fold_start, start_offset, mode) \
         SELECT $1, $2, s.topic, s.partition, s.start, s.start, s.fold_from, s.fold_from, s.start, $3 \
         FROM unnest($4::text[], $5::int[], $6::bigint[], $7::bigint[]) AS s (topic, partition, start, fold_from)",
    )
    .bind(pipeline)
    .bind(run)
    .bind(mode.as_str())
    .bind(begins.iter().map(|begin| &*begin.partition.topic).collect::<Vec<_>>())
    .bind(begins.iter().map(|begin| begin.partition.partition).collect::<Vec<_>>())
    .bind(begins.iter().map(|begin| begin.from).collect::<Vec<_>>())
    .bind(begins.iter().map(|begin| begin.fold_from).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await
    .map(drop)
}
