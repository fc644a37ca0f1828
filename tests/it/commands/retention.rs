//! `millrace retention`: what goes is old and published, and everything still adds up.

use crate::support::command::Ended;
use crate::support::stage::Stage;

const ROWS: &str = "SELECT count(*) FROM millrace.record";
const OLD: &str = "UPDATE millrace.record SET decided_at = decided_at - interval '40 days'";

fn retention(stage: &Stage, more: &[&str]) -> Ended {
    stage.millrace(&[&["retention", "--older-than", "30d", "--json"], more].concat())
}

fn sum(ended: &Ended, of: &str) -> i64 {
    ended.json()["partitions"].as_array().unwrap().iter().map(|one| one[of].as_i64().unwrap()).sum()
}

fn assert_clean(stage: &Stage, removed: i64) {
    let ended = stage.millrace(&["verify", "--deep", "--json"]);
    assert_eq!((ended.code, ended.json()["removed"].as_i64()), (Some(0), Some(removed)), "{ended:?}");
    assert_eq!(ended.json()["outlived"].as_i64(), Some(removed), "{ended:?}");
}

/// Would catch: young rows that go, dead letters that go before anybody has seen them, a count that does not add up any more, a worker that
/// does not go on, records of removed rows that are told as a fault.
#[tokio::test(flavor = "multi_thread")]
async fn old_rows_go_and_the_counts_stay() {
    let stage = Stage::drained(200).await;
    assert_eq!(sum(&retention(&stage, &["--yes"]), "rows"), 0);
    stage.execute(&format!("{OLD} WHERE \"offset\" < 60")).await;
    let shown = retention(&stage, &[]);
    assert_eq!((sum(&shown, "rows"), sum(&shown, "open_dead_letters_kept")), (108, 12), "{shown:?}");
    assert_eq!(stage.number(ROWS).await, 200, "it was only shown");

    let done = retention(&stage, &["--yes"]);
    assert_eq!((sum(&done, "rows"), sum(&done, "open_dead_letters_kept")), (108, 12), "{done:?}");
    assert_eq!(stage.number(&format!("{ROWS} WHERE kind = 'prediction' AND \"offset\" < 60")).await, 0);
    assert_eq!(stage.number(ROWS).await, 92);
    assert_clean(&stage, 108);
    assert_eq!(sum(&retention(&stage, &["--yes"]), "rows"), 0, "a second time there is nothing to do");

    // One is dealt with, and goes; the others when they are meant too.
    let id = format!("{name}/1/{name}/1/3/0", name = stage.name);
    assert_eq!(stage.millrace(&["dead-letters", "discard", &id]).code, Some(0));
    assert_eq!(sum(&retention(&stage, &["--yes"]), "dead_letters"), 1);
    assert_clean(&stage, 109);
    assert_eq!(sum(&retention(&stage, &["--yes", "--open-dead-letters"]), "dead_letters"), 11);
    assert_clean(&stage, 120);

    stage.send(200, 300);
    stage.run_until(300).await;
    assert_clean(&stage, 120);
    let removed = "SELECT sum(rows) * 1000 + sum(dead) * 10 + count(*) FROM millrace.removed";
    assert_eq!(stage.number(&removed.replace("SELECT ", "SELECT (").replace(" FROM", ")::bigint FROM")).await, 120_122);
}

/// Would catch: rows that go although they may still have to be published, and counts beside them that make `adopt` set a wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_is_not_published() {
    let stage = Stage::drained(100).await;
    stage.execute(OLD).await;
    stage.execute("UPDATE millrace.stream_partition SET published_offset = 20").await;
    let done = retention(&stage, &["--yes", "--open-dead-letters"]);
    assert_eq!(sum(&done, "rows"), 40, "{done:?}");
    assert_eq!(stage.number(&format!("{ROWS} WHERE \"offset\" >= 20")).await, 60);
    assert_clean(&stage, 40);
    let adopted = stage.millrace(&["adopt", "--published", "30", "--partition", "0", "--json"]);
    assert_eq!(adopted.json()["plan"]["records_below"], 30, "{adopted:?}");
}

/// Would catch: a worker's role that deletes, wrong input without a word on what to write, a second command at the same partition.
#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_owner_and_one_at_a_time() {
    let stage = Stage::drained(20).await;
    stage.execute(OLD).await;
    let wrong = stage.millrace(&["retention", "--older-than", "90"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("s, m, h or d"), "{wrong:?}");
    assert_eq!(stage.millrace(&["retention", "--older-than", "1d", "--pipeline", "nobody"]).code, Some(2));

    let user = format!("{}_r", stage.name);
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    assert_eq!(sum(&retention(&stage, &[]), "rows"), 18, "whoever may read is shown");
    let refused = retention(&stage, &["--yes"]);
    assert!(refused.code == Some(1) && refused.err.contains("needs the role millrace_owner"), "{refused:?}");
    assert_eq!(stage.number(ROWS).await, 20);

    stage.execute(&format!("GRANT millrace_owner TO {user}")).await;
    let lock =
        "SELECT pg_advisory_xact_lock(hashtext('millrace.retention'), stream) FROM millrace.stream_partition WHERE partition = 0";
    let mut other = stage.connect().await;
    sqlx::raw_sql(&format!("BEGIN; {lock}")).execute(&mut other).await.unwrap();
    let done = retention(&stage, &["--yes"]);
    assert_eq!((done.code, sum(&done, "rows")), (Some(1), 8), "{done:?}");
    assert_eq!(done.json()["partitions"].as_array().unwrap().iter().filter(|one| one["busy"] == true).count(), 1, "{done:?}");
    drop(other);
    assert_eq!(sum(&retention(&stage, &["--yes"]), "rows"), 10);
    stage.execute(&format!("REVOKE millrace_owner, millrace_worker FROM {user}; DROP ROLE {user}")).await;
}
