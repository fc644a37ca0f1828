//! Where partitions stand in event time: told by who holds them, read by the others.

use super::errors::store_error;
use crate::store::{Head, StoreError};
use sqlx::PgPool;

/// A table of its own, so that telling never waits for a decide. The second part sees the heads as they were before. The rows of a topic
/// are made together; while one has none, nothing is known of it.
const EXCHANGE: &str = r#"
WITH mine AS (
    SELECT p.stream, m.head FROM unnest($4::text[], $5::int[], $6::uuid[], $7::bigint[]) AS m (topic, partition, claim, head)
    JOIN millrace.stream_partition p ON p.pipeline = $1 AND p.run = $2 AND p.topic = m.topic AND p.partition = m.partition AND p.claim = m.claim
), told AS (
    INSERT INTO millrace.head (stream, event_time) SELECT stream, head FROM mine
    ON CONFLICT (stream) DO UPDATE SET event_time = excluded.event_time
)
SELECT CASE WHEN
    (SELECT count(DISTINCT topic) FROM millrace.stream_partition WHERE pipeline = $1 AND run = $2 AND topic = ANY($3)) < cardinality($3)
THEN -9223372036854775808 ELSE min(coalesce(h.event_time, -9223372036854775808)) END
FROM millrace.stream_partition p LEFT JOIN millrace.head h USING (stream)
WHERE p.pipeline = $1 AND p.run = $2 AND p.topic = ANY($3) AND NOT EXISTS (SELECT FROM mine WHERE mine.stream = p.stream)
"#;

pub async fn exchange(
    pool: &PgPool,
    pipeline: &str,
    run: i32,
    topics: &[String],
    mine: &[Head],
) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(EXCHANGE)
        .bind(pipeline)
        .bind(run)
        .bind(topics)
        .bind(mine.iter().map(|head| &*head.partition.topic).collect::<Vec<_>>())
        .bind(mine.iter().map(|head| head.partition.partition).collect::<Vec<_>>())
        .bind(mine.iter().map(|head| head.claim).collect::<Vec<_>>())
        .bind(mine.iter().map(|head| head.head_ms).collect::<Vec<_>>())
        .fetch_one(pool)
        .await
        .map_err(|error| store_error(&error))
}
