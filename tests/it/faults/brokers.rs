//! Brokers of a cluster that die one after another, and topics that go while a worker needs them.

use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::services::Cluster;
use crate::support::stage::{Plan, SOON, Stage};
use crate::support::{client_of, create_topic};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kills without `MILLRACE_KILLS`: each broker once, so leaders, the group's coordinator and that of the transactions are among them.
const KILLS: usize = 3;

/// Would catch: a producer that goes on after a round without a known end, a round that is taken for lost, offsets that move without their
/// records, a worker that ends when a coordinator goes.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_three_brokers_may_die_under_load() {
    let kills = std::env::var("MILLRACE_KILLS").map_or(KILLS, |kills| kills.parse().expect("MILLRACE_KILLS is a number"));
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::up).await.unwrap());
    let stage = Arc::new(Stage::of(Plan { brokers: cluster.brokers(), session_ms: 6_000, ..Plan::default() }).await);
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut workers = [stage.worker(), stage.worker()];
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(300).await;
    for kill in 0..kills {
        let (broker, of_kill, of_start) = (kill % 3 + 1, cluster.clone(), cluster.clone());
        tokio::task::spawn_blocking(move || of_kill.tell("kill", Some(broker))).await.unwrap();
        let before = stage.events().await;
        stage.decided_at_least(before + 300).await;
        tokio::task::spawn_blocking(move || of_start.tell("start", Some(broker))).await.unwrap();
        let before = stage.events().await;
        // Until it has caught up again, another one that dies would leave a single replica.
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.decided_at_least(before + 300).await;
        watcher.check();
    }
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    for worker in &mut workers {
        assert!(worker.is_running(), "{}", worker.log());
        worker.drain();
    }
}

/// Would catch: a dead letter that is dropped or skipped when its topic is gone, records that wait for it for ever without a word, a worker that
/// does not go on by itself when it is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_goes_is_named_and_waited_for() {
    let stage = Stage::of(Plan { partitions: 2, ..Plan::default() }).await;
    let mut worker = stage.worker();
    stage.send(0, 100);
    stage.decided(100).await;
    stage.published().await;
    let admin: AdminClient<DefaultClientContext> = client_of(&stage.brokers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    for result in admin.delete_topics(&[&stage.dead_letters()], &options).await.unwrap() {
        result.unwrap();
    }
    stage.send(100, 200);
    stage.decided_at_least(190).await;
    let deadline = Instant::now() + SOON;
    while !worker.log().contains(&format!("the topic `{}` does not exist", stage.dead_letters())) {
        assert!(Instant::now() < deadline, "nobody says that the topic is gone; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    create_topic(&stage.dead_letters(), 2).await;
    stage.decided(200).await;
    // The earlier dead letters went with their topic.
    let deadline = Instant::now() + SOON;
    let bad = async || stage.number("SELECT count(*) FROM millrace.record WHERE kind = 'dead_letter' AND \"offset\" >= 50").await;
    let there = || crate::support::read_committed(&stage.dead_letters()).len() as i64;
    while bad().await != 10 || there() != 10 || crate::support::read_committed(&stage.output()).len() != 180 {
        assert!(Instant::now() < deadline, "{} and {} of 10; log:\n{}", bad().await, there(), stage.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    worker.drain();
}
