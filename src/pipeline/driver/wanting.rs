//! Partitions that stand for want of a version: their next event is to be scored by one that is not in memory.
//!
//! Such a partition reads few events ahead, so that its neighbours have the memory budget, and it is told when it lasts.

use super::Driver;
use super::align::AHEAD_EVENTS;
use crate::pipeline::partition::Running;
use crate::pipeline::partition::versions::Ready;
use std::time::Duration;
use tokio::time::Instant;

/// What such a partition may hold before it is paused at the source.
const AHEAD_BYTES: usize = 1 << 20;
/// After so long it is told.
const SILENCE: Duration = Duration::from_secs(30);

/// Whether a partition stands for want of a version, and has enough read ahead.
pub(super) fn has_enough(running: &Running, pipeline: &str, ready: &Ready) -> bool {
    let holds = running.held() >= AHEAD_EVENTS || running.ledger.bytes() >= AHEAD_BYTES;
    holds && stands(running, pipeline, ready)
}

fn stands(running: &Running, pipeline: &str, ready: &Ready) -> bool {
    running.buffer.head().is_some_and(|head| running.taking.lacks(pipeline, head, ready))
}

impl Driver {
    /// Tells once of each partition that stands so for long.
    pub(super) fn tell_of_wants(&mut self) {
        let (now, aligned) = (Instant::now(), self.settings.align.is_some());
        let Self { settings, swaps, partitions, .. } = self;
        for (partition, state) in partitions {
            let Some(running) = state.running() else { continue };
            if !stands(running, &settings.provenance.pipeline, &swaps.ready) {
                running.wants = None;
                continue;
            }
            let (since, told) = running.wants.unwrap_or((now, false));
            let late = now - since >= SILENCE;
            if late && !told {
                let why = swaps.waits_for(running).unwrap_or_default();
                let others =
                    if aligned { "all other partitions of the group, since the pipeline is aligned" } else { "no other" };
                tracing::warn!(
                    %partition,
                    why,
                    "A partition stands for want of a version; {others} waits with it. Mend the version, or take it back: `millrace swap --back`."
                );
            }
            running.wants = Some((since, late));
        }
    }
}
