//! Kafka or Postgres go away under load, and come back.

use crate::support::http;
use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, Stage, Worker};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// The budget of 4 MiB, and what is on its way from the poll thread when it is full.
const CHARGED: usize = 64 * MIB;

/// For a while nothing but looking: the worker lives, answers, and does not grow.
async fn endures(worker: &mut Worker, admin: &str, bound: usize, what: &str) {
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert!(worker.is_running(), "the worker ended while {what} was away; log:\n{}", worker.log());
        let (status, body) = http::get(admin, "/livez").await;
        assert_eq!(status, 200, "/livez while {what} is away: {body}");
        let (_, metrics) = http::get(admin, "/metrics").await;
        let charged: usize = metrics
            .lines()
            .find_map(|line| line.strip_prefix("millrace_budget_used_bytes")?.split(' ').next_back()?.parse().ok())
            .unwrap();
        let held = worker.resident_bytes();
        assert!(
            held < bound && charged < CHARGED,
            "{} MiB are held, {} MiB charged, while {what} is away",
            held / MIB,
            charged / MIB
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Would catch: an error of a connection that ends the worker; a decide that was interrupted and is taken as failed; a pool or
/// a producer that does not come back by itself; a poll thread that stands still with Postgres; work in hand without a bound.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_and_kafka_may_die_and_come_back_under_load() {
    let (kafka, postgres) = tokio::join!(
        tokio::task::spawn_blocking(|| Service::up(Kind::Kafka)),
        tokio::task::spawn_blocking(|| Service::up(Kind::Postgres))
    );
    let (kafka, postgres) = (kafka.unwrap(), postgres.unwrap());
    let plan = Plan { brokers: kafka.address(), postgres: postgres.address(), ..Plan::default() };
    let stage = Arc::new(Stage::of(Plan { sections: "[memory]\nbudget_bytes = 4_194_304", ..plan }).await);
    let mut worker = stage.worker();
    let admin = worker.admin();
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(600).await;
    // Beside the budget: librdkafka's queues. Far less than what comes.
    let bound = worker.resident_bytes() + 100 * MIB;

    postgres.tell(&["stop", "immediate"]);
    // 160 MB come meanwhile.
    let sent = load.stop().await;
    stage.padding.store(16_000, Ordering::Relaxed);
    let burst = stage.clone();
    tokio::task::spawn_blocking(move || burst.send(sent, sent + 10_000)).await.unwrap();
    stage.padding.store(0, Ordering::Relaxed);
    let load = Load::start(&stage, sent + 10_000, 300);
    endures(&mut worker, &admin, bound, "Postgres").await;
    postgres.tell(&["start"]);
    let before = stage.events().await;
    stage.decided_at_least(before + 600).await;

    kafka.tell(&["kill"]);
    endures(&mut worker, &admin, bound, "Kafka").await;
    kafka.tell(&["start"]);
    let before = stage.events().await;
    stage.decided_at_least(before + 600).await;

    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.check();
    watcher.ends_with(sent).await;
    assert!(worker.is_running(), "{}", worker.log());
    worker.drain();
}
