//! `millrace replay` on real neighbours: what another config says of the past, while the live pipeline goes on untouched.

use crate::support::command::Ended;
use crate::support::load::Load;
use crate::support::stage::{Plan, SOON, Stage};
use crate::support::{create_topic, read_committed};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

mod compared;
mod ends;
mod memory;
mod versions;
mod wrong;

/// The stage's config with another line in the place of one.
fn changed(stage: &Stage, name: &str, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(stage.config()).unwrap();
    assert!(text.contains(from), "the config has no {from}");
    let path: PathBuf = stage.config().with_file_name(name);
    std::fs::write(&path, text.replace(from, to)).unwrap();
    path.display().to_string()
}

/// Runs `millrace replay` with a config of its own.
fn replay(stage: &Stage, config: &str, args: &[&str]) -> Ended {
    stage.without_config(&[&["replay", "--config", config, "--json"], args].concat())
}

/// Rows of the live pipeline and of its partitions, as one text.
async fn live(stage: &Stage) -> String {
    let query = format!(
        "SELECT coalesce(string_agg(one::text, E'\\n' ORDER BY one::text COLLATE \"C\"), '') FROM (SELECT run, topic, partition, \"offset\", n, kind, value::text, model, config \
         FROM millrace.record WHERE pipeline = '{}') one",
        stage.name
    );
    stage.text(&query).await
}

async fn partitions(stage: &Stage) -> String {
    let query = format!(
        "SELECT string_agg(one::text, E'\\n' ORDER BY one::text COLLATE \"C\") FROM (SELECT run, topic, partition, claim, epoch, next_offset, published_offset, events, \
         records, skipped, dead, start_offset, fold FROM millrace.stream_partition WHERE pipeline = '{}') one",
        stage.name
    );
    stage.text(&query).await
}

/// The rows of a replay without the parts that name it.
async fn rows_of(stage: &Stage, number: i32) -> String {
    let name = format!("{}.replay-{number}", stage.name);
    let query = format!(
        "SELECT coalesce(string_agg(one::text, E'\\n' ORDER BY one::text COLLATE \"C\"), '') FROM (SELECT run, topic, partition, \"offset\", n, kind, \
         replace(value::text, '{name}', 'NAME'), model, config FROM millrace.record WHERE pipeline = '{name}') one"
    );
    stage.text(&query).await
}

/// A config that says something else of events with a fee.
const SCORE: (&str, &str) = ("score = \"amount / 100\"", "score = \"amount / 100 - fee\"");
/// One that says something else of all.
const HALF: (&str, &str) = ("score = \"amount / 100\"", "score = \"amount / 50\"");

/// The log's retention goes by timestamps: what is older than a week would be gone.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Event `n` has an amount of `n`, but for every tenth, and from 100 on a fee of 1.
fn paid(n: i64) -> (i64, Value) {
    let mut event =
        json!({ "id": n, "account": format!("a-{n}"), "amount": n, "fee": i64::from(n >= 100), "currency": "EUR", "time": n });
    if n % 10 == 7 {
        event["amount"] = Value::Null;
    }
    (now(), event)
}

/// Would catch: a replay that compares nothing, takes an equal event for a changed one, changes rows, offsets or the run of the live
/// pipeline, joins its group, or makes `verify` find something.
#[tokio::test(flavor = "multi_thread")]
async fn another_config_changes_exactly_what_it_says_and_nothing_live() {
    let stage = Stage::small().await;
    send(&stage, 0, (0..200).filter(|n| n % 2 == 0).map(paid));
    send(&stage, 1, (0..200).filter(|n| n % 2 == 1).map(paid));
    stage.run_until(200).await;
    let (rows, standing) = (live(&stage).await, partitions(&stage).await);
    let config = changed(&stage, "new.toml", SCORE.0, SCORE.1);

    let shown = replay(&stage, &config, &["--from", "earliest"]);
    let plan = shown.json();
    assert_eq!((shown.code, &plan["done"], &plan["offsets_scored"]), (Some(0), &json!(false), &json!(200)), "{shown:?}");
    assert!(plan["estimated_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{plan}");
    assert_eq!(stage.number("SELECT count(*) FROM millrace.replay").await, 0, "without --yes nothing is written");

    let done = replay(&stage, &config, &["--from", "earliest", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let told = done.json();
    // 0 to 199 without every tenth from 7 on; those from 100 on have another score.
    let changed_events = (100..200).filter(|n| n % 10 != 7).count();
    assert_eq!((&told["events_compared"], &told["events_changed"]), (&json!(200), &json!(changed_events)), "{told}");
    assert_eq!(told["fields_changed"], json!({ "score": changed_events }));
    assert_eq!((&told["dead_letters_gained"], &told["only_live"], &told["only_replay"]), (&json!({}), &json!(0), &json!(0)));
    let shift = &told["score_shift"];
    assert_eq!((&shift["predictions"], &shift["p50"]), (&json!(180), &json!(0.0)), "{told}");
    assert!((shift["largest"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{told}");
    let largest = &told["largest_shifts"][0];
    let by = largest["live"].as_f64().unwrap() - largest["replay"].as_f64().unwrap();
    assert!((by - 1.0).abs() < 1e-9 && told["largest_shifts"].as_array().unwrap().len() == 10, "{told}");
    assert_eq!(told["replay"]["dead"], 20);
    assert_ne!(told["replay"]["scored_by"][0]["config"], told["live"]["scored_by"][0]["config"]);

    assert_eq!((live(&stage).await, partitions(&stage).await), (rows.clone(), standing.clone()));
    let verified = stage.millrace(&["verify", "--deep", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(stage.rows().await.len() == 400 && read_committed(&stage.output()).len() == 180);

    // The same config says the same, and a worker goes on as if nothing had been.
    let same = replay(&stage, &stage.config().display().to_string(), &["--from", "earliest", "--yes"]).json();
    assert_eq!((&same["events_equal"], &same["events_changed"]), (&json!(200), &json!(0)), "{same}");
    assert_eq!(same["replay"]["scored_by"][0]["config"], same["live"]["scored_by"][0]["config"]);
    stage.send(200, 220);
    let mut worker = stage.worker();
    let of_live = format!("SELECT sum(events)::bigint FROM millrace.stream_partition WHERE pipeline = '{}'", stage.name);
    stage.wait_for(&of_live, 220).await;
    worker.drain();
    assert_eq!(stage.millrace(&["verify", "--deep"]).code, Some(0));

    let listed = stage.millrace(&["replay", "list"]);
    assert!(listed.code == Some(0) && listed.out.lines().count() == 2 && listed.out.contains("done at"), "{listed:?}");
    let shown = stage.millrace(&["replay", "remove", "1"]);
    assert!(shown.code == Some(0) && shown.out.contains("Nothing was changed"), "{shown:?}");
    let removed = stage.millrace(&["replay", "remove", "1", "--yes", "--json"]);
    assert_eq!((removed.code, &removed.json()["records"]), (Some(0), &json!(200)), "{removed:?}");
    assert_eq!(rows_of(&stage, 1).await, "");
    assert_eq!(stage.millrace(&["replay", "list"]).out.lines().count(), 1);
    assert_eq!(stage.millrace(&["replay", "remove", "1", "--yes"]).code, Some(2));
    let gone = replay(&stage, &config, &["--id", "1", "--yes"]);
    assert!(gone.code == Some(2) && gone.err.contains("was removed"), "{gone:?}");
}

fn start(stage: &Stage, config: &str, args: &[&str]) -> Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["replay", "--config", config, "--json", "--yes"])
        .args(args)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(stage.config().with_file_name("replay.log")).unwrap())
        .spawn()
        .unwrap()
}

/// Waits until a replay has decided so many events.
async fn replayed(stage: &Stage, number: i32, events: i64) -> i64 {
    let name = format!("{}.replay-{number}", stage.name);
    let query = format!("SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition WHERE pipeline = '{name}'");
    stage.wait_for(&query, events).await
}

/// Would catch: a replay that begins anew or doubles rows after it was killed, one whose end moves with the log, two processes at one replay;
/// live traffic that it touches.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_goes_on_to_the_end_that_it_had() {
    let stage = Arc::new(Stage::drained(600).await);
    let config = changed(&stage, "new.toml", HALF.0, HALF.1);
    let mut worker = stage.worker();
    let load = Load::start(&stage, 600, 50);

    let mut killed = start(&stage, &config, &["--from", "earliest", "--id", "7", "--rate", "150"]);
    replayed(&stage, 7, 60).await;
    let second = replay(&stage, &config, &["--id", "7", "--yes"]);
    assert!(second.code == Some(1) && second.err.contains("another process"), "{second:?}");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let at = replayed(&stage, 7, 60).await;
    assert!(at < 500, "{at} events: it was not killed in the middle");
    let listed = stage.millrace(&["replay", "list"]);
    assert!(listed.out.contains(" offsets") && !listed.out.contains("done at"), "{listed:?}");

    let other = replay(&stage, &stage.config().display().to_string(), &["--id", "7", "--yes"]);
    assert!(other.code == Some(2) && other.err.contains("was begun with"), "{other:?}");
    let other = replay(&stage, &config, &["--id", "7", "--from", "3", "--yes"]);
    assert!(other.code == Some(2) && other.err.contains("another --from"), "{other:?}");
    // The database sees that the process is gone a moment after it is.
    let deadline = std::time::Instant::now() + SOON;
    let done = loop {
        let done = replay(&stage, &config, &["--id", "7", "--yes"]);
        if done.code == Some(0) || std::time::Instant::now() > deadline {
            break done;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(done.code, Some(0), "{done:?}");
    let end: i64 =
        done.json()["replay"]["plan"]["stretches"].as_array().unwrap().iter().map(|one| one["until"].as_i64().unwrap()).sum();
    assert_eq!(done.json()["replay"]["events"], end, "the end stays where it was when it began");

    let sent = load.stop().await;
    let of_live = format!("SELECT sum(events)::bigint FROM millrace.stream_partition WHERE pipeline = '{}'", stage.name);
    assert_eq!(stage.wait_for(&of_live, sent).await, sent);
    worker.drain();
    let again = replay(&stage, &config, &["--id", "7", "--yes"]);
    assert_eq!((again.code, &again.json()["replay"]["events"]), (Some(0), &json!(end)), "{again:?}");
    let untils: Vec<Value> = done.json()["replay"]["plan"]["stretches"].as_array().unwrap().clone();
    for stretch in &untils {
        // The whole of each partition in one go, for comparison.
        let (partition, until) = (stretch["partition"].to_string(), stretch["until"].to_string());
        let one = replay(&stage, &config, &["--from", "earliest", "--until", &until, "--partition", &partition, "--yes"]);
        assert_eq!(one.code, Some(0), "{one:?}");
    }
    let whole = [rows_of(&stage, 8).await, rows_of(&stage, 9).await].join("\n");
    assert_eq!(rows_of(&stage, 7).await, whole);
    assert_eq!(stage.millrace(&["verify", "--deep"]).code, Some(0));
    assert_eq!(stage.number("SELECT count(DISTINCT run)::bigint FROM millrace.stream_partition").await, 1);
}

/// Would catch: a side topic that gets dead letters, gets records twice, or of which the live pipeline's readers see anything; a signal that
/// is a failure.
#[tokio::test(flavor = "multi_thread")]
async fn predictions_go_to_a_side_topic_once_and_dead_letters_stay_in_rows() {
    let stage = Stage::drained(400).await;
    let side = format!("{}.side", stage.name);
    create_topic(&side, 2).await;
    let config = changed(&stage, "new.toml", HALF.0, HALF.1);
    let dead_before = read_committed(&stage.dead_letters()).len();
    let mut stopped = start(&stage, &config, &["--from", "earliest", "--publish-to", &side, "--rate", "100"]);
    replayed(&stage, 1, 40).await;
    assert!(std::process::Command::new("kill").arg("-TERM").arg(stopped.id().to_string()).status().unwrap().success());
    let log = || std::fs::read_to_string(stage.config().with_file_name("replay.log")).unwrap();
    assert_eq!(stopped.wait().unwrap().code(), Some(4), "{}", log());
    assert!(log().contains("--id 1 goes on"), "{}", log());
    let done = replay(&stage, &config, &["--id", "1", "--yes"]);
    assert_eq!((done.code, &done.json()["replay"]["events"]), (Some(0), &json!(400)), "{done:?}");
    let seen = read_committed(&side);
    let mut ids: Vec<String> = seen.iter().map(|seen| seen.id()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((seen.len(), ids.len()), (360, 360));
    let name = format!("{}.replay-1", stage.name);
    assert!(seen.iter().all(|seen| seen.id().starts_with(&name) && !seen.value().contains("\"reason\"")));
    assert_eq!(read_committed(&stage.dead_letters()).len(), dead_before);
    assert_eq!(stage.millrace(&["verify", "--deep"]).code, Some(0));
}

/// Would catch: a replay that takes from a live pipeline which is behind, and one that never goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_while_the_live_pipeline_is_behind() {
    let stage = Stage::drained(100).await;
    stage.send(100, 200);
    let config = stage.config().display().to_string();
    let mut waits = start(&stage, &config, &["--from", "earliest", "--rate", "50", "--yield-lag", "20"]);
    let log = || std::fs::read_to_string(stage.config().with_file_name("replay.log")).unwrap();
    let deadline = std::time::Instant::now() + SOON;
    while !log().contains("the replay waits") {
        assert!(std::time::Instant::now() < deadline && waits.try_wait().unwrap().is_none(), "{}", log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = replayed(&stage, 1, 0).await;
    assert!(held < 150, "{held} events were replayed while the live pipeline was behind");
    assert!(waits.try_wait().unwrap().is_none(), "{}", log());
    let mut worker = stage.worker();
    let ended = tokio::task::spawn_blocking(move || waits.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0), "{}", log());
    assert!(log().contains("The replay goes on"), "{}", log());
    worker.drain();
    assert_eq!(replayed(&stage, 1, 200).await, 200);
}

/// One event a line into a partition, with a timestamp.
fn send(stage: &Stage, partition: i32, events: impl Iterator<Item = (i64, Value)>) {
    let producer = stage.producer();
    for (timestamp, event) in events {
        let body = event.to_string();
        let record = BaseRecord::<str, str>::to(&stage.name).partition(partition).payload(&body).timestamp(timestamp);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

async fn stateful(partitions: i32) -> Stage {
    Stage::of(Plan { function: memory::RISK, partitions, ..Plan::default() }).await
}
