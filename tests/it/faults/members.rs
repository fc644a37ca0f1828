//! Members of the group that come and go all the time, and two that have one name.

use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::stage::{Plan, SOON, Stage, Worker};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds of the storm without `MILLRACE_STORM_S`.
const STORM_S: u64 = 12;

/// Would catch: a group that is always between two assignments and decides nothing, a member that leaves with a round on its way and doubles it.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_rebalances_slows_and_loses_nothing() {
    let seconds =
        std::env::var("MILLRACE_STORM_S").map_or(STORM_S, |seconds| seconds.parse().expect("MILLRACE_STORM_S is a number"));
    let stage = Arc::new(Stage::new("").await);
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut steady = stage.worker();
    let load = Load::start(&stage, 0, 200);
    stage.decided_at_least(200).await;
    let (until, mut before, mut members) = (Instant::now() + Duration::from_secs(seconds), stage.events().await, 0);
    while Instant::now() < until {
        let mut guest = stage.worker();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        // In turns in good order and at once.
        match members % 2 {
            0 => guest.signal("-TERM"),
            _ => guest.kill(),
        }
        members += 1;
        watcher.check();
        if members % 4 == 0 {
            let now = stage.events().await;
            assert!(now > before, "nothing was decided over four members; log:\n{}", steady.log());
            before = now;
        }
        // A guest that drains may still be at it; the next one comes all the same.
        std::thread::spawn(move || guest.end());
    }
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    assert!(steady.is_running(), "{}", steady.log());
    steady.drain();
}

/// Two workers were given one `[kafka] instance` by mistake: their producers fence each other.
///
/// Would catch: a round that is published by both, or by none; a worker that goes on with a producer that was fenced, or ends because of it.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_of_one_instance_double_nothing() {
    let stage = Arc::new(Stage::of(Plan::default()).await);
    stage.reconfigure("[kafka]", "[kafka]\ninstance = \"one\"");
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut first = stage.worker();
    let load = Load::start(&stage, 0, 200);
    stage.decided_at_least(200).await;
    let mut second = stage.worker();
    // Each has partitions, and one has met the other.
    stage.wait_for("SELECT count(DISTINCT owner) FROM millrace.stream_partition", 2).await;
    let deadline = Instant::now() + SOON;
    let is_fenced = |worker: &Worker| worker.log().to_lowercase().contains("fenced");
    while !is_fenced(&first) && !is_fenced(&second) {
        assert!(Instant::now() < deadline, "neither was fenced; logs:\n{}\n{}", first.log(), second.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        watcher.check();
        for worker in [&mut first, &mut second] {
            assert!(worker.is_running(), "it ended; log:\n{}", worker.log());
        }
    }
    let sent = load.stop().await;
    second.kill();
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    first.drain();
}
