//! Records that Postgres refuses again and again.

use crate::support::stage::{Plan, SOON, Stage};
use std::time::{Duration, Instant};

/// Would catch: a refused record that costs its partition a new stay, and with it the count of its dead letters, so that
/// `max_dead_share` never halts a pipeline of which every third record is refused.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_refused_records_count_over_all_stays() {
    const EVENTS: i64 = 300;
    let stage = Stage::of(Plan { partitions: 1, options: "max_dead_share = 0.2", ..Plan::default() }).await;
    stage
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '22023'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON millrace.record FOR EACH ROW \
             WHEN (NEW.kind = 'prediction' AND NEW.\"offset\" % 3 = 0) EXECUTE FUNCTION refuse()",
        )
        .await;
    stage.send(0, EVENTS);
    let mut worker = stage.worker();
    let deadline = Instant::now() + SOON;
    while worker.is_running() {
        let decided = stage.events().await;
        assert!(
            decided < EVENTS && Instant::now() < deadline,
            "{decided} events are decided and nothing halts; log:\n{}",
            worker.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(worker.end().code(), Some(3), "{}", worker.log());
    assert!(worker.log().contains("max_dead_share"), "{}", worker.log());
}
