//! Scores with a memory on real neighbours: whoever dies and whatever moves, each is that of an uninterrupted run.

use crate::support::stage::{Plan, SOON, Stage};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Little memory and seldom written: keys leave it and come back, and much is folded again after a claim.
const RISK: &str = r#"
event = "json"
fields = { id = "id", key = "account", time = "time" }
function = "risk"
flush_after = 40
state_bytes = 6_000
keep = "latest"
[pipeline.risk]
non_negative = ["amount"]
feature = [
  { name = "n", entity = "account", aggregate = "count", window = "1d" },
  { name = "sum", entity = "account", aggregate = "sum", field = "amount", window = "1d" },
  { name = "before", entity = "account", aggregate = "last", field = "amount", window = "30d", empty = -1.0 },
]
"#;

const EVENTS: i64 = 600;
const ACCOUNTS: i64 = 23;
const STEP_MS: i64 = 300_000;
const DAY_MS: i64 = 86_400_000;

/// Event `n` is of account `n % ACCOUNTS`, with an amount of `n`; every 50th is a bad one.
fn is_bad(n: i64) -> bool {
    n % 50 == 49
}

fn send(stage: &Stage, numbers: impl Iterator<Item = i64>) {
    let producer = stage.producer();
    for n in numbers {
        let account = n % ACCOUNTS;
        let amount = if is_bad(n) { -n } else { n };
        let time = 1_760_000_000_000 + n * STEP_MS;
        let body = format!("{{\"id\":\"e-{n}\",\"account\":\"a-{account}\",\"amount\":{amount},\"time\":{time}}}");
        let record = BaseRecord::<str, str>::to(&stage.name).partition((account % 4) as i32).payload(&body);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Count, sum and the amount before, of what stands in the day up to event `n`.
fn expected(n: i64) -> [f64; 3] {
    let of_account = |back: &i64| (n - back) % ACCOUNTS == 0 && !is_bad(*back);
    let in_window = |back: &&i64| (n - **back) * STEP_MS < DAY_MS;
    let before: Vec<i64> = (0..=n).filter(of_account).collect();
    let day: Vec<i64> = before.iter().filter(in_window).copied().collect();
    let last = before.iter().rev().nth(1).map_or(-1.0, |back| *back as f64);
    [day.len() as f64, day.iter().sum::<i64>() as f64, last]
}

async fn scored(stage: &Stage) -> BTreeMap<i64, Vec<[f64; 3]>> {
    let mut found: BTreeMap<i64, Vec<[f64; 3]>> = BTreeMap::new();
    for (kind, value) in stage.rows().await.into_values().filter(|(kind, _)| kind == "prediction") {
        let value: Value = serde_json::from_str(&value).unwrap_or_else(|_| panic!("a {kind} that is not JSON"));
        let n = value["event_id"].as_str().unwrap().trim_start_matches("e-").parse().unwrap();
        let features = ["n", "sum", "before"].map(|name| value["features"][name].as_f64().unwrap());
        found.entry(n).or_default().push(features);
    }
    found
}

/// Would catch: an event folded twice or not at all around a death, a state that is lost or stale when it comes back to memory, a
/// bad event that leaves something behind, a repeated event that counts twice, states that nobody writes at the end.
#[tokio::test]
async fn features_are_those_of_an_uninterrupted_run() {
    let stage = Stage::of(Plan { function: RISK, session_ms: 1_500, ..Plan::default() }).await;
    send(&stage, 0..EVENTS / 2);
    let mut first = stage.worker();
    stage.decided_at_least(EVENTS / 6).await;
    first.kill();
    let mut second = stage.worker();
    stage.decided(EVENTS / 2).await;
    // The first events again: known by their ids, they are scored and not counted.
    send(&stage, (EVENTS / 2..EVENTS).chain(0..3));
    stage.decided_at_least(EVENTS / 2 + EVENTS / 6).await;
    second.kill();
    let mut third = stage.worker();
    stage.decided(EVENTS + 3).await;
    stage.published().await;
    // Partitions that had nothing left to decide are folded again all the same, and then written when they are idle.
    stage.wait_for("SELECT count(*) FROM millrace.stream_partition WHERE fold_from = next_offset", 4).await;
    third.drain();
    let scored = scored(&stage).await;
    for n in (0..EVENTS).filter(|n| !is_bad(*n)) {
        // What came again is long past, and may look back on less.
        assert!(scored[&n].contains(&expected(n)), "event {n}: {:?}, not {:?}", scored[&n], expected(n));
    }
    assert_eq!(scored.len() as i64, EVENTS - EVENTS / 50);
    assert_eq!(stage.number("SELECT count(*) FROM millrace.dead_letters").await, EVENTS / 50);
    assert_eq!(stage.number("SELECT count(*) FROM millrace.states").await, ACCOUNTS);
    assert_eq!(stage.number("SELECT count(*) FROM millrace.latest").await, ACCOUNTS);
}

/// Would catch: an old state that is continued by another fold, which would score with what was never declared.
#[tokio::test]
async fn another_fold_never_continues_an_old_state() {
    let stage = Stage::of(Plan { function: RISK, partitions: 4, ..Plan::default() }).await;
    send(&stage, 0..40);
    let mut worker = stage.worker();
    stage.decided(40).await;
    worker.drain();
    stage.reconfigure("window = \"30d\"", "window = \"20d\"");
    send(&stage, 40..45);
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(3), "{}", stage.log());
    assert!(stage.log().contains("an old state is never continued by another fold"), "{}", stage.log());
    assert_eq!(stage.events().await, 40);
}
