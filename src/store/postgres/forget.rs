//! Deletes the states that a fold has forgotten; see [`Forgetting`](crate::state::Forgetting) for why that is safe at any time.

use super::PostgresStore;
use super::errors::store_error;
use crate::state::{CLOCK, newest_of};
use crate::store::StoreError;
use std::time::Duration;

/// Keys that one statement looks at.
const AT_A_TIME: i32 = 10_000;
/// Between two statements, so that others come to their turn.
const PAUSE: Duration = Duration::from_millis(50);

impl PostgresStore {
    /// Deletes the rows of the pipeline's newest run whose newest event is more than `after_ms` older than the clock of their partition as it
    /// is written, and returns how many. Partitions whose states are of another fold than `digest` are left alone, and those where another
    /// worker is at it.
    pub async fn forget(&self, pipeline: &str, digest: &str, after_ms: i64) -> Result<u64, StoreError> {
        let wrong = |error: sqlx::Error| store_error(&error);
        let streams: Vec<i32> = sqlx::query_scalar(
            "SELECT stream FROM millrace.stream_partition WHERE pipeline = $1 AND fold = $2 \
             AND run = (SELECT max(run) FROM millrace.stream_partition WHERE pipeline = $1) ORDER BY stream",
        )
        .bind(pipeline)
        .bind(digest)
        .fetch_all(&self.pool)
        .await
        .map_err(wrong)?;
        let mut all = 0;
        for stream in streams {
            let clock: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM millrace.state WHERE stream = $1 AND key = $2")
                .bind(stream)
                .bind(CLOCK)
                .fetch_optional(&self.pool)
                .await
                .map_err(wrong)?;
            let newest = newest_of(&clock.unwrap_or_default())
                .map_err(|error| StoreError::Fatal(format!("the state `{CLOCK}` of stream {stream}: {error}")))?;
            // None yet, or nothing lies so far behind it.
            let Some(before) = newest.and_then(|newest| newest.checked_sub(after_ms)) else { continue };
            let mut behind = String::new();
            loop {
                let (last, gone): (Option<String>, i64) =
                    sqlx::query_as("SELECT last, gone FROM millrace.forget($1, $2, $3, $4)")
                        .bind(stream)
                        .bind(before)
                        .bind(&behind)
                        .bind(AT_A_TIME)
                        .fetch_one(&self.pool)
                        .await
                        .map_err(wrong)?;
                all += u64::try_from(gone).unwrap_or_default();
                match last {
                    Some(last) => behind = last,
                    None => break,
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(all)
    }
}
