//! Scores with a memory on real neighbours: whoever dies and whatever moves, each is that of an uninterrupted run.

use crate::support::command::Ended;
use crate::support::stage::{Plan, SOON, Stage};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

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

/// Starts a new run, once a worker that halted is no member any more; returns what it did.
async fn adopt(stage: &Stage, more: &[&str]) -> Value {
    let args: Vec<&str> = ["adopt", "--json", "--yes"].iter().chain(more).copied().collect();
    let deadline = Instant::now() + SOON;
    loop {
        let ended: Ended = stage.millrace(&args);
        if !ended.err.contains("members") || Instant::now() > deadline {
            assert_eq!(ended.code, Some(0), "{ended:?}");
            return ended.json()["plan"].clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What `explain` says of an event's record, and from which offset on it folded.
fn explained(stage: &Stage, n: i64) -> (Value, Value) {
    let ended = stage.millrace(&["explain", "--json", "--event", &format!("e-{n}")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = ended.json();
    (told["verdict"].clone(), told["history"]["from"].clone())
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
    // What the halt says: a new run folds the log again, and goes on where the old one stood; beside the partition that is named, too.
    let plan = adopt(&stage, &["--partition", "1"]).await;
    assert!(!plan.to_string().contains("keeps_states_of_run") && plan["offsets_folded"] == 40, "{plan}");
    stage.run_until(45).await;
    let scored = scored(&stage).await;
    assert!((0..45).all(|n| scored[&n] == [expected(n)]), "each once, as by one run: {scored:?}");
}

/// Would catch: a new run whose accounts have no history, or one that scores what was scored; a partition beside the one that is named that
/// loses its states, or waits until all of its log is folded again; states that nobody writes when nothing new comes; an explanation that does not know where the run began to fold.
#[tokio::test]
async fn a_new_run_remembers_what_the_log_has() {
    let stage = Stage::of(Plan { function: RISK, ..Plan::default() }).await;
    send(&stage, 0..200);
    stage.run_until(200).await;
    let plan = adopt(&stage, &[]).await;
    let of =
        |name: &str| plan["partitions"].as_array().unwrap().iter().map(|one| one[name].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("fold_from"), of("start").iter().sum::<i64>(), &plan["offsets_folded"]), (vec![0; 4], 200, &200.into()));
    let mut worker = stage.worker();
    // Nothing new comes, and all states are written.
    stage.wait_for("SELECT count(*) FROM millrace.stream_partition WHERE run = 2 AND fold_from = next_offset", 4).await;
    assert_eq!(stage.events().await, 200, "what was scored is folded, and not scored again");
    worker.drain();
    send(&stage, 200..300);
    stage.run_until(300).await;
    assert_eq!(explained(&stage, 250), ("same".into(), 0.into()));

    // One partition from its beginning, the others from where they stand, with the states that they have: all know what the log has.
    let account = |n: i64| n % ACCOUNTS % 4;
    let again = (0..300).filter(|n| account(*n) == 0).count() as i64;
    let states = async |run: i32| {
        let of_run =
            format!("FROM millrace.state JOIN millrace.stream_partition USING (stream) WHERE partition > 0 AND run = {run}");
        stage
            .text(&format!(
                "SELECT string_agg(concat_ws(' ', partition, key, as_of, newest, bytes), ', ' ORDER BY partition, key) {of_run}"
            ))
            .await
    };
    let plan = adopt(&stage, &["--from", "earliest", "--partition", "0"]).await;
    let kept: Vec<_> = plan["partitions"].as_array().unwrap().iter().map(|one| one["keeps_states_of_run"].as_i64()).collect();
    assert_eq!((kept, &plan["offsets_folded"]), (vec![None, Some(2), Some(2), Some(2)], &0.into()), "{plan}");
    assert_eq!(states(3).await, states(2).await);
    send(&stage, 300..350);
    stage.run_until(350 + again).await;
    stage.published().await;
    let scored = scored(&stage).await;
    for n in (0..350).filter(|n| !is_bad(*n)) {
        let times = if account(n) == 0 && n < 300 { 2 } else { 1 };
        assert_eq!(scored[&n], vec![expected(n); times], "event {n}");
    }
    assert_eq!(stage.millrace(&["verify", "--json"]).code, Some(0));
    assert_eq!(explained(&stage, 301), ("same".into(), 0.into()));
}

/// Would catch: states that begin empty where nobody asked for it, and a history that is there where somebody did; either told otherwise.
#[tokio::test]
async fn states_begin_empty_where_somebody_says_so() {
    let stage = Stage::of(Plan { function: RISK, ..Plan::default() }).await;
    send(&stage, 0..200);
    stage.run_until(200).await;
    let refused = stage.millrace(&["adopt", "--fold-from", "7"]);
    assert!(refused.code == Some(2) && refused.err.contains("--partition"), "{refused:?}");
    let shown = stage.millrace(&["adopt"]);
    assert!(
        shown.code == Some(0) && shown.out.contains("; before it folds [0, ") && shown.out.contains("at most 200 events"),
        "{shown:?}"
    );
    let plan = adopt(&stage, &["--fold-from", "start"]).await;
    assert!(plan["notes"].to_string().contains("those of run 1 began at 0: what lies between is in no state"), "{plan}");
    send(&stage, 200..200 + ACCOUNTS);
    stage.run_until(200 + ACCOUNTS).await;
    let (scored, first) = (scored(&stage).await, |n: i64| [1.0, n as f64, -1.0]);
    assert!((200..200 + ACCOUNTS).all(|n| scored[&n] == [first(n)] && first(n) != expected(n)), "{scored:?}");
    let (verdict, from) = explained(&stage, 210);
    assert!(verdict == "same" && from.as_i64() > Some(0), "{verdict}, {from}");
    let plain = Stage::new("").await;
    let refused = plain.millrace(&["adopt", "--fold-from", "start"]);
    assert!(refused.code == Some(2) && refused.err.contains("`copy` remembers nothing"), "{refused:?}");
}
