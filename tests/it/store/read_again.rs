//! Rows that are read again after a decide without an answer.

use super::{PIPELINE, input, opened};
use crate::support::database;
use millrace::store::Store;
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

/// Would catch: a row under another partition's name; one that is not there and hides the others; rows of a past, read beside a statement that is still
/// carried out.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_together_and_wait_for_a_decide_that_is_under_way() {
    let url = database().await;
    let (store, ..) = opened(&url).await;
    let mut deciding = PgConnection::connect(&url).await.unwrap();
    let moves = "BEGIN; UPDATE millrace.stream_partition SET next_offset = 15 WHERE partition = 1";
    sqlx::raw_sql(moves).execute(&mut deciding).await.unwrap();
    let wanted = [input(7), input(1), input(0)];
    let read = tokio::spawn({
        let store = store.clone();
        async move { store.read_all(PIPELINE, 1, &wanted, true).await.unwrap() }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FOR SHARE%'";
    let (mut look, deadline) = (PgConnection::connect(&url).await.unwrap(), Instant::now() + Duration::from_secs(4));
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut look).await.unwrap() == 0 {
        assert!(Instant::now() < deadline && !read.is_finished(), "it does not wait for the statement that is under way");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut deciding).await.unwrap();
    let rows = read.await.unwrap();
    let found: Vec<_> = rows.iter().map(|(partition, row)| (partition.clone(), row.next_offset)).collect();
    assert_eq!(found, [(input(0), 10), (input(1), 15)]);
    let again = store.read_all(PIPELINE, 1, &[input(1)], false).await.unwrap();
    assert_eq!(again, rows[1..], "over the pool too");
    assert_eq!(store.read_all(PIPELINE, 2, &[input(1)], false).await.unwrap(), []);
}
