//! Deletes what a pipeline's fold has forgotten, now and then.

use crate::config::{Config, Pipeline};
use crate::store::postgres::PostgresStore;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at the states of a pipeline.
const PERIOD: Duration = Duration::from_secs(600);
/// Before the first: a worker that has just started has other things to do.
const FIRST: Duration = Duration::from_secs(20);

/// Whose states, and how old.
pub struct Forget {
    pub pipeline: String,
    pub digest: String,
    pub after_ms: i64,
}

impl Forget {
    /// `None` for a pipeline that forgets nothing.
    pub fn of(config: &Config, pipeline: &Pipeline) -> Option<Self> {
        let after = config.dialogue_of(pipeline)?.forget_after?;
        let digest = super::folds::folding(config, pipeline)?.digest.to_string();
        Some(Self { pipeline: pipeline.name.clone(), digest, after_ms: after.ms() })
    }

    /// Until the worker closes. What fails is tried again the next time: nothing depends on it.
    pub async fn follow(self, store: Arc<PostgresStore>, closing: CancellationToken) {
        let work = async {
            tokio::time::sleep(FIRST).await;
            loop {
                match store.forget(&self.pipeline, &self.digest, self.after_ms).await {
                    Ok(0) => {}
                    Ok(states) => tracing::info!(pipeline = self.pipeline, states, "States of ended conversations were deleted."),
                    Err(error) => tracing::warn!(
                        pipeline = self.pipeline, %error,
                        "States of ended conversations cannot be deleted for now; scoring goes on. Where a right is missing: GRANT \
                         EXECUTE ON FUNCTION millrace.forget TO millrace_worker."
                    ),
                }
                tokio::time::sleep(PERIOD).await;
            }
        };
        tokio::select! { () = closing.cancelled() => {}, () = work => {} }
    }
}
