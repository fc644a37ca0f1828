//! What the page compares a pipeline's scores with: those that stood in Postgres before this worker started, so that a new program, config or model is
//! held against what was there before it.

use crate::store::postgres::PostgresStore;
use crate::telemetry::{Spread, Tally};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Scores that are read at most.
const MOST: i64 = 20_000;
/// Between two tries.
const PERIOD: Duration = Duration::from_secs(30);

/// Reads them once, and tries until it succeeds: nothing else waits for it.
pub async fn read(pipeline: String, store: Arc<PostgresStore>, tally: Arc<Tally>, closing: CancellationToken) {
    let started = Instant::now();
    let work = async {
        loop {
            match store.past_scores(&pipeline, MOST, started.elapsed()).await {
                Ok(scores) => return tally.follow_past(spread(&scores)),
                Err(error) => {
                    tracing::debug!(pipeline, %error, "Scores of the past cannot be read for now; the page compares with those since the start.")
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! { () = closing.cancelled() => {}, () = work => {} }
}

fn spread(scores: &[f64]) -> Spread {
    let mut spread = Spread::of_scores();
    scores.iter().filter(|score| score.is_finite()).for_each(|score| spread.record(*score, 1));
    spread
}
