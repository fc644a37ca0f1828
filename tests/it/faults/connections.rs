//! Sessions of Postgres whose other end stands still or is gone.

use crate::support::proxy::{Cut, Proxy};
use crate::support::stage::{Plan, SOON, Stage};
use crate::support::{database, store};
use millrace::event::TopicPartition;
use millrace::record::{Mode, Provenance};
use millrace::store::postgres::{PostgresSettings, PostgresStore};
use millrace::store::{Advance, PartitionKey, Store, StoreError};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use uuid::Uuid;

fn key(partition: i32) -> PartitionKey {
    PartitionKey { pipeline: "p".into(), run: 1, partition: TopicPartition::new("in", partition) }
}

fn provenance() -> Provenance {
    let (function, model, config) = ("copy/1".into(), "".into(), "c".into());
    Provenance { pipeline: "p".into(), run: 1, function, model, config, fold: None, keeps_latest: false }
}

/// All of [10, 20) skipped.
fn skips(partition: i32, claim: Uuid) -> Advance {
    Advance {
        partition: TopicPartition::new("in", partition),
        claim,
        from: 10,
        to: 20,
        event_time_ms: None,
        events: 10,
        skipped: 10,
        dead: 0,
        published_offset: 10,
        fold_from: 20,
        states: Vec::new(),
        records: Arc::default(),
    }
}

/// Repeats what Postgres refuses for now.
async fn again<T>(attempt: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + Duration::from_secs(25);
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(StoreError::Transient(detail)) => assert!(Instant::now() < deadline, "{detail}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Would catch: a COPY whose client stands still and holds the rows of its partitions for ever, against which no time-out of
/// Postgres helps; an end put to one that is only slow; a round that is half there when its session was ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_client_stands_still_is_ended_by_whoever_needs_its_rows() {
    let url = database().await;
    let store = store(&url).await;
    store.open("p", 1, Mode::Both, &[0, 1].map(|number| (TopicPartition::new("in", number), 10))).await.unwrap();
    let claim = Uuid::new_v4();
    store.claim(&key(1), claim, "a").await.unwrap().unwrap();

    let mut session = PgConnectOptions::from_str(&url).unwrap().application_name("millrace").connect().await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE millrace.stream_partition SET next_offset = 15").execute(&mut session).await.unwrap();
    let started = Instant::now();
    let mut copy = session.copy_in_raw("COPY millrace.record FROM STDIN (FORMAT binary)").await.unwrap();
    copy.send(&b"PGCOPY\n\xff\r\n\0"[..]).await.unwrap();

    let (provenance, round) = (provenance(), [skips(1, claim)]);
    let (claimed, moved) = tokio::join!(
        again(async || store.claim(&key(0), Uuid::new_v4(), "b").await),
        again(async || store.decide(&provenance, &round).await)
    );
    assert_eq!(claimed.unwrap().next_offset, 10, "the round that was ended is not there");
    assert_eq!(moved, [TopicPartition::new("in", 1)]);
    assert!(started.elapsed() >= Duration::from_secs(10), "one that is only slow is left alone");
    assert!(copy.finish().await.is_err(), "its session is at an end");
}

/// Would catch: a worker frozen inside a COPY that keeps its partitions from everybody else until it thaws.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_frozen_inside_a_copy_holds_goes_to_its_heir() {
    const EVENTS: i64 = 60_000;
    const COPY_WAITS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                              AND query LIKE '%COPY millrace.record%' AND pid <> pg_backend_pid()";
    const COPY_STANDS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'ClientRead' \
                               AND state = 'active' AND query LIKE '%COPY millrace.record%' AND pid <> pg_backend_pid()";
    let stage = Arc::new(Stage::of(Plan { partitions: 2, ..Plan::default() }).await);
    let burst = stage.clone();
    tokio::task::spawn_blocking(move || burst.send(0, EVENTS)).await.unwrap();
    let mut frozen = stage.worker();
    let (mut lock, deadline) = (stage.connect().await, Instant::now() + SOON);
    // A COPY waits for the table before it reads its client. Small rounds may be in front: then once more.
    'caught: loop {
        sqlx::raw_sql("BEGIN; LOCK TABLE millrace.record IN SHARE MODE").execute(&mut lock).await.unwrap();
        let look = Instant::now() + Duration::from_secs(1);
        while Instant::now() < look {
            if stage.number(COPY_WAITS).await > 0 {
                break 'caught;
            }
        }
        sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
        assert!(frozen.is_running() && Instant::now() < deadline, "no round went by COPY; log:\n{}", frozen.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    frozen.signal("-STOP");
    sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
    stage.wait_for(COPY_STANDS, 1).await;

    let mut heir = stage.worker();
    stage.decided(EVENTS).await;
    frozen.signal("-CONT");
    stage.assert_rows_are_records(EVENTS).await;
    assert!(frozen.is_running() && heir.is_running(), "{}", stage.log());
    frozen.drain();
    heir.drain();
}

/// Would catch: a connection that was dropped without a word and keeps its place in the pool as long as TCP hopes, while new
/// ones would work.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_hears_nothing_more_makes_room_for_a_new_one() {
    let url = database().await;
    store(&url).await.open("p", 1, Mode::Both, &[(TopicPartition::new("in", 0), 10)]).await.unwrap();
    let options = PgConnectOptions::from_str(&url).unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let claims = "WITH claimed AS (UPDATE millrace.stream_partition SET claim";
    let proxy = Proxy::start(server.clone(), claims, |n| (n == 0).then_some(Cut::Silent)).await;
    let settings = PostgresSettings { max_connections: 1, statement_timeout_ms: 10_000, acquire_timeout_ms: 2_000 };
    let store = PostgresStore::connect(&url.replace(&server, &format!("127.0.0.1:{}", proxy.port)), &settings).await.unwrap();

    let patience = Duration::from_secs(3);
    let unheard = timeout(patience, store.claim(&key(0), Uuid::new_v4(), "a")).await;
    assert!(unheard.is_err() && proxy.cuts(Cut::Silent) == 1, "{unheard:?}");
    proxy.heal_new();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match timeout(patience, store.claim(&key(0), Uuid::new_v4(), "a")).await {
            Ok(Ok(row)) => return assert_eq!(row.unwrap().epoch, 2, "the first claim was carried out, unheard"),
            other => assert!(Instant::now() < deadline, "the pool stays as it is: {other:?}"),
        }
    }
}
