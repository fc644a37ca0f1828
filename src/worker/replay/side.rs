//! A publisher of predictions: dead letters of a replay stay in rows, so that nobody who watches a topic of them is called.

use crate::event::TopicPartition;
use crate::publisher::{Committed, CommittedOffsets, Publication, PublishError, Publisher};
use crate::record::{Chunk, Kind};
use crate::source::{Lease, LogBounds};
use futures_util::future::BoxFuture;
use std::sync::Arc;

pub struct Predictions(pub Arc<dyn Publisher>);

fn without_dead_letters(chunk: Chunk) -> Chunk {
    if chunk.iter().all(|record| record.kind == Kind::Prediction) {
        return chunk;
    }
    let predictions = chunk.iter().filter(|record| record.kind == Kind::Prediction).cloned().collect();
    Chunk::from(Arc::new(predictions))
}

impl Publisher for Predictions {
    /// The count that travels with the offset stays that of all rows, which is what a claim compares it with.
    fn publish<'a>(&'a self, lease: Arc<Lease>, mut round: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>> {
        for publication in &mut round {
            publication.records = std::mem::take(&mut publication.records).into_iter().map(without_dead_letters).collect();
        }
        self.0.publish(lease, round)
    }

    fn committed<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<CommittedOffsets, PublishError>> {
        self.0.committed(partitions)
    }

    fn commit<'a>(
        &'a self,
        lease: Arc<Lease>,
        partition: &'a TopicPartition,
        committed: Committed,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        self.0.commit(lease, partition, committed)
    }

    fn hint<'a>(
        &'a self,
        lease: Arc<Lease>,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        self.0.hint(lease, offsets)
    }

    /// A replay's producer does not come back: what it left open at its end nobody else would close.
    fn tidy(&self) -> BoxFuture<'_, ()> {
        self.0.tidy()
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<LogBounds, PublishError>> {
        self.0.bounds(partition)
    }

    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, PublishError>> {
        self.0.partition_count(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts how often it is tidied, and does nothing else.
    #[derive(Default)]
    struct Tidied(AtomicUsize);

    impl Publisher for Tidied {
        fn publish<'a>(&'a self, _: Arc<Lease>, _: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>> {
            async { Ok(()) }.boxed()
        }
        fn committed<'a>(&'a self, _: &'a [TopicPartition]) -> BoxFuture<'a, Result<CommittedOffsets, PublishError>> {
            async { Ok(Vec::new()) }.boxed()
        }
        fn commit<'a>(&'a self, _: Arc<Lease>, _: &'a TopicPartition, _: Committed) -> BoxFuture<'a, Result<(), PublishError>> {
            async { Ok(()) }.boxed()
        }
        fn hint<'a>(&'a self, _: Arc<Lease>, _: Vec<(TopicPartition, Committed)>) -> BoxFuture<'a, Result<(), PublishError>> {
            async { Ok(()) }.boxed()
        }
        fn tidy(&self) -> BoxFuture<'_, ()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            async {}.boxed()
        }
        fn bounds<'a>(&'a self, _: &'a TopicPartition) -> BoxFuture<'a, Result<LogBounds, PublishError>> {
            async { Ok(LogBounds { low: 0, high: 0 }) }.boxed()
        }
        fn partition_count<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<i32, PublishError>> {
            async { Ok(1) }.boxed()
        }
    }

    /// Would catch: a replay that leaves a transaction open in its side topic, whose readers then wait.
    #[tokio::test]
    async fn what_a_replay_leaves_open_is_closed() {
        let inner = Arc::new(Tidied::default());
        Predictions(inner.clone()).tidy().await;
        assert_eq!(inner.0.load(Ordering::Relaxed), 1);
    }
}
