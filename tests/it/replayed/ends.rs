//! A replay comes to its end, whatever stands still beside it or behind its last event.

use super::{replay, replayed, start};
use crate::support::create_topic;
use crate::support::stage::{SOON, Stage};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use serde_json::json;
use std::time::{Duration, Instant};

/// The exit code, of one that ends in time.
async fn ends(stage: &Stage, config: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut child = start(stage, config, args);
    let log = || std::fs::read_to_string(stage.config().with_file_name("replay.log")).unwrap();
    let deadline = Instant::now() + SOON;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the replay {args:?} does not end:\n{}", log());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (child.wait().unwrap().code(), log())
}

/// Would catch: an aligned replay that waits for ever for a partition which has nothing to replay, or nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_aligned_replay_waits_for_no_partition_that_has_nothing_to_do() {
    let stage = Stage::new("align = \"1h\"").await;
    let side = format!("{}.side", stage.name);
    create_topic(&side, 4).await;
    let producer = stage.producer();
    // Partition 0 of four has many, 2 has few, the others have none.
    (0..150).for_each(|n| stage.send_one(&producer, n * 4));
    (0..10).for_each(|n| stage.send_one(&producer, n * 4 + 2));
    producer.flush(SOON).unwrap();
    stage.run_until(160).await;
    let config = stage.config().display().to_string();
    let to_side = ["--from", "earliest", "--publish-to", &side];
    let (code, log) = ends(&stage, &config, &[&to_side[..], &["--partition", "2"]].concat()).await;
    assert_eq!(code, Some(0), "{log}");

    let mut stopped = start(&stage, &config, &[&to_side[..], &["--rate", "50"]].concat());
    replayed(&stage, 2, 60).await;
    let stop = std::process::Command::new("kill").arg("-TERM").arg(stopped.id().to_string()).status();
    assert!(stop.unwrap().success());
    assert_eq!(stopped.wait().unwrap().code(), Some(4));
    // The partition of few is done: its head stays as it was told last, and grows old.
    stage.execute("UPDATE millrace.head SET told_at = told_at - interval '1 hour'").await;
    let (code, log) = ends(&stage, &config, &["--id", "2"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(replayed(&stage, 2, 160).await, 160);
}

/// Events in a transaction that is committed, or aborted.
fn transaction(stage: &Stage, producer: &BaseProducer, events: std::ops::Range<i64>, commits: bool) {
    producer.begin_transaction().unwrap();
    events.for_each(|n| stage.send_one(producer, n));
    producer.flush(SOON).unwrap();
    match commits {
        true => producer.commit_transaction(SOON).unwrap(),
        false => producer.abort_transaction(SOON).unwrap(),
    }
}

/// Would catch: a replay that waits for the marker behind the last event, one that is done before its tail is, one that is run again although
/// it is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_in_markers_is_replayed_once() {
    let stage = Stage::small().await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &stage.brokers).set("transactional.id", format!("{}-tx", stage.name));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    transaction(&stage, &producer, 0..40, true);
    transaction(&stage, &producer, 40..60, false);
    transaction(&stage, &producer, 60..100, true);
    transaction(&stage, &producer, 100..110, false);
    stage.run_until(80).await;
    let config = stage.config().display().to_string();
    let done = replay(&stage, &config, &["--from", "earliest", "--yes"]);
    assert_eq!((done.code, &done.json()["events_equal"]), (Some(0), &json!(80)), "{done:?}");
    let claims = format!("SELECT sum(epoch)::bigint FROM millrace.stream_partition WHERE pipeline = '{}.replay-1'", stage.name);
    let before = stage.number(&claims).await;
    let again = replay(&stage, &config, &["--id", "1", "--yes"]);
    assert_eq!((again.code, again.json()), (Some(0), done.json()), "{again:?}");
    assert!(again.err.contains("is compared again"), "{again:?}");
    assert_eq!(stage.number(&claims).await, before, "it was run again");
    let shown = replay(&stage, &config, &["--id", "1"]);
    assert_eq!(shown.json()["estimated_s"], json!(null), "{shown:?}");
}

/// Would catch: a replay that waits for a pipeline which an operator has paused.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pipeline_is_not_waited_for() {
    let stage = Stage::drained(100).await;
    stage.send(100, 200);
    let paused = stage.millrace(&["pause", "--reason", "maintenance"]);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    let config = stage.config().display().to_string();
    let (code, log) = ends(&stage, &config, &["--from", "earliest", "--yield-lag", "20"]).await;
    assert!(code == Some(0) && !log.contains("the replay waits"), "{log}");
}
