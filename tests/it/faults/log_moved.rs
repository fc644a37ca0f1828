//! The input's log is not the one that the worker has read.

use crate::deployed::RISK;
use crate::support::client_of;
use crate::support::command::PARTITIONS;
use crate::support::stage::{Plan, SOON, Stage};
use crate::support::{create_topic_at, read_committed};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

fn admin(stage: &Stage) -> AdminClient<DefaultClientContext> {
    client_of(&stage.brokers).create().unwrap()
}

/// Deletes what is below `offset` in each partition, as retention does.
async fn expire(stage: &Stage, offset: i64) {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&stage.name, partition, Offset::Offset(offset)).unwrap();
    }
    let options = AdminOptions::new().operation_timeout(Some(SOON)).request_timeout(Some(SOON));
    let deleted = admin(stage).delete_records(&list, &options).await.unwrap();
    deleted.elements().iter().for_each(|element| element.error().unwrap());
}

/// Deletes the topic and makes one of the same name.
async fn make_again(stage: &Stage) {
    for deleted in admin(stage).delete_topics(&[&stage.name], &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
    let (reader, deadline): (BaseConsumer, _) = (client_of(&stage.brokers).create().unwrap(), Instant::now() + SOON);
    while !reader.fetch_metadata(Some(&stage.name), SOON).unwrap().topics()[0].partitions().is_empty() {
        assert!(Instant::now() < deadline, "the topic does not go");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    create_topic_at(&stage.brokers, &stage.name, PARTITIONS).await;
}

/// Nothing was decided or published since, and the operator's way out leads on: the `left` events that are still there end once.
async fn adopted(stage: &Stage, events: i64, left: i64) {
    assert_eq!(stage.events().await, events, "nothing is decided of another log");
    let deadline = Instant::now() + SOON;
    // The group still has the member that halted for a while.
    let done = loop {
        let ended = stage.millrace(&["adopt", "--yes"]);
        if !ended.err.contains("members") || Instant::now() > deadline {
            break ended;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(done.code, Some(0), "{done:?}");
    stage.run_until(events + left).await;
    let published = read_committed(&stage.output()).len() + read_committed(&stage.dead_letters()).len();
    assert_eq!(published as i64, events + left);
    let verified = stage.millrace(&["verify", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// Would catch: a start at the beginning of what is left, as if nothing had been lost.
#[tokio::test(flavor = "multi_thread")]
async fn retention_beyond_p_halts_the_next_worker() {
    let stage = Stage::drained(200).await;
    stage.send(200, 300);
    expire(&stage, 120).await;
    let log = stage.run_halts();
    assert!(log.contains("is the next to decide, but the log starts at 120"), "{log}");
    adopted(&stage, 200, 60).await;
}

/// Would catch: a consumer that is set to the log's beginning or end, as clients do by default, when what it wants next is gone.
#[tokio::test(flavor = "multi_thread")]
async fn retention_that_overtakes_a_running_worker_halts_it() {
    let stage = Stage::small().await;
    stage.send(0, 200);
    let mut worker = stage.worker();
    stage.decided(200).await;
    stage.published().await;
    worker.signal("-STOP");
    stage.send(200, 300);
    expire(&stage, 120).await;
    worker.signal("-CONT");
    let (status, log) = (worker.end(), worker.log());
    let said = log.contains("the log does not hold the wanted position") || log.contains("but the log starts at 120");
    assert!(status.code() == Some(3) && said, "{status}; {log}");
    adopted(&stage, 200, 60).await;
}

/// Would catch: a consumer that goes on at the beginning of the new log, whose offsets are those of events that were decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_under_a_running_worker_halts_it() {
    let stage = Stage::small().await;
    stage.send(0, 200);
    let mut worker = stage.worker();
    stage.decided(200).await;
    stage.published().await;
    make_again(&stage).await;
    stage.send(500, 540);
    let (status, log) = (worker.end(), worker.log());
    let said = log.contains("the log does not hold the wanted position") || log.contains("but the log ends at");
    assert!(status.code() == Some(3) && said, "{status}; {log}");
    adopted(&stage, 200, 40).await;
}

/// Would catch: brokers of another cluster in the config, whose log begins higher: the claim halts, and the run folds less for good when the config is right again.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_halts_leaves_what_is_to_be_folded_as_it_was() {
    let stage = Stage::of(Plan { partitions: PARTITIONS, function: RISK, ..Plan::default() }).await;
    stage.send(0, 200);
    stage.run_until(200).await;
    let done = stage.millrace(&["adopt", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    stage.execute("UPDATE millrace.stream_partition SET next_offset = 1000, published_offset = 1000 WHERE run = 2").await;
    expire(&stage, 5).await;
    let log = stage.run_halts();
    assert!(log.contains("but the log ends at"), "{log}");
    assert_eq!(stage.number("SELECT sum(fold_from)::bigint FROM millrace.stream_partition WHERE run = 2").await, 0);
}
