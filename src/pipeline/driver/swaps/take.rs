//! Under its claim a partition records from which offset on it works by a wish: sent again until it is known to stand.

use super::super::{Driver, current};
use crate::event::TopicPartition;
use crate::store::{Store, StoreError, Taken};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// What came of recording a wish in a partition.
pub(in crate::pipeline::driver) struct TakeDone {
    partition: TopicPartition,
    incarnation: u64,
    sent: Taken,
    result: Result<Option<Vec<Taken>>, StoreError>,
}

impl Driver {
    pub(super) fn send_take(&mut self, partition: TopicPartition, incarnation: u64, sent: Taken, wait: Duration) {
        let Some(running) = current(&mut self.partitions, &partition, incarnation) else { return };
        let claim = running.claim;
        let Some(key) = self.partitions.get(&partition).map(|state| state.key.clone()) else { return };
        let store: Arc<dyn Store> = self.parts.store.clone();
        self.swaps.takes.push(
            async move {
                tokio::time::sleep(wait).await;
                let result = store.take(&key, claim, &sent).await;
                TakeDone { partition, incarnation, sent, result }
            }
            .boxed(),
        );
    }

    pub(in crate::pipeline::driver) fn on_take(&mut self, done: TakeDone) {
        let TakeDone { partition, incarnation, sent, result } = done;
        let Some(running) = current(&mut self.partitions, &partition, incarnation) else { return };
        match result {
            Ok(Some(taken)) => {
                running.taking.confirmed(taken);
                self.swaps.take_trouble = false;
                tracing::info!(%partition, from_offset = sent.from_offset, number = sent.number, what = sent.what(), "A partition has gone over to a version.");
                self.follow_swaps();
            }
            Ok(None) => self.superseded(partition),
            // Whether it was carried out is not known: the same is sent again until it is, or until the claim is gone.
            Err(StoreError::Transient(detail)) => {
                if !std::mem::replace(&mut self.swaps.take_trouble, true) {
                    tracing::warn!(%partition, detail, "From which offset on a partition goes over could not be recorded for now; it is tried again until it is.");
                }
                self.parts.observer.retried("take");
                self.send_take(partition, incarnation, sent, self.settings.backoff * 4);
            }
            Err(error) => self.failed = Some(error.to_string()),
        }
    }
}
