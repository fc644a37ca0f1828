//! What an operator writes, outside of any claim: the rows of a new run. It takes a worker's rights, and no more.

use super::PostgresStore;
use super::errors::store_error;
use crate::event::TopicPartition;
use crate::record::Mode;
use crate::store::StoreError;
use sqlx::{Postgres, Transaction};

/// A run whose rows are written and not committed yet.
pub struct NewRun {
    transaction: Transaction<'static, Postgres>,
}

impl PostgresStore {
    /// Opens every partition of a new run at its start (P = Q = start), in a transaction that the caller ends. Fails when the run is there.
    pub async fn new_run(
        &self,
        pipeline: &str,
        run: i32,
        mode: Mode,
        starts: &[(TopicPartition, i64)],
    ) -> Result<NewRun, StoreError> {
        let map = |error: sqlx::Error| store_error(&error);
        let mut transaction = self.pool.begin().await.map_err(map)?;
        // Kafka is asked before the commit.
        sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '60s'").execute(&mut *transaction).await.map_err(map)?;
        sqlx::query(
            "INSERT INTO millrace.stream_partition (pipeline, run, topic, partition, next_offset, published_offset, fold_from, start_offset, mode) \
             SELECT $1, $2, s.topic, s.partition, s.start, s.start, s.start, s.start, $3 \
             FROM unnest($4::text[], $5::int[], $6::bigint[]) AS s (topic, partition, start)",
        )
        .bind(pipeline)
        .bind(run)
        .bind(mode.as_str())
        .bind(starts.iter().map(|(partition, _)| &*partition.topic).collect::<Vec<_>>())
        .bind(starts.iter().map(|(partition, _)| partition.partition).collect::<Vec<_>>())
        .bind(starts.iter().map(|(_, start)| *start).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await
        .map_err(map)?;
        Ok(NewRun { transaction })
    }
}

impl NewRun {
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(|error| store_error(&error))
    }
}
