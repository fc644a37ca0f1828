//! `millrace erase`: nothing of the key is left in Postgres, and everything still adds up.

use crate::support::command::Ended;
use crate::support::read_committed;
use crate::support::stage::Stage;
use serde_json::json;
use std::time::{Duration, Instant};

fn erase(stage: &Stage, key: &str, more: &[&str]) -> Ended {
    stage.millrace(&[&["erase", "--json", "--key", key], more].concat())
}

/// Where the key `a-N`, the event's id or its amount still stands.
async fn traces(stage: &Stage, n: i64) -> i64 {
    let of = |table: &str| {
        format!("(SELECT count(*) FROM millrace.{table} t WHERE position('a-{n}\"' IN t::text) > 0 OR key = 'a-{n}'::bytea)")
    };
    let payload = format!(
        "(SELECT count(*) FROM millrace.record WHERE kind = 'dead_letter' AND value ->> 'payload_base64' IS NOT NULL \
         AND convert_from(decode(value ->> 'payload_base64', 'base64'), 'UTF8') LIKE '%\"t-{n}\"%')"
    );
    stage.number(&format!("SELECT {} + {} + {payload}", of("record"), of("latest"))).await
}

fn assert_clean(stage: &Stage, erased: i64) {
    let ended = stage.millrace(&["verify", "--deep", "--json"]);
    assert_eq!((ended.code, ended.json()["erased"].as_i64()), (Some(0), Some(erased)), "{ended:?}");
}

/// Would catch: a key, a payload or a newest record that stays; a neighbour that goes too; counts and records that do not fit any more; a
/// compacted topic that keeps the record; a dead letter that is redriven without its event.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_key_is_left() {
    let stage = Stage::small().await;
    stage.reconfigure("function = \"copy\"", "function = \"copy\"\nkeep = \"latest\"");
    stage.send(0, 100);
    stage.run_until(100).await;
    assert!(traces(&stage, 8).await > 0 && traces(&stage, 7).await > 0);

    let shown = erase(&stage, "a-8", &[]).json();
    assert_eq!((&shown["rows"], &shown["latest"], &shown["done"]), (&json!(1), &json!(1), &json!(false)), "{shown}");
    assert!(traces(&stage, 8).await > 0, "it was only shown");

    let done = erase(&stage, "a-8", &["--yes"]);
    assert_eq!((done.code, &done.json()["rows"]), (Some(0), &json!(1)), "{done:?}");
    assert_eq!(traces(&stage, 8).await, 0);
    assert!(traces(&stage, 80).await > 0, "a neighbour");
    let kept =
        "SELECT count(*) FROM millrace.predictions WHERE value ->> 'erased' IS NOT NULL AND id IS NOT NULL AND score = 0.08";
    assert_eq!(stage.number(kept).await, 1);
    let output = read_committed(&stage.output());
    let last = output.iter().rfind(|seen| seen.key.as_deref() == Some(b"a-8".as_slice())).unwrap();
    assert!(last.payload.is_empty(), "the tombstone comes last: {last:?}");

    let dead = erase(&stage, "a-7", &["--yes"]);
    assert_eq!(dead.json()["rows"], 1, "{dead:?}");
    assert_eq!(traces(&stage, 7).await, 0);
    let letters = stage.millrace(&["dead-letters", "redrive", &format!("{name}/1/{name}/1/3/0", name = stage.name)]);
    assert!(letters.code == Some(1) && letters.err.contains("discarded already"), "{letters:?}");
    assert_eq!(erase(&stage, "a-7", &["--yes"]).json()["rows"], 0, "a second time there is nothing");

    // A replay, a run that is over, and rows without their partition's row have the key too.
    let copy = "partition, next_offset, published_offset, fold_from, mode FROM millrace.stream_partition WHERE partition = 0 AND run = 1";
    let name = &stage.name;
    stage.execute(&format!(
        "INSERT INTO millrace.replay (pipeline, number, name, plan) VALUES ('{name}', 1, '{name}.replay-1', '{{}}'); \
         INSERT INTO millrace.stream_partition (pipeline, run, topic, partition, next_offset, published_offset, fold_from, mode) \
             SELECT '{name}.replay-1', 1, topic, {copy}; \
         INSERT INTO millrace.record (stream, pipeline, run, topic, partition, \"offset\", n, kind, out_topic, key, value, function, model, config) \
             SELECT p.stream, p.pipeline, r.run, r.topic, r.partition, r.\"offset\", r.n, r.kind, r.out_topic, r.key, r.value, r.function, r.model, r.config \
             FROM millrace.record r JOIN millrace.stream_partition p ON p.pipeline = '{name}.replay-1' WHERE r.pipeline = '{name}' AND r.key = 'a-80'; \
         INSERT INTO millrace.record (stream, pipeline, run, topic, partition, \"offset\", n, kind, out_topic, key, value, function, model, config) \
             SELECT 99999, pipeline, 9, topic, partition, \"offset\", n, kind, out_topic, key, value, function, model, config \
             FROM millrace.record WHERE pipeline = '{name}' AND key = 'a-80'"
    ))
    .await;
    assert_eq!(erase(&stage, "a-80", &["--yes"]).json()["rows"], 3);
    assert_eq!(traces(&stage, 80).await, 0);
    stage.execute(&format!("DELETE FROM millrace.record WHERE run = 9; DELETE FROM millrace.record WHERE pipeline <> '{name}'; DELETE FROM millrace.stream_partition WHERE pipeline <> '{name}'")).await;
    assert_clean(&stage, 3);
}

/// Would catch: a tombstone that the second run does not write, since the first has erased the rows and failed at it; a command that waits for brokers
/// which are away until librdkafka gives up by itself, after five minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_failed_is_written_by_the_next_run() {
    let stage = Stage::small().await;
    stage.reconfigure("function = \"copy\"", "function = \"copy\"\nkeep = \"latest\"");
    stage.send(0, 20);
    stage.run_until(20).await;
    let (real, away) = (format!("brokers = \"{}\"", stage.brokers), "brokers = \"127.0.0.1:1\"");
    stage.reconfigure(&real, away);
    let begun = Instant::now();
    let failed = erase(&stage, "a-8", &["--yes"]);
    assert!(failed.code == Some(1) && failed.err.contains("run this again"), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(120), "it waited for {:?}", begun.elapsed());
    assert_eq!(traces(&stage, 8).await, 0, "the rows are erased");

    stage.reconfigure(away, &real);
    let again = erase(&stage, "a-8", &["--yes"]);
    assert_eq!((again.code, &again.json()["rows"]), (Some(0), &json!(0)), "{again:?}");
    let output = read_committed(&stage.output());
    let last = output.iter().rfind(|seen| seen.key.as_deref() == Some(b"a-8".as_slice())).unwrap();
    assert!(last.payload.is_empty(), "the tombstone comes last: {last:?}");
}

/// Would catch: a record that is erased before it is published, a state that a worker in the group writes again, a worker's role that rewrites
/// records.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_published_or_in_somebodys_memory_stays() {
    let stage = Stage::drained(40).await;
    stage.execute("UPDATE millrace.stream_partition SET published_offset = 2").await;
    let left = erase(&stage, "a-8", &["--yes"]);
    assert_eq!((left.code, &left.json()["not_published_yet"]), (Some(1), &json!(1)), "{left:?}");
    assert!(traces(&stage, 8).await > 0);
    assert_eq!(erase(&stage, "", &["--yes"]).code, Some(2));

    let state = "INSERT INTO millrace.state (stream, key, as_of, newest, bytes) SELECT stream, 'customer:a-8', 1, 1, 'x' FROM \
                 millrace.stream_partition WHERE partition = 0";
    stage.execute(state).await;
    let mut worker = stage.worker();
    stage.send(40, 50);
    stage.decided(50).await;
    let refused = erase(&stage, "a-8", &["--state-key", "customer:a-8", "--yes"]);
    assert!(refused.code == Some(2) && refused.err.contains("stop them first"), "{refused:?}");
    worker.kill();
    drop(worker);
    let states = "SELECT count(*) FROM millrace.state";
    // A worker that was killed may not have written all that it folded.
    stage.execute("UPDATE millrace.stream_partition SET fold_from = next_offset - 1 WHERE partition = 0").await;
    // That of a key which has no row yet, too: it would be made anew.
    for key in ["customer:a-8", "customer:a-9"] {
        let mut behind = erase(&stage, "a-8", &["--state-key", key, "--yes"]);
        for _ in 0..60 {
            if behind.code == Some(2) {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                behind = erase(&stage, "a-8", &["--state-key", key, "--yes"]);
            }
        }
        assert!(behind.code == Some(1) && behind.err.contains("not written to the end"), "{behind:?}");
    }
    // Of a run that is over nobody folds states to the end.
    stage.execute("UPDATE millrace.stream_partition SET run = 0 WHERE partition = 0").await;
    let over = erase(&stage, "a-8", &["--state-key", "customer:a-8", "--yes"]);
    assert_eq!((over.json()["states"].as_i64(), stage.number(states).await), (Some(1), 0), "{over:?}");
    stage.execute("UPDATE millrace.stream_partition SET run = 1 WHERE partition = 0").await;
    stage.execute(state).await;
    stage.execute("UPDATE millrace.stream_partition SET fold_from = next_offset").await;
    for _ in 0..60 {
        if erase(&stage, "a-8", &["--state-key", "customer:a-8", "--yes"]).code != Some(2) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!((stage.number(states).await, traces(&stage, 8).await), (0, 0));

    let user = format!("{}_e", stage.name);
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    let refused = erase(&stage, "a-9", &["--yes"]);
    assert!(refused.code == Some(1) && refused.err.contains("needs the role millrace_owner"), "{refused:?}");
    stage.execute(&format!("REVOKE millrace_worker FROM {user}; DROP ROLE {user}")).await;
}
