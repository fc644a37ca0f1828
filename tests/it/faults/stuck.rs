//! A call that never comes back.

use crate::support::stage::{Plan, SOON, Stage};
use sqlx::Row;
use std::time::Instant;

const HANGS: &str = r#"
event = "transaction"
function = "own:hangs"
options = { at = "t-15" }
call_timeout_ms = 2_500
"#;

/// The worker's whole life with such an event, again and again, as a supervisor starts it.
///
/// Would catch: a call that is waited for without end; a poll thread that waits with it, so that the group takes the partition away; a worker that does not end, or
/// ends as if all were well; an event that ends each worker for ever; a neighbour that is condemned with it, or never decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_ends_the_worker_and_its_event_is_condemned() {
    let stage = Stage::of(Plan { partitions: 1, session_ms: 1_200, function: HANGS, ..Plan::default() }).await;
    // Shorter than the call: who does not poll meanwhile is told so.
    stage.reconfigure("properties = {", "properties = { \"max.poll.interval.ms\" = \"1500\",");
    stage.send(0, 10);
    let mut worker = stage.worker_of("stuck_function");
    stage.decided(10).await;
    stage.send(10, 30);
    let (mut deaths, deadline) = (0, Instant::now() + SOON);
    loop {
        assert!(Instant::now() < deadline && deaths < 9, "{deaths} deaths; log:\n{}", stage.log());
        if stage.events().await == 30 {
            break;
        }
        if !worker.is_running() {
            let (status, log) = (worker.end(), worker.log());
            assert!(status.code() == Some(1) && log.contains("it is stuck"), "{status}; {log}");
            assert!(!log.contains("MAXPOLL"), "polling stood still: {log}");
            deaths += 1;
            worker = stage.worker_of("stuck_function");
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Three claims without progress, then two deaths of the event alone.
    assert!((3..=6).contains(&deaths), "condemned by {deaths} deaths; log:\n{}", stage.log());
    let (_, rows) = stage.published().await;
    assert_eq!(rows.len(), 30);
    let text = "SELECT \"offset\", reason FROM millrace.dead_letters WHERE reason <> 'missing_field'";
    let dead = sqlx::query(text).fetch_all(&mut stage.connect().await).await.unwrap();
    let dead: Vec<(i64, String)> = dead.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(dead, [(15, "kills_process".to_owned())]);
    worker.drain();
}
