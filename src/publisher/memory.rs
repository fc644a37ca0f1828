//! Transactions against the cluster in memory: slow, refused, cut off, or with a reply that is lost, by its seed.

use super::{Committed, CommittedOffsets, Publication, PublishError, Publisher, offset_metadata, parse_offset_metadata};
use crate::event::TopicPartition;
use crate::source::memory::{Cluster, MemoryLease, Published, StoredOffset};
use crate::source::{Lease, LogBounds};
use crate::twin::Process;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The broker ends a transaction that is older.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Percent of the calls that go wrong in a way of their own.
const TROUBLE: u32 = 3;

/// The producer of one process.
pub struct MemoryPublisher {
    pub cluster: Arc<Cluster>,
    pub process: Arc<Process>,
}

/// How the broker ended a transaction.
enum Verdict {
    Committed,
    Aborted {
        stale_lease: bool,
    },
    /// The producer is fenced, or the time is up.
    Dead,
}

impl MemoryPublisher {
    async fn trouble(&self, what: &str) -> Result<(), PublishError> {
        tokio::time::sleep(self.cluster.chance.delay()).await;
        self.process.awake().await;
        if self.cluster.chance.percent(TROUBLE) {
            return Err(PublishError::Aborted { stale_lease: false, detail: format!("{what}: the broker is away") });
        }
        Ok(())
    }
}

/// One transaction as the broker lives through it, whatever becomes of its client.
async fn transaction(
    cluster: Arc<Cluster>,
    process: Arc<Process>,
    epoch: u64,
    lease: Arc<Lease>,
    round: Vec<Publication>,
) -> Verdict {
    let id = process.id;
    let deadline = Instant::now() + TRANSACTION_TIMEOUT;
    tokio::time::sleep(cluster.chance.delay()).await;
    let generation =
        lease.metadata.as_ref().and_then(|metadata| metadata.downcast_ref::<MemoryLease>()).map(|lease| lease.generation);
    {
        let mut state = cluster.state();
        if state.epochs.get(&id) != Some(&epoch) || Instant::now() >= deadline {
            return Verdict::Dead;
        }
        if !generation.is_some_and(|generation| state.accepts(id, generation)) {
            return Verdict::Aborted { stale_lease: true };
        }
        for publication in &round {
            *state.pending.entry(publication.partition.clone()).or_default() += 1;
        }
    }
    // From here on the outcome is the broker's: the client's last request may be on its way, or may never leave.
    let hangs = cluster.chance.percent(3) || (process.is_killed() && cluster.chance.percent(50));
    let wait = if hangs { TRANSACTION_TIMEOUT * 2 } else { cluster.chance.delay() };
    let until = (Instant::now() + wait).min(deadline);
    let mut fenced = false;
    while Instant::now() < until && !fenced {
        tokio::time::sleep(Duration::from_millis(40).min(until - Instant::now())).await;
        fenced = cluster.state().epochs.get(&id) != Some(&epoch);
    }
    let mut state = cluster.state();
    for publication in &round {
        if let Some(open) = state.pending.get_mut(&publication.partition) {
            *open -= 1;
        }
    }
    if fenced || Instant::now() >= deadline {
        return Verdict::Dead;
    }
    for publication in round {
        for record in publication.records.iter().flat_map(|chunk| chunk.iter()) {
            let (offset, n, value) = (record.offset, record.n, record.value.clone());
            state.output.push(Published { partition: publication.partition.clone(), offset, n, value });
        }
        let stored = StoredOffset { offset: publication.to, metadata: offset_metadata(publication.records_total) };
        state.offsets.insert(publication.partition, stored);
    }
    Verdict::Committed
}

impl Publisher for MemoryPublisher {
    fn publish<'a>(&'a self, lease: Arc<Lease>, round: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            self.trouble("begin").await?;
            let epoch = *self.cluster.state().epochs.entry(self.process.id).or_default();
            let running = tokio::spawn(transaction(self.cluster.clone(), self.process.clone(), epoch, lease, round));
            let patience =
                if self.cluster.chance.percent(TROUBLE) { self.cluster.chance.delay() } else { TRANSACTION_TIMEOUT * 2 };
            let verdict = tokio::time::timeout(patience, running).await;
            tokio::time::sleep(self.cluster.chance.delay()).await;
            self.process.awake().await;
            match verdict {
                Ok(Ok(Verdict::Committed)) if !self.cluster.chance.percent(TROUBLE) => Ok(()),
                Ok(Ok(Verdict::Aborted { stale_lease })) => Err(PublishError::Aborted { stale_lease, detail: "refused".into() }),
                _ => {
                    // A new producer fences what is left of the old one.
                    *self.cluster.state().epochs.entry(self.process.id).or_default() += 1;
                    Err(PublishError::Indefinite("no reply".into()))
                }
            }
        }
        .boxed()
    }

    fn committed<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<CommittedOffsets, PublishError>> {
        async move {
            self.trouble("committed offsets").await?;
            let deadline = Instant::now() + TRANSACTION_TIMEOUT + Duration::from_secs(5);
            loop {
                {
                    let state = self.cluster.state();
                    if partitions.iter().all(|partition| state.pending.get(partition).is_none_or(|open| *open == 0)) {
                        let of = |partition: &TopicPartition| {
                            let stored = state.offsets.get(partition);
                            let committed = |stored: &StoredOffset| Committed {
                                offset: stored.offset,
                                records_total: parse_offset_metadata(&stored.metadata),
                            };
                            (partition.clone(), stored.map(committed))
                        };
                        break Ok(partitions.iter().map(of).collect());
                    }
                }
                if Instant::now() >= deadline {
                    break Err(PublishError::Aborted { stale_lease: false, detail: "unstable offsets".into() });
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        .boxed()
    }

    fn commit<'a>(
        &'a self,
        lease: Arc<Lease>,
        partition: &'a TopicPartition,
        committed: Committed,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        let publication = Publication {
            pipeline: "".into(),
            run: 0,
            partition: partition.clone(),
            to: committed.offset,
            records_total: committed.records_total.unwrap_or(0),
            records: Vec::new(),
        };
        self.publish(lease, vec![publication])
    }

    fn hint<'a>(&'a self, _: Arc<Lease>, _: Vec<(TopicPartition, Committed)>) -> BoxFuture<'a, Result<(), PublishError>> {
        async { Ok(()) }.boxed()
    }

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<LogBounds, PublishError>> {
        async move {
            self.trouble("bounds").await?;
            Ok(self.cluster.bounds(partition))
        }
        .boxed()
    }

    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, PublishError>> {
        async move { Ok(self.cluster.partition_count(topic)) }.boxed()
    }
}
