//! Workers that stand still inside a COPY, with rows locked.
//!
//! While Postgres reads its client in a COPY no time-out of a session fires: no statement is too long, nothing is idle, and a cancel
//! is not heard. A frozen process also keeps its connection alive, since its kernel answers for it. So whoever needs such a row ends
//! the session that holds it. That rolls its round back: P has not moved, and nothing is lost.

use super::lease::lease;
use sqlx::{PgPool, Row};

/// Who updates a row stands in its `xmax`. What belongs to another login shows no state here, and is left alone.
const END: &str = "SELECT pg_terminate_backend(a.pid), a.pid FROM millrace.stream_partition p JOIN pg_stat_activity a ON a.backend_xid = p.xmax \
     WHERE p.pipeline = $1 AND p.run = $2 AND (p.topic, p.partition) IN (SELECT * FROM unnest($3::text[], $4::int[])) \
     AND a.datname = current_database() AND a.application_name = 'millrace' AND a.state = 'active' AND a.wait_event_type = 'Client' \
     AND a.query_start < now() - interval '10 s'";

/// Whether the statement that failed so waited for sessions that stood still, and that are ended now: then it can be tried again.
pub async fn ended(pool: &PgPool, error: &sqlx::Error, (pipeline, run): (&str, i32), partitions: (Vec<&str>, Vec<i32>)) -> bool {
    if error.as_database_error().and_then(|database| database.code()).is_none_or(|code| code != "55P03") {
        return false;
    }
    let end = async {
        let mut connection = lease(pool).await?;
        sqlx::query(END)
            .bind(pipeline)
            .bind(run)
            .bind(partitions.0)
            .bind(partitions.1)
            .fetch_all(&mut *connection)
            .await?
            .iter()
            .map(|row| Ok(row.try_get::<bool, _>(0)?.then_some(row.try_get::<i32, _>(1)?)))
            .collect::<Result<Vec<Option<i32>>, sqlx::Error>>()
    };
    match end.await {
        Ok(sessions) => {
            let mut pids: Vec<i32> = sessions.into_iter().flatten().collect();
            pids.dedup();
            if !pids.is_empty() {
                tracing::warn!(?pids, "Ended sessions of workers that stood still inside a COPY; their rounds are rolled back.");
            }
            !pids.is_empty()
        }
        Err(error) => {
            tracing::warn!(%error, "Sessions that stand still and hold a partition's row could not be looked for.");
            false
        }
    }
}
