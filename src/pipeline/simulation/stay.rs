//! One stay of a partition, told step by step: what was decided under it does not go out under a later one.

use super::function::{Moody, decode};
use super::world::settings;
use crate::config::OnLostCommits;
use crate::event::TopicPartition;
use crate::flow::Budget;
use crate::pipeline::{Parts, run};
use crate::publisher::{Committed, CommittedOffsets, Publication, PublishError, Publisher};
use crate::source::memory::Cluster;
use crate::source::{Lease, LogBounds, SourceCommand, SourceEvent, SourceHandle};
use crate::store::memory::{Database, MemoryStore};
use crate::twin::Process;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Refuses every round as stale, and writes down the leases that were tried.
#[derive(Default)]
struct Refusing(Mutex<Vec<u64>>);

impl Publisher for Refusing {
    fn publish<'a>(&'a self, lease: Arc<Lease>, _: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>> {
        self.0.lock().unwrap().push(lease.number);
        async { Err(PublishError::Aborted { stale_lease: true, detail: "refused".into() }) }.boxed()
    }

    fn committed<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<CommittedOffsets, PublishError>> {
        async { Ok(partitions.iter().map(|partition| (partition.clone(), None)).collect()) }.boxed()
    }

    fn commit<'a>(&'a self, _: Arc<Lease>, _: &'a TopicPartition, _: Committed) -> BoxFuture<'a, Result<(), PublishError>> {
        async { Ok(()) }.boxed()
    }

    fn hint<'a>(&'a self, _: Arc<Lease>, _: Vec<(TopicPartition, Committed)>) -> BoxFuture<'a, Result<(), PublishError>> {
        async { Ok(()) }.boxed()
    }

    fn bounds<'a>(&'a self, _: &'a TopicPartition) -> BoxFuture<'a, Result<LogBounds, PublishError>> {
        async { Ok(LogBounds { low: 0, high: 100 }) }.boxed()
    }

    fn partition_count<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<i32, PublishError>> {
        async { Ok(1) }.boxed()
    }
}

/// The leases under which a partition was tried, when it went and came back before the pipeline heard of it. The lease in
/// force holds it again, with a generation that Kafka accepts; another worker may have published it in between.
pub async fn leases_tried() -> Vec<u64> {
    let partition = TopicPartition::new("in", 0);
    let lease =
        |number, since| Arc::new(Lease { number, partitions: BTreeMap::from([(partition.clone(), since)]), metadata: None });
    let (cluster, process) = (Cluster::new(1, std::slice::from_ref(&partition)), Arc::new(Process::default()));
    for _ in 0..5 {
        cluster.append(&partition, "one");
    }
    let (events, heard) = mpsc::channel(16);
    let (commands, mut obeyed) = mpsc::unbounded_channel();
    let in_force = Arc::new(ArcSwap::from(lease(1, 1)));
    let publisher = Arc::new(Refusing::default());
    let parts = Parts {
        source: SourceHandle { events: heard, commands, lease: in_force.clone(), polled_at_ms: Arc::default() },
        store: Arc::new(MemoryStore { database: Database::new(1), process: process.clone() }),
        publisher: publisher.clone(),
        function: Arc::new(Moody::new(cluster.clone(), process, Arc::default())),
        decode: Arc::new(decode),
        budget: Budget::new(1 << 20),
        observer: Arc::new(()),
    };
    let settings = Arc::new(settings(1, OnLostCommits::Halt));
    let worker = tokio::spawn(run(settings, parts, CancellationToken::new(), CancellationToken::new()));
    events.send(SourceEvent::Assigned { lease: lease(1, 1), partitions: vec![partition.clone()] }).await.unwrap();
    let offset = loop {
        if let Some(SourceCommand::Start { offset, .. }) = obeyed.recv().await {
            break offset;
        }
    };
    events.send(SourceEvent::Started { partition: partition.clone(), offset }).await.unwrap();
    events.send(SourceEvent::Records(cluster.events(&partition))).await.unwrap();
    let tried = || publisher.0.lock().unwrap().clone();
    while tried().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    in_force.store(lease(3, 3));
    tokio::time::sleep(Duration::from_secs(5)).await;
    worker.abort();
    tried()
}
