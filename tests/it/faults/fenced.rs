//! One partition's claim goes to somebody else.

use crate::support::load::Load;
use crate::support::stage::{DECIDE_WAITS, Plan, SOON, Stage};
use sqlx::Row;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The claim of partition 1 is taken over by hand while a decide of all three waits for its rows.
///
/// Would catch: a round that fails or succeeds as a whole; inserts that are not joined to the rows that moved; a worker that
/// gives up a partition which its lease still holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_claimed_by_another_writes_nothing_and_hinders_no_other() {
    let stage = Arc::new(Stage::of(Plan { partitions: 3, ..Plan::default() }).await);
    let worker = stage.worker();
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(300).await;

    let mut hand = stage.connect().await;
    sqlx::raw_sql(
        "BEGIN; UPDATE millrace.stream_partition SET claim = gen_random_uuid(), epoch = epoch + 1, owner = 'hand' WHERE partition = 1",
    )
    .execute(&mut hand)
    .await
    .unwrap();
    stage.wait_for(DECIDE_WAITS, 1).await;
    let looking = "SELECT p.partition, p.owner, p.next_offset, (SELECT count(*) FROM millrace.record r WHERE r.partition = p.partition) \
                   FROM millrace.stream_partition p ORDER BY p.partition";
    let before = sqlx::query(looking).fetch_all(&mut hand).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut hand).await.unwrap();

    let deadline = Instant::now() + SOON;
    let (mut looks, mut ahead) = (0, [0i64; 3]);
    loop {
        assert!(Instant::now() < deadline, "partition 1 was not claimed again; log:\n{}", worker.log());
        let now = sqlx::query(looking).fetch_all(&mut hand).await.unwrap();
        if now[1].get::<&str, _>(1) != "hand" {
            break;
        }
        let moved = |n: usize| now[n].get::<i64, _>(2) - before[n].get::<i64, _>(2);
        assert_eq!(moved(1), 0, "the fenced worker moved P");
        assert_eq!(now[1].get::<i64, _>(3), before[1].get::<i64, _>(3), "the fenced worker wrote rows");
        (looks, ahead) = (looks + 1, [moved(0), moved(1), moved(2)]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(looks > 10 && ahead[0] > 50 && ahead[2] > 50, "the others stood still: {ahead:?} in {looks} looks");

    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    let epochs = "SELECT count(*) FROM millrace.stream_partition WHERE epoch = CASE partition WHEN 1 THEN 3 ELSE 1 END";
    assert_eq!(stage.number(epochs).await, 3, "partition 1 was claimed once more, the others kept theirs");
}
