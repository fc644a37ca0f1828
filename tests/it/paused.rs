//! Pause and resume by an operator, on a real Kafka and a real Postgres.

use crate::support::http::{get, post_with};
use crate::support::load::Load;
use crate::support::stage::{SOON, Stage, Worker};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Partitions of which something is decided that the late copy of K does not cover yet.
const OPEN: &str = "SELECT count(*) FROM millrace.stream_partition WHERE published_offset <> next_offset";
const EPOCHS: &str = "SELECT coalesce(sum(epoch), 0)::bigint FROM millrace.stream_partition";

/// Waits until nothing moves any more, with K = P, and returns the number of events that are decided.
async fn stands_still(stage: &Stage) -> i64 {
    let deadline = Instant::now() + SOON;
    let (mut before, mut since) = (-1, Instant::now());
    loop {
        let now = stage.events().await;
        if now != before || stage.number(OPEN).await != 0 {
            (before, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(4) {
            return now;
        }
        assert!(Instant::now() < deadline, "it goes on; log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until a worker has logged something.
async fn said(worker: &Worker, what: &str) {
    let deadline = Instant::now() + SOON;
    while !worker.log().contains(what) {
        assert!(Instant::now() < deadline, "{what:?} is not in its log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Would catch: a pause that one worker does not follow, one that a death or a new worker ends, one that makes workers unready or holds
/// the memory budget, a drain that hangs, an event that is lost or doubled on the way, a journal without lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pipeline_stands_still_over_a_death_and_ends_all_events_once_it_is_resumed() {
    let stage = Arc::new(Stage::new("").await);
    let mut workers = [stage.worker(), stage.worker()];
    let load = Load::start(&stage, 0, 400);
    stage.decided_at_least(400).await;

    let paused = stage.millrace(&["pause", "--reason", "wrong amounts", "--by", "ann"]);
    assert!(paused.code == Some(0) && paused.out.contains("by ann since"), "{paused:?}");
    let stood = stands_still(&stage).await;
    let (_, status) = get(&workers[1].admin(), "/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    for (partition, status) in status["pipelines"][&stage.name].as_object().unwrap() {
        assert_eq!(
            (&status["paused"]["by"], &status["paused"]["reason"]),
            (&"ann".into(), &"wrong amounts".into()),
            "{partition}"
        );
    }
    let epochs = stage.number(EPOCHS).await;
    workers[0].kill();
    workers[0] = stage.worker();
    stage.wait_for(EPOCHS, epochs + 1).await;
    assert_eq!(stands_still(&stage).await, stood, "a new owner goes on");
    for worker in &workers {
        let deadline = Instant::now() + SOON;
        while get(&worker.admin(), "/readyz").await.0 != 200 {
            assert!(Instant::now() < deadline, "a paused worker is not ready: {:?}", get(&worker.admin(), "/readyz").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (_, metrics) = get(&worker.admin(), "/metrics").await;
        let line = format!("millrace_paused_partitions{{pipeline=\"{}\"}} ", stage.name);
        let found: i64 = metrics.lines().find_map(|of| of.strip_prefix(&*line)).unwrap().parse().unwrap();
        assert!(found > 0 && metrics.contains("millrace_budget_used_bytes 0"), "{metrics}");
        assert_eq!(worker.log().matches("Paused by an operator").count(), 1, "{}", worker.log());
    }
    workers[0].drain();
    let listed = stage.millrace(&["pause", "--list", "--json"]).json();
    assert_eq!((&listed["pipeline"], &listed["by"], &listed["topic"]), (&stage.name.clone().into(), &"ann".into(), &Value::Null));

    let resumed = stage.millrace(&["resume", "--by", "bob"]);
    assert!(resumed.code == Some(0), "{resumed:?}");
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    assert!(sent > stood + 100, "the log did not grow meanwhile, so that nothing is shown");
    let verify = stage.millrace(&["verify", "--deep"]);
    assert_eq!(verify.code, Some(0), "{verify:?}");
    let journal = stage.text("SELECT string_agg(action || ' ' || by || ' ' || through || ' ' || coalesce(reason, '-'), ', ' ORDER BY id) FROM millrace.operation").await;
    assert_eq!(journal, "pause ann cli wrong amounts, resume bob cli -");
    let again = stage.millrace(&["resume"]);
    assert!(again.code == Some(1) && again.out.contains("was not paused"), "{again:?}");
}

/// Would catch: a pause that a start forgets, one partition that holds its neighbours, a resume of everything that lifts what has its own
/// reason, or one that is told of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn one_paused_partition_holds_no_other() {
    let stage = Stage::new("").await;
    let noted = stage.millrace(&["pause", "--partition", "2", "--reason", "poisoned"]);
    assert_eq!(noted.code, Some(0), "{noted:?}");
    for (wrong, said) in [
        (&["pause", "--partition=-1", "--reason", "x"][..], "counted from 0"),
        (&["pause", "--topic", "inn", "--reason", "x"], "does not read the topic"),
        (&["pause", "--pipeline", "other", "--reason", "x"], "no pipeline"),
        (&["pause", "--reason", " "], "needs a reason"),
        (&["pause"], "--reason"),
    ] {
        let ended = stage.millrace(wrong);
        assert!(ended.code == Some(2) && ended.err.contains(said), "{ended:?}");
    }
    stage.send(0, 400);
    let mut worker = stage.worker();
    stage.decided(300).await;
    assert_eq!(stands_still(&stage).await, 300);
    let of_it = "SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition WHERE partition = 2";
    assert_eq!(stage.number(of_it).await, 0);
    // A pause of all beside it, and its resume.
    assert_eq!(stage.millrace(&["pause", "--reason", "maintenance"]).code, Some(0));
    let resumed = stage.millrace(&["resume"]);
    let still = format!("{}/2 (by", stage.name);
    assert!(resumed.code == Some(0) && resumed.out.contains(&still) && resumed.out.contains("poisoned"), "{resumed:?}");
    assert_eq!(stands_still(&stage).await, 300);
    assert_eq!(stage.millrace(&["resume", "--partition", "2"]).code, Some(0));
    stage.decided(400).await;
    stage.assert_rows_are_records(400).await;
    worker.drain();
}

/// Would catch: a change over HTTP without the token, a token that gets into a log, a page or the journal, an unknown pipeline that is paused.
#[tokio::test(flavor = "multi_thread")]
async fn over_http_the_token_pauses_and_resumes() {
    const TOKEN: &str = "open-sesame-4711-hunter2";
    let stage = Stage::new("").await;
    let path = format!("/v1/pipelines/{}/pause", stage.name);
    let body = r#"{"by": "ann", "reason": "by hand", "partition": 1}"#;
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    let mut bare = stage.worker();
    let (status, text) = post_with(&bare.admin(), &path, &right, body).await;
    assert!(status == 403 && text.contains("token_file"), "{text}");
    bare.drain();

    std::fs::write(stage.config().with_file_name("token"), format!("{TOKEN}\n")).unwrap();
    stage.reconfigure("[admin]", "[admin]\ntoken_file = \"token\"");
    stage.send(0, 400);
    let worker = stage.worker();
    let admin = worker.admin();
    stage.decided(400).await;
    for head in ["", "authorization: Bearer open-sesame\r\n"] {
        assert_eq!(post_with(&admin, &path, head, body).await.0, 401);
    }
    assert_eq!(stage.number("SELECT count(*) FROM millrace.operation").await, 0);
    let (status, done) = post_with(&admin, &path, &right, body).await;
    let done: Value = serde_json::from_str(&done).unwrap();
    assert!(status == 200 && done["changed"] == 1 && done["pauses"][0]["partition"] == 1, "{done}");
    assert_eq!(done.get("note"), None, "{done}");
    let typo = r#"{"by": "ann", "reason": "a typo", "partition": 21}"#;
    let (status, noted) = post_with(&admin, &path, &right, typo).await;
    assert!(status == 200 && noted.contains("no worker has seen") && noted.contains("/21 so far"), "{noted}");
    assert_eq!(post_with(&admin, &path.replace("pause", "resume"), &right, typo).await.0, 200);
    let elsewhere = post_with(&admin, "/v1/pipelines/other/pause", &right, body).await;
    assert!(elsewhere.0 == 404 && elsewhere.1.contains(&stage.name), "{elsewhere:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.send(400, 800);
    stage.decided(700).await;
    assert_eq!(stands_still(&stage).await, 700);
    let whole = post_with(&admin, &path.replace("pause", "resume"), &right, r#"{"by": "ann"}"#).await;
    assert!(whole.0 == 409 && whole.1.contains("/1 (by ann"), "{whole:?}");
    let lifted = post_with(&admin, &path.replace("pause", "resume"), &right, r#"{"by": "bob", "all": true}"#).await;
    assert_eq!(lifted.0, 200, "{lifted:?}");
    stage.decided(800).await;
    stage.assert_rows_are_records(800).await;
    let journal = stage.text("SELECT string_agg(concat_ws(' ', action, by, through, topic = pipeline, partition, reason), ', ' ORDER BY id) FROM millrace.operation").await;
    assert_eq!(
        journal,
        "pause ann http t 1 by hand, pause ann http t 21 a typo, resume ann http t 21 a typo, resume bob http t 1"
    );
    for page in ["/status", "/metrics", "/openapi.json"] {
        assert!(!get(&admin, page).await.1.contains(TOKEN), "{page}");
    }
    // Another token, on SIGHUP.
    let next = "another-token-of-some-length";
    std::fs::write(stage.config().with_file_name("token"), next).unwrap();
    worker.signal("-HUP");
    said(&worker, "The admin token was read again").await;
    assert_eq!(post_with(&admin, &path, &right, body).await.0, 401, "the old one is over");
    assert_eq!(post_with(&admin, &path, &right.replace(TOKEN, next), body).await.0, 200);
    assert!(!worker.log().contains(next), "{}", worker.log());
    let check = stage.millrace(&["check"]);
    for text in [stage.log(), format!("{check:?}")] {
        assert!(!text.contains(TOKEN) && !text.contains("sesame"), "{text}");
    }
}

/// Would catch: a worker's login that may not pause, or may do more; a reader's that may; a journal that can be rewritten.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_written_once_and_only_with_a_pause() {
    let stage = Stage::small().await;
    let user = stage.name.clone();
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    let url = stage.url.clone();
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    assert_eq!(stage.millrace(&["pause", "--reason", "why", "--by", "ann"]).code, Some(0));
    assert_eq!(stage.text("SELECT login FROM millrace.operation").await, user, "the login is told whatever name was given");
    let refused = async |role: &str, statement: &str, code: &str| {
        let mut connection = stage.connect().await;
        sqlx::raw_sql(&format!("SET ROLE {role}")).execute(&mut connection).await.unwrap();
        let done = sqlx::raw_sql(statement).execute(&mut connection).await;
        let found = done.as_ref().err().and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
        assert_eq!(found.as_deref(), Some(code), "{role}: {statement}: {done:?}; {url}");
    };
    // Insufficient privilege.
    const DENIED: &str = "42501";
    for role in ["millrace_worker", "millrace_reader"] {
        for statement in [
            "DELETE FROM millrace.pause",
            "UPDATE millrace.pause SET by = 'x'",
            "INSERT INTO millrace.operation (action, pipeline, by, through) VALUES ('pause', 'p', 'x', 'cli')",
            "UPDATE millrace.operation SET by = 'x'",
            "ALTER TABLE millrace.operation DISABLE TRIGGER written_once",
        ] {
            refused(role, statement, DENIED).await;
        }
    }
    refused("millrace_reader", "SELECT millrace.set_pause('p', '', -1, 'why', 'x', 'cli')", DENIED).await;
    for statement in ["UPDATE millrace.operation SET by = 'x'", "DELETE FROM millrace.operation", "TRUNCATE millrace.operation"] {
        // What the trigger raises.
        refused("postgres", statement, "P0001").await;
    }
    // Whoever calls the functions by hand is held to what the command and HTTP are held to.
    let long = "x".repeat(2_001);
    for (why, who, via) in [
        ("why", "x", "psql"),
        (long.as_str(), "x", "cli"),
        ("a\tb", "x", "cli"),
        ("why", &long[..201], "cli"),
        ("why", "a\nb", "cli"),
    ] {
        let call = format!("SELECT millrace.set_pause('p', '', -1, '{why}', '{who}', '{via}')");
        refused("millrace_worker", &call, "23514").await;
    }
    refused(
        "millrace_worker",
        &format!("SELECT millrace.lift_pause('{}', '', -1, true, 'why', 'x', 'psql')", stage.name),
        "23514",
    )
    .await;
    assert_eq!(stage.number("SELECT count(*) FROM millrace.operation").await, 1, "a pause that is refused leaves no line");
    stage.execute(&format!("REVOKE millrace_worker FROM {user}; GRANT millrace_reader TO {user}")).await;
    let ended = stage.millrace(&["resume"]);
    assert!(ended.code == Some(1) && ended.err.contains("millrace_worker or millrace_owner"), "{ended:?}");
    assert_eq!(stage.millrace(&["pause", "--list"]).code, Some(0));
    stage.execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;
}

/// Would catch: a rotation that needs a restart, a signal that ends the worker, a URL by which a worker goes on in another database.
#[tokio::test(flavor = "multi_thread")]
async fn new_connections_use_the_url_that_was_read_again() {
    let stage = Stage::small().await;
    let (user, file) = (stage.name.clone(), stage.config().with_file_name("url"));
    std::fs::write(&file, &stage.url).unwrap();
    stage.reconfigure(&format!("url = \"{}\"", stage.url), "url_file = \"url\"");
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    let mut worker = stage.worker();
    stage.send(0, 100);
    stage.decided(100).await;
    std::fs::write(&file, stage.url.replace("/t_", "/elsewhere_")).unwrap();
    worker.signal("-HUP");
    said(&worker, "another server or database").await;
    std::fs::write(&file, stage.url.replace("postgres://postgres@", &format!("postgres://{user}@"))).unwrap();
    worker.signal("-HUP");
    said(&worker, "new connections use it").await;
    let of_the_old =
        "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'millrace' AND usename = 'postgres'";
    assert!(stage.number(&format!("SELECT count(pg_terminate_backend(pid)) {of_the_old}")).await > 0);
    stage.send(100, 200);
    stage.decided(200).await;
    stage.assert_rows_are_records(200).await;
    assert_eq!(stage.number(&format!("SELECT count(*) {of_the_old}")).await, 0);
    worker.drain();
    stage.execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;
}
