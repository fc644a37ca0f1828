//! A worker that stands still while another one takes over, and then wakes.

use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::stage::{DECIDE_WAITS, SOON, Stage, Worker};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Partitions whose claim is this worker's.
async fn owned(stage: &Stage, worker: &Worker) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM millrace.stream_partition WHERE owner LIKE '%/' || $1 || '/%'")
        .bind(worker.pid().to_string())
        .fetch_one(&mut stage.connect().await)
        .await
        .unwrap()
}

async fn until_owned(stage: &Stage, worker: &Worker, wanted: std::ops::RangeInclusive<i64>) {
    let deadline = Instant::now() + SOON;
    while !wanted.contains(&owned(stage, worker).await) {
        assert!(Instant::now() < deadline, "the worker does not hold {wanted:?} partitions; log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The stop lands inside a decide: Postgres carries it out, the worker hears of it only after another one has taken over from
/// the offset that it moved, and has published the rows that it wrote.
///
/// Would catch: a publish under a lease that is over (doubles); a decide without the claim; a worker that does not come back
/// as a member after its generation was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_sleeps_inside_a_decide_wakes_as_a_member_and_doubles_nothing() {
    let stage = Arc::new(Stage::new("").await);
    let mut zombie = stage.worker();
    let load = Load::start(&stage, 0, 300);
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    stage.decided_at_least(500).await;
    until_owned(&stage, &zombie, 4..=4).await;

    let mut lock = stage.connect().await;
    sqlx::raw_sql("BEGIN; SELECT 1 FROM millrace.stream_partition WHERE partition = 0 FOR UPDATE")
        .execute(&mut lock)
        .await
        .unwrap();
    stage.wait_for(DECIDE_WAITS, 1).await;
    zombie.signal("-STOP");
    let before = stage.events().await;
    sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
    stage.decided_at_least(before + 1).await;

    let mut heir = stage.worker();
    until_owned(&stage, &heir, 4..=4).await;
    let taken = stage.events().await;
    stage.decided_at_least(taken + 300).await;
    zombie.signal("-CONT");
    until_owned(&stage, &zombie, 1..=3).await;
    let woken = stage.events().await;
    stage.decided_at_least(woken + 300).await;
    watcher.check();

    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    assert!(zombie.is_running() && heir.is_running(), "{}", stage.log());
    zombie.drain();
    heir.drain();
}
