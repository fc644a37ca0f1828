//! The worker itself, as a process, on a real Kafka and a real Postgres.

use crate::support::stage::Stage;
use crate::support::{empty_database, read_committed};
use sqlx::{Connection, PgConnection};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_ends_once_and_sigterm_drains() {
    let stage = Stage::new("").await;
    stage.send(0, 2_000);
    let mut worker = stage.worker();
    stage.decided(2_000).await;
    stage.assert_rows_are_records(2_000).await;
    worker.signal("-TERM");
    assert_eq!(worker.end().code(), Some(0), "{}", stage.log());
    let mut connection = PgConnection::connect(&stage.url).await.unwrap();
    let lagging: i64 = sqlx::query_scalar("SELECT count(*) FROM millrace.stream_partition WHERE published_offset <> next_offset")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(lagging, 0, "a drained worker leaves Q = P");
}

/// Would catch: a claim that does not compare P with K, and so decides again what was published.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lost_its_commits_halts_with_exit_code_3() {
    let stage = Stage::new("").await;
    stage.send(0, 400);
    let mut worker = stage.worker();
    stage.decided(400).await;
    stage.assert_rows_are_records(400).await;
    worker.signal("-TERM");
    worker.end();
    let mut connection = PgConnection::connect(&stage.url).await.unwrap();
    for statement in [
        "DELETE FROM millrace.record WHERE \"offset\" >= 50",
        "UPDATE millrace.stream_partition SET next_offset = 50, published_offset = 50, records = 50, events = 50",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(3));
    let log = stage.log();
    assert!(log.contains("the database lost commits") && log.contains("on_lost_commits"), "{log}");
}

/// Would catch: publishing what is newer although rows of [K, P) are gone.
#[tokio::test(flavor = "multi_thread")]
async fn rows_missing_between_k_and_p_halt() {
    let stage = Stage::new("").await;
    stage.send(0, 400);
    let mut worker = stage.worker();
    stage.decided(400).await;
    stage.assert_rows_are_records(400).await;
    worker.signal("-TERM");
    worker.end();
    // As if ten more of each partition had been decided, and their rows were deleted before they were published.
    stage.send(400, 440);
    let mut connection = PgConnection::connect(&stage.url).await.unwrap();
    sqlx::query(
        "UPDATE millrace.stream_partition SET next_offset = next_offset + 10, events = events + 10, records = records + 10",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(3), "{}", stage.log());
    let log = stage.log();
    assert!(log.contains("rows were deleted or added by hand"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_postgres_writes_rows_and_publishes_nothing() {
    let stage = Stage::new("mode = \"postgres\"").await;
    stage.send(0, 300);
    let _worker = stage.worker();
    stage.decided(300).await;
    assert_eq!(stage.rows().await.len(), 300);
    assert!(read_committed(&format!("{}.out", stage.name)).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_publishes_every_row() {
    let stage = Stage::new("delivery = \"at_least_once\"").await;
    stage.send(0, 300);
    let _worker = stage.worker();
    stage.decided(300).await;
    stage.assert_rows_are_records(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_and_an_older_schema_are_refused_at_start() {
    let stage = Stage::new("").await;
    let text = std::fs::read_to_string(stage.config()).unwrap();
    std::fs::write(stage.config(), text.replace(&format!("{}.out", stage.name), "not-there")).unwrap();
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(1));
    assert!(stage.log().contains("`not-there` does not exist"));

    let url = empty_database().await;
    std::fs::write(stage.config(), text.replace(&stage.url, &url)).unwrap();
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(1));
    assert!(stage.log().contains("millrace migrate"));
}
