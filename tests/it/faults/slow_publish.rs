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
    let (mut sent, mut events, mut waited) = (0, 0, 0);
    for attempt in 0.. {
        if waited == 2 {
            break;
        }
        assert!(attempt < 10, "{waited} of {attempt} claims met a publish round; log:\n{}", worker.log());
        stage.send(sent, sent + 30_000);
        sent += 30_000;
        // In the middle of the work: rounds are on their way, and the next decide sees that the claims are gone.
        stage.decided_at_least(events + 2_000).await;
        let told = || worker.log().matches("Another worker has claimed the partition.").count();
        let waits = || worker.log().matches("A claim waits for the publish round").count();
        let before = (told(), waits());
        stage.execute("UPDATE millrace.stream_partition SET claim = gen_random_uuid(), epoch = epoch + 1").await;
        let epochs = "SELECT sum(epoch)::bigint FROM millrace.stream_partition";
        let taken = stage.number(epochs).await;
        let deadline = Instant::now() + SOON;
        while told() == before.0 {
            assert!(Instant::now() < deadline, "the worker does not see it; log:\n{}", worker.log());
            // All may be decided already.
            stage.send(sent, sent + 100);
            sent += 100;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kafka.tell(&["freeze"]);
        // It waits 1.6 s before it claims again. Then it asks Kafka, which does not answer.
        let frozen_first = stage.number(epochs).await == taken;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        // A machine that was too slow, or a moment without a round, shows nothing: once more.
        waited += i32::from(frozen_first && waits() > before.1);
        kafka.tell(&["thaw"]);
        events = stage.events().await;
        watcher.check();
    }
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    worker.drain();
}
