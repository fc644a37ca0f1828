//! A round without an answer, or of which not all moved: what do its rows say?

use crate::event::TopicPartition;
use crate::record::Provenance;
use crate::store::{PartitionRow, Store};
use std::collections::HashMap;

/// The rows of what did not move, in one statement: from a database that says nothing each would wait for a time-out of its own, and each would take a
/// connection. Without an answer the outcome stays open: the same advances are sent again, and the rows decide.
pub async fn read_again(
    store: &dyn Store,
    provenance: &Provenance,
    partitions: Vec<TopicPartition>,
    fresh: bool,
) -> HashMap<TopicPartition, Option<PartitionRow>> {
    if partitions.is_empty() {
        return HashMap::new();
    }
    match store.read_all(&provenance.pipeline, provenance.run, &partitions, fresh).await {
        Ok(found) => {
            let mut rows: HashMap<_, _> = partitions.into_iter().map(|partition| (partition, None)).collect();
            rows.extend(found.into_iter().map(|(partition, row)| (partition, Some(row))));
            rows
        }
        Err(error) => {
            tracing::warn!(%error, "The rows of a decide round cannot be read again for now; the round is sent again.");
            HashMap::new()
        }
    }
}
