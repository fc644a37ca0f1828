//! A partition that is taken again while this worker's own publish round is still running.

use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, Stage};
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
        // In the middle of the work: from here on a round hangs, and the next decide sees that the claims are gone.
        stage.decided_at_least(events + 2_000).await;
        kafka.tell(&["freeze"]);
        let waits = || worker.log().matches("A claim waits for the publish round").count();
        let before = waits();
        stage.execute("UPDATE millrace.stream_partition SET claim = gen_random_uuid(), epoch = epoch + 1").await;
        let deadline = Instant::now() + Duration::from_secs(4);
        while waits() == before && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // All may have been decided already, or no round was on its way: once more. Else the claim comes 1.6 s later, and Kafka does not answer.
        if waits() > before {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            waited += 1;
        }
        kafka.tell(&["thaw"]);
        events = stage.events().await;
        watcher.check();
    }
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    worker.drain();
}
