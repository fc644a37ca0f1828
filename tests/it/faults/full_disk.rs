//! The disk of Postgres or of Kafka is full, for a while.

use crate::support::http;
use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Room for a new cluster and what a test writes.
const MIB: u32 = 128;
const DEAD_RECORDS: &str = "SELECT count(*) FROM millrace.record WHERE kind = 'dead_letter' AND \"offset\" % 10 <> 7";

async fn service(kind: Kind) -> Service {
    tokio::task::spawn_blocking(move || Service::on_a_small_disk(kind, MIB)).await.unwrap()
}

async fn until(worker: &mut Worker, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done().await {
        assert!(worker.is_running() && Instant::now() < deadline, "{what} never; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until `/readyz` says 503, and returns its text.
async fn not_ready(worker: &mut Worker) -> String {
    let (admin, mut why) = (worker.admin(), String::new());
    until(worker, "a worker that is not ready", async || {
        let (status, body) = http::get(&admin, "/readyz").await;
        why = body;
        status == 503
    })
    .await;
    why
}

/// What was sent has one ending each, and none of them tells of the disk.
async fn ends_with(stage: &Stage, mut worker: Worker, load: Load, watcher: Watcher) {
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    assert!(worker.is_running(), "{}", worker.log());
    worker.drain();
    let verified = stage.millrace(&["verify", "--deep", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// Postgres answers 53100, No space left on device, to each round that needs a new page.
///
/// Would catch: an answer about the disk that is taken for one about the data, so that events are halved and end as dead letters; a worker that
/// ends, or halts; one that waits without a word, or is ready; a round that is not made again once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_postgres_is_waited_for() {
    let postgres = service(Kind::Postgres).await;
    let stage = Arc::new(Stage::of(Plan { partitions: 1, postgres: postgres.address(), ..Plan::default() }).await);
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = stage.worker();
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(300).await;

    postgres.disk("fill");
    until(&mut worker, "a round without room", async || stage.log().contains("53100")).await;
    let why = not_ready(&mut worker).await;
    assert!(why.contains("Postgres") || why.contains("decide"), "{why}");
    let stands = stage.events().await;
    // Several tries more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(worker.is_running(), "{}", worker.log());
    assert_eq!(stage.events().await, stands, "nothing is decided without its rows");
    watcher.check();

    postgres.disk("free");
    until(&mut worker, "progress", async || stage.events().await > stands + 600).await;
    assert_eq!(stage.number(DEAD_RECORDS).await, 0, "no event is blamed for the disk");
    ends_with(&stage, worker, load, watcher).await;
}

/// A broker whose only log folder cannot be written ends itself. It comes back when there is room.
///
/// Would catch: a transaction that the broker took half and that is taken for whole, or for nothing; a worker that ends with its broker, halts, or
/// is ready without one; a producer that does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_kafka_is_waited_for() {
    let kafka = service(Kind::Kafka).await;
    let stage = Arc::new(Stage::of(Plan { brokers: kafka.address(), ..Plan::default() }).await);
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = stage.worker();
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(300).await;

    kafka.disk("fill");
    until(&mut worker, "a broker that gives up", async || !kafka.is_running()).await;
    let why = not_ready(&mut worker).await;
    assert!(why.contains("Kafka") || why.contains("publish"), "{why}");
    assert!(worker.is_running(), "{}", worker.log());

    kafka.disk("free");
    kafka.tell(&["start"]);
    let stands = stage.events().await;
    until(&mut worker, "progress", async || stage.events().await > stands + 600).await;
    watcher.check();
    ends_with(&stage, worker, load, watcher).await;
}
