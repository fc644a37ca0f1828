//! A partition that is taken again while this worker's own publish round is still running.

use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage};
use std::time::{Duration, Instant};

/// Somebody takes the claims of all partitions by hand, and Kafka stands still with a publish round on its way, before the worker, whose
/// lease still holds them, claims them again.
///
/// Would catch: a claim that reads K while this worker's own round may still move it. [K, P) is then brought back and published
/// a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_taken_again_waits_for_the_running_publish_round() {
    let kafka = tokio::task::spawn_blocking(|| Service::up(Kind::Kafka)).await.unwrap();
    let stage = Stage::of(Plan { brokers: kafka.address(), session_ms: 30_000, ..Plan::default() }).await;
    let mut worker = stage.worker();
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let (mut sent, mut events) = (0, 0);
    for _ in 0..2 {
        stage.send(sent, sent + 30_000);
        sent += 30_000;
        // In the middle of the work: rounds are on their way, and the next decide sees that the claims are gone.
        stage.decided_at_least(events + 2_000).await;
        let told = || worker.log().matches("Another worker has claimed the partition.").count();
        let before = told();
        stage.execute("UPDATE millrace.stream_partition SET claim = gen_random_uuid(), epoch = epoch + 1").await;
        let deadline = Instant::now() + SOON;
        while told() == before {
            assert!(Instant::now() < deadline, "the worker does not see it; log:\n{}", worker.log());
            // All may be decided already.
            stage.send(sent, sent + 100);
            sent += 100;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kafka.tell(&["freeze"]);
        // It waits 1.6 s before it claims again. Then it asks Kafka, which does not answer.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        kafka.tell(&["thaw"]);
        events = stage.events().await;
        watcher.check();
    }
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    worker.drain();
}
