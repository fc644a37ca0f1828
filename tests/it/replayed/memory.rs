//! Replays of functions that remember.

use super::{changed, now, replay, rows_of, send, start, stateful};
use serde_json::{Value, json};

pub const RISK: &str = r#"
event = "json"
fields = { id = "id", key = "account", time = "time" }
function = "risk"
[pipeline.risk]
feature = [
  { name = "n", entity = "account", aggregate = "count", window = "1d" },
  { name = "sum", entity = "account", aggregate = "sum", field = "amount", window = "1d" },
]
"#;

const MINUTE: i64 = 60_000;

/// Event `n` is of account `n % 5`, a minute after the one before.
fn payment(begin: i64, n: i64) -> (i64, Value) {
    let time = begin + n * MINUTE;
    (time, json!({ "id": format!("e-{n}"), "account": format!("a-{}", n % 5), "amount": n % 7, "time": time }))
}

/// Would catch: a replay whose states are empty where it begins to score, one that takes the live pipeline's states, or that differs from the
/// live run without a reason; a killed one that folds an event twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_is_folded_from_the_beginning_and_scored_from_where_it_was_asked() {
    let stage = stateful(2).await;
    let begin = now() - 1_000 * MINUTE;
    send(&stage, 0, (0..900).map(|n| payment(begin, n)));
    send(&stage, 1, (0..300).map(|n| payment(begin, n)));
    stage.run_until(1_200).await;
    let states = "SELECT count(*) FROM millrace.state s JOIN millrace.stream_partition p USING (stream) WHERE p.pipeline NOT LIKE '%replay%'";
    let before = stage.number(states).await;

    // By time: from the 200th minute on, until the 800th.
    let at = |minute: i64| jiff::Timestamp::from_millisecond(begin + minute * MINUTE).unwrap().to_string();
    let config = stage.config().display().to_string();
    let mut killed = start(&stage, &config, &["--from", &at(200), "--until", &at(800), "--rate", "300"]);
    super::replayed(&stage, 1, 50).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let deadline = std::time::Instant::now() + super::SOON;
    let done = loop {
        let done = replay(&stage, &config, &["--id", "1", "--yes"]);
        if done.code == Some(0) || std::time::Instant::now() > deadline {
            break done;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert_eq!(done.code, Some(0), "{done:?}");
    let told = done.json();
    assert_eq!((&told["events_compared"], &told["events_equal"]), (&json!(700), &json!(700)), "{told}");
    let stretches = &told["replay"]["plan"]["stretches"];
    assert_eq!(
        (&stretches[0]["from"], &stretches[0]["until"], &stretches[0]["fold_from"]),
        (&json!(200), &json!(800), &json!(0))
    );
    assert_eq!((&stretches[1]["from"], &stretches[1]["until"]), (&json!(200), &json!(300)));
    assert_eq!(told["replay"]["events"], 700, "what is only folded has no ending");
    assert_eq!(stage.number(states).await, before);

    // Another fold, which the live pipeline would never go on with.
    let other = changed(&stage, "new.toml", "aggregate = \"count\", window = \"1d\"", "aggregate = \"count\", window = \"1h\"");
    let told = replay(&stage, &other, &["--from", &at(200), "--until", &at(800), "--yes"]).json();
    assert_eq!((&told["events_changed"], &told["fields_changed"]["features"]), (&json!(700), &json!(700)), "{told}");
    // Without what came before, the first day is another.
    let short = replay(&stage, &config, &["--from", &at(200), "--fold-from", &at(200), "--partition", "1", "--yes"]);
    assert!(short.json()["events_changed"].as_i64().is_some_and(|changed| changed > 0), "{short:?}");
    assert!(short.json()["replay"]["plan"]["notes"][0].as_str().is_some_and(|note| note.contains("began to fold at offset 0")));
    assert!(rows_of(&stage, 3).await.lines().count() == 100);
    stage.run_until(1_200).await;
    assert_eq!(stage.millrace(&["verify", "--deep"]).code, Some(0));
}

/// Would catch: a state that cannot be erased for ever, because a replay that is over, or a topic that nobody reads, has states that nobody will
/// write; one that is erased while a replay is under way that folds its events.
#[tokio::test(flavor = "multi_thread")]
async fn states_that_nobody_will_write_keep_no_key_from_being_erased() {
    let stage = stateful(2).await;
    let begin = now() - 1_000 * MINUTE;
    send(&stage, 0, (0..300).map(|n| payment(begin, n)));
    send(&stage, 1, (0..100).map(|n| payment(begin, n)));
    stage.run_until(400).await;
    let from = jiff::Timestamp::from_millisecond(begin + 200 * MINUTE).unwrap().to_string();
    let done = replay(&stage, &stage.config().display().to_string(), &["--from", &from, "--yes"]);
    assert_eq!((done.code, &done.json()["replay"]["events"]), (Some(0), &json!(100)), "{done:?}");
    let behind = "SELECT count(*) FROM millrace.stream_partition WHERE fold_from < next_offset";
    assert_eq!(stage.number(behind).await, 0, "partition 1 has nothing to do, and nobody folds it");

    // As a replay leaves it that was cut off, and a pipeline that read another topic too.
    let name = &stage.name;
    stage
        .execute(&format!(
            "UPDATE millrace.stream_partition SET fold_from = 0 WHERE pipeline = '{name}.replay-1' AND partition = 1"
        ))
        .await;
    stage
        .execute(&format!(
            "INSERT INTO millrace.stream_partition (pipeline, run, topic, partition, next_offset, published_offset, fold_from, mode) \
             SELECT pipeline, run, 'read-before', partition, 9, 9, 3, mode FROM millrace.stream_partition WHERE pipeline = '{name}' AND partition = 0"
        ))
        .await;
    assert_eq!(stage.number(behind).await, 2);
    let erase = || stage.millrace(&["erase", "--json", "--key", "none", "--state-key", "account:a-1", "--yes"]);
    let states = "SELECT count(*) FROM millrace.states WHERE key = 'account:a-1'";
    let held = stage.number(states).await;

    let mut under_way = stage.connect().await;
    let lock = format!("SELECT pg_advisory_lock(hashtext('millrace.replay'), hashtext('{name}.replay-1'))");
    sqlx::raw_sql(&lock).execute(&mut under_way).await.unwrap();
    let refused = erase();
    assert!(refused.code == Some(1) && refused.err.contains("/1 of") && refused.err.contains("remove the replay"), "{refused:?}");
    assert_eq!(stage.number(states).await, held);

    sqlx::Connection::close(under_way).await.unwrap();
    let erased = erase();
    assert_eq!((erased.code, &erased.json()["states"]), (Some(0), &json!(held)), "{erased:?}");
    assert_eq!((held >= 2, stage.number(states).await), (true, 0), "{held}");
}
