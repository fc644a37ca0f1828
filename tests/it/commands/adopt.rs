//! `millrace adopt` after the halts that name it: the worker goes on, nothing is lost, and nothing is published twice.

use crate::support::command::{Ended, PARTITIONS};
use crate::support::stage::Stage;
use crate::support::{brokers, create_topic, delete_group, read_committed};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::{Connection, PgConnection};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn adopt(stage: &Stage, more: &[&str]) -> Ended {
    let args: Vec<&str> = ["adopt", "--json"].iter().chain(more).copied().collect();
    stage.millrace(&args)
}

fn assert_clean(stage: &Stage) {
    let ended = stage.millrace(&["verify", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Waits until the group has no member any more; a halted worker leaves with its session.
async fn done(stage: &Stage, more: &[&str]) -> Ended {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let ended = adopt(stage, more);
        if !ended.err.contains("members") || Instant::now() > deadline {
            return ended;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Would catch: a run that starts elsewhere than where the lost database stopped, and offsets without their count.
#[tokio::test(flavor = "multi_thread")]
async fn another_database_goes_on_where_the_group_stopped() {
    let mut stage = Stage::drained(200).await;
    stage.move_to_a_new_database().await;
    let log = stage.run_halts();
    assert!(log.contains("has no row for it") && log.contains("millrace adopt"), "{log}");

    let shown = done(&stage, &["--run", "2"]).await;
    assert_eq!((shown.code, shown.json()["done"].as_bool()), (Some(0), Some(false)), "{shown:?}");
    assert_eq!(stage.number("SELECT count(*) FROM millrace.stream_partition").await, 0, "without --yes nothing is done");
    let ended = adopt(&stage, &["--run", "2", "--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    stage.send(200, 300);
    stage.run_until(100).await;
    assert_clean(&stage);
    let seen: Vec<String> =
        [".out", ".dead"].iter().flat_map(|end| read_committed(&format!("{}{end}", stage.name))).map(|seen| seen.id()).collect();
    assert_eq!(seen.len(), 300, "each event ended once over both databases");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 300);
}

/// Would catch: a run that keeps an offset which the new log does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_is_read_from_its_start() {
    let stage = Stage::drained(200).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    admin.delete_topics(&[&stage.name], &AdminOptions::new()).await.unwrap();
    let reader: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reader.fetch_metadata(Some(&stage.name), Duration::from_secs(5)).unwrap().topics()[0].partitions().is_empty() {
        assert!(Instant::now() < deadline, "the topic does not go");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    create_topic(&stage.name, PARTITIONS).await;
    stage.send(500, 540);
    let log = stage.run_halts();
    assert!(log.contains("but the log ends at") && log.contains("millrace adopt"), "{log}");

    let ended = done(&stage, &["--yes"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let plan = ended.json()["plan"].clone();
    assert_eq!((plan["run"].as_i64(), plan["partitions"][0]["start"].as_i64()), (Some(2), Some(0)), "{plan}");
    stage.run_until(240).await;
    assert_eq!(stage.number("SELECT sum(events)::bigint FROM millrace.stream_partition WHERE run = 2").await, 40);
    assert_clean(&stage);
}

/// Would catch: a run whose mode is the old one's, and a start that skips or repeats.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_mode_needs_a_new_run() {
    let stage = Stage::drained(100).await;
    stage.reconfigure("function = \"copy\"", "function = \"copy\"\nmode = \"postgres\"");
    let log = stage.run_halts();
    assert!(log.contains("was running in mode both") && log.contains("millrace adopt"), "{log}");
    assert_eq!(done(&stage, &["--yes"]).await.code, Some(0));
    stage.send(100, 200);
    stage.run_until(200).await;
    assert_clean(&stage);

    stage.reconfigure("mode = \"postgres\"", "mode = \"both\"");
    stage.run_halts();
    let shown = done(&stage, &["--from", "earliest", "--partition", "0"]).await.json()["plan"].clone();
    let starts = (shown["partitions"][0]["start"].as_i64(), shown["partitions"][1]["start"].as_i64());
    assert_eq!(starts, (Some(0), Some(100)), "the partition alone begins again: {shown}");
    assert_eq!(adopt(&stage, &["--yes"]).code, Some(0));
    stage.send(200, 300);
    stage.run_until(300).await;
    assert_clean(&stage);
    assert_eq!(stage.number("SELECT count(*) FROM millrace.record").await, 300, "each event ended once over all runs");
}

/// Would catch: a run that is started under a worker that came while it was being written; in mode `postgres` no broker refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_at_the_last_moment_is_seen() {
    let stage = Stage::small().await;
    stage.reconfigure("function = \"copy\"", "function = \"copy\"\nmode = \"postgres\"");
    stage.send(0, 20);
    stage.run_until(20).await;
    assert_eq!(done(&stage, &[]).await.code, Some(0));
    let mut holder = PgConnection::connect(&stage.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE millrace.stream_partition IN SHARE MODE").execute(&mut holder).await.unwrap();
    let adopting = stage.start(&["adopt", "--yes"]);
    stage
        .wait_for("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", 1)
        .await;
    let member: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("group.id", &stage.name).create().unwrap();
    member.subscribe(&[&stage.name]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(4);
    while member.fetch_group_list(Some(&stage.name), Duration::from_secs(2)).unwrap().groups()[0].members().is_empty() {
        assert!(Instant::now() < deadline, "the member does not join");
        member.poll(Duration::from_millis(50));
    }
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    let refused = Ended::from(adopting.wait_with_output().unwrap());
    assert!(refused.code == Some(1) && refused.err.contains("stop the workers"), "{refused:?}");
    assert_eq!(stage.number("SELECT max(run)::bigint FROM millrace.stream_partition").await, 1);
}

/// Would catch: a count that does not belong to the offset, an offset beyond P or below Q, and a worker that is still there.
#[tokio::test(flavor = "multi_thread")]
async fn published_sets_an_offset_with_its_count() {
    let stage = Stage::drained(200).await;
    // As if the last ten of each partition had been decided and published, and then another program moved the offsets.
    stage.execute("UPDATE millrace.stream_partition SET published_offset = 90").await;
    (0..PARTITIONS).for_each(|partition| move_group(&stage, partition, 95));
    let log = stage.run_halts();
    assert!(log.contains("was not written by Millrace") && log.contains("millrace adopt"), "{log}");
    for wrong in ["89", "101"] {
        let ended = done(&stage, &["--published", wrong, "--partition", "1", "--yes"]).await;
        assert!(ended.code == Some(2) && ended.err.contains("[90, 100]"), "{ended:?}");
    }
    for partition in ["0", "1"] {
        let ended = adopt(&stage, &["--published", "100", "--partition", partition, "--yes"]);
        assert_eq!((ended.code, ended.json()["plan"]["records_below"].as_i64()), (Some(0), Some(100)), "{ended:?}");
    }
    assert_clean(&stage);
    let worker = stage.worker();
    stage.send(200, 240);
    stage.wait_for("SELECT sum(events)::bigint FROM millrace.stream_partition", 240).await;
    let refused = adopt(&stage, &["--yes"]);
    assert!(refused.code == Some(1) && refused.err.contains("stop the workers"), "{refused:?}");
    drop(worker);
}

/// The command that a halt prints, with its placeholder filled in.
fn obey(stage: &Stage, log: &str, more: &[&str]) -> Ended {
    let printed = log.split('`').find(|text| text.starts_with("millrace adopt") && text.contains("--published"));
    let printed = printed.unwrap_or_else(|| panic!("the halt names no command: {log}")).replace("--config FILE", "");
    assert!(!printed.contains("OFFSET"), "the operator is left alone with a number: {printed}");
    let args: Vec<&str> = printed.split_whitespace().skip(1).chain(more.iter().copied()).collect();
    stage.millrace(&args)
}

/// Does what a halt says, and expects every record once, the first `events` and those that come after.
async fn obeyed_to_the_letter(stage: &Stage, log: &str, events: i64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let shown = loop {
        let ended = obey(stage, log, &[]);
        if !ended.err.contains("members") || Instant::now() > deadline {
            break ended;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(shown.code == Some(0) && shown.out.contains("K to set") && shown.out.contains("Nothing was changed"), "{shown:?}");
    let done = obey(stage, log, &["--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    stage.send(events, events + 40);
    stage.run_until(events + 40).await;
    assert_clean(stage);
    let seen: Vec<String> =
        [".out", ".dead"].iter().flat_map(|end| read_committed(&format!("{}{end}", stage.name))).map(|seen| seen.id()).collect();
    assert_eq!(seen.len() as i64, events + 40, "a record came twice, or never");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len() as i64, events + 40);
}

/// Would catch: a text that sends K to Q, a late copy of it: [Q, K) would be published twice.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_reset_of_the_offsets_the_printed_command_doubles_nothing() {
    // The last event of partition 1 is a dead letter.
    let stage = Stage::drained(198).await;
    stage.execute("UPDATE millrace.stream_partition SET published_offset = 90").await;
    (0..PARTITIONS).for_each(|partition| move_group(&stage, partition, 40));
    let log = stage.run_halts();
    assert!(log.contains("is below 90"), "{log}");
    obeyed_to_the_letter(&stage, &log, 198).await;
}

/// Would catch: a text that needs a number which nobody tells, and a missing K taken for Q.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_offsets_are_gone_the_printed_command_doubles_nothing() {
    let stage = Stage::drained(198).await;
    stage.execute("UPDATE millrace.stream_partition SET published_offset = 90").await;
    delete_group(&stage.name).await;
    let log = stage.run_halts();
    assert!(log.contains("no committed offset any more"), "{log}");
    obeyed_to_the_letter(&stage, &log, 198).await;
}

/// Would catch: an offset beyond P, and rows that are skipped or doubled without a word.
#[tokio::test(flavor = "multi_thread")]
async fn auto_refuses_what_postgres_has_not_decided_and_an_offset_warns() {
    let stage = Stage::drained(200).await;
    stage.execute("UPDATE millrace.stream_partition SET published_offset = 90").await;
    (0..PARTITIONS).for_each(|partition| move_group(&stage, partition, 40));
    let plan = done(&stage, &[]).await.json()["plan"].clone();
    assert_eq!(plan["partitions"][0]["start"], 40);
    assert!(plan["notes"].to_string().contains("[40, 90) of run 1 is done; its events get a second ending"), "{plan}");
    (0..PARTITIONS).for_each(|partition| move_group(&stage, partition, 100));

    let warned = adopt(&stage, &["--published", "95", "--partition", "0"]);
    assert!(warned.code == Some(0) && warned.out.contains("records of [95, 100) would be published twice"), "{warned:?}");
    assert_eq!(adopt(&stage, &["--published", "95"]).code, Some(2), "an offset is one partition's");

    stage.execute("UPDATE millrace.stream_partition SET next_offset = 95 WHERE partition = 1").await;
    let refused = adopt(&stage, &["--published", "auto", "--yes"]);
    assert!(refused.code == Some(1) && refused.err.contains("decided only up to 95"), "{refused:?}");
    let other = adopt(&stage, &["--published", "auto", "--partition", "0"]).json()["plan"]["partitions"].clone();
    assert_eq!(
        (other[0]["offset"].as_i64(), other[0]["again"].as_i64(), other.as_array().unwrap().len()),
        (Some(100), Some(0), 1)
    );
}

/// Sets a group's offset as another program would, without a count.
fn move_group(stage: &Stage, partition: i32, offset: i64) {
    let group: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("group.id", &stage.name).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&stage.name, partition, Offset::Offset(offset)).unwrap();
    group.commit(&list, rdkafka::consumer::CommitMode::Sync).unwrap();
}
