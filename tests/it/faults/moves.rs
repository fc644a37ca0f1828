//! Partitions that move between a worker whose neighbours are held back, inside this process, and another one.

use crate::support::stage::{SOON, Stage};
use crate::support::{read_committed, store};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use millrace::config::{EventKind, Fields, Limits, OnLostCommits, Start};
use millrace::event::{Decoder, TopicPartition};
use millrace::flow::Budget;
use millrace::function::copy::Copy;
use millrace::pipeline::{BaseAlone, Ended, Parts, Settings, run};
use millrace::publisher::kafka::{Guarantee, KafkaPublisher, KafkaPublisherSettings};
use millrace::publisher::{Committed, CommittedOffsets, Publication, PublishError, Publisher};
use millrace::record::{Mode, Provenance, Record};
use millrace::source::kafka::{KafkaSourceSettings, spawn};
use millrace::source::{Lease, LogBounds};
use millrace::store::{Advance, Head, Heads, PartitionKey, PartitionRow, Pause, Rows, StateRow, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Lets nothing through while it is shut, and counts what has come to it.
#[derive(Clone)]
struct Gate {
    shut: watch::Receiver<bool>,
    arrived: Arc<AtomicUsize>,
}

impl Gate {
    fn new() -> (watch::Sender<bool>, Self) {
        let (keeper, shut) = watch::channel(false);
        (keeper, Self { shut, arrived: Arc::default() })
    }

    async fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        self.shut.clone().wait_for(|shut| !shut).await.unwrap();
    }

    async fn until_arrived(&self, count: usize) {
        let deadline = Instant::now() + SOON;
        while self.arrived.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < deadline, "nothing has come to the gate");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A publisher whose rounds can be held back before they begin.
struct HeldPublisher(KafkaPublisher, Gate);

impl Publisher for HeldPublisher {
    fn publish<'a>(&'a self, lease: Arc<Lease>, round: Vec<Publication>) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            self.1.pass().await;
            self.0.publish(lease, round).await
        }
        .boxed()
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

    fn bounds<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<LogBounds, PublishError>> {
        self.0.bounds(partition)
    }

    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<i32, PublishError>> {
        self.0.partition_count(topic)
    }
}

type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A store whose claims can be held back before they are sent.
struct HeldStore(Arc<dyn Store>, Gate);

impl Store for HeldStore {
    fn current_run<'a>(&'a self, pipeline: &'a str) -> Reply<'a, Option<i32>> {
        self.0.current_run(pipeline)
    }

    fn open<'a>(&'a self, pipeline: &'a str, run: i32, mode: Mode, starts: &'a [(TopicPartition, i64)]) -> Reply<'a, ()> {
        self.0.open(pipeline, run, mode, starts)
    }

    fn partitions<'a>(&'a self, pipeline: &'a str, run: i32, topic: &'a str) -> Reply<'a, Vec<(i32, PartitionRow)>> {
        self.0.partitions(pipeline, run, topic)
    }

    fn claim<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, owner: &'a str) -> Reply<'a, Option<PartitionRow>> {
        async move {
            self.1.pass().await;
            self.0.claim(key, claim, owner).await
        }
        .boxed()
    }

    fn read_all<'a>(&'a self, pipeline: &'a str, run: i32, partitions: &'a [TopicPartition], fresh: bool) -> Reply<'a, Rows> {
        self.0.read_all(pipeline, run, partitions, fresh)
    }

    fn suspect<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, offset: i64, times: i32) -> Reply<'a, bool> {
        self.0.suspect(key, claim, offset, times)
    }

    fn decide<'a>(&'a self, provenance: &'a Provenance, round: &'a [Advance]) -> Reply<'a, Vec<TopicPartition>> {
        self.0.decide(provenance, round)
    }

    fn published<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, offset: i64, handover: bool) -> Reply<'a, ()> {
        self.0.published(key, claim, offset, handover)
    }

    fn records<'a>(
        &'a self,
        key: &'a PartitionKey,
        from: i64,
        to: i64,
        after: Option<(i64, i16)>,
        limit: i64,
    ) -> Reply<'a, Vec<Record>> {
        self.0.records(key, from, to, after, limit)
    }

    fn heads<'a>(&'a self, pipeline: &'a str, run: i32, topics: &'a [String], mine: &'a [Head]) -> Reply<'a, Heads> {
        self.0.heads(pipeline, run, topics, mine)
    }

    fn pauses<'a>(&'a self, pipeline: &'a str) -> Reply<'a, Vec<Pause>> {
        self.0.pauses(pipeline)
    }

    fn states<'a>(&'a self, key: &'a PartitionKey, keys: &'a [Box<str>]) -> Reply<'a, Vec<(Box<str>, StateRow)>> {
        self.0.states(key, keys)
    }
}

/// A worker inside this process.
struct Inner {
    stop: CancellationToken,
    task: JoinHandle<Ended>,
}

impl Inner {
    async fn start(stage: &Stage, publishing: &Gate, claiming: &Gate) -> Self {
        let client = vec![("bootstrap.servers".to_owned(), stage.brokers.clone())];
        let publisher = KafkaPublisher::new(KafkaPublisherSettings {
            guarantee: Guarantee::ExactlyOnce,
            group: stage.name.clone(),
            transactional_id: format!("{}-inner", stage.name),
            client: client.clone(),
        });
        let source = spawn(KafkaSourceSettings {
            group: stage.name.clone(),
            topics: vec![stage.name.clone()],
            client,
            batch_max: 100,
            channel_capacity: 4,
            revoke_wait: Duration::from_millis(500),
        });
        let options = serde_json::json!({ "fields": ["amount"], "score": "amount / 100" });
        let decoder = Decoder::new(EventKind::Transaction, Fields::default(), Limits::default());
        #[expect(clippy::result_large_err, reason = "the shape of `Decode`")]
        let decode = move |raw| decoder.decode(raw);
        let parts = Parts {
            source: source.unwrap(),
            store: Arc::new(HeldStore(Arc::new(store(&stage.url).await), claiming.clone())),
            publisher: Arc::new(HeldPublisher(publisher.unwrap(), publishing.clone())),
            versions: Arc::new(BaseAlone),
            function: Arc::new(Copy::new(options.as_object().unwrap()).unwrap()),
            folding: None,
            decode: Arc::new(decode),
            budget: Budget::new(32 << 20),
            observer: Arc::new(()),
        };
        let settings = Settings {
            provenance: Provenance {
                pipeline: stage.name.as_str().into(),
                run: 1,
                function: "copy".into(),
                model: "".into(),
                config: "inner".into(),
                fold: None,
                keeps_latest: false,
            },
            mode: Mode::Both,
            output_topic: stage.output().into(),
            dead_letter_topic: stage.dead_letters().into(),
            start: Start::Earliest,
            on_lost_commits: OnLostCommits::Halt,
            owner: format!("inner/{}", Uuid::new_v4()).into(),
            window: 10_000,
            decide_events: 1_000,
            record_bytes: 1_000_000,
            max_dead_share: 1.0,
            align: None,
            drain: Duration::from_secs(20),
            store_patience: Duration::from_secs(35),
            ends_halted_after: Some(Duration::ZERO),
            backoff: Duration::from_millis(50),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(Arc::new(settings), parts, stop.clone(), CancellationToken::new()));
        Self { stop, task }
    }

    async fn drain(self) {
        self.stop.cancel();
        assert_eq!(self.task.await.unwrap(), Ended::Drained);
    }
}

/// The round is held back until its partitions have moved and the new owner has published them; the worker stays in the group.
///
/// Would catch: a transaction that takes the group's metadata anew when it is sent; a round that goes out under a later lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_is_held_while_its_partitions_move_publishes_nothing_of_them() {
    let stage = Stage::new("").await;
    let ((publishing, at_publisher), (_claiming, at_claims)) = (Gate::new(), Gate::new());
    publishing.send_replace(true);
    let inner = Inner::start(&stage, &at_publisher, &at_claims).await;
    stage.send(0, 400);
    stage.decided(400).await;
    at_publisher.until_arrived(1).await;
    let mut other = stage.worker();
    // The new owner brings back what the held worker has decided, and publishes it.
    let deadline = Instant::now() + SOON;
    while read_committed(&stage.output()).len() < 100 {
        assert!(Instant::now() < deadline, "the new owner publishes nothing; log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    publishing.send_replace(false);
    stage.send(400, 600);
    stage.decided(600).await;
    stage.assert_rows_are_records(600).await;
    inner.drain().await;
    assert!(other.is_running(), "{}", stage.log());
    other.drain();
}

/// The claims are held back until the partitions have moved and their new owner has claimed them. They take the rows from it
/// then, for a worker that has no use for them.
///
/// Would catch: a claim that counts although its lease is over; an owner that halts, or goes on, when its claim was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_comes_after_the_new_owners_costs_time_and_nothing_else() {
    let stage = Stage::new("").await;
    let ((_publishing, at_publisher), (claiming, at_claims)) = (Gate::new(), Gate::new());
    claiming.send_replace(true);
    let inner = Inner::start(&stage, &at_publisher, &at_claims).await;
    at_claims.until_arrived(1).await;
    stage.send(0, 400);
    let mut other = stage.worker();
    stage.decided_at_least(100).await;
    claiming.send_replace(false);
    stage.send(400, 600);
    stage.decided(600).await;
    stage.assert_rows_are_records(600).await;
    inner.drain().await;
    assert!(other.is_running(), "{}", stage.log());
    other.drain();
}
