//! One stay of a partition, told step by step: nothing of it gets into another one.

use super::function::{Moody, decode};
use super::world::settings;
use crate::config::OnLostCommits;
use crate::event::{RawEvent, TopicPartition};
use crate::flow::Budget;
use crate::pipeline::{Align, BaseAlone, Ended, Parts, Settings, run};
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
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Refuses every round as stale, and writes down the leases that were tried.
#[derive(Default)]
pub(super) struct Refusing(Mutex<Vec<u64>>);

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

/// Keeps K and what was published, and carries each round out when it is let go.
struct Holding {
    k: Mutex<Option<Committed>>,
    output: Mutex<Vec<i64>>,
    /// Rounds that have begun.
    begun: Mutex<usize>,
    go: watch::Sender<bool>,
}

impl Default for Holding {
    fn default() -> Self {
        Self { k: Mutex::default(), output: Mutex::default(), begun: Mutex::default(), go: watch::channel(false).0 }
    }
}

impl Publisher for Holding {
    fn publish<'a>(&'a self, _: Arc<Lease>, round: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>> {
        *self.begun.lock().unwrap() += 1;
        async move {
            self.go.subscribe().wait_for(|go| *go).await.unwrap();
            for publication in round {
                let records = publication.records.iter().flat_map(|chunk| chunk.iter()).map(|record| record.offset);
                self.output.lock().unwrap().extend(records);
                let k = Committed { offset: publication.to, records_total: Some(publication.records_total) };
                *self.k.lock().unwrap() = Some(k);
            }
            Ok(())
        }
        .boxed()
    }

    fn committed<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<CommittedOffsets, PublishError>> {
        let k = *self.k.lock().unwrap();
        async move { Ok(partitions.iter().map(|partition| (partition.clone(), k)).collect()) }.boxed()
    }

    fn commit<'a>(&'a self, _: Arc<Lease>, _: &'a TopicPartition, k: Committed) -> BoxFuture<'a, Result<(), PublishError>> {
        *self.k.lock().unwrap() = Some(k);
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

/// A worker whose source is told by hand.
pub(super) struct Told<P> {
    pub partition: TopicPartition,
    pub cluster: Arc<Cluster>,
    pub database: Arc<Database>,
    publisher: Arc<P>,
    in_force: Arc<ArcSwap<Lease>>,
    events: mpsc::Sender<SourceEvent>,
    process: Arc<Process>,
    stop: CancellationToken,
    pub worker: JoinHandle<Ended>,
}

impl<P: Publisher + Default + 'static> Told<P> {
    /// Five events wait; the partition is claimed and its start was asked for.
    pub async fn start() -> Self {
        Self::start_of(&[TopicPartition::new("in", 0)], None).await
    }

    /// The same of several partitions, of which the first is the one that is told of.
    async fn start_of(partitions: &[TopicPartition], align: Option<Align>) -> Self {
        let partition = partitions[0].clone();
        let (cluster, process) = (Cluster::new(1, partitions), Arc::new(Process::default()));
        for _ in 0..5 {
            for partition in partitions {
                cluster.append(partition, "one");
            }
        }
        let (events, heard) = mpsc::channel(16);
        let (commands, mut obeyed) = mpsc::unbounded_channel();
        let held = partitions.iter().map(|partition| (partition.clone(), 1)).collect();
        let lease = Arc::new(Lease { number: 1, partitions: held, metadata: None });
        let in_force = Arc::new(ArcSwap::from(lease.clone()));
        let (publisher, database) = (Arc::new(P::default()), Database::new(1));
        let parts = Parts {
            source: SourceHandle {
                events: heard,
                commands,
                lease: in_force.clone(),
                polled_at_ms: Arc::default(),
                read_to: Arc::default(),
            },
            store: Arc::new(MemoryStore { database: database.clone(), process: process.clone() }),
            publisher: publisher.clone(),
            versions: Arc::new(BaseAlone),
            function: Arc::new(Moody::new(cluster.clone(), process.clone(), Arc::default())),
            folding: None,
            decode: Arc::new(decode),
            budget: Budget::new(1 << 20),
            observer: Arc::new(()),
        };
        let settings = Arc::new(Settings { align, ..settings(1, OnLostCommits::Halt) });
        let stop = CancellationToken::new();
        let worker = tokio::spawn(run(settings, parts, stop.clone(), CancellationToken::new()));
        events.send(SourceEvent::Assigned { lease, partitions: partitions.to_vec() }).await.unwrap();
        for _ in partitions {
            while !matches!(obeyed.recv().await, Some(SourceCommand::Start { .. })) {}
        }
        Self { partition, cluster, database, publisher, in_force, events, process, stop, worker }
    }

    /// The source has obeyed, and reads from the beginning.
    async fn started(&self) {
        self.reads(self.cluster.events(&self.partition)).await;
    }

    /// The source has obeyed, and reads these from the beginning.
    pub async fn reads(&self, events: Vec<RawEvent>) {
        self.events.send(SourceEvent::Started { partition: self.partition.clone(), offset: 0 }).await.unwrap();
        self.events.send(SourceEvent::Records(events)).await.unwrap();
    }

    /// The partition goes, and comes back under the lease of this number.
    pub async fn goes_and_comes_back(&self, number: u64) {
        let again = lease(&self.partition, number);
        self.in_force.store(again.clone());
        self.revoked(number - 1).await;
        self.events.send(SourceEvent::Assigned { lease: again, partitions: vec![self.partition.clone()] }).await.unwrap();
    }

    /// The partition goes; nothing is held under the lease of this number.
    pub async fn goes(&self, number: u64) {
        self.in_force.store(Arc::new(Lease { number, partitions: BTreeMap::new(), metadata: None }));
        self.revoked(number).await;
    }

    async fn revoked(&self, number: u64) {
        let (done, _) = oneshot::channel();
        let lease = Arc::new(Lease { number, partitions: BTreeMap::new(), metadata: None });
        let revoked = SourceEvent::Revoked { lease, partitions: vec![self.partition.clone()], lost: false, done };
        self.events.send(revoked).await.unwrap();
    }
}

/// A lease that holds the partition since itself.
fn lease(partition: &TopicPartition, number: u64) -> Arc<Lease> {
    Arc::new(Lease { number, partitions: BTreeMap::from([(partition.clone(), number)]), metadata: None })
}

/// The leases under which a partition was tried, when it went and came back before the pipeline heard of it. The lease in
/// force holds it again, with a generation that Kafka accepts; another worker may have published it in between.
pub async fn leases_tried() -> Vec<u64> {
    let told = Told::<Refusing>::start().await;
    told.started().await;
    let tried = || told.publisher.0.lock().unwrap().clone();
    while tried().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    told.in_force.store(lease(&told.partition, 3));
    tokio::time::sleep(Duration::from_secs(5)).await;
    told.worker.abort();
    tried()
}

/// How many of the five events are decided, when records that were read in an earlier stay still come before the start.
pub async fn decided_after_stale_records() -> i64 {
    let told = Told::<Refusing>::start().await;
    let stale = told.cluster.events(&told.partition).split_off(3);
    told.events.send(SourceEvent::Records(stale)).await.unwrap();
    told.started().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    told.worker.abort();
    told.database.tables().rows[&told.partition].events
}

/// The offsets of the events as they were published, when a partition goes and comes back while a round carries it, and the
/// broker carries that round out after all.
pub async fn published_around_a_move() -> Vec<i64> {
    let told = Told::<Holding>::start().await;
    told.started().await;
    let decided = || told.database.tables().rows.get(&told.partition).map_or(0, |row| row.events);
    while *told.publisher.begun.lock().unwrap() == 0 || decided() < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    told.goes_and_comes_back(3).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    told.publisher.go.send_replace(true);
    tokio::time::sleep(Duration::from_secs(30)).await;
    told.worker.abort();
    told.publisher.output.lock().unwrap().clone()
}

/// How many of another partition's five events are decided in an aligned pipeline: while this one, which was at its end, has an event that
/// waits, and once it is at its end again.
pub async fn decided_beside_one_that_waits() -> [i64; 2] {
    let partitions = [0, 1].map(|number| TopicPartition::new("in", number));
    let align = Align { bound_ms: 1_000, topics: Arc::new(["in".to_owned()]) };
    let told = Told::<Refusing>::start_of(&partitions, Some(align)).await;
    let [waits, other] = partitions;
    for partition in [&waits, &other] {
        told.events.send(SourceEvent::Started { partition: partition.clone(), offset: 0 }).await.unwrap();
    }
    let at_its_end = || SourceEvent::CaughtUp { partition: waits.clone(), offset: 0 };
    told.events.send(at_its_end()).await.unwrap();
    told.events.send(SourceEvent::Waits { partition: waits.clone() }).await.unwrap();
    told.events.send(SourceEvent::Records(told.cluster.events(&other))).await.unwrap();
    let decided = || told.database.tables().rows[&other].events;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = decided();
    told.events.send(at_its_end()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    told.worker.abort();
    [before, decided()]
}

/// How a worker ends that has published all, and how long it takes to, when Postgres says nothing any more.
pub async fn drained_beside_a_silent_postgres() -> (Ended, Duration) {
    let told = Told::<Holding>::start().await;
    told.publisher.go.send_replace(true);
    told.started().await;
    while told.publisher.output.lock().unwrap().len() < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    // No statement comes back from here on.
    *told.process.frozen.lock().unwrap() = true;
    let stopped = tokio::time::Instant::now();
    told.stop.cancel();
    (told.worker.await.unwrap(), stopped.elapsed())
}
