//! Writes what a shadow has counted to Postgres, now and then, over a connection that is no pipeline's. What cannot be written is tried again
//! with what has come meanwhile; nothing waits for it.

use super::rows;
use crate::store::StoreError;
use crate::store::postgres::{AddError, ShadowFlip, ShadowStore};
use crate::telemetry::{ShadowCounts, ShadowTally};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use crate::store::postgres::Versus;

/// Between two writes.
const PERIOD: Duration = Duration::from_secs(5);
/// Between two looks at what is old.
const SWEEP: Duration = Duration::from_secs(3_600);
/// Flips that are kept of one sweep's time; all are counted.
const FLIPS: usize = 1_000;
/// How long a write may stay without an answer; a statement of it is given up by Postgres after 3 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last write may take, when the worker ends.
const LAST: Duration = Duration::from_secs(2);

/// See the module.
pub struct Keep {
    pub store: Arc<ShadowStore>,
    pub versus: Versus,
    pub tally: Arc<ShadowTally>,
    pub flips: mpsc::Receiver<ShadowFlip>,
    pub keep_ms: i64,
}

/// What is written, and what is not yet.
#[derive(Default)]
struct Written {
    counts: ShadowCounts,
    flips: Vec<ShadowFlip>,
    failed: bool,
}

impl Keep {
    /// Until the worker closes.
    pub async fn follow(mut self, closing: CancellationToken) {
        let (mut written, mut room, mut swept) = (Written::default(), FLIPS, None::<Instant>);
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                () = self.gather(&mut written.flips, &mut room) => {}
            }
            let work = async {
                self.write(&mut written).await;
                if swept.is_none_or(|swept| swept.elapsed() > SWEEP) {
                    (room, swept) = (FLIPS, Some(Instant::now()));
                    if let Err(error) = self.store.forget(&self.versus.pipeline, self.keep_ms).await {
                        tracing::debug!(pipeline = self.versus.pipeline, %error, "Old counts of the shadow were not removed.");
                    }
                }
            };
            tokio::select! {
                // A write without an answer is not made again: it would count twice.
                () = closing.cancelled() => return,
                () = work => {}
            }
        }
        while let Ok(flip) = self.flips.try_recv() {
            if room > 0 {
                room -= 1;
                written.flips.push(flip);
            }
        }
        if tokio::time::timeout(LAST, self.write(&mut written)).await.is_err() {
            tracing::warn!(pipeline = self.versus.pipeline, "The last counts of the shadow were not written in time.");
        }
    }

    /// Takes up flips until it is time to write.
    async fn gather(&mut self, flips: &mut Vec<ShadowFlip>, room: &mut usize) {
        let time = tokio::time::sleep(PERIOD);
        tokio::pin!(time);
        loop {
            tokio::select! {
                () = &mut time => return,
                Some(flip) = self.flips.recv() => if *room > 0 {
                    *room -= 1;
                    flips.push(flip);
                },
                // Nobody sends any more: counts alone go on.
                else => return time.await,
            }
        }
    }

    async fn write(&self, written: &mut Written) {
        let (_, now) = self.tally.now();
        let counts = rows::of(&now.since(&written.counts));
        if counts.is_empty() && written.flips.is_empty() {
            return;
        }
        let adding = tokio::time::timeout(PATIENCE, self.store.add(&self.versus, &counts, &written.flips));
        let added = adding.await.unwrap_or_else(|_| Err(AddError::Unknown(format!("no answer in {PATIENCE:?}"))));
        match added {
            Ok(()) => {
                if std::mem::take(&mut written.failed) {
                    tracing::info!(pipeline = self.versus.pipeline, "Counts of the shadow are written again.");
                }
                written.counts = now;
                written.flips.clear();
            }
            Err(AddError::NotAdded(error)) => self.complain(written, &error),
            Err(AddError::Unknown(detail)) => {
                let pipeline = &self.versus.pipeline;
                tracing::warn!(
                    pipeline,
                    detail,
                    "Counts of the shadow may be short by some seconds: it is not known whether they were written."
                );
                written.counts = now;
                written.flips.clear();
            }
        }
    }

    /// Once, until it works again.
    fn complain(&self, written: &mut Written, error: &StoreError) {
        if !std::mem::replace(&mut written.failed, true) {
            tracing::warn!(
                pipeline = self.versus.pipeline, %error,
                "Counts of the shadow cannot be written for now; scoring goes on, and so does the shadow."
            );
        }
        written.flips.truncate(FLIPS);
    }
}
