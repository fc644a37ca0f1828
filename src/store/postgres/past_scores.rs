//! How a pipeline scored before a worker started.

use super::PostgresStore;
use super::errors::store_error;
use super::lease::lease;
use crate::store::StoreError;
use std::time::Duration;

impl PostgresStore {
    /// Scores of the last predictions of a pipeline's newest run, `most` at most and about equally many of each partition, without those that were decided
    /// in the time `since`. It reads where the ranges of the partitions end in the key, however long the table is.
    pub async fn past_scores(&self, pipeline: &str, most: i64, since: Duration) -> Result<Vec<f64>, StoreError> {
        let wrong = |error: sqlx::Error| store_error(&error);
        let mut connection = lease(&self.pool).await.map_err(wrong)?;
        sqlx::query_scalar(
            "SELECT r.score FROM (SELECT stream, next_offset, greatest($2::bigint / count(*) OVER (), 1) AS share FROM millrace.stream_partition \
             WHERE pipeline = $1 AND run = (SELECT max(run) FROM millrace.stream_partition WHERE pipeline = $1)) p \
             CROSS JOIN LATERAL (SELECT score FROM millrace.record WHERE stream = p.stream AND \"offset\" < p.next_offset \
             AND \"offset\" >= p.next_offset - p.share AND kind = 'prediction' AND score IS NOT NULL AND decided_at < now() - make_interval(secs => $3) \
             ORDER BY \"offset\" DESC, n DESC LIMIT p.share) r LIMIT $2",
        )
        .bind(pipeline)
        .bind(most)
        .bind(since.as_secs_f64())
        .fetch_all(&mut *connection)
        .await
        .map_err(wrong)
    }
}
