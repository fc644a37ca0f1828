//! `millrace verify` says clean only where it is, and names the first thing that is not.

use crate::support::command::{Ended, PARTITIONS, write};
use crate::support::services::{Kind, Service};
use crate::support::stage::Stage;
use crate::support::{Seen, brokers, create_topic, read_committed};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn verify(stage: &Stage, more: &[&str]) -> Ended {
    let args: Vec<&str> = ["verify", "--json"].iter().chain(more).copied().collect();
    stage.millrace(&args)
}

/// Whether the review is not clean, with a difference of this kind first seen at this id.
fn assert_found(ended: &Ended, kind: &str, at: &str) {
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let report = ended.json();
    let found = report["first"].as_array().unwrap().iter().any(|first| first["kind"] == kind && first["at"] == at);
    assert!(found, "no {kind} at {at}: {report:#}");
}

/// Would catch: false alarms, and a review that compares nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_pipeline_is_clean() {
    let stage = Stage::drained(400).await;
    let ended = verify(&stage, &["--deep"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = ended.json();
    for (name, number) in
        [("events", 400), ("emitted", 360), ("dead", 40), ("rows", 400), ("compared", 400), ("input_events", 400)]
    {
        assert_eq!(report[name], number, "{name}: {report:#}");
    }
    assert_eq!(report["unpublished"], 0);
    let text = stage.millrace(&["verify"]);
    assert!(text.code == Some(0) && text.out.contains("clean") && text.out.contains("400 records compared"), "{text:?}");
    let rows: Vec<Vec<&str>> = text.out.lines().map(|line| line.split_whitespace().collect()).collect();
    for partition in ["0", "1"] {
        let name = format!("{}/{partition}", stage.name);
        assert!(rows.contains(&vec![name.as_str(), "200", "200", "200", "199"]), "P, Q, K and the highest: {text:?}");
    }
    assert_eq!(stage.millrace(&["verify", "--pipeline", "nobody"]).code, Some(2));
}

/// Would catch: P, K and rows of different moments compared with each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_at_work_is_clean_too() {
    let stage = Stage::small().await;
    let _worker = stage.worker();
    stage.send(0, 100);
    stage.wait_for("SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition", 100).await;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for from in (100..).step_by(100) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                stage.send(from, from + 100);
            }
        });
        let ended: Vec<Ended> = (0..6).map(|_| verify(&stage, &[])).collect();
        over.store(true, Ordering::Relaxed);
        let events: Vec<i64> = ended.iter().map(|ended| ended.json()["events"].as_i64().unwrap()).collect();
        assert!(events.windows(2).any(|two| two[0] < two[1]), "the worker was idle: {events:?}");
        ended.iter().for_each(|ended| assert_eq!(ended.code, Some(0), "{ended:?}"));
    });
}

/// Would catch: K asked for in a mode that has none, and rows that are not counted there.
#[tokio::test(flavor = "multi_thread")]
async fn mode_postgres_has_counts_alone() {
    let stage = Stage::small().await;
    stage.reconfigure("function = \"copy\"", "function = \"copy\"\nmode = \"postgres\"");
    stage.send(0, 100);
    stage.run_until(100).await;
    let ended = verify(&stage, &[]);
    assert_eq!((ended.code, ended.json()["compared"].as_i64()), (Some(0), Some(0)), "{ended:?}");
    stage.execute("DELETE FROM millrace.record WHERE partition = 0 AND \"offset\" = 5").await;
    assert_found(&verify(&stage, &[]), "record_count", &format!("{name}/1/{name}/0", name = stage.name));
}

/// Would catch: what `at_least_once` may do told as a fault.
#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_may_repeat() {
    let stage = Stage::small().await;
    stage.reconfigure("function = \"copy\"", "function = \"copy\"\ndelivery = \"at_least_once\"");
    stage.send(0, 100);
    stage.run_until(100).await;
    let topic = format!("{}.out", stage.name);
    let records = read_committed(&topic);
    write(&topic, &records[10..20]);
    let ended = verify(&stage, &[]);
    assert_eq!((ended.code, ended.json()["repeated"].as_i64()), (Some(0), Some(10)), "{ended:?}");
    // Without a key it comes again anywhere.
    let elsewhere: Vec<Seen> =
        records[20..25].iter().cloned().map(|seen| Seen { partition: 1 - seen.partition, ..seen }).collect();
    write(&topic, &elsewhere);
    let ended = verify(&stage, &[]);
    assert_eq!((ended.code, ended.json()["repeated"].as_i64()), (Some(0), Some(15)), "{ended:?}");
    // A row that is meant for this topic too, and is not there.
    let of = "partition = 1 AND \"offset\" = 48";
    assert_eq!(stage.execute(&format!("UPDATE millrace.record SET out_topic = '{topic}' WHERE {of}")).await, 1);
    assert_found(&verify(&stage, &[]), "record_missing", &format!("{name}/1/{name}/1/48/0", name = stage.name));
}

/// Would catch: a topic that nobody has needed yet told as a fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_has_decided_nothing_is_clean_without_its_topics() {
    let stage = Stage::small().await;
    stage.reconfigure(&format!("{}.out", stage.name), "not-there");
    let ended = verify(&stage, &[]);
    assert!(ended.code == Some(0) && ended.out.contains("not-there is not there"), "{ended:?}");
}

/// Would catch: events that were lost before the first row, and a start that is taken for a loss.
#[tokio::test(flavor = "multi_thread")]
async fn deep_knows_where_a_run_began() {
    let stage = Stage::drained(100).await;
    stage.send(100, 120);
    let adopted = stage.millrace(&["adopt", "--from", "latest", "--yes"]);
    assert_eq!(adopted.code, Some(0), "{adopted:?}");
    stage.send(120, 200);
    stage.run_until(180).await;
    let ended = verify(&stage, &["--deep"]);
    assert_eq!((ended.code, &ended.json()["notes"]), (Some(0), &serde_json::json!([])), "{ended:?}");

    // As if the first event had never come.
    stage.execute("DELETE FROM millrace.record WHERE run = 2 AND partition = 0 AND \"offset\" = 60").await;
    stage
        .execute(
            "UPDATE millrace.stream_partition SET events = events - 1, records = records - 1 WHERE run = 2 AND partition = 0",
        )
        .await;
    let ended = verify(&stage, &["--deep"]);
    assert_found(&ended, "input_count", &format!("{name}/2/{name}/0", name = stage.name));
    stage.execute("UPDATE millrace.stream_partition SET start_offset = NULL").await;
    let ended = verify(&stage, &["--deep"]);
    assert!(ended.json()["differences"].get("input_count").is_none(), "{ended:?}");
    assert!(ended.out.contains("61 events stand before its first row"), "{ended:?}");
}

/// Would catch: a review that ends with the first broker that restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_is_waited_for() {
    let kafka = Service::up(Kind::Kafka);
    let stage = Stage::small_at(&kafka.address()).await;
    stage.send(0, 5_000);
    stage.run_until(5_000).await;
    // More than a client fetches ahead, so that the broker is needed after the first rows were looked up.
    let producer = stage.producer();
    let (topic, body) = (format!("{}.out", stage.name), [b'x'; 200]);
    for n in 0..800_000 {
        loop {
            let record = BaseRecord::<(), [u8]>::to(&topic).partition(n % 2).payload(&body);
            match producer.send(record) {
                Ok(()) => break,
                Err(_) => {
                    producer.poll(Duration::from_millis(50));
                }
            }
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let review = stage.start(&["verify", "--json"]);
    stage.wait_for("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%CROSS JOIN LATERAL (SELECT * FROM millrace.record%' AND pid <> pg_backend_pid()", 1).await;
    kafka.tell(&["kill"]);
    kafka.tell(&["start"]);
    let ended = Ended::from(review.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.json()["foreign"].as_i64()), (Some(0), Some(800_000)), "{ended:?}");
}

/// Would catch: a comparison of ids alone, or of counts alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_altered_and_a_deleted_row_are_named() {
    let stage = Stage::drained(200).await;
    let at = format!("{}/1/{}/1/11/0", stage.name, stage.name);
    let of = "partition = 1 AND \"offset\" = 11";
    let value = stage.text(&format!("SELECT value::text FROM millrace.record WHERE {of}")).await;
    let altered = value.replace("\"amount\":23", "\"amount\":28");
    assert_ne!(value, altered);
    for (value, key, kind) in [(altered, "key", "value_differs"), (value, "'x'", "key_differs")] {
        assert_eq!(stage.execute(&format!("UPDATE millrace.record SET value = '{value}', key = {key} WHERE {of}")).await, 1);
        assert_found(&verify(&stage, &[]), kind, &at);
    }

    assert_eq!(stage.execute(&format!("DELETE FROM millrace.record WHERE {of}")).await, 1);
    let ended = verify(&stage, &[]);
    assert_found(&ended, "record_without_row", &at);
    let partition = format!("{}/1/{}/1", stage.name, stage.name);
    for kind in ["record_count", "event_count", "published_count"] {
        assert_found(&ended, kind, &partition);
    }
}

/// Would catch: a double that stands in another partition than the first, and so breaks no order.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_doubled_by_hand_is_named() {
    let stage = Stage::drained(200).await;
    let topic = format!("{}.out", stage.name);
    let records = read_committed(&topic);
    let mut twice = records.iter().find(|seen| seen.id().ends_with("/0/20/0")).expect("event 40 is a prediction").clone();
    twice.partition = 1 - twice.partition;
    write(&topic, std::slice::from_ref(&twice));
    assert_found(&verify(&stage, &[]), "record_doubled", &twice.id());
    twice.partition = 1 - twice.partition;
    write(&topic, std::slice::from_ref(&twice));
    assert_found(&verify(&stage, &[]), "not_ascending", &twice.id());
}

/// Would catch: rows that were never published; a shared topic's other records taken for ours; retention taken for loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_record_is_named_and_retention_is_not_taken_for_one() {
    let stage = Stage::drained(200).await;
    let (out, copy) = (format!("{}.out", stage.name), format!("{}.copy", stage.name));
    create_topic(&copy, PARTITIONS).await;
    let records = read_committed(&out);
    let (lost, rest): (Vec<_>, Vec<_>) = records.iter().cloned().partition(|seen| seen.id().ends_with("/0/20/0"));
    let mut foreign = rest[0].clone();
    foreign.headers[0].1 = b"another/1/in/0/5/0".to_vec();
    write(&copy, &[&rest[..], &[foreign]].concat());
    stage.reconfigure(&out, &copy);
    stage.execute(&format!("UPDATE millrace.record SET out_topic = '{copy}' WHERE kind = 'prediction'")).await;
    let ended = verify(&stage, &[]);
    assert_found(&ended, "record_missing", &lost[0].id());
    assert_eq!(ended.json()["foreign"], 1);
    assert_eq!(ended.json()["differences"].as_object().unwrap().len(), 1, "nothing else is amiss: {ended:?}");

    // Everything up to the last third of each partition goes, the gap with it.
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let mut upto = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let last = rest.iter().filter(|seen| seen.partition == partition).count() as i64;
        upto.add_partition_offset(&copy, partition, Offset::Offset(last * 2 / 3)).unwrap();
    }
    admin.delete_records(&upto, &AdminOptions::new()).await.unwrap();
    let ended = verify(&stage, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("retention"), "{ended:?}");
    let ended = verify(&stage, &[]);
    assert!(ended.out.contains(&format!("not compared whether {copy} misses records up to offset")), "{ended:?}");
}

/// Would catch: a look for what is missing that ends without a word, since a partition without a beginning holds none of an input.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_said() {
    let stage = Stage::drained(100).await;
    let (out, copy) = (format!("{}.out", stage.name), format!("{}.copy", stage.name));
    create_topic(&copy, 3).await;
    let records = read_committed(&out);
    let foreign = Seen { partition: 2, headers: Vec::new(), ..records[0].clone() };
    write(&copy, &[&records[..], &[foreign]].concat());
    stage.reconfigure(&out, &copy);
    stage.execute(&format!("UPDATE millrace.record SET out_topic = '{copy}' WHERE kind = 'prediction'")).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset(&copy, 2, Offset::Offset(1)).unwrap();
    admin.delete_records(&upto, &AdminOptions::new()).await.unwrap();
    let ended = verify(&stage, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for (partition, number) in [(0, 50), (1, 40)] {
        let text = format!("{}/{partition}: not compared whether {copy} misses any of its {number} records", stage.name);
        assert!(ended.out.contains(&text), "{text}: {ended:?}");
    }
}
