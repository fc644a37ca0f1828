//! Where partitions stand in event time: told by who holds them, read by the others.

use super::errors::store_error;
use crate::event::TopicPartition;
use crate::store::{Head, Heads, StoreError};
use sqlx::PgPool;

/// A table of its own, so that telling never waits for a decide. The second part sees the heads as they were before. The rows of a topic
/// are made together; while one has none, nothing is known of it. Who has caught up says so all the time: an old word counts for nothing.
const EXCHANGE: &str = r#"
WITH mine AS (
    SELECT p.stream, p.topic, p.partition, m.head FROM unnest($4::text[], $5::int[], $6::uuid[], $7::bigint[]) AS m (topic, partition, claim, head)
    JOIN millrace.stream_partition p ON p.pipeline = $1 AND p.run = $2 AND p.topic = m.topic AND p.partition = m.partition AND p.claim = m.claim
), told AS (
    INSERT INTO millrace.head (stream, event_time, told_at) SELECT stream, head, now() FROM mine
    ON CONFLICT (stream) DO UPDATE SET event_time = excluded.event_time, told_at = excluded.told_at
)
SELECT CASE WHEN
    (SELECT count(DISTINCT topic) FROM millrace.stream_partition WHERE pipeline = $1 AND run = $2 AND topic = ANY($3)) < cardinality($3)
THEN -9223372036854775808 ELSE min(CASE
    WHEN h.event_time = 9223372036854775807 AND h.told_at < now() - interval '5 s' THEN -9223372036854775808
    ELSE coalesce(h.event_time, -9223372036854775808)
END) END,
    coalesce((SELECT array_agg(topic ORDER BY stream) FROM mine), '{}'), coalesce((SELECT array_agg(partition ORDER BY stream) FROM mine), '{}')
FROM millrace.stream_partition p LEFT JOIN millrace.head h USING (stream)
WHERE p.pipeline = $1 AND p.run = $2 AND p.topic = ANY($3) AND NOT EXISTS (SELECT FROM mine WHERE mine.stream = p.stream)
"#;

pub async fn exchange(pool: &PgPool, pipeline: &str, run: i32, topics: &[String], mine: &[Head]) -> Result<Heads, StoreError> {
    let (others, topics, partitions): (Option<i64>, Vec<String>, Vec<i32>) = sqlx::query_as(EXCHANGE)
        .bind(pipeline)
        .bind(run)
        .bind(topics)
        .bind(mine.iter().map(|head| &*head.partition.topic).collect::<Vec<_>>())
        .bind(mine.iter().map(|head| head.partition.partition).collect::<Vec<_>>())
        .bind(mine.iter().map(|head| head.claim).collect::<Vec<_>>())
        .bind(mine.iter().map(|head| head.head_ms).collect::<Vec<_>>())
        .fetch_one(pool)
        .await
        .map_err(|error| store_error(&error))?;
    let held = topics.into_iter().zip(partitions).map(|(topic, partition)| TopicPartition::new(topic, partition)).collect();
    Ok(Heads { others, held })
}
