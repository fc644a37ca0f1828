//! The event that kills the process.

use crate::support::stage::{Plan, SOON, Stage};
use sqlx::Row;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The event that kills, in the tests below; it is a good one, which would be scored.
const KILLER: i64 = 15;

/// Writes down every suspect that is named and every step of P.
const WATCH: &str = "
    CREATE TABLE step (number bigserial, suspect bigint, next_offset bigint);
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.suspect_offset IS DISTINCT FROM OLD.suspect_offset OR NEW.next_offset <> OLD.next_offset THEN
            INSERT INTO step (suspect, next_offset) VALUES (NEW.suspect_offset, NEW.next_offset);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER watch AFTER UPDATE ON millrace.stream_partition FOR EACH ROW EXECUTE FUNCTION watch()";

/// A pipeline of one partition with 10 events decided, stopped in good order, and 20 more to decide.
async fn stopped() -> Stage {
    let stage = Stage::of(Plan { partitions: 1, session_ms: 1_200, ..Plan::default() }).await;
    stage.send(0, 10);
    let mut worker = stage.worker();
    stage.decided(10).await;
    stage.published().await;
    worker.drain();
    stage.send(10, 30);
    stage
}

/// Offset to reason code of the dead letters.
async fn reasons(stage: &Stage) -> BTreeMap<i64, String> {
    let rows = sqlx::query("SELECT \"offset\", reason FROM millrace.dead_letters").fetch_all(&mut stage.connect().await).await;
    rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn of(reasons: &[(i64, &str)]) -> BTreeMap<i64, String> {
    reasons.iter().map(|(offset, code)| (*offset, (*code).to_owned())).collect()
}

const MISSING: &str = "missing_field";

/// Would catch: a partition that keeps its slices after deaths without progress; a call before its event is named.
#[tokio::test(flavor = "multi_thread")]
async fn after_three_idle_claims_a_partition_goes_one_event_at_a_time_and_names_each_first() {
    let stage = stopped().await;
    stage.execute(WATCH).await;
    stage.execute("UPDATE millrace.stream_partition SET idle_claims = 2").await;
    let mut worker = stage.worker();
    stage.decided(30).await;
    worker.drain();
    let steps = sqlx::query("SELECT suspect, next_offset FROM step ORDER BY number").fetch_all(&mut stage.connect().await).await;
    let steps: Vec<(Option<i64>, i64)> = steps.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut named: Vec<i64> = steps.iter().filter_map(|(suspect, _)| *suspect).collect();
    named.dedup();
    // 17 and 27 are rejected before they could be called.
    let called: Vec<i64> = (10..30).filter(|offset| ![17, 27].contains(offset)).collect();
    assert_eq!(named, called, "each event that is called is named, in order, once");
    for (number, (suspect, _)) in steps.iter().enumerate() {
        let Some(suspect) = suspect else { continue };
        assert!(steps[..number].iter().all(|(_, next)| next <= suspect), "{suspect} was decided before it was named");
    }
    assert_eq!(reasons(&stage).await, of(&[(7, MISSING), (17, MISSING), (27, MISSING)]));
    stage.assert_rows_are_records(30).await;
}

/// Would catch: an event condemned by one death, or never; a neighbour condemned with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_is_condemned_by_its_second_death_and_its_neighbours_go_on() {
    for (deaths, condemned) in [(1, false), (2, true)] {
        let stage = stopped().await;
        let state = if deaths == 1 {
            "UPDATE millrace.stream_partition SET suspect_offset = 15, idle_claims = 1"
        } else {
            "UPDATE millrace.stream_partition SET suspect_offset = 15, idle_claims = 2"
        };
        stage.execute(state).await;
        let mut worker = stage.worker();
        stage.decided(30).await;
        worker.drain();
        let mut expected = of(&[(7, MISSING), (17, MISSING), (27, MISSING)]);
        if condemned {
            expected.insert(KILLER, "kills_process".into());
        }
        assert_eq!(reasons(&stage).await, expected, "after {deaths} deaths alone in work");
        let (_, rows) = stage.published().await;
        assert_eq!(rows.len(), 30);
    }
}

const NAMING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' \
                      AND query LIKE '%SET idle_claims = $%'";
const DECIDING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' \
                        AND query LIKE '%WITH moved AS%'";
const END_DECIDES: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                           AND wait_event = 'PgSleep' AND query LIKE '%WITH moved AS%'";

/// A whole life of such an event, with real deaths: whenever it is in work the worker is killed, and nothing that was in work
/// with it is decided.
///
/// Would catch: idle claims that are not counted, or set back by a claim; a suspect that is lost with the process; two deaths
/// that are counted against an event which was not alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_kills_each_worker_ends_as_a_dead_letter() {
    let stage = stopped().await;
    // A decide beyond the killer stands still, since the process would not have come so far. So does the statement that names
    // the killer; it is carried out all the same, as the call comes after it.
    stage
        .execute(
            "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF NEW.suspect_offset = 15 AND current_query() LIKE '%SET idle_claims = $%' THEN
                     PERFORM pg_sleep(2);
                 ELSIF NEW.next_offset > 15
                     AND NOT EXISTS (SELECT 1 FROM millrace.record WHERE \"offset\" = 15 AND kind = 'dead_letter') THEN
                     PERFORM pg_sleep(20);
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER guard AFTER UPDATE ON millrace.stream_partition FOR EACH ROW EXECUTE FUNCTION guard()",
        )
        .await;
    let (mut deaths, mut deaths_alone) = (0, 0);
    let deadline = Instant::now() + SOON;
    let mut worker = stage.worker();
    while stage.events().await < 30 {
        assert!(Instant::now() < deadline && deaths < 9, "{deaths} deaths; log:\n{}", stage.log());
        let (naming, deciding) = (stage.number(NAMING).await, stage.number(DECIDING).await);
        if naming + deciding > 0 {
            (deaths, deaths_alone) = (deaths + 1, deaths_alone + naming);
            worker.kill();
            stage.execute(END_DECIDES).await;
            while stage.number(NAMING).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            worker = stage.worker();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(deaths >= 4 && deaths_alone >= 2, "condemned by {deaths} deaths, {deaths_alone} of them alone");
    assert_eq!(reasons(&stage).await, of(&[(7, MISSING), (KILLER, "kills_process"), (17, MISSING), (27, MISSING)]));
    let (_, rows) = stage.published().await;
    assert_eq!(rows.len(), 30);
    worker.drain();
}
